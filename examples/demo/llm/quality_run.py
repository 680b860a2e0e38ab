"""The demo of quality: how often a bot is wrong, by a poor judge that labels correct, and by a check of citations."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from barograph import Publisher
from barograph.contract import Contract, Text
from barograph.contract.evaluators import FAULTY, SOUND, Evaluator, EvaluatorBudget
from barograph.contract.file import dump_contract
from barograph.text.content import ContentPolicy

from barograph_server.evaluation.review.evaluator import find_evaluator
from barograph_server.evaluation.review.exchange import collect_entries, import_entries
from barograph_server.evaluation.review.gold_labels import GoldLabels
from barograph_server.examples.demo.fresh_start import QUALITY_DEMO
from barograph_server.examples.demo.llm.documented_answers import (
    BOT_FOLDER,
    KnownAnswer,
    model_answers,
    quotes,
    read_documents,
)
from barograph_server.examples.demo.llm.model_demo import ModelDemo
from barograph_server.examples.demo.llm.quality_findings import (
    CITED,
    MODEL,
    RIGHT,
    are_evaluated,
    counts,
    quality_expectations,
    read_quality,
    report_quality,
)
from barograph_server.local.language_model import MODEL as VERSION
from barograph_server.operations.dev.processors import KINDS
from barograph_server.provisioning import apply_all
from barograph_server.settings import Settings, variable_of
from barograph_server.terminal import Terminal
from barograph_server.warehouse.client import Client, connect

RUBRIC = "right.yaml"
QUOTES = 60
"""Quotes, every second one with a planted fault; the same number of answers is the model's, at most."""
LATER_QUOTES = 10
"""Quotes after the judge was changed."""
GOLD = 100
MOST_WAITING = 8
"""Answers that wait for the judge: the bot answers no faster than the judge can follow."""
PHASE_S = 600.0
"""Longest duration of a phase; a busy machine answers slowly."""
REVIEWER = "demo"

CONTRACT = Contract(
    model=MODEL,
    text=Text(languages=("en",), content="redact", sample=1.0),
    evaluators={
        CITED: Evaluator(check="citations", documents="documents"),
        RIGHT: Evaluator(judge=RUBRIC, endpoint="small", budget=EvaluatorBudget(calls=3_000)),
    },
)


class QualityDemo(ModelDemo):
    """A bot that answers from documents, with a judge, a check of citations, and labels."""

    _clock = "live"

    def __init__(self, root: Path | None, terminal: Terminal, stack: ExitStack) -> None:
        """Describe a run without starting anything; the arguments are those of `DemoRun`."""
        super().__init__(root, terminal, stack, QUALITY_DEMO)
        self._answers: dict[str, KnownAnswer] = {}

    def run(self) -> bool:
        began_s, since = time.monotonic(), datetime.now(UTC) - timedelta(minutes=1)
        self._report.heading(
            "Start Apache Kafka, the ClickHouse engine and a language model (SmolLM2, 135 million parameters)"
        )
        with self._terminal.status("about 15 s"), ThreadPoolExecutor(1) as pool:
            starting = pool.submit(self._start_stack)
            model = self._start_model()
            settings = self._settings = starting.result()
        self._folder.mkdir(parents=True, exist_ok=True)
        evaluators = self._evaluator_files()
        with self._timed("apply"):
            apply_all(settings, [(CONTRACT, dump_contract(CONTRACT))], reason="the demo")
        variables = {
            variable_of("evaluator.folder"): str(evaluators),
            variable_of("evaluator.endpoints"): json.dumps({"small": {"model": VERSION, "url": model.url}}),
        }
        self._start_processors(settings, (*KINDS, "evaluator"), variables)
        documents = read_documents()
        planted = quotes(documents)
        with connect(settings.warehouse) as client, self._publisher(settings) as publisher:
            self._report.heading(f"Answer questions from {len(documents)} documents, and quote them, also with faults")
            with self._timed("answers"):
                pairs = zip(model_answers(model.url, documents), itertools.islice(planted, QUOTES), strict=False)
                self._publish(client, publisher, itertools.chain.from_iterable(pairs))
                self._wait(lambda: are_evaluated(client, self._answers), PHASE_S, "the evaluations of all answers")
            self._report.heading(f"People label {GOLD} of these answers at random, and barograph review import")
            with self._timed("labels"):
                self._label(settings, client, since)
                self._wait(lambda: counts(client, RIGHT).labelled >= GOLD, PHASE_S, f"{GOLD} labels")
            self._report.heading("The rubric of the judge is changed: a new version, with a series of its own")
            with self._timed("new judge"):
                self._change_rubric(evaluators)
                # The evaluator reads changed files every few seconds.
                more = itertools.islice(planted, QUOTES)
                self._publish(
                    client, publisher, itertools.takewhile(lambda _: counts(client, RIGHT).versions < 2, more)
                )
                self._publish(client, publisher, itertools.islice(planted, LATER_QUOTES))
                self._wait(lambda: are_evaluated(client, self._answers), PHASE_S, "the new judge")
            self._record_end = datetime.now(UTC)
            findings = read_quality(client, self._answers, since, self._record_end + timedelta(minutes=1))
        report_quality(self._report, findings)
        outcomes = quality_expectations(findings)
        self._report.expectations(outcomes)
        self._report.times(self._times_s | {"in all": time.monotonic() - began_s})
        return all(each.is_met for each in outcomes)

    # ------------------------------------------------------------------------------------------ steps

    def _evaluator_files(self) -> Path:
        folder = self._folder / "evaluators"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(BOT_FOLDER / "documents", folder / "documents")
        shutil.copy(BOT_FOLDER / "evaluators" / RUBRIC, folder)
        return folder

    def _change_rubric(self, folder: Path) -> None:
        path = folder / RUBRIC
        text = path.read_text(encoding="utf-8")
        changed = text.replace("Is the answer to the question right?", "Does the answer say what is true?")
        assert changed != text
        path.write_text(changed, encoding="utf-8")

    def _publisher(self, settings: Settings) -> Publisher:
        path = self._folder / f"{MODEL}.yaml"
        path.write_text(dump_contract(CONTRACT), encoding="utf-8")
        return Publisher.from_contract(
            path,
            version=VERSION,
            bootstrap_servers=settings.bootstrap_servers,
            on_full="wait",
            topic_prefix=settings.topic_prefix,
        )

    def _publish(self, client: Client, publisher: Publisher, answers: Iterable[KnownAnswer]) -> None:
        policy = ContentPolicy(CONTRACT, b"")
        for answer in answers:
            number = f"a{len(self._answers)}"
            publisher.prediction(id=number, context=policy.members(number, answer.question, answer.text))
            publisher.flush()
            self._answers[number] = answer
            self._wait(
                lambda: len(self._answers) - counts(client, RIGHT).evaluations <= MOST_WAITING,
                PHASE_S,
                "the judge to follow",
            )

    def _label(self, settings: Settings, client: Client, since: datetime) -> None:
        now = datetime.now(UTC)
        source, contract = find_evaluator(client, MODEL, RIGHT, since, now)
        entries = collect_entries(client, source, "gold", 1.0)
        chosen = random.Random(24).sample(entries, min(GOLD, len(entries)))  # noqa: S311 - answers, no secrets
        labels = [
            replace(each, reviewer=REVIEWER, label=FAULTY if self._answers[each.id].is_faulty else SOUND)
            for each in chosen
        ]
        plan = import_entries(client, source.evaluator_model, labels, GoldLabels(contract, settings), now)
        self._report.paragraph(f"{len(plan.reviews)} labels stored, and sent to Kafka as labels of {contract.model}.")
