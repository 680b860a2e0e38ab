"""The scorer as a process: passes over all models, retries while ClickHouse is busy, rest between passes."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.registry.registry import Registry
from barograph_server.streams.runtime.backoff import Backoff, RetryInterrupted
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.scorer.checkpoint import NOTHING, Checkpoint, PassPlan, TopicOffsets
from barograph_server.streams.scorer.freeze import Pass
from barograph_server.streams.scorer.model import ModelScorer, PassResult
from barograph_server.streams.scorer.rules import is_counted, make_rules, unmeasurable_reason
from barograph_server.streams.scorer.stored_rates import EvaluationRateSchedule
from barograph_server.streams.scorer.windows import EventClock
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse.client import Address, Client, connect
from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError
from barograph_server.warehouse.operations import metrics
from barograph_server.warehouse.rollouts.arm_ratios import sample_ratio, write_ratio
from barograph_server.warehouse.scoring import new_rows, results
from barograph_server.warehouse.scoring.new_rows import TOPICS
from barograph_server.warehouse.scoring.rules import Rules

GRACE_S = 60.0
"""How long rows must be visible before the checkpoint advances past them. By then every replica has the insert."""
RETRY_S, MAX_RETRY_S = 0.5, 15.0
"""First and longest nominal delay before a pass is retried while ClickHouse is busy."""
BEAT_S = 1.0
"""Interval between heartbeats while the scorer rests."""
QUERY_TIMEOUT_S = 300
"""Timeout of one statement. A statement joins a few million rows at most and seldom needs a minute."""
WORK_SHARE = 0.25
"""Largest share of the time that passes take on the live clock: after a long pass the scorer rests accordingly."""


class _Stopped(Exception):
    """A stop was requested during a pass."""


class Scorer:
    """One scorer process. A second one at the same time would do the same work and write the same rows."""

    def __init__(
        self,
        settings: ProcessorSettings,
        registry: Callable[[], Registry],
        report: Report,
        *,
        connect_to: Callable[[Address], Client] = lambda address: connect(address, timeout_s=QUERY_TIMEOUT_S),
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        grace_s: float = GRACE_S,
    ) -> None:
        """Configure the scorer. It reads nothing before `run` or `score_once`.

        Args:
            grace_s: how long rows must be visible before the checkpoint advances past them; 0 if every insert is
                visible at once.
        """
        self._settings, self._registry, self._report = settings, registry, report
        self._connect, self._clock, self._monotonic, self._grace_s = connect_to, clock, monotonic, grace_s
        self._client: Client | None = None
        self._arm_ratios = ArmRatioSchedule(monotonic)
        self._evaluation_rates = EvaluationRateSchedule(monotonic)
        self._is_stopping: Callable[[], bool] = lambda: False
        self._is_busy = False
        self._log = structlog.get_logger().bind(processor="scorer", instance=settings.instance)
        self._reset()

    def _reset(self) -> None:
        """Drop all state, so that the next pass continues from the stored rows; also after a pass that broke off."""
        self._checkpoint: Checkpoint | None = None
        self._models: dict[str, ModelScorer] = {}
        self._statuses: dict[str, results.ScoringStatus] = {}
        self._choices: dict[str, dict[str, results.ReferenceChoice]] = {}

    def run(self, stop: threading.Event) -> None:
        """Score pass after pass until `stop` is set. A running pass breaks off between statements."""
        self._is_stopping = stop.is_set
        backoff = Backoff(RETRY_S, MAX_RETRY_S, report=self._report, sleep=lambda delay_s: self._rest(delay_s, stop))
        while not stop.is_set():
            try:
                took_s = backoff.retry(
                    self._timed_pass,
                    WarehouseBusy,
                    blocked_on="ClickHouse is busy or down, and the pass will be retried.",
                    on_retry=self._on_busy,
                )
            except (RetryInterrupted, _Stopped):
                break
            except WarehouseError as error:
                raise ProcessorError(str(error)) from error
            if self._is_busy:
                self._log.info("warehouse answers again")
                self._is_busy = False
            rest_s = took_s * (1 / WORK_SHARE - 1) if self._settings.clock == "live" else 0.0
            self._rest(max(self._settings.score_s - took_s, rest_s, 0.0), stop)
        self._disconnect()

    def _timed_pass(self) -> float:
        """Do one pass and return its duration in seconds."""
        start_s = self._monotonic()
        self.score_once()
        return self._monotonic() - start_s

    def _on_busy(self, error: Exception, _delay_s: float) -> None:
        self._disconnect()
        if not self._is_busy:
            self._log.warning("warehouse busy", error=str(error))
        self._is_busy = True

    def _rest(self, duration_s: float, stop: threading.Event) -> bool:
        """Rest with a heartbeat every second; return whether `stop` is set."""
        end_s = self._monotonic() + duration_s
        while not stop.is_set():
            self._report.heartbeat.beat()
            remaining_s = end_s - self._monotonic()
            if remaining_s <= 0:
                break
            stop.wait(min(remaining_s, BEAT_S))
        return stop.is_set()

    def score_once(self) -> PassResult:
        """Do one pass over all models."""
        start_s = self._monotonic()
        try:
            result = self._run_pass(self._open())
        except BaseException:
            self._reset()
            raise
        self._report.observe(metrics.PASS, self._monotonic() - start_s)
        self._report.count_committed(result.arrived, "scored")
        self._report.add(metrics.WINDOWS, result.scored, "new")
        self._report.add(metrics.WINDOWS, result.revised, "revised")
        return result

    # ------------------------------------------------------------------------------------------ a pass

    def _run_pass(self, client: Client) -> PassResult:
        now_s = self._clock()
        if self._checkpoint is None:
            self._checkpoint = Checkpoint(new_rows.read_checkpoints(client), self._grace_s)
            self._statuses = results.scoring_statuses(client)
        self._choices = results.reference_choices(client)
        checkpoint, registry = self._checkpoint, self._registry()
        rules = self._counted_models(client, registry, now_s)
        ends = {topic: new_rows.partition_ends(client, topic, checkpoint.offsets[topic]) for topic in TOPICS}
        plan = checkpoint.prepare(ends, now_s)
        newest_ms = self._newest_times(client, plan.start) if plan.has_changes else {}
        total = PassResult()
        for model, each in rules.items():
            total += self._score_model(client, registry, each, plan, newest_ms.get(model))
        for topic, offsets in plan.changed_topics().items():
            new_rows.write_checkpoints(client, topic, offsets, int(now_s * 1000))
        checkpoint.advance(plan)
        if plan.advances:
            for scorer in self._models.values():
                scorer.advance()
        self._arm_ratios.check_due(client, registry, int(now_s * 1000))
        self._evaluation_rates.compute_due(client, registry, int(now_s * 1000), newest_ms)
        return total

    def _newest_times(self, client: Client, start: TopicOffsets) -> dict[str, int]:
        """Return the newest event time (Unix ms) of each model that has rows after some offsets."""
        newest: dict[str, int] = {}
        for topic in TOPICS:
            for model, newest_ms in new_rows.models_with_new_rows(client, topic, start[topic]).items():
                newest[model] = max(newest.get(model, 0), newest_ms)
        return newest

    def _score_model(
        self, client: Client, registry: Registry, rules: Rules, plan: PassPlan, newest_ms: int | None
    ) -> PassResult:
        """Do one model's pass.

        Args:
            newest_ms: the newest event time of the model's rows after the checkpoint; None if there are none.
        """
        contract = registry.contracts[rules.model]
        status = self._statuses.get(rules.model)
        is_new = status is None or status.basis != rules.basis or status.state == "skipped"
        scorer = self._models.get(rules.model)
        if scorer is None or scorer.rules.basis != rules.basis:
            newest_ms = 0 if status is None else round(status.newest_at.timestamp() * 1000)
            clock = self._event_clock(plan.now_s, all_read=False, newest_ms=newest_ms)
            scorer = ModelScorer.start(client, contract, rules, None if is_new else status, clock)
        scorer.rules, scorer.freezer.rules, scorer.check_stop = rules, rules, self._check_stop
        scorer.freezer.choices = self._choices.get(rules.model, {})
        if is_new:
            newest_ms = self._newest_times(client, NOTHING).get(rules.model)
        scorer.newest_ms = max(scorer.newest_ms, newest_ms or 0)
        read_range = None if newest_ms is None else plan.read_range(from_start=is_new)
        if read_range is None and plan.advances:
            scorer.next_hours = ({}, {})
        clock = self._event_clock(plan.now_s, all_read=plan.is_exhausted, newest_ms=scorer.newest_ms)
        result = scorer.run(client, Pass(contract, registry, clock, int(plan.now_s * 1000)), read_range)
        if is_new and not plan.advances:
            scorer.advance()
        if is_new or result.arrived or result.scored or result.revised:
            scored = results.ScoringStatus(
                model=rules.model,
                state="scored" if rules.is_measured else "counted",
                reason=unmeasurable_reason(contract),
                basis=rules.basis,
                kind=rules.kind,
                raw_share=rules.raw_share,
                newest_at=_utc(scorer.newest_ms),
                scored_until=_utc(int(clock.now_s * 1000)),
                updated_at=_utc(int(plan.now_s * 1000)),
            )
            self._store(client, scored)
        self._models[rules.model] = scorer
        return result

    def _event_clock(self, now_s: float, *, all_read: bool, newest_ms: int) -> EventClock:
        if self._settings.clock == "live":
            return EventClock(now_s)
        return EventClock(newest_ms / 1000, all_read=all_read)

    # ------------------------------------------------------------------------------------------ status rows

    def _counted_models(self, client: Client, registry: Registry, now_s: float) -> dict[str, Rules]:
        """Return the rules of the models that are counted; for each other model, write a status with the reason."""
        counted = {}
        self._skip_unreadable(client, registry, now_s)
        for model, contract in sorted(registry.contracts.items()):
            if is_counted(contract):
                counted[model] = make_rules(contract, registry)
                continue
            reason = unmeasurable_reason(contract)
            self._models.pop(model, None)
            status = self._statuses.get(model)
            if status is None or status.reason != reason:
                skipped = results.ScoringStatus(
                    model=model,
                    state="skipped",
                    reason=reason,
                    basis="",
                    kind="",
                    raw_share=contract.raw_share,
                    newest_at=_utc(0),
                    scored_until=_utc(0),
                    updated_at=_utc(int(now_s * 1000)),
                )
                self._skip(client, skipped)
        for model in self._models.keys() - counted.keys():
            del self._models[model]
        return counted

    def _skip_unreadable(self, client: Client, registry: Registry, now_s: float) -> None:
        """Mark the scored models whose contract cannot be read as skipped, with the reason.

        The checkpoint advances past their rows. A skipped model reads all its rows once it can be measured again.
        """
        for model in sorted(registry.unreadable.keys() - registry.contracts.keys()):
            status = self._statuses.get(model)
            if status is not None and status.state != "skipped":
                reason = f"This version of the scorer cannot read the contract: {registry.unreadable[model]}"
                # The basis stays, so that the performance measured so far is still shown.
                updated_at = _utc(int(now_s * 1000))
                self._skip(client, replace(status, state="skipped", reason=reason, updated_at=updated_at))

    def _skip(self, client: Client, status: results.ScoringStatus) -> None:
        self._store(client, status)
        self._log.info("model is not measured", model=status.model, reason=status.reason)

    def _store(self, client: Client, status: results.ScoringStatus) -> None:
        results.write_status(client, status)
        self._statuses[status.model] = status

    # ------------------------------------------------------------------------------------------ the warehouse

    def _check_stop(self) -> None:
        self._report.heartbeat.beat()
        if self._is_stopping():
            raise _Stopped

    def _open(self) -> Client:
        self._client = self._client or self._connect(self._settings.warehouse)
        self._client.on_insert = self._report.count_inserted
        return self._client

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None


def _utc(unix_ms: int) -> datetime:
    return datetime.fromtimestamp(unix_ms / 1000, UTC)


MIN_INTERVAL_S = 600.0
"""Shortest interval between the checks of a model. A check reads the units of the whole test."""
MAX_TIME_SHARE = 0.02
"""Largest share of the time that a model's checks take; slower checks are made less often."""


class ArmRatioSchedule:
    """Schedules the checks of each model's arm ratio."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_s: dict[str, float] = {}

    def check_due(self, client: Client, registry: Registry, now_ms: int) -> None:
        for model, contract in sorted(registry.contracts.items()):
            start_s = self._clock()
            if contract.arms is None or start_s < self._next_s.get(model, start_s):
                continue
            ratio = sample_ratio(client, contract, now_ms)
            if ratio is not None:
                write_ratio(client, ratio)
            end_s = self._clock()
            self._next_s[model] = end_s + max(MIN_INTERVAL_S, (end_s - start_s) / MAX_TIME_SHARE)
