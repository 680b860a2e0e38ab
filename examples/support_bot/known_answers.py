"""Answers from documents with a known truth: those of a language model, and quotes with planted faults."""

import itertools
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import openai

from barograph_server.local.language_model import MODEL as VERSION

BOT_FOLDER = Path(__file__).parent
SYSTEM = "You answer customers of a shop in one short sentence. Use this text:\n\n"
MAX_TOKENS = 24
MIN_WORDS = 6
INVENTED = "Every customer receives a free voucher after the first complaint"
"""No document says it."""
NUMBER = re.compile(r"(?<![\w.,])\d+(?![\w.,])")
VERB = re.compile(r"\b(is|are|can|may)\b")
LONGER_UNITS = {"minutes": "hours", "hours": "days", "days": "weeks", "weeks": "months", "months": "years"}
UNIT = re.compile(rf"(?<=\d )({'|'.join(LONGER_UNITS)})\b")
INTACT = ""
"""The fault of a quote without one."""


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    question: str
    text: str
    is_faulty: bool
    fault: str | None
    """Planted fault of a quote: a name in `FAULTS`, or `INTACT`; None for an answer of the model."""


def read_documents() -> dict[str, str]:
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted((BOT_FOLDER / "documents").glob("*.md"))}


def model_answers(base_url: str, documents: Mapping[str, str]) -> Iterator[KnownAnswer]:
    """Ask the model each question with its document. An answer without the fact of the question is faulty."""
    client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0)
    for line in (BOT_FOLDER / "evals/questions.jsonl").read_text(encoding="utf-8").splitlines():
        item = json.loads(line)
        reply = client.chat.completions.create(
            model=VERSION,
            messages=[
                {"role": "system", "content": SYSTEM + documents[item["document"]]},
                {"role": "user", "content": item["question"]},
            ],
            temperature=0,
            max_tokens=MAX_TOKENS,
        )
        text = reply.choices[0].message.content or "-"
        yield KnownAnswer(item["question"], text, _normalized(item["fact"]) not in _normalized(text), None)


def quotes(documents: Mapping[str, str]) -> Iterator[KnownAnswer]:
    """Quote sentences of documents: in turn without a fault, and with one of `FAULTS`."""
    rng = random.Random(24)  # noqa: S311 - sentences, no secrets
    passages = [(name, sentence) for name, text in documents.items() for sentence in _sentences(text)]
    rng.shuffle(passages)
    for fault in itertools.cycle(FAULTS):
        for name in (INTACT, fault):
            planted = next((each for each in passages if name == INTACT or FAULTS[name](*each) != each), None)
            if planted is None:
                return
            passages.remove(planted)
            document, sentence = planted if name == INTACT else FAULTS[name](*planted)
            text = f"“{sentence}” [{document}]."
            yield KnownAnswer(f"What do you say about {planted[0].replace('-', ' ')}?", text, name != INTACT, name)


Passage = tuple[str, str]
"""A document's id, and a sentence."""

FAULTS: dict[str, Callable[[str, str], Passage]] = {
    "unknown source": lambda name, text: (f"{name}-2", text),
    "altered number": lambda name, text: (name, NUMBER.sub(lambda match: str(int(match[0]) + 3), text, count=1)),
    "altered unit": lambda name, text: (name, UNIT.sub(lambda match: LONGER_UNITS[match[0]], text, count=1)),
    "negation": lambda name, text: (name, text if " not " in text else VERB.sub(r"\1 not", text, count=1)),
    "invented quote": lambda name, text: (name, INVENTED),
}
"""Kind of planted fault → a function that plants it, which leaves a passage as it is that has nothing to change."""


def _sentences(text: str) -> list[str]:
    body = re.sub(r"^(?:[#|>-]|<!--).*\n?", "", text, flags=re.MULTILINE)
    sentences = (" ".join(each.split()).rstrip(".") for each in re.split(r"(?<=[.!?])\s+(?=[A-Z])", body))
    return [each for each in sentences if len(each.split()) >= MIN_WORDS and "“" not in each and "[" not in each]


def _normalized(text: str) -> str:
    return " ".join(text.split()).casefold()
