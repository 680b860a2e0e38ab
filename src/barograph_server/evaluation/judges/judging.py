"""Runs of a judge on its anchors that a person asks for."""

import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import structlog
from barograph.contract import Contract

from barograph_server.errors import CommandError
from barograph_server.evaluation.judges.anchor_state import BuiltJudge, build_judge
from barograph_server.sketches.judges.anchors import LEAST_BANK
from barograph_server.streams.evaluator.anchors import MAX_TRIES, Anchor, answer_of
from barograph_server.streams.evaluator.check_evaluators import SetupError
from barograph_server.streams.evaluator.settings import EvaluatorSettings
from barograph_server.terminal import Terminal
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.evaluation.anchor_runs import BANK, judge_drift, read_anchor_runs, store_anchor_run

MAX_REASONS = 3
"""Most reasons in one message."""


def make_runs(
    client: Client, contract: Contract, name: str, settings: EvaluatorSettings, kind: str, count: int
) -> None:
    """Judge all anchors several times, and store each run."""
    stop = threading.Event()
    with collect_reasons() as reasons, ThreadPoolExecutor(settings.parallel) as pool:
        try:
            judge = build_judge(contract, name, settings, stop.wait)
        except SetupError as error:
            raise CommandError(f"The judge {name} of {contract.model} cannot be used: {error}.") from error
        _check_series(client, judge, kind)
        try:
            for number in range(1, count + 1):
                with Terminal(stderr=True).status(f"Run {number} of {count}"):
                    classes = _judge_all(pool, judge)
                _store(client, judge, kind, number, classes, reasons)
                reasons.clear()
        finally:
            # After Ctrl-C, calls that wait for a retry end at once.
            stop.set()
            pool.shutdown(cancel_futures=True)
            judge.evaluators.close()


def _store(
    client: Client, judge: BuiltJudge, kind: str, number: int, classes: dict[str, str], reasons: Counter[str]
) -> None:
    listed = "; ".join(f"{reason} ({calls})" for reason, calls in reasons.most_common(MAX_REASONS))
    if not classes:
        stored = f"; the {number - 1} before are" if number > 1 else ""
        raise CommandError(f"No anchor has a verdict: {listed}. This run is not stored{stored}.")
    run = judge.anchors.run(uuid.uuid4().hex[:16], kind, classes)
    store_anchor_run(client, judge.series, run)
    if run.no_result:
        Terminal(stderr=True).line(
            f"Run {number} is left out of the evidence, because {run.no_result} of {run.anchors} anchors have no "
            f"verdict: {listed}."
        )


def _check_series(client: Client, judge: BuiltJudge, kind: str) -> None:
    drift = judge_drift(read_anchor_runs(client, judge.series))
    if kind == BANK and drift.drifted_at is not None:
        raise CommandError(
            "The judge has drifted: a bank made now would take the drifted judge as its standard. Change the rubric or "
            "the anchors, which begins a new series, and make the bank of that."
        )
    if kind != BANK and (drift.bank < LEAST_BANK or not drift.runs_left):
        what = (
            f"has {drift.bank} complete runs, and {LEAST_BANK} are needed" if drift.bank < LEAST_BANK else "is used up"
        )
        raise CommandError(
            f"The bank {what}, so a run cannot be compared: "
            f"`barograph judges anchors --model {judge.series.model} --evaluator {judge.series.evaluator} --bank 60` "
            "makes one."
        )


def _judge_all(pool: ThreadPoolExecutor, judge: BuiltJudge) -> dict[str, str]:
    """Return the class of each anchor that has one."""

    def class_of(anchor: Anchor) -> str | None:
        answer = answer_of(judge.series.model, anchor)
        tries = (judge.check(answer).answer_class for _ in range(MAX_TRIES))
        return next((each for each in tries if each is not None), None)

    classes = zip(judge.anchors.anchors, pool.map(class_of, judge.anchors.anchors), strict=True)
    return {anchor.id: each for anchor, each in classes if each is not None}


@contextmanager
def collect_reasons() -> Iterator[Counter[str]]:
    """Count why calls have no verdict, and print other warnings of judges on standard error."""
    reasons: Counter[str] = Counter()

    def collect(logger: Any, method: str, event: Any) -> Any:
        if "error" in event:
            reasons[f"{event['error']}: {event.get('reason', '')}".rstrip(": .")] += 1
        else:
            Terminal(stderr=True).line(": ".join(str(event[each]) for each in ("event", "action") if each in event))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[collect])
    try:
        yield reasons
    finally:
        structlog.configure(**before)
