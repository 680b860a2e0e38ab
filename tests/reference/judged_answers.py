"""A poor real judge, corrected by labels: SmolLM2 with 135 million parameters judges its own answers.

`python -m tests.reference.judged_answers generate` asks the model the questions of the support bot's suite, each with
its document and with three seeds, and lets the same model judge each answer, with and without the document. It takes
about ten minutes, needs the dependency group `llm`, and writes tests/golden/judges/judged_answers.jsonl. The truth is
whether the answer contains the fact of the suite.

`python -m tests.reference.judged_answers` draws 100 labels of these answers 1,000 times, and prints how often the
interval of the corrected rate contains the rate of all answers.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from barograph.prompts.content import PromptMessage

from local.language_model import MODEL, LocalLanguageModel
from sketches.judges.strata import strata_rate
from streams.evaluator.judges.chat import ChatParameters, ChatRequest
from streams.evaluator.judges.endpoint import ChatEndpoint, ChatEndpointSettings
from streams.evaluator.judges.judge import Judge
from streams.evaluator.judges.rubric import JudgedTexts, parse_rubric

ROOT = Path(__file__).resolve().parents[2]
BOT = ROOT / "examples/support_bot"
FILE = ROOT / "tests/golden/judges/judged_answers.jsonl"
SEEDS = (1, 2, 3)
LABELS, RESAMPLES = 100, 1_000
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


class Coverage(NamedTuple):
    """How the rates of one judge compare with the truth."""

    answers: int
    truth: float
    """Share of faulty answers."""
    raw: float
    """Share that the judge calls faulty."""
    covered: float
    """Share of the resamples whose interval contains the truth."""
    width: float
    """Mean width of the intervals."""
    gold_width: float
    """Mean width of the intervals of the labels alone."""


def generate() -> None:
    """Write the judged answers."""
    lines = (BOT / "evals/questions.jsonl").read_text(encoding="utf-8").splitlines()
    with tempfile.TemporaryDirectory() as folder, LocalLanguageModel(Path(folder), port=0) as server:
        model = ChatEndpoint(ChatEndpointSettings(server.url, MODEL, timeout_s=300.0))
        judges = {name: Judge(parse_rubric(text, name), [model]) for name, text in JUDGES.items()}
        rows = []
        for item in map(json.loads, lines):
            document = (BOT / "documents" / f"{item['document']}.md").read_text(encoding="utf-8")
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


def _normalized(text: str) -> str:
    return " ".join(text.split()).casefold()


def coverage(judge: str, seed: int = 24) -> Coverage:
    """Resample labels of the answers with a verdict of one judge."""
    rows = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    pairs = [(row["judged"][judge] == "faulty", row["faulty"]) for row in rows if row["judged"][judge] is not None]
    flagged, faulty = np.array(pairs, np.bool_).T
    rng = np.random.default_rng(seed)
    gold = np.zeros((RESAMPLES, len(pairs)), np.bool_)
    for row in gold:
        row[rng.choice(len(pairs), LABELS, replace=False)] = True
    counts = (gold & flagged, gold & flagged & faulty, gold & ~flagged, gold & ~flagged & faulty)
    rates = strata_rate(len(pairs), flagged.sum(), *(each.sum(axis=1) for each in counts))
    truth = float(faulty.mean())
    is_covered = (rates.rate.low <= truth) & (truth <= rates.rate.high)
    return Coverage(
        len(pairs),
        truth,
        float(flagged.mean()),
        float(is_covered.mean()),
        float(np.nanmean(rates.rate.high - rates.rate.low)),
        float(np.mean(rates.gold_only.high - rates.gold_only.low)),
    )


def main(arguments: list[str]) -> None:
    if arguments == ["generate"]:
        generate()
        return
    print("| judge | answers | faulty | judge says | interval contains the rate | width | width of labels alone |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for judge in JUDGES:
        each = coverage(judge)
        print(
            f"| {judge} | {each.answers} | {each.truth:.1%} | {each.raw:.1%} | {each.covered:.1%} of {RESAMPLES:,} "
            f"| {each.width:.3f} | {each.gold_width:.3f} |"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
