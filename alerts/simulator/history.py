"""Replays one rule over recorded history: changes of its signal and state transitions of its instances."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from barograph_server.alerts.rule import Rule
from barograph_server.alerts.simulator.states import Instance, Transition, Zone, zone_of
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.signals import EventTimeRange, FactTime, series_sql


@dataclass(frozen=True, slots=True)
class Changes:
    """The values of one instance over time, ascending; each array has shape (n,)."""

    at: NDArray[np.int64]
    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    growth: NDArray[np.float64]
    observed: NDArray[np.float64]
    texts: pa.Table | None = None
    """Version, window, end of the window and reason of each observed number."""

    def index(self, at: int) -> int:
        """Index of the row in effect at a time."""
        return max(0, int(np.searchsorted(self.at, at, "right")) - 1)

    def numbers(self, at: int) -> dict[str, float]:
        """The number, the ends of its interval and the observed number at a time, by query."""
        i = self.index(at)
        grown = float(self.growth[i] * (at - self.at[i]))
        return {
            "A": float(self.value[i]) + grown,
            "B": float(self.low[i]),
            "C": float(self.high[i]),
            "E": float(self.observed[i]) + grown,
        }

    def details(self, at: int) -> dict[str, str]:
        """The details of the observed number at a time that summaries contain, of `warehouse.signals.DETAILS`."""
        if self.texts is None:
            return {}
        row: dict[str, Any] = self.texts.slice(self.index(at), 1).to_pylist()[0]
        end = row.pop("end")
        return row | {"until": f"{datetime.fromtimestamp(end, UTC):%Y-%m-%d %H:%M} UTC" if end else "now"}


@dataclass(frozen=True, slots=True)
class Episode:
    """A period in which one instance fired; `end` is None while it still fires."""

    rule: Rule
    key: str
    start: int
    end: int | None


@dataclass(frozen=True, slots=True)
class Replay:
    rule: Rule
    since: int
    until: int
    changes: dict[str, Changes] = field(repr=False)
    transitions: list[Transition]

    @property
    def episodes(self) -> list[Episode]:
        """Firing periods, from Alerting to Normal."""
        episodes: list[Episode] = []
        started: dict[str, int] = {}
        for each in self.transitions:
            if each.after == "Alerting" and each.key not in started:
                started[each.key] = each.at
            elif each.after == "Normal" and each.key in started:
                episodes.append(Episode(self.rule, each.key, started.pop(each.key), each.at))
        episodes += [Episode(self.rule, key, start, None) for key, start in started.items()]
        return sorted(episodes, key=lambda episode: (episode.start, episode.key))

    def state(self, key: str, at: int) -> str:
        past = [each.after for each in self.transitions if each.key == key and each.at <= at]
        return past[-1] if past else "Normal"


def read_changes(client: Client, rule: Rule, since: int, until: int, known: FactTime) -> dict[str, Changes]:
    """Query a rule's number over [since, until], by instance."""
    span = EventTimeRange(f"toUInt32({since})", f"toUInt32({until})")
    rows = client.arrow(series_sql(rule.signal, span, known, str(rule.every_s)))
    keys = rows.column("key").combine_chunks().dictionary_encode()
    codes = keys.indices.to_numpy()
    # Group rows by key; each group stays in time order.
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(keys.dictionary) + 1))
    rows_of_key = {key: order[starts[i] : starts[i + 1]] for i, key in enumerate(keys.dictionary.to_pylist())}
    at = rows.column("at").to_numpy().astype(np.int64)
    value, low, high, growth, observed = (
        rows.column(name).to_numpy() for name in ("value", "low", "high", "growth", "observed")
    )
    texts = rows.select(["version", "window", "end", "reason"])
    return {
        key: Changes(at[own], value[own], low[own], high[own], growth[own], observed[own], texts.take(own))
        for key, own in rows_of_key.items()
    }


def replay(rule: Rule, changes: dict[str, Changes], since: int, until: int) -> Replay:
    """Evaluate a rule at every multiple of its interval in [since, until], starting from the state Normal.

    The cost depends on the number of changes, not of evaluations.
    """
    first = -(-since // rule.every_s) * rule.every_s
    last = until // rule.every_s * rule.every_s
    transitions: list[Transition] = []
    for key, own in changes.items():
        instance = Instance(rule, key)
        for start, end, zone in runs(rule, own, first, last):
            transitions += instance.advance(start, end, zone)
    return Replay(rule, since, until, changes, sorted(transitions, key=lambda each: each.at))


def runs(rule: Rule, changes: Changes, first: int, last: int) -> Iterator[tuple[int, int, Zone]]:
    """Cut [first, last] into runs of evaluations in the same zone: (first, last, zone)."""
    if first > last:
        return
    begin, zone_so_far = first, None
    for at, zone in _zones(rule, changes, first, last):
        if zone_so_far is None or at <= begin:
            begin, zone_so_far = max(at, first), zone
        elif zone != zone_so_far:
            yield begin, at - rule.every_s, zone_so_far
            begin, zone_so_far = at, zone
    if zone_so_far is None:
        zone_so_far = Zone.MISSING
    yield begin, last, zone_so_far


def _zones(rule: Rule, changes: Changes, first: int, last: int) -> Iterator[tuple[int, Zone]]:
    """Yield the evaluation from which each zone applies."""
    if not changes.growth.any():
        values, at = changes.value, changes.at
        beyond = values < rule.threshold if rule.below else values > rule.threshold
        clear = values > rule.clear if rule.below else values < rule.clear
        zones = np.where(beyond, Zone.FIRING, np.where(clear, Zone.CLEAR, Zone.BETWEEN))
        for i in np.flatnonzero(np.diff(zones, prepend=-1)).tolist():
            if at[i] <= last:
                yield max(int(at[i]), first), Zone(int(zones[i]))
        return
    for i, start in enumerate(changes.at.tolist()):
        end = int(changes.at[i + 1]) - rule.every_s if i + 1 < len(changes.at) else last
        for moment in _crossings(rule, changes, i, max(start, first), min(end, last)):
            value = float(changes.value[i] + changes.growth[i] * (moment - start))
            yield moment, zone_of(rule, value)


def _crossings(rule: Rule, changes: Changes, i: int, first: int, last: int) -> Sequence[int]:
    """Evaluations within one row's time at which its growing number may enter another zone."""
    if first > last:
        return []
    moments = {first}
    growth, value, start = float(changes.growth[i]), float(changes.value[i]), int(changes.at[i])
    if growth:
        for threshold in (rule.threshold, rule.clear):
            after = (threshold - value) / growth
            if math.isfinite(after) and after > 0:
                at = (start + int(after)) // rule.every_s * rule.every_s
                moments |= {each for each in (at, at + rule.every_s) if first <= each <= last}
    return sorted(moments)
