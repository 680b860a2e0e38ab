"""What a flush counts beside the panes: errors by kind, what arrived of each producer, dead letters by reason.

Like the panes' counts it is taken in arrays; Python runs per distinct kind or producer of a pane, of which there are
no more than the limits allow.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np
from barograph.contract import SECONDS_PER_HOUR
from numpy.typing import NDArray

from sketches.baseline.baseline import ALL, OTHER
from sketches.baseline.layout import IntArray
from streams.events.batch import RejectedEvent
from streams.events.columns import EncodedNames, ProducerArrivals
from streams.records import MAX_RECORD_BYTES, DeadCount, ErrorCount, OffsetRange, ProducerCount, Tally, encode

MAX_KINDS = 50
"""Kinds of errors per flush and pane; the others, those that are rarest, are taken together as `other`."""
MAX_PRODUCERS = 1_000
"""Producers per flush and pane; the others are taken together as `other`."""

_Series = tuple[str, str, str]
"""Model, version, baseline id."""
_LISTS = ("errors", "producers", "dead")

_Cut = tuple[int, str, str]
"""Pane start, slice, kind."""


@dataclass(frozen=True, slots=True)
class ErrorSlices:
    """A dimension by which errors are told apart."""

    names: Sequence[str]
    """Of its slices."""
    code: IntArray
    """Shape (n,): which of them each event is in."""


class FlushTallies:
    """Gathers what one flush counts beside the panes."""

    def __init__(self) -> None:
        self._errors: defaultdict[_Series, Counter[_Cut]] = defaultdict(Counter)
        self._arrivals: defaultdict[str, list[ProducerArrivals]] = defaultdict(list)
        self._pane_s: dict[str, int] = {}

    def add_errors(
        self,
        series: tuple[str, str, str],
        pane_s: int,
        at_ms: IntArray,
        kinds: EncodedNames,
        dimensions: Iterable[ErrorSlices] = (),
    ) -> None:
        """Count failed events by kind.

        Args:
            series: model, version and baseline id.
            pane_s: the length of the model's panes.
            at_ms: event times, shape (n,).
            kinds: of each event its kind, never none.
            dimensions: slices that are counted beside `all`.
        """
        self._pane_s[series[0]] = pane_s
        panes, pane = np.unique(at_ms // (pane_s * 1000), return_inverse=True)
        names = [*kinds.values, OTHER]
        kept = _most_frequent(pane, kinds.code.astype(np.int64), kinds.values)
        whole = ErrorSlices((ALL,), np.zeros(len(pane), dtype=np.int64))
        found = self._errors[series]
        for cut in (whole, *dimensions):
            key = (pane * len(cut.names) + cut.code) * len(names) + kept
            distinct, n = np.unique(key, return_counts=True)
            where, kind = np.divmod(distinct, len(names))
            at, place = np.divmod(where, len(cut.names))
            for p, s, k, count in zip(at.tolist(), place.tolist(), kind.tolist(), n.tolist(), strict=True):
                found[int(panes[p]) * pane_s, cut.names[s], names[k]] += count

    def add_arrivals(self, arrivals: ProducerArrivals, pane_s: int) -> None:
        """Note which numbers of which producers came."""
        self._pane_s[arrivals.model] = pane_s
        self._arrivals[arrivals.model].append(arrivals)

    def tallies(
        self, topic: str, topic_id: str, ranges: list[OffsetRange], dead: Sequence[RejectedEvent]
    ) -> Iterator[Tally]:
        """Give all that was counted, a tally per model.

        Args:
            topic: `predictions`.
            topic_id: Kafka's id of it.
            ranges: what the flush covers.
            dead: the flush's dead letters.
        """
        errors: defaultdict[str, list[ErrorCount]] = defaultdict(list)
        for (model, version, baseline_id), found in self._errors.items():
            errors[model] += [
                ErrorCount(version, baseline_id, cut, kind, at, n) for (at, cut, kind), n in _limited(found).items()
            ]
        dead_letter_counts = count_dead(dead)
        for model in sorted({*errors, *self._arrivals, *dead_letter_counts}):
            pane_s = self._pane_s.get(model, 0)
            yield Tally(
                model=model,
                topic=topic,
                source_topic_id=topic_id,
                ranges=ranges,
                pane_s=pane_s,
                errors=errors[model],
                producers=count_producers(self._arrivals[model], pane_s) if model in self._arrivals else [],
                dead=dead_letter_counts.get(model, []),
            )


def count_dead(dead: Iterable[RejectedEvent]) -> dict[str, list[DeadCount]]:
    """Count dead letters by model ('' where it is not known), reason and hour of receipt."""
    counts = Counter(
        (each.model, str(each.reason), each.received_ms // 1000 // SECONDS_PER_HOUR * SECONDS_PER_HOUR) for each in dead
    )
    found: defaultdict[str, list[DeadCount]] = defaultdict(list)
    for (model, reason, hour_s), n in sorted(counts.items()):
        found[model].append(DeadCount(reason, hour_s, n))
    return dict(found)


def count_producers(arrivals: Sequence[ProducerArrivals], pane_s: int) -> list[ProducerCount]:
    """Count the distinct numbers of each producer per pane of event time."""
    names = sorted({name for each in arrivals for name in each.producer.values})
    place = {name: i for i, name in enumerate(names)}
    code = np.concatenate(
        [np.array([place[name] for name in each.producer.values])[each.producer.code] for each in arrivals]
    )
    pane = np.concatenate([each.at_ms for each in arrivals]) // (pane_s * 1000)
    oldest = int(pane.min())
    group, seq = _distinct((pane - oldest) * len(names) + code, np.concatenate([each.seq for each in arrivals]))
    starts = np.flatnonzero(np.concatenate(([True], group[1:] != group[:-1])))
    ends = np.append(starts[1:], len(group))
    n, first, last = ends - starts, seq[starts], seq[ends - 1]
    at, who = np.divmod(group[starts], len(names))
    found: list[ProducerCount] = []
    every = zip(at.tolist(), who.tolist(), n.tolist(), first.tolist(), last.tolist(), strict=True)
    for p, rows in groupby(every, key=itemgetter(0)):
        start_s, kept, together = (oldest + p) * pane_s, 0, 0
        for _, i, count, low, high in rows:
            # The first by name: those that are told apart are the same in every flush, as far as that can be.
            if kept < MAX_PRODUCERS and names[i] != OTHER:
                found.append(ProducerCount(names[i], start_s, count, low, high))
                kept += 1
            else:
                together += count
        if together:
            found.append(ProducerCount(OTHER, start_s, together, -1, -1))
    return found


def split(tally: Tally) -> Iterator[bytes]:
    """Encode a tally, as one record or as several where one would be too large."""
    data = encode(tally)
    lists: dict[str, list[Any]] = {name: rows for name in _LISTS if (rows := getattr(tally, name))}
    if len(data) <= MAX_RECORD_BYTES or sum(map(len, lists.values())) < 2:
        yield data
        return
    empty: dict[str, list[Any]] = {key: [] for key in _LISTS}
    for name, rows in lists.items():
        middle = len(rows) // 2 if len(lists) == 1 else 0
        for some in (rows[:middle], rows[middle:]):
            if some:
                yield from split(msgspec.structs.replace(tally, **{**empty, name: some}))


def _most_frequent(pane: IntArray, kind: IntArray, names: Sequence[str]) -> IntArray:
    """Give each event's kind, or `len(names)` where it is not among the most frequent ones of its pane; shape (n,).

    Of kinds that are equally frequent the first by name are kept; `names` are sorted.
    """
    if len(names) <= MAX_KINDS:
        return kind
    pairs, which, n = np.unique(pane * len(names) + kind, return_inverse=True, return_counts=True)
    at = pairs // len(names)
    order = np.lexsort((pairs, -n, at))
    rank = np.empty(len(pairs), dtype=np.int64)
    rank[order] = np.arange(len(pairs)) - np.searchsorted(at, at)
    kept = np.where(rank < MAX_KINDS, pairs % len(names), len(names))
    chosen: IntArray = kept[which]
    return chosen


def _limited(found: Counter[_Cut]) -> Counter[_Cut]:
    """Take the rarest kinds of each pane together where there are too many: each batch had its own ones."""
    kinds: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for (at, cut, kind), n in found.items():
        if cut == ALL and kind != OTHER:
            kinds[at][kind] += n
    dropped = {
        (at, kind)
        for at, counts in kinds.items()
        for kind, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[MAX_KINDS:]
    }
    if not dropped:
        return found
    limited: Counter[_Cut] = Counter()
    for (at, cut, kind), n in found.items():
        limited[at, cut, OTHER if (at, kind) in dropped else kind] += n
    return limited


def _distinct(group: NDArray[np.int64], seq: NDArray[np.int64]) -> tuple[IntArray, IntArray]:
    """Sort (group, seq) and leave out repeats."""
    low, groups = int(seq.min()), int(group.max()) + 1
    span = int(seq.max()) - low + 1
    if groups * span < 2**62:
        # One whole number per event sorts many times faster than two columns.
        key = np.sort(group * span + (seq - low))
        key = key[np.concatenate(([True], key[1:] != key[:-1]))]
        return key // span, key % span + low
    order = np.lexsort((seq, group))
    group, seq = group[order], seq[order]
    new = np.concatenate(([True], (group[1:] != group[:-1]) | (seq[1:] != seq[:-1])))
    return group[new], seq[new]
