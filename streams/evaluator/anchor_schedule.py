"""Runs of judges on their anchors, on the schedule of the contract, beside the evaluation of answers."""

import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from barograph_server.sketches.judges.anchors import LEAST_BANK
from barograph_server.streams.evaluator.active import ActiveEvaluator, ActiveEvaluators
from barograph_server.streams.evaluator.anchors import MAX_TRIES, Anchor, AnchorSet, answer_of
from barograph_server.streams.evaluator.evaluation import NoResult
from barograph_server.streams.runtime.backoff import RetryInterrupted
from barograph_server.streams.runtime.periodic import Periodic
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError
from barograph_server.warehouse.evaluation.anchor_runs import (
    RUN,
    AnchorRun,
    AnchorSeries,
    DriftOutcome,
    JudgeDrift,
    judge_drift,
    read_anchor_runs,
    store_anchor_run,
)

POLL_S = 1.0
"""How often due anchors and the budget are checked."""
BANK_S = 10.0
"""How often a missing bank is checked."""
FAILED_S = 60.0
"""Pause after an error of this thread."""


@dataclass(slots=True)
class AnchorProgress:
    """A run that is not complete yet."""

    evaluator: ActiveEvaluator
    anchors: AnchorSet
    series: AnchorSeries
    run_id: str
    ends_s: float
    """End of the run's period, Unix seconds."""
    open: list[Anchor]
    """Anchors without a verdict that may be tried again; the first is next."""
    classes: dict[str, str] = field(default_factory=dict)
    tries: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    """Why anchors have no verdict, by the last try of each."""
    result: AnchorRun | None = None
    """The complete run, until ClickHouse has it."""


class AnchorSchedule:
    """Judges the anchors of all judges when they are due, one call at a time.

    Calls come from the judge's budget. If it is used up, the rest of a run waits. A process that is killed loses the
    verdicts of an unfinished run; its successor judges all anchors again, and the run has the same identifier.
    """

    def __init__(
        self,
        evaluators: ActiveEvaluators,
        connect: Callable[[], Client],
        *,
        is_responsible: Callable[[], bool],
        stop: threading.Event,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Describe the schedule, of which only the responsible process judges anchors; nothing runs before `start`."""
        self._evaluators, self._connect, self._is_responsible = evaluators, connect, is_responsible
        self._stop, self._clock = stop, clock
        self._client: Client | None = None
        self._progress: dict[AnchorSeries, AnchorProgress] = {}
        self._not_before_s: dict[AnchorSeries, float] = {}
        self._reported: dict[AnchorSeries, DriftOutcome] = {}
        self._log = structlog.get_logger().bind(processor="evaluator")

    def start(self) -> None:
        """Judge anchors in a thread of its own until a stop is requested."""
        Periodic("anchors", POLL_S, self._step, at_end=self._disconnect, stop=self._stop).start()

    def _step(self) -> float | None:
        """Advance, and return the pause after an error."""
        try:
            self.advance()
        except RetryInterrupted:
            # The stop was requested.
            return None
        except (WarehouseBusy, WarehouseError) as error:
            self._log.warning("anchors wait for ClickHouse", reason=str(error))
            self._disconnect()
            return FAILED_S if isinstance(error, WarehouseError) else BANK_S
        except Exception as error:
            position = traceback.extract_tb(error.__traceback__)[-1]
            location = f"{Path(position.filename).name}:{position.lineno}"
            self._log.error("anchors failed", error=type(error).__name__, position=location)
            return FAILED_S
        return None

    def advance(self) -> None:
        """Continue all runs that are due, as far as the budgets allow."""
        if not self._is_responsible():
            return
        evaluators = [each for group in self._evaluators.by_model.values() for each in group]
        current = set()
        for evaluator in evaluators:
            if evaluator.anchors is not None:
                series = series_of(evaluator, evaluator.anchors)
                current.add(series)
                self._continue(evaluator, evaluator.anchors, series)
        for series in [each for each in self._progress if each not in current]:
            del self._progress[series]

    def _continue(self, evaluator: ActiveEvaluator, anchors: AnchorSet, series: AnchorSeries) -> None:
        progress, now_s = self._progress.get(series), self._clock()
        if progress is not None and progress.result is None and now_s >= progress.ends_s:
            action = "Raise the budget, or anchors_every, in the contract."
            judged = f"{len(progress.classes)} of {len(anchors.anchors)}"
            self._warn(series, "anchors not judged in their period", judged=judged, action=action)
            del self._progress[series]
            progress = None
        if progress is None:
            if now_s < self._not_before_s.get(series, 0.0):
                return
            progress = self._begin(evaluator, anchors, series, now_s)
            if progress is None:
                return
            self._progress[series] = progress
        if progress.result is None:
            # A changed contract has the same series, and perhaps another budget.
            progress.evaluator = evaluator
            if not self._judge(progress):
                return
            progress.result = anchors.run(progress.run_id, RUN, progress.classes)
        drift = store_anchor_run(self._connected(), series, progress.result)
        self._report(progress, progress.result, drift)
        self._not_before_s[series] = progress.ends_s
        del self._progress[series]

    def _begin(
        self, evaluator: ActiveEvaluator, anchors: AnchorSet, series: AnchorSeries, now_s: float
    ) -> AnchorProgress | None:
        """Return a run if one is due; else say once why there is none."""
        every_s = evaluator.settings.anchors_every_s
        period_s = int(now_s // every_s) * every_s
        run_id = series.run_id(period_s)
        runs = read_anchor_runs(self._connected(), series)
        if any(run.run_id == run_id for run in runs):
            self._not_before_s[series] = period_s + every_s
            self._log.info("anchors of this period are judged already", **_names(series))
            return None
        drift = judge_drift(runs)
        if drift.bank < LEAST_BANK or not drift.runs_left:
            self._not_before_s[series] = now_s + BANK_S
            reason = DriftOutcome.NO_BANK if drift.bank < LEAST_BANK else DriftOutcome.USED_UP
            if self._reported.get(series) is not reason:
                self._reported[series] = reason
                judge = f"--model {series.model} --evaluator {series.evaluator}"
                action = f"Run `barograph judges anchors {judge} --bank 60`."
                self._warn(series, "anchors are not judged", reason=reason.value, action=action)
            return None
        self._reported.pop(series, None)
        return AnchorProgress(evaluator, anchors, series, run_id, period_s + every_s, list(anchors.anchors))

    def _judge(self, progress: AnchorProgress) -> bool:
        """Judge anchors; whether none is left."""
        while progress.open:
            if self._stop.is_set() or not self._is_responsible() or not progress.evaluator.budget.take_call():
                return False
            anchor = progress.open.pop(0)
            evaluation = progress.evaluator.evaluate(answer_of(progress.series.model, anchor))
            if evaluation.answer_class is not None:
                progress.classes[anchor.id] = evaluation.answer_class
                continue
            progress.tries[anchor.id] += 1
            if progress.tries[anchor.id] < MAX_TRIES:
                progress.open.append(anchor)
            else:
                progress.errors[evaluation.error or NoResult.INTERNAL.value] += 1
        return True

    def _report(self, progress: AnchorProgress, run: AnchorRun, drift: JudgeDrift) -> None:
        if run.no_result:
            reasons = ", ".join(f"{error}: {count}" for error, count in sorted(progress.errors.items()))
            self._warn(
                progress.series, "run on anchors left out of the evidence", no_result=run.no_result, reasons=reasons
            )
        elif drift.drifted_at is not None:
            self._warn(progress.series, "judge has drifted", right=run.right, anchors=run.anchors)
        else:
            self._log.info("anchors judged", **_names(progress.series), right=run.right, anchors=run.anchors)

    def _warn(self, series: AnchorSeries, event: str, **values: object) -> None:
        self._log.warning(event, **_names(series), **values)

    def _connected(self) -> Client:
        if self._client is None:
            self._client = self._connect()
        return self._client

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None


def series_of(evaluator: ActiveEvaluator, anchors: AnchorSet) -> AnchorSeries:
    """Return the series of a judge with these anchors."""
    return AnchorSeries(evaluator.contract.model, evaluator.name, evaluator.version, anchors.hash)


def _names(series: AnchorSeries) -> dict[str, str]:
    return {"model": series.model, "evaluator": series.evaluator, "version": series.evaluator_version}
