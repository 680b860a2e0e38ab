"""A poor real judge, corrected by labels: SmolLM2 with 135 million parameters judges its own answers.

`python -m tests.reference.judged_answers generate` asks the questions of the support bot's suite, with three seeds,
lets the model judge each answer with and without its document, and writes tests/golden/judges/judged_answers.jsonl in
about an hour (group `llm`). The truth is whether the answer contains the fact of the suite. Without `generate` it draws
traffic and gold labels of these answers, and prints how often the interval contains the rate of all.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from barograph.prompts.content import PromptMessage
from numpy.typing import NDArray

from barograph_server.local.language_model import MODEL, LocalLanguageModel
from barograph_server.sketches.judges.strata import strata_rate
from barograph_server.streams.evaluator.checks.grounding import GroundingContext, measure_grounding
from barograph_server.streams.evaluator.judges.chat import ChatParameters, ChatRequest
from barograph_server.streams.evaluator.judges.endpoint import ChatEndpoint, ChatEndpointSettings
from barograph_server.streams.evaluator.judges.judge import Judge
from barograph_server.streams.evaluator.judges.rubric import JudgedTexts, parse_rubric

ROOT = Path(__file__).resolve().parents[2]
BOT = ROOT / "examples/support_bot"
FILE = ROOT / "tests/golden/judges/judged_answers.jsonl"
SEEDS = (1, 2, 3)
TRAFFIC, LABELS, RESAMPLES = 5_000, 100, 1_000
GROUNDED = 0.5
"""Smallest share of an answer's word sequences in the document for the verdict `sound` of the grounding check."""
SYSTEM = "You answer customers of a shop in one short sentence."
RUBRIC = """
rubric: 1
name: faithful
question: Is the answer to the question right?
scale:
  faulty: The answer is wrong, or does not answer the question.
  sound: The answer is right.
inputs: [prompt, answer]
reason: none
model: {max_tokens: 24}
"""
WITH_DOCUMENT = RUBRIC.replace("[prompt, answer]", "[prompt, context, answer]")
JUDGES = {"without the document": RUBRIC, "with the document": WITH_DOCUMENT}
"""Name → rubric; the names are in the file."""
CHECK = f"grounding check, at least {GROUNDED:g}"


class Coverage(NamedTuple):
    """How the rates of one evaluator compare with the truth."""

    answers: int
    truth: float
    """Share of faulty answers."""
    raw: float
    """Share that the evaluator calls faulty."""
    covered: float
    """Share of the resamples whose interval contains the truth."""
    width: float
    gold_width: float
    """Mean width of the intervals of the labels alone."""


def generate() -> None:
    with tempfile.TemporaryDirectory() as folder, LocalLanguageModel(Path(folder), port=0) as server:
        model = ChatEndpoint(ChatEndpointSettings(server.url, MODEL, timeout_s=300.0))
        judges = {name: Judge(parse_rubric(text, name), [model]) for name, text in JUDGES.items()}
        rows = []
        for item in _items():
            document = _document(item)
            for seed in SEEDS:
                messages = (PromptMessage("system", SYSTEM), PromptMessage("user", f"{document}\n{item['question']}"))
                parameters = ChatParameters(temperature=0.8, max_tokens=24, seed=seed)
                answer = model.complete(ChatRequest(messages, parameters)).text
                texts = JudgedTexts(item["question"], answer, document)
                verdicts = {name: judge.evaluate(texts).answer_class for name, judge in judges.items()}
                is_faulty = _normalized(item["fact"]) not in _normalized(answer)
                rows.append({"id": item["id"], "seed": seed, "answer": answer, "faulty": is_faulty, "judged": verdicts})
                print(len(rows), is_faulty, verdicts, flush=True)
    FILE.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _items() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (BOT / "evals/questions.jsonl").read_text(encoding="utf-8").splitlines()]


def _document(item: dict[str, Any]) -> str:
    return (BOT / "documents" / f"{item['document']}.md").read_text(encoding="utf-8")


def _normalized(text: str) -> str:
    return " ".join(text.split()).casefold()


def verdicts() -> dict[str, NDArray[np.bool_]]:
    rows = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    pairs = {
        judge: [(row["judged"][judge] == "faulty", row["faulty"]) for row in rows if row["judged"][judge] is not None]
        for judge in JUDGES
    }
    contexts = {item["id"]: GroundingContext([_document(item)]) for item in _items()}
    grounded = [(measure_grounding(row["answer"], contexts[row["id"]]).value, row["faulty"]) for row in rows]
    pairs[CHECK] = [(value < GROUNDED, is_faulty) for value, is_faulty in grounded if value is not None]
    return {name: np.array(each, np.bool_) for name, each in pairs.items()}


def coverage(pairs: NDArray[np.bool_], seed: int = 24) -> Coverage:
    """Draw traffic and labels of answers; `pairs` says whether evaluator and truth say faulty, (answers, 2)."""
    rng = np.random.default_rng(seed)
    flagged, faulty = np.moveaxis(pairs[rng.integers(len(pairs), size=(RESAMPLES, TRAFFIC))], 2, 0)
    gold = np.zeros((RESAMPLES, TRAFFIC), np.bool_)
    # The answers are drawn independently, so that the first ones are a random part.
    gold[:, :LABELS] = True
    counts = (gold & flagged, gold & flagged & faulty, gold & ~flagged, gold & ~flagged & faulty)
    judged = np.full(RESAMPLES, TRAFFIC)
    rates = strata_rate(judged, flagged.sum(axis=1), *(each.sum(axis=1) for each in counts))
    truth = float(pairs[:, 1].mean())
    is_covered = (rates.rate.low <= truth) & (truth <= rates.rate.high)
    return Coverage(
        len(pairs),
        truth,
        float(pairs[:, 0].mean()),
        float(is_covered.mean()),
        float(np.nanmean(rates.rate.high - rates.rate.low)),
        float(np.mean(rates.gold_only.high - rates.gold_only.low)),
    )


def main(arguments: list[str]) -> None:
    if arguments == ["generate"]:
        generate()
        return
    print("| evaluator | answers | faulty | evaluator says | interval contains the rate | width | labels alone |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for evaluator, pairs in verdicts().items():
        each, name = coverage(pairs), f"judge {evaluator}" if evaluator in JUDGES else evaluator
        print(
            f"| {name} | {each.answers} | {each.truth:.1%} | {each.raw:.1%} | {each.covered:.1%} of {RESAMPLES:,} "
            f"| {each.width:.3f} | {each.gold_width:.3f} |"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
