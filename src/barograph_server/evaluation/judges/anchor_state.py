"""Which judge a command is about, and what its runs on anchors say."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from barograph.contract import Contract

from barograph_server.contracts import hint, read_contract
from barograph_server.errors import EXIT_HOLD, EXIT_INSUFFICIENT, EXIT_OK, CommandError
from barograph_server.streams.evaluator.anchors import AnchorSet, read_anchors
from barograph_server.streams.evaluator.check_evaluators import Check, SetupError
from barograph_server.streams.evaluator.judge_evaluators import JudgeEvaluators
from barograph_server.streams.evaluator.settings import EvaluatorSettings
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.evaluation.anchor_runs import (
    AnchorRun,
    AnchorSeries,
    DriftOutcome,
    JudgeDrift,
    judge_drift,
    read_anchor_runs,
    read_anchor_series,
)


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
