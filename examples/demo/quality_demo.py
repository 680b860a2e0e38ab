"""The demo of quality: how often a bot is wrong, by a poor judge that labels correct, and by a check of citations."""

import itertools
import json
import random
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
from barograph import Publisher
from barograph.contract import Contract, Text
from barograph.contract.evaluators import FAULTY, SOUND, Evaluator, EvaluatorBudget
from barograph.contract.file import dump_contract
from barograph.text.content import ContentPolicy

from barograph_server.batch.backfill.backfill import publisher_of
from barograph_server.evaluation.review.evaluator import find_evaluator
from barograph_server.evaluation.review.exchange import collect_entries, import_entries
from barograph_server.evaluation.review.gold_labels import GoldLabels
from barograph_server.examples.demo.base import Demo
from barograph_server.examples.demo.findings import Findings
from barograph_server.examples.support_bot.known_answers import (
    BOT_FOLDER,
    KnownAnswer,
    model_answers,
    quotes,
    read_documents,
)
from barograph_server.local.language_model import MODEL as VERSION
from barograph_server.operations.dev.processors import KINDS
from barograph_server.provisioning import apply_all
from barograph_server.settings import variable_of
from barograph_server.sketches.judges.fault_rate import RateReason
from barograph_server.warehouse.client import Client, connect
from barograph_server.warehouse.evaluation.evaluation_rates import read_evaluation_rates

MODEL = "docs-bot"
CITED, RIGHT = "cited", "right"
RUBRIC = "right.yaml"
QUOTES = 60
"""Quotes, every second one with a planted fault; the same number of answers is the model's, at most."""
LATER_QUOTES = 10
"""Quotes after the judge was changed."""
GOLD = 100
MOST_WAITING = 8
"""Answers that wait for the judge: the bot answers no faster than the judge can follow."""

CONTRACT = Contract(
    model=MODEL,
    text=Text(languages=("en",), content="redact", sample=1.0),
    evaluators={
        CITED: Evaluator(check="citations", documents="documents"),
        RIGHT: Evaluator(judge=RUBRIC, endpoint="small", budget=EvaluatorBudget(calls=3_000)),
    },
)


class QualityDemo(Demo):
    """A bot that answers from documents, with a judge, a check of citations, and labels."""

    name = "quality-demo"
    findings = "quality"
    clock = "live"

    def work(self) -> None:
        self._since, self._answers = datetime.now(UTC) - timedelta(minutes=1), dict[str, KnownAnswer]()
        self.say("Start Apache Kafka, the ClickHouse engine and a language model (SmolLM2, 135 million parameters)")
        model = self.start(self.start_model)
        evaluators = self.folder / "evaluators"
        shutil.rmtree(evaluators, ignore_errors=True)
        shutil.copytree(BOT_FOLDER / "documents", evaluators / "documents")
        shutil.copy(BOT_FOLDER / "evaluators" / RUBRIC, evaluators)
        contract = self.folder / f"{MODEL}.yaml"
        contract.write_text(dump_contract(CONTRACT), encoding="utf-8")
        apply_all(self.settings, [(CONTRACT, dump_contract(CONTRACT))], reason="the demo")
        variables = {
            variable_of("evaluator.folder"): str(evaluators),
            variable_of("evaluator.endpoints"): json.dumps({"small": {"model": VERSION, "url": model.url}}),
        }
        self.start_processors((*KINDS, "evaluator"), variables)
        publisher = publisher_of(self.settings, contract, VERSION)
        with connect(self.settings.warehouse) as client, publisher:
            self._answer(client, publisher, model.url, evaluators)
        self.record_end = datetime.now(UTC)

    def _answer(self, client: Client, publisher: Publisher, model_url: str, evaluators: Path) -> None:
        findings = Findings(client, self.findings)
        documents = read_documents()
        planted = quotes(documents)

        def count(name: str) -> int:
            return int(findings.row("progress")[name])

        def publish(answers: Iterable[KnownAnswer]) -> None:
            self._publish(publisher, answers, lambda: count("judged"))

        def wait(what: str) -> None:
            self.wait_for(what, lambda: min(count("cited"), count("judged")), len(self._answers))

        self.say(f"Answer questions from {len(documents)} documents, and quote them, also with faults")
        pairs = zip(model_answers(model_url, documents), itertools.islice(planted, QUOTES), strict=False)
        publish(itertools.chain.from_iterable(pairs))
        wait("evaluated answers")
        self.say(f"People label {GOLD} of these answers at random, and barograph review import")
        self._label(client)
        self.wait_for("labels", lambda: count("labels"), GOLD)
        self.say("The rubric of the judge is changed: a new version, with a series of its own")
        _change(evaluators / RUBRIC)
        # The evaluator reads changed files every few seconds.
        publish(itertools.takewhile(lambda _: count("judges") < 2, itertools.islice(planted, QUOTES)))
        publish(itertools.islice(planted, LATER_QUOTES))
        wait("answers that the new judge evaluated")

    def _publish(self, publisher: Publisher, answers: Iterable[KnownAnswer], judged: Callable[[], int]) -> None:
        policy = ContentPolicy(CONTRACT, b"")
        for answer in answers:
            number = f"a{len(self._answers)}"
            publisher.prediction(id=number, context=policy.members(number, answer.question, answer.text))
            publisher.flush()
            self._answers[number] = answer
            self.wait_for("judged answers", judged, len(self._answers) - MOST_WAITING)

    def _label(self, client: Client) -> None:
        now = datetime.now(UTC)
        source, contract = find_evaluator(client, MODEL, RIGHT, self._since, now)
        entries = collect_entries(client, source, "gold", 1.0)
        chosen = random.Random(24).sample(entries, min(GOLD, len(entries)))  # noqa: S311 - answers, no secrets
        labels = [
            replace(each, reviewer="demo", label=FAULTY if self._answers[each.id].is_faulty else SOUND)
            for each in chosen
        ]
        import_entries(client, source.evaluator_model, labels, GoldLabels(contract, self.settings), now)

    def measure(self, client: Client, findings: Findings) -> None:
        until = self.record_end + timedelta(minutes=1)
        rates = read_evaluation_rates(client, [f"{MODEL}.{RIGHT}"], self._since, until, "version")
        rate = rates.rate.rate
        judges = [
            {
                "number": len(rates.groups) - 1 - i,
                "version": group.evaluator_version,
                "judged": group.judged,
                "flagged": group.flagged,
                "labels": group.labels,
                "low": float(rate.low[i]) if rate.reason[i] == RateReason.none else None,
                "high": float(rate.high[i]) if rate.reason[i] == RateReason.none else None,
            }
            for i, group in enumerate(rates.groups)  # the newest first
        ]
        findings.add_table("judges", pa.Table.from_pylist(judges))
        answers = [
            {"id": id_, "is_faulty": each.is_faulty, "is_quote": each.fault is not None, "fault": each.fault}
            for id_, each in self._answers.items()
        ]
        findings.add_table("answers", pa.Table.from_pylist(answers))


def _change(rubric: Path) -> None:
    text = rubric.read_text(encoding="utf-8")
    changed = text.replace("Is the answer to the question right?", "Does the answer say what is true?")
    assert changed != text
    rubric.write_text(changed, encoding="utf-8")
