"""Runs of a judge on its anchors that a person asks for."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import structlog
from barograph.contract import Contract

from barograph_server.contracts import hint, read_contract
from barograph_server.errors import EXIT_HOLD, EXIT_INSUFFICIENT, EXIT_OK, CommandError
from barograph_server.sketches.judges.anchors import LEAST_BANK
from barograph_server.streams.evaluator.anchors import MAX_TRIES, Anchor, AnchorSet, answer_of, read_anchors
from barograph_server.streams.evaluator.check_evaluators import Check, SetupError
from barograph_server.streams.evaluator.judge_evaluators import JudgeEvaluators
from barograph_server.streams.evaluator.settings import EvaluatorSettings
from barograph_server.terminal import Terminal
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.evaluation.anchor_runs import (
    BANK,
    AnchorRun,
    AnchorSeries,
    DriftOutcome,
    JudgeDrift,
    judge_drift,
    read_anchor_runs,
    read_anchor_series,
    store_anchor_run,
)

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


class BuiltJudge(NamedTuple):
    """A judge with its anchors, ready to run."""

    evaluators: JudgeEvaluators
    """Owns the connections of the judge; close it after its last call."""
    check: Check
    anchors: AnchorSet
    series: AnchorSeries


@dataclass(frozen=True, slots=True)
class AnchorState:
    """The series of a judge, with its evidence."""

    series: AnchorSeries
    runs: tuple[AnchorRun, ...]
    drift: JudgeDrift
    earlier: int
    """Further series of the judge: other versions of it, or other anchors."""
    unreadable: str = ""
    """Why the files of the judge cannot be read on this machine: then the series is the one with the newest run."""


def find_judge(client: Client, model: str, evaluator: str) -> Contract:
    """Read the contract of a model that has a judge with anchors."""
    contract = read_contract(client, model)
    if evaluator not in contract.evaluators:
        names = contract.evaluators
        raise CommandError(f"The contract of {model} has no evaluator {evaluator!r}{hint(evaluator, names)}")
    if not contract.evaluators[evaluator].anchors:
        judge = contract.evaluators[evaluator].judge
        what = "names no anchors: add `anchors: FILE`" if judge else "is no judge, so it has no anchors: name a judge"
        raise CommandError(f"The evaluator {evaluator} of {model} {what}.")
    return contract


def build_judge(
    contract: Contract, name: str, settings: EvaluatorSettings, sleep: Callable[[float], bool]
) -> BuiltJudge:
    """Build a judge from the files of this machine; nothing is sent.

    Args:
        sleep: waits for a number of seconds and returns whether it was interrupted.
    """
    evaluator, folder = contract.evaluators[name], Path(settings.folder)
    evaluators = JudgeEvaluators(settings, sleep)
    check, version = evaluators.build(evaluator, folder)
    anchors = read_anchors(folder / evaluator.anchors)
    return BuiltJudge(evaluators, check, anchors, AnchorSeries(contract.model, name, version, anchors.hash))


def read_state(client: Client, contract: Contract, name: str, settings: EvaluatorSettings) -> AnchorState:
    """Read the runs of the judge that is in force, or, without its files, of the series with the newest run."""
    stored = read_anchor_series(client, contract.model, name)
    unreadable = ""
    try:
        series = build_judge(contract, name, settings, lambda _: True).series
    except SetupError as error:
        if not stored:
            raise CommandError(f"The judge {name} of {contract.model} has no runs, and {error}.") from error
        series, unreadable = stored[0], str(error)
    runs = tuple(read_anchor_runs(client, series))
    return AnchorState(series, runs, judge_drift(runs), sum(each != series for each in stored), unreadable)


def exit_code(state: AnchorState, *, is_release: bool) -> int:
    """Return the exit code; after the runs of a bank, a later run is not expected yet."""
    outcome = state.drift.outcome
    if outcome is DriftOutcome.DRIFTED:
        return EXIT_HOLD
    is_fine = outcome is DriftOutcome.NO_DRIFT or (is_release and outcome is DriftOutcome.NO_RUN)
    return EXIT_OK if is_fine else EXIT_INSUFFICIENT
