"""The account of a load: what the processors have made of the events that it sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from barograph.contract import Contract

from barograph_server.errors import RefusedLoad
from barograph_server.streams.scorer.rules import unmeasurable_reason
from barograph_server.streams.topics import Topics, partials_partition
from barograph_server.terminal import plural, ratio
from barograph_server.warehouse import queries
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.history import event_counts
from barograph_server.warehouse.history.event_counts import (
    LABEL_PROBLEMS,
    VALUE_PROBLEMS,
    EventCounts,
    LabelOutcomes,
    Offsets,
)
from barograph_server.warehouse.operations.status import is_silent, processors

KeyT = TypeVar("KeyT")
POLL_S = 1.0
"""Pause between two looks at the tables, in seconds."""
START_S = 20.0
"""How long a processor that does not report is waited for: one that has just started reports within ten seconds."""
CLOCK_SLACK = timedelta(days=1)
"""Largest difference of the broker's clock from this machine's."""
_NO_LABELS = LabelOutcomes(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class SentEvents:
    """The events of a load that Kafka has acknowledged."""

    predictions: int
    labels: int
    ranges: Mapping[tuple[str, int], tuple[int, int]]
    """The offsets that contain them, by topic and partition."""
    shadows: int = 0
    """Predictions with the role `shadow`; not among `predictions`."""

    def offsets(self, topic: str) -> Offsets:
        return {partition: offsets for (name, partition), offsets in self.ranges.items() if name == topic}


@dataclass(frozen=True, slots=True)
class Account:
    """What became of the events of a load; differences of the model's counts since before the load."""

    sent: SentEvents
    counted: int
    """Predictions in panes; for a model without a baseline, raw predictions."""
    dead: Mapping[tuple[str, str], int]
    """Dead letters by source topic and reason."""
    values: Mapping[tuple[str, str], int]
    """Invalid values and unknown classes by field and kind."""
    outcomes: LabelOutcomes
    labels: Mapping[str, int]
    """The kinds of `label_counts`."""
    shadows: int = 0
    """Recorded shadows."""
    has_baseline: bool = True
    unknown: tuple[str, ...] = ()
    """What is not yet known, as sentences."""
    waiting_for: frozenset[str] = frozenset()
    """The kinds of processors that have not processed everything."""

    def dead_of(self, topic: str) -> int:
        """Return the number of dead letters of a source topic."""
        return sum(n for (name, _), n in self.dead.items() if name == topic)

    def problems(self, max_rejected: float) -> Iterator[RejectedShare]:
        """Find the shares of rejected or unusable events above a limit."""
        for problem in self._all_problems():
            if problem.n > max_rejected * problem.of:
                yield problem

    def _all_problems(self) -> Iterator[RejectedShare]:
        totals = {"predictions": self.sent.predictions, "labels": self.sent.labels}
        for topic, total in totals.items():
            n = self.dead_of(topic)
            if n:
                reasons = ", ".join(
                    f"{reason} {count:,}" for (name, reason), count in self.dead.items() if name == topic
                )
                yield RejectedShare(n, max(total, n), f"{topic} dead-lettered ({reasons})", "dead-letter", topic)
        if self.sent.predictions:
            for (name, kind), n in self.values.items():
                yield RejectedShare(n, max(self.counted, n), f"{VALUE_PROBLEMS[kind]} of {name}", kind, name)
        if self.sent.labels:
            total = max(self.sent.labels, self.outcomes.recorded)
            for kind in ("wrong_type", "undeclared_label", "late", "unmatched"):
                n = self.outcomes.unmatched if kind == "unmatched" else self.labels.get(kind, 0)
                if n:
                    yield RejectedShare(n, max(total, n), LABEL_PROBLEMS[kind], kind)
        missing = self.missing()
        if missing and not self.unknown:
            yield RejectedShare(
                missing, self.sent.predictions, "predictions neither counted nor dead-lettered", "missing"
            )

    def missing(self) -> int:
        """Return the number of predictions that are neither counted nor dead-lettered."""
        return max(0, self.sent.predictions - self.counted - self.dead_of("predictions"))


@dataclass(frozen=True, slots=True)
class RejectedShare:
    """Events that were rejected, or that are not usable for one purpose."""

    n: int
    of: int
    text: str
    """What they are, without the number."""
    kind: str
    """`dead-letter`, `missing`, or a kind of `VALUE_PROBLEMS` or `LABEL_PROBLEMS`."""
    name: str = ""
    """The topic of dead letters, or the field of values."""

    def command(self, model_name: str, check: str) -> str:
        """Return the command that shows the events or the cause."""
        match self.kind:
            case "dead-letter":
                return f"barograph dead-letters show --model {model_name} --topic {self.name} --since 1h"
            case "invalid":
                return check
            case "missing":
                return "barograph doctor"
            case kind:
                return f'barograph query "{event_counts.problem_query(kind, model_name, self.name)}"'


@dataclass
class Accountant:
    """Reads the account of one load. Make it before the first event is sent."""

    client: Client
    contract: Contract
    topics: Topics
    partials_partitions: int
    """Partitions of `partials`, if `apply` has not recorded them."""
    clock: Callable[[], float] = time.time
    before: EventCounts = field(init=False)
    has_baseline: bool = field(init=False)
    contract_in_force: str = field(init=False)
    """The id of the contract that processors use."""

    def __post_init__(self) -> None:
        """Read the counts before the load.

        Raises:
            RefusedLoad: the model has no contract in force, so every event would be dead-lettered.
        """
        model = self.contract.model
        in_force = {row.model: row.contract_id for row in queries.contracts(self.client, drills=True)}
        if model not in in_force:
            raise RefusedLoad(
                f"The contract of {model} is not applied: processors would dead-letter every event, so nothing was "
                "sent. Run `barograph apply CONTRACT` first; contracts take effect within 10 seconds."
            )
        self.contract_in_force = in_force[model]
        self.has_baseline = queries.has_baseline(self.client, model)
        self.before = event_counts.event_counts(self.client, model)
        recorded = {row.name: row.partitions for row in queries.topics(self.client)}
        self._partials_partition = partials_partition(
            model, recorded.get(self.topics.partials, self.partials_partitions)
        )
        self._since = datetime.fromtimestamp(self.clock(), UTC) - CLOCK_SLACK

    def wait(
        self,
        sent: SentEvents,
        timeout_s: float,
        on_wait: Callable[[str], None] = lambda _: None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Account:
        """Wait until the processors have processed everything, and return the account.

        The wait ends early if a processor that has to do something does not report.
        """
        start_s = monotonic()
        while True:
            account = self.read(sent)
            waited_s = monotonic() - start_s
            if not account.unknown or waited_s >= timeout_s:
                return account
            if waited_s >= START_S and account.waiting_for - self._reporting():
                return account
            on_wait(f"Waiting for the processors: {account.unknown[0]}")
            sleep(min(POLL_S, timeout_s - waited_s))

    def silent_kinds(self, account: Account) -> list[str]:
        """Return the kinds of processors that have work and do not report."""
        return sorted(account.waiting_for - self._reporting())

    def read(self, sent: SentEvents) -> Account:
        model, topics = self.contract.model, self.topics
        unknown: list[str] = []
        waiting_for: set[str] = set()
        predictions = sent.offsets(topics.predictions)
        merged = event_counts.merged_offsets(self.client, self._partials_partition) if predictions else {}
        left = sum(
            max(0, end - max(start, merged.get(partition, 0))) for partition, (start, end) in predictions.items()
        )
        if left:
            unknown.append(f"{plural(left, 'message')} of predictions not yet counted by sketcher and monitor")
            waiting_for |= {"sketcher", "monitor"}
        # Read before the counts of dead letters and performance, which must not be older.
        outcomes = self._label_outcomes(sent)
        recorded = 0
        if predictions and (outcomes.unmatched or not self.has_baseline):
            recorded = event_counts.recorded(self.client, "predictions", model, predictions, self._since)
            # A label is unmatched only if its prediction is not among those recorded by now.
            outcomes = self._label_outcomes(sent)
        now = event_counts.event_counts(self.client, model)
        dead = _increase(self.before.dead, now.dead)
        labels = _increase(self.before.labels, now.labels)
        counted = now.predictions - self.before.predictions if self.has_baseline else recorded
        if not self.has_baseline or outcomes.unmatched:
            n_missing = sent.predictions - recorded - sum(n for (topic, _), n in dead.items() if topic == "predictions")
            if n_missing > 0 and self.contract.raw_share >= 1:
                unknown.append(f"{plural(n_missing, 'prediction')} not yet stored by the recorder")
                waiting_for |= {"recorder"}
        shadows = 0
        if sent.shadows:
            shadows = event_counts.recorded(self.client, "shadow_predictions", model, predictions, self._since)
        n_missing = sent.shadows - shadows - sum(n for (topic, _), n in dead.items() if topic == "predictions")
        if n_missing > 0 and self.contract.raw_share >= 1:
            unknown.append(f"{plural(n_missing, 'shadow')} not yet stored by the recorder")
            waiting_for |= {"recorder"}
        if sent.labels:
            n_dead = sum(n for (topic, _), n in dead.items() if topic == "labels")
            not_recorded = sent.labels - outcomes.recorded - n_dead
            if not_recorded > 0:
                unknown.append(f"{plural(not_recorded, 'label')} not yet recorded")
                waiting_for |= {"recorder"}
            waiting = outcomes.joinable - outcomes.matched - outcomes.unmatched
            if not unmeasurable_reason(self.contract):
                n = waiting if waiting > 0 else outcomes.matched - _decided(labels)
                if n > 0:
                    unknown.append(f"{plural(n, 'label')} not yet scored; the scorer looks for new labels every minute")
                    waiting_for |= {"scorer"}
                elif not event_counts.is_performance_judged(self.client, model):
                    unknown.append("performance with these labels: the scorer has counted them and judges the windows")
                    waiting_for |= {"scorer"}
        return Account(
            sent,
            counted,
            dead,
            _increase(self.before.values, now.values),
            outcomes,
            labels,
            shadows,
            self.has_baseline,
            tuple(unknown),
            frozenset(waiting_for),
        )

    def _label_outcomes(self, sent: SentEvents) -> event_counts.LabelOutcomes:
        if not sent.labels:
            return _NO_LABELS
        offsets = sent.offsets(self.topics.labels)
        return event_counts.label_outcomes(
            self.client, self.contract.model, offsets, self._since, raw_share=self.contract.raw_share
        )

    def _reporting(self) -> set[str]:
        return {row.kind for row in processors(self.client) if not is_silent(row)}


def account_lines(account: Account) -> Iterator[str]:
    """Write the account: one line for predictions, one for labels, one per field with invalid values."""
    sent = account.sent
    if sent.predictions:
        verb = "counted" if account.has_baseline else "stored without verdicts (the model has no baseline)"
        line = f"predictions: {sent.predictions:,} sent = {account.counted:,} {verb} + {_dead(account, 'predictions')}"
        others = account.counted + account.dead_of("predictions") - sent.predictions
        if others > 0:
            line += f"; {others:,} of these came from other publishers meanwhile"
        if account.missing() and not account.unknown:
            line += f" + {account.missing():,} missing"
        yield line
    for (name, kind), n in sorted(account.values.items()):
        if sent.predictions:
            yield f"  {name}: {n:,} {VALUE_PROBLEMS[kind]}, {ratio(n, max(account.counted, n))} of the predictions"
    if sent.shadows:
        yield f"shadows: {sent.shadows:,} sent, {account.shadows:,} stored (they never count for the model)"
    if sent.labels:
        outcomes = account.outcomes
        parts = [f"{outcomes.matched:,} matched", f"{outcomes.unmatched:,} unmatched"]
        if outcomes.joinable < outcomes.recorded:
            parts.append(f"{outcomes.recorded - outcomes.joinable:,} outside the recorded share")
        yield f"labels: {sent.labels:,} sent = {' + '.join([*parts, _dead(account, 'labels')])}"
        counts = {"early": "dated before their prediction (they count)"}
        counts |= {kind: f"{text} (not measured)" for kind, text in LABEL_PROBLEMS.items() if "labels" in text}
        counts["corrections"] = "corrections of earlier labels"
        del counts["unmatched"]
        for kind, text in counts.items():
            if account.labels.get(kind):
                yield f"  {account.labels[kind]:,} {text}"
    yield from (f"not yet known: {sentence}." for sentence in account.unknown)


def _dead(account: Account, topic: str) -> str:
    reasons = ", ".join(f"{reason} {n:,}" for (name, reason), n in sorted(account.dead.items()) if name == topic)
    return f"{account.dead_of(topic):,} dead-lettered{f' ({reasons})' if reasons else ''}"


def _increase(before: Mapping[KeyT, int], now: Mapping[KeyT, int]) -> dict[KeyT, int]:
    return {key: n - before.get(key, 0) for key, n in now.items() if n > before.get(key, 0)}


def _decided(labels: Mapping[str, int]) -> int:
    """Return the number of labels whose outcome is known; each matched label has one per version."""
    return sum(labels.get(kind, 0) for kind in ("labelled", "corrections", "late", "wrong_type", "undeclared_label"))
