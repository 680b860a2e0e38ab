"""The scorer as a process: passes over all models, marks, waiting while the warehouse is busy."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from streams.errors import ProcessorError
from streams.registry.registry import Registry
from streams.runtime.metrics_report import Report
from streams.scorer.arm_ratios import RatioLooks
from streams.scorer.model import Done, Looked, ModelScorer
from streams.scorer.rules import make_rules, why_not
from streams.scorer.windows import Now
from streams.settings import ProcessorSettings
from warehouse import metrics
from warehouse.client import Address, Client, connect
from warehouse.errors import WarehouseBusy, WarehouseError
from warehouse.scoring import arrivals, results
from warehouse.scoring.arrivals import TOPICS, End, Marks, Place, Topic
from warehouse.scoring.rules import Rules

GRACE_S = 60.0
"""Marks stay at least so far behind: an insert is visible, on every replica, long before."""
RETRY_S, MAX_RETRY_S = 0.5, 15.0
"""How long the first and the last waits for a busy warehouse are at most; each is shortened at random."""
BEAT_S = 1.0
"""How often a scorer that rests shows that its loop comes round."""
QUERY_TIMEOUT_S = 300
"""One statement joins at most some million rows; a minute is seldom needed."""
WORK_SHARE = 0.25
"""After a long pass the scorer rests until no more than this share of the time is work; a replay waits for it."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far the rows of the topics reached at one moment."""

    at_s: float
    marks: Mapping[Topic, Marks]


class _Stopped(Exception):
    """The process was asked to end."""


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
        grace_s: float = GRACE_S,
    ) -> None:
        """Describe it; nothing is read before `run` or `score_once`.

        Args:
            settings: of the processor.
            registry: the contracts and baselines in force.
            report: its counters.
            connect_to: opens the warehouse.
            clock: Unix seconds.
            grace_s: how far marks stay behind; 0 where every insert is known to be visible at once.
        """
        self._settings, self._registry, self._report = settings, registry, report
        self._connect, self._clock, self._grace_s = connect_to, clock, grace_s
        self._client: Client | None = None
        self._ratios = RatioLooks()
        self._stopping: Callable[[], bool] = lambda: False
        self._log = structlog.get_logger().bind(processor="scorer", instance=settings.instance)
        self._forget()

    def _forget(self) -> None:
        """Begin anew from what is written; also after anything that broke off a pass."""
        self._marks: dict[Topic, dict[Place, int]] | None = None
        self._coming: Reach | None = None
        """The marks to come."""
        self._ends: dict[Topic, dict[Place, End]] = {}
        self._reached: Mapping[Topic, Marks] = {}
        self._models: dict[str, ModelScorer] = {}
        self._rows: dict[str, results.ModelRow] = {}

    def run(self, stop: threading.Event) -> None:
        """Score pass after pass until `stop` is set; one that is under way is broken off between statements.

        Raises:
            ProcessorError: something that waiting does not mend.
        """
        longest_s = RETRY_S
        busy = False
        self._stopping = stop.is_set
        while not stop.is_set():
            began = time.monotonic()
            try:
                self.score_once()
                if busy:
                    self._report.heartbeat.unblocked()
                    self._log.info("warehouse answers again")
                longest_s, busy = RETRY_S, False
                took_s = time.monotonic() - began
                rest_s = took_s * (1 / WORK_SHARE - 1) if self._settings.clock == "live" else 0.0
                wait_s = max(self._settings.score_s - took_s, rest_s, 0.0)
            except WarehouseBusy as error:
                self._disconnect()
                self._report.count_retry("warehouse")
                self._report.heartbeat.blocked("ClickHouse is busy or away, and the pass waits to be repeated.")
                if not busy:
                    self._log.warning("warehouse busy", error=str(error))
                wait_s = random.uniform(longest_s / 2, longest_s)  # noqa: S311 - jitter
                longest_s, busy = min(2 * longest_s, MAX_RETRY_S), True
            except WarehouseError as error:
                raise ProcessorError(str(error)) from error
            except _Stopped:
                break
            self._rest(wait_s, stop)
        self._disconnect()

    def _rest(self, wait_s: float, stop: threading.Event) -> None:
        """Wait, and show that the loop comes round."""
        until_s = time.monotonic() + wait_s
        while not stop.is_set():
            self._report.heartbeat.beat()
            left_s = until_s - time.monotonic()
            if left_s <= 0 or stop.wait(min(left_s, BEAT_S)):
                return

    def score_once(self) -> Done:
        """Do one pass over all models.

        Raises:
            WarehouseBusy: ClickHouse cannot answer now: the next call repeats the pass.
            WarehouseError: it refuses.
        """
        began = time.monotonic()
        try:
            done = self._pass(self._open())
        except BaseException:
            self._forget()
            raise
        self._report.observe(metrics.PASS, time.monotonic() - began)
        self._report.count_committed(done.arrived, "scored")
        self._report.add(metrics.WINDOWS, done.scored, "new")
        self._report.add(metrics.WINDOWS, done.revised, "revised")
        return done

    # ------------------------------------------------------------------------------------------ a pass

    def _pass(self, client: Client) -> Done:
        now_s = self._clock()
        if self._marks is None:
            self._marks = arrivals.read_marks(client)
            self._rows = results.models(client)
        marks = self._marks
        registry = self._registry()
        rules = self._measured(client, registry, now_s)
        # Asked before anything is looked at: whatever lies up to here is seen by what follows.
        ends = {topic: arrivals.ends(client, topic, marks[topic]) for topic in TOPICS}
        reach = Reach(now_s, {topic: _reached(marks[topic], ends[topic]) for topic in TOPICS})
        nothing_new = self._reached == reach.marks
        quiet = ends == self._ends
        coming = self._coming or reach
        due = now_s - coming.at_s >= self._grace_s
        look = not quiet or (due and coming.marks != reach.marks)
        newest = self._newest(client, marks) if look else {}
        if self._grace_s == 0:
            coming = reach
        total = Done(0, 0, 0)
        for model, each in rules.items():
            done = self._score(client, registry, each, newest.get(model), coming, due, now_s, nothing_new)
            total = Done(total.arrived + done.arrived, total.scored + done.scored, total.revised + done.revised)
        if due:
            for topic in TOPICS:
                if coming.marks[topic] != marks[topic]:
                    arrivals.write_marks(client, topic, coming.marks[topic], int(now_s * 1000))
                marks[topic] = dict(coming.marks[topic])
            for scorer in self._models.values():
                scorer.move_marks()
            self._coming, self._ends = reach, {}
        else:
            self._coming, self._ends = coming, ends
        self._reached = reach.marks
        self._ratios.look(client, registry, int(now_s * 1000))
        return total

    def _newest(self, client: Client, marks: Mapping[Topic, Marks]) -> dict[str, int]:
        """The newest event time (Unix ms) of each model that has rows beyond the marks."""
        newest: dict[str, int] = {}
        for topic in TOPICS:
            for model, newest_ms in arrivals.models_of(client, topic, marks[topic]).items():
                newest[model] = max(newest.get(model, 0), newest_ms)
        return newest

    def _score(
        self,
        client: Client,
        registry: Registry,
        rules: Rules,
        newest_ms: int | None,
        coming: Reach,
        due: bool,
        now_s: float,
        nothing_new: bool,
    ) -> Done:
        assert self._marks is not None
        contract = registry.contracts[rules.model]
        row = self._rows.get(rules.model)
        fresh = row is None or row.basis != rules.basis or row.state != "scored"
        scorer = self._models.get(rules.model)
        if scorer is None or scorer.rules.basis != rules.basis:
            now = self._now(now_s, nothing_new=False, newest_ms=0 if row is None else _millis(row))
            scorer = ModelScorer.start(client, contract, rules, row if not fresh else None, now)
        scorer.rules, scorer.check = rules, self._check
        if fresh:
            newest_ms = self._newest(client, {topic: {} for topic in TOPICS}).get(rules.model)
        scorer.newest_ms = max(scorer.newest_ms, newest_ms or 0)
        looked = None
        if newest_ms is not None:
            later = coming.marks if due else self._marks
            start: Mapping[Topic, Marks] = {topic: {} for topic in TOPICS} if fresh else self._marks
            looked = Looked(start["predictions"], later["predictions"], start["labels"], later["labels"])
        elif due:
            scorer.later = ({}, {})
        now = self._now(now_s, nothing_new=nothing_new, newest_ms=scorer.newest_ms)
        done = scorer.run(client, contract, registry, looked, now, int(now_s * 1000))
        if fresh and not due:
            scorer.move_marks()
        if fresh or done.arrived or done.scored or done.revised:
            self._tell(client, rules, scorer, now, now_s)
        self._models[rules.model] = scorer
        return done

    def _now(self, now_s: float, *, nothing_new: bool, newest_ms: int) -> Now:
        if self._settings.clock == "live":
            return Now(now_s)
        return Now(newest_ms / 1000, all_read=nothing_new)

    # ------------------------------------------------------------------------------------------ rows about models

    def _measured(self, client: Client, registry: Registry, now_s: float) -> dict[str, Rules]:
        """The rules of the models that can be measured; of the others a row says why they cannot."""
        found = {}
        for model, contract in sorted(registry.contracts.items()):
            reason = why_not(contract)
            if not reason:
                found[model] = make_rules(contract, registry)
                continue
            self._models.pop(model, None)
            row = self._rows.get(model)
            if row is None or row.reason != reason:
                told = {
                    "model": model,
                    "state": "skipped",
                    "reason": reason,
                    "basis": "",
                    "kind": "",
                    "raw_share": contract.raw_share,
                    "newest_at": 0,
                    "scored_until": 0,
                    "updated_at": int(now_s * 1000),
                }
                results.write_model(client, told)
                self._rows[model] = results.row_of(told)
                self._log.info("model is not measured", model=model, reason=reason)
        for model in self._models.keys() - found.keys():
            del self._models[model]
        return found

    def _tell(self, client: Client, rules: Rules, scorer: ModelScorer, now: Now, now_s: float) -> None:
        told = {
            "model": rules.model,
            "state": "scored",
            "reason": "",
            "basis": rules.basis,
            "kind": rules.kind,
            "raw_share": rules.raw_share,
            "newest_at": scorer.newest_ms,
            "scored_until": int(now.second * 1000),
            "updated_at": int(now_s * 1000),
        }
        results.write_model(client, told)
        self._rows[rules.model] = results.row_of(told)

    # ------------------------------------------------------------------------------------------ the warehouse

    def _check(self) -> None:
        self._report.heartbeat.beat()
        if self._stopping():
            raise _Stopped

    def _open(self) -> Client:
        self._client = self._client or self._connect(self._settings.warehouse)
        self._client.on_insert = self._report.count_inserted
        return self._client

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None


def _reached(marks: Marks, ends: Mapping[Place, End]) -> dict[Place, int]:
    return {**marks, **{place: end.offset for place, end in ends.items()}}


def _millis(row: results.ModelRow) -> int:
    return round(row.newest_at.timestamp() * 1000)
