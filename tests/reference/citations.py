"""Recall and false alarms of the check of citations, on planted faults and harmless edits.

`python -m tests.reference.citations [SEED [FOLDER]]` prints the figures of docs/evaluation.md, with verbatim quotes
from the documents of the support bot or of FOLDER; `tests/unit/streams/evaluator/test_checks.py` runs fewer.
"""

import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from barograph_server.streams.evaluator.checks.citations import CitationResult, CitationStatus, check_answer_citations
from barograph_server.streams.evaluator.checks.documents import DocumentSet

FOLDER = Path(__file__).resolve().parents[2] / "examples/support_bot/documents"
FAULTS = HARMLESS = 1_000
MIN_WORDS = 6
NAMES = ("Dresden", "Crimson", "Larkspur", "Geneva", "Oakfield", "Valencia", "Halcyon", "Bohemia")
UNITS = {
    "seconds": "minutes", "minutes": "hours", "hours": "days", "days": "weeks", "weeks": "months", "months": "years",
    "years": "months", "percent": "euros", "kg": "g", "g": "kg", "cm": "mm", "litres": "millilitres", "€": "$",
}  # fmt: skip
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
DATE = re.compile(rf"(\d{{1,2}}) ({'|'.join(MONTHS)}) (\d{{4}})")
INVENTED = (
    "Every customer receives a free voucher after the first complaint",
    "The shop lends bicycles to members of the club at weekends",
    "Parcels to the moon are delivered by a partner company",
    "Customers who call before noon may choose a second present",
    "All prices are guaranteed for the whole season without exception",
    "Our technicians visit you at home and install the appliance",
    "Food for animals can be ordered together with toys",
    "A deposit is needed for every order of glass bottles",
)


@dataclass(frozen=True)
class Passage:
    document_id: str
    text: str


Edit = Callable[[Passage, random.Random], Passage | None]
"""Changes a passage; None if it contains nothing to change."""


def read_documents(folder: Path = FOLDER) -> dict[str, str]:
    documents = {}
    for path in sorted(folder.glob("*.md")):
        text = re.sub(r"^```.*?^```\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        documents[path.stem] = re.sub(r"^(?:\||<!--).*\n", "", text, flags=re.MULTILINE)
    return documents


def passages(documents: Mapping[str, str]) -> list[Passage]:
    return [
        Passage(document_id, " ".join(sentence.split()))
        for document_id, text in documents.items()
        for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z])", text.partition("\n\n")[2])
        if len(sentence.split()) >= MIN_WORDS
    ]


def _change(
    pattern: str, passage: Passage, rng: random.Random, change: Callable[[re.Match[str]], str]
) -> Passage | None:
    """Change one of the parts that match, chosen at random."""
    matches = list(re.finditer(pattern, passage.text))
    if not matches:
        return None
    match = rng.choice(matches)
    text = passage.text[: match.start()] + change(match) + passage.text[match.end() :]
    return Passage(passage.document_id, text)


def unknown_id(passage: Passage, rng: random.Random) -> Passage | None:
    return Passage(passage.document_id + rng.choice(("-2", "-new", "-faq", "-eu")), passage.text)


def altered_number(passage: Passage, rng: random.Random) -> Passage | None:
    def change(match: re.Match[str]) -> str:
        if DATE.search(passage.text):
            return match[0]
        index = rng.choice([index for index, char in enumerate(match[0]) if char.isdigit()])
        digit = rng.choice([each for each in "123456789" if each != match[0][index]])
        return match[0][:index] + digit + match[0][index + 1 :]

    return _change(r"(?<![\w.,-])€?\d[\d.,]*\d\b|(?<![\w.,:-])€?\d(?![\w.,:])", passage, rng, change)


def altered_unit(passage: Passage, rng: random.Random) -> Passage | None:
    pattern = rf"(?<=\d )(?:{'|'.join(unit for unit in UNITS if unit != '€')})\b|€"
    return _change(pattern, passage, rng, lambda match: UNITS[match[0]])


def altered_date(passage: Passage, rng: random.Random) -> Passage | None:
    def change(match: re.Match[str]) -> str:
        day, month, year = match.groups()
        changed = rng.choice(
            (
                (str(int(day) % 28 + 1), month, year),
                (day, rng.choice([each for each in MONTHS if each != month]), year),
                (day, month, str(int(year) + rng.choice((-1, 1)))),
            )
        )
        return " ".join(changed)

    return _change(DATE.pattern, passage, rng, change)


def negation(passage: Passage, rng: random.Random) -> Passage | None:
    without = _change(
        r"\bcannot\b|\b(?:not|never|no) ", passage, rng, lambda match: "can" if match[0] == "cannot" else ""
    )
    verbs = r"(?<=[a-z] )(?:is|are|may|can|must|has been|takes|will)\b(?! not)"
    return without or _change(verbs, passage, rng, lambda match: match[0] + rng.choice((" not", " never")))


def changed_name(passage: Passage, rng: random.Random) -> Passage | None:
    pattern = rf"(?<=[a-z] )(?!(?:{'|'.join(MONTHS)})(?![a-z]))[A-Z][a-z]{{3,}}"
    return _change(pattern, passage, rng, lambda _: rng.choice(NAMES))


def changed_word(passage: Passage, rng: random.Random, words: list[str]) -> Passage | None:
    def change(match: re.Match[str]) -> str:
        return rng.choice([word for word in words if word[:4] != match[0][:4]])

    return _change(r"(?<=[a-z] )[a-z]{5,}\b", passage, rng, change)


def invented(passage: Passage, rng: random.Random, sentences: list[Passage]) -> Passage | None:
    choice = rng.random()
    other = rng.choice([each for each in sentences if each.document_id != passage.document_id])
    if choice < 1 / 3:
        return Passage(passage.document_id, rng.choice(INVENTED))
    if choice < 2 / 3:
        return Passage(passage.document_id, other.text)
    first, second = passage.text.split(), other.text.split()
    text = " ".join([*first[: len(first) // 2], *second[len(second) // 2 :]])
    return Passage(passage.document_id, text)


def number_format(passage: Passage, rng: random.Random) -> Passage | None:
    def change(match: re.Match[str]) -> str:
        if "," in match[0]:
            return match[0].replace(",", rng.choice(("", ".", " ", "\u202f", "'")))
        return match[0].replace(".", ",") if "." in match[0] else match[0] + ".00"

    return _change(r"\d{1,3}(?:,\d{3})+|(?<=€)\d+\.\d\d|(?<=€)\d+(?![\d.,])", passage, rng, change)


def typo(passage: Passage, rng: random.Random) -> Passage | None:
    def change(match: re.Match[str]) -> str:
        word, i = match[0], rng.randrange(1, len(match[0]) - 1)
        kind = rng.randrange(4)
        other = rng.choice("abcdefghijklmnopqrstuvwxyz") if kind == 3 else ""
        middle = (word[i + 1] + word[i], "", 2 * word[i], other)[kind]
        return word[:i] + middle + word[i + 1 + (kind == 0) :]

    return _change(r"\b[A-Za-z]{5,}\b", passage, rng, change)


def ellipsis(passage: Passage, rng: random.Random) -> Passage | None:
    words = passage.text.split()
    if len(words) < 10:
        return None
    start = rng.randrange(3, len(words) - 5)
    end = start + rng.randrange(1, 3)
    if {"not", "no", "never", "cannot", "without"} & {word.strip(".,;") for word in words[start:end]}:
        return None
    mark = rng.choice(("…", "...", "[…]", "[...]"))
    return Passage(passage.document_id, " ".join([*words[:start], mark, *words[end:]]))


def case(passage: Passage, rng: random.Random) -> Passage | None:
    return Passage(passage.document_id, rng.choice((str.lower, str.upper, str.title))(passage.text))


def typography(passage: Passage, rng: random.Random) -> Passage | None:
    text = passage.text.replace('"', "'").replace(" ", rng.choice(("  ", "\u00a0", "\n")), 3).rstrip(".")
    return Passage(passage.document_id, text.replace("-", rng.choice("\u2010\u2011\u2013")))


def unit_form(passage: Passage, rng: random.Random) -> Passage | None:
    forms = {
        "days": ("day",), "hours": ("hour", "h", "hrs"), "minutes": ("minute", "min"), "months": ("month",),
        "years": ("year",), "weeks": ("week",), "percent": ("%", "per cent"), "kg": ("kilograms", "kilos"),
        "cm": ("centimetres", "centimeters"), "€": ("EUR ", "€ "), "seconds": ("second", "s"), "points": ("point",),
        "litres": ("liters", "l"), "g": ("grams",), "items": ("item",),
    }  # fmt: skip
    pattern = rf"(?<=\d )(?:{'|'.join(form for form in forms if form != '€')})\b|€"
    return _change(pattern, passage, rng, lambda match: rng.choice(forms[match[0]]))


def hyphens(passage: Passage, rng: random.Random) -> Passage | None:
    pattern = r"(?<=[a-z])-(?=[a-z])|(?<=\d) (?=(?:days?|months|hours|weeks|years|cm|kg)\b)|(?<=dishwasher) "
    return _change(pattern, passage, rng, lambda match: rng.choice(("", " ", "\u2011")) if match[0] == "-" else "-")


def date_format(passage: Passage, rng: random.Random) -> Passage | None:
    def change(match: re.Match[str]) -> str:
        day, month, year = int(match[1]), match[2], int(match[3])
        number = MONTHS.index(month) + 1
        words = f"{month} {day}, {year}", f"{day}th of {month} {year}", f"{day} {month[:3]} {year}"
        numbers = f"{year}-{number:02}-{day:02}", f"{day:02}.{number:02}.{year}", f"{day:02}/{number:02}/{year}"
        return rng.choice((*words, f"{day}. {month} {year}", *numbers, f"{number}/{day}/{year}"))

    return _change(DATE.pattern, passage, rng, change)


def fault_edits(sentences: list[Passage]) -> dict[str, Edit]:
    words = sorted({word for each in sentences for word in re.findall(r"\b[a-z]{5,}\b", each.text)})
    return {
        "unknown id": unknown_id,
        "number": altered_number,
        "unit": altered_unit,
        "date": altered_date,
        "negation": negation,
        "name": changed_name,
        "word": lambda passage, rng: changed_word(passage, rng, words),
        "invented quote": lambda passage, rng: invented(passage, rng, sentences),
    }


FAULT_SHARES = {
    "unknown id": 0.2, "number": 0.08, "unit": 0.06, "date": 0.06, "negation": 0.2, "name": 0.1, "word": 0.1,
    "invented quote": 0.2,
}  # fmt: skip
"""Shares of the faults; five kinds have a fifth each: id, value (number, unit, date), negation, name or word, quote."""
HARMLESS_EDITS: dict[str, Edit] = {
    "punctuation of numbers": number_format,
    "one typo": typo,
    "ellipsis": ellipsis,
    "case": case,
    "quotes, dashes, spaces": typography,
    "form of units": unit_form,
    "hyphens": hyphens,
    "format of dates": date_format,
}


@dataclass(frozen=True)
class Outcome:
    kind: str
    original: str
    changed: Passage
    result: CitationResult | None

    @property
    def is_flagged(self) -> bool:
        """Whether the check reports the quote. An answer whose quote is not recognized is not flagged."""
        return self.result is not None and self.result.status is not CitationStatus.SUPPORTED


@dataclass(frozen=True)
class Study:
    faults: list[Outcome]
    harmless: list[Outcome]
    checks_per_cpu_second: float


def run(seed: int, faults: int = FAULTS, harmless: int = HARMLESS, folder: Path = FOLDER) -> Study:
    """Change and check quotes. A kind of change that fits no sentence of the documents is left out."""
    rng = random.Random(seed)
    documents = read_documents(folder)
    sentences = passages(documents)
    edits = fault_edits(sentences)
    planted = [
        (kind, *_draw(sentences, edits[kind], rng))
        for kind, share in FAULT_SHARES.items()
        if _fits(sentences, edits[kind], rng)
        for _ in range(round(share * faults))
    ]
    edited = [
        (kind, *_draw(sentences, edit, rng))
        for kind, edit in HARMLESS_EDITS.items()
        if _fits(sentences, edit, rng)
        for _ in range(harmless // len(HARMLESS_EDITS))
    ]
    prepared = DocumentSet(documents)
    started = time.process_time()
    fault_outcomes, harmless_outcomes = (
        [Outcome(kind, original, changed, _check(changed, prepared)) for kind, original, changed in group]
        for group in (planted, edited)
    )
    elapsed = time.process_time() - started
    return Study(fault_outcomes, harmless_outcomes, (len(planted) + len(edited)) / elapsed)


def _fits(sentences: list[Passage], edit: Edit, rng: random.Random) -> bool:
    return any(edit(passage, rng) not in (None, passage) for passage in sentences)


def _draw(sentences: list[Passage], edit: Edit, rng: random.Random) -> tuple[str, Passage]:
    while True:
        passage = rng.choice(sentences)
        changed = edit(passage, rng)
        if changed is not None and changed != passage:
            return passage.text, changed


def _check(passage: Passage, documents: DocumentSet) -> CitationResult | None:
    report = check_answer_citations(f"The documents say: “{passage.text}” [{passage.document_id}].", documents)
    return report.results[0] if report.results else None


def table(title: str, outcomes: list[Outcome]) -> str:
    lines = [f"| {title} | number | different | flagged | as |", "|---|---|---|---|---|"]
    for kind in dict.fromkeys(outcome.kind for outcome in outcomes):
        group = [outcome for outcome in outcomes if outcome.kind == kind]
        flagged = [outcome.result for outcome in group if outcome.is_flagged and outcome.result is not None]
        different = len({outcome.changed for outcome in group})
        counts = Counter(
            str(result.kind) if result.status is CitationStatus.ALTERED else str(result.status) for result in flagged
        )
        reasons = ", ".join(f"{name} {count}" for name, count in counts.most_common())
        share = f"{len(flagged) / len(group):.1%}"
        lines.append(f"| {kind} | {len(group)} | {different} | {share} | {reasons} |")
    total = sum(outcome.is_flagged for outcome in outcomes) / len(outcomes)
    lines.append(f"| all | {len(outcomes)} | {len({each.changed for each in outcomes})} | {total:.1%} | |")
    return "\n".join(lines)


def main() -> None:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 24
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else FOLDER
    study = run(seed, folder=folder)
    print(table("fault", study.faults), table("harmless edit", study.harmless), sep="\n\n")
    print(f"\n{study.checks_per_cpu_second:,.0f} checks per CPU-second\n")
    for outcome in (*study.faults, *study.harmless):
        if outcome.is_flagged != (outcome in study.faults):
            print(f"wrong, {outcome.kind}: {outcome.changed.text!r}: {outcome.result and outcome.result.reason}")


if __name__ == "__main__":
    main()
