"""Tallies of a flush, besides its panes: errors by kind, arrivals by producer, dead letters by reason.

Arrays are counted as a whole; Python loops run per distinct kind or producer of a pane, whose number is limited.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np
from barograph.contract import SECONDS_PER_HOUR
from barograph.events import PublisherHeartbeat
from numpy.typing import NDArray

from barograph_server.sketches.baseline.baseline import ALL, OTHER
from barograph_server.sketches.baseline.layout import IntArray
from barograph_server.streams.events.batch import RejectedEvent
from barograph_server.streams.events.columns import EncodedNames, ProducerArrivals
from barograph_server.streams.records import (
    MAX_RECORD_BYTES,
    DeadCount,
    ErrorCount,
    OffsetRange,
    ProducerCount,
    ProducerHeartbeat,
    Tally,
    encode,
)

MAX_KINDS = 50
"""Kinds of errors counted separately per flush and pane; the rarest ones beyond are counted as `other`."""
MAX_PRODUCERS = 1_000
"""Producers counted separately per flush and pane; all others are counted as `other`."""

_Series = tuple[str, str, str]
"""Model, version, baseline id."""
_LISTS = ("errors", "producers", "dead", "heartbeats")

_ErrorKey = tuple[int, str, str]
"""Pane start, slice, kind."""


@dataclass(frozen=True, slots=True)
class ErrorSlices:
    """A slice dimension by which errors are counted."""

    names: Sequence[str]
    code: IntArray
    """Shape (n,): the slice of each event, as an index into `names`."""


class FlushTallies:
    def __init__(self) -> None:
        self._errors: defaultdict[_Series, Counter[_ErrorKey]] = defaultdict(Counter)
        self._arrivals: defaultdict[str, list[ProducerArrivals]] = defaultdict(list)
        self._pane_s: dict[str, int] = {}
        self._heartbeats: defaultdict[str, dict[str, ProducerHeartbeat]] = defaultdict(dict)
        """Model → producer → its last heartbeat."""

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
            at_ms: event times, shape (n,).
            kinds: the kind of each event, shape (n,); never null.
            dimensions: dimensions counted besides the slice `all`.
        """
        self._pane_s[series[0]] = pane_s
        panes, pane = np.unique(at_ms // (pane_s * 1000), return_inverse=True)
        names = [*kinds.values, OTHER]
        limited = _most_frequent(pane, kinds.code.astype(np.int64), kinds.values)
        whole = ErrorSlices((ALL,), np.zeros(len(pane), dtype=np.int64))
        counts = self._errors[series]
        for dimension in (whole, *dimensions):
            key = (pane * len(dimension.names) + dimension.code) * len(names) + limited
            distinct, n = np.unique(key, return_counts=True)
            pane_and_slice, kind = np.divmod(distinct, len(names))
            p, s = np.divmod(pane_and_slice, len(dimension.names))
            for i, j, k, count in zip(p.tolist(), s.tolist(), kind.tolist(), n.tolist(), strict=True):
                counts[int(panes[i]) * pane_s, dimension.names[j], names[k]] += count

    def add_arrivals(self, arrivals: ProducerArrivals, pane_s: int) -> None:
        self._pane_s[arrivals.model] = pane_s
        self._arrivals[arrivals.model].append(arrivals)

    def add_heartbeat(self, heartbeat: PublisherHeartbeat, received_ms: int) -> None:
        """Replace the last heartbeat of a producer, of up to `MAX_PRODUCERS` in a flush and model."""
        of_model = self._heartbeats[heartbeat.model]
        if heartbeat.producer in of_model or len(of_model) < MAX_PRODUCERS:
            of_model[heartbeat.producer] = ProducerHeartbeat(
                heartbeat.producer,
                received_ms // 1000,
                min(heartbeat.since, received_ms) // 1000,
                heartbeat.seq,
                heartbeat.queued,
                heartbeat.ended,
                heartbeat.discarded,
            )

    def tallies(
        self, topic: str, topic_id: str, ranges: list[OffsetRange], rejected: Sequence[RejectedEvent]
    ) -> Iterator[Tally]:
        """Yield a tally per model.

        Args:
            topic: `predictions`.
        """
        errors: defaultdict[str, list[ErrorCount]] = defaultdict(list)
        for (model, version, baseline_id), counts in self._errors.items():
            errors[model] += [
                ErrorCount(version, baseline_id, slice_name, kind, pane_start_s, n)
                for (pane_start_s, slice_name, kind), n in _limit_kinds(counts).items()
            ]
        dead_letter_counts = count_dead(rejected)
        for model in sorted({*errors, *self._arrivals, *dead_letter_counts, *self._heartbeats}):
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
                heartbeats=list(self._heartbeats.get(model, {}).values()),
            )


def count_dead(rejected: Iterable[RejectedEvent]) -> dict[str, list[DeadCount]]:
    """Count rejected events by model ('' if it is unknown), reason and hour of receipt."""
    counts = Counter(
        (each.model, str(each.reason), each.received_ms // 1000 // SECONDS_PER_HOUR * SECONDS_PER_HOUR)
        for each in rejected
    )
    by_model: defaultdict[str, list[DeadCount]] = defaultdict(list)
    for (model, reason, hour_s), n in sorted(counts.items()):
        by_model[model].append(DeadCount(reason, hour_s, n))
    return dict(by_model)


def count_producers(arrivals: Sequence[ProducerArrivals], pane_s: int) -> list[ProducerCount]:
    """Count the distinct numbers of each producer per pane of event time."""
    names = sorted({name for each in arrivals for name in each.producer.values})
    index = {name: i for i, name in enumerate(names)}
    code = np.concatenate(
        [np.array([index[name] for name in each.producer.values])[each.producer.code] for each in arrivals]
    )
    pane = np.concatenate([each.at_ms for each in arrivals]) // (pane_s * 1000)
    oldest = int(pane.min())
    group, seq = _distinct((pane - oldest) * len(names) + code, np.concatenate([each.seq for each in arrivals]))
    starts = np.flatnonzero(np.concatenate(([True], group[1:] != group[:-1])))
    ends = np.append(starts[1:], len(group))
    n, first, last = ends - starts, seq[starts], seq[ends - 1]
    pane_index, producer = np.divmod(group[starts], len(names))
    counts: list[ProducerCount] = []
    groups = zip(pane_index.tolist(), producer.tolist(), n.tolist(), first.tolist(), last.tolist(), strict=True)
    for p, rows in groupby(groups, key=itemgetter(0)):
        start_s, separate, others = (oldest + p) * pane_s, 0, 0
        for _, i, count, low, high in rows:
            # In order of names, so that flushes count the same producers separately, as far as possible.
            if separate < MAX_PRODUCERS and names[i] != OTHER:
                counts.append(ProducerCount(names[i], start_s, count, low, high))
                separate += 1
            else:
                others += count
        if others:
            counts.append(ProducerCount(OTHER, start_s, others, -1, -1))
    return counts


def encode_tally(tally: Tally) -> Iterator[bytes]:
    """Encode a tally as one record, or as several if one would be too large."""
    data = encode(tally)
    lists: dict[str, list[Any]] = {name: rows for name in _LISTS if (rows := getattr(tally, name))}
    if len(data) <= MAX_RECORD_BYTES or sum(map(len, lists.values())) < 2:
        yield data
        return
    empty: dict[str, list[Any]] = {key: [] for key in _LISTS}
    for name, rows in lists.items():
        middle = len(rows) // 2 if len(lists) == 1 else 0
        for half in (rows[:middle], rows[middle:]):
            if half:
                yield from encode_tally(msgspec.structs.replace(tally, **{**empty, name: half}))


def _most_frequent(pane: IntArray, kind: IntArray, names: Sequence[str]) -> IntArray:
    """Return each event's kind, or `len(names)` if it is not among the most frequent ones of its pane; shape (n,).

    Equally frequent kinds rank by name; `names` are sorted.
    """
    if len(names) <= MAX_KINDS:
        return kind
    pairs, index, n = np.unique(pane * len(names) + kind, return_inverse=True, return_counts=True)
    pair_pane = pairs // len(names)
    order = np.lexsort((pairs, -n, pair_pane))
    rank = np.empty(len(pairs), dtype=np.int64)
    rank[order] = np.arange(len(pairs)) - np.searchsorted(pair_pane, pair_pane)
    limited = np.where(rank < MAX_KINDS, pairs % len(names), len(names))
    return limited[index]


def _limit_kinds(counts: Counter[_ErrorKey]) -> Counter[_ErrorKey]:
    """Count the rarest kinds of each pane as `other`: each batch has limited its own kinds only."""
    kinds: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for (pane_start_s, slice_name, kind), n in counts.items():
        if slice_name == ALL and kind != OTHER:
            kinds[pane_start_s][kind] += n
    rare = {
        (pane_start_s, kind)
        for pane_start_s, of_pane in kinds.items()
        for kind, _ in sorted(of_pane.items(), key=lambda pair: (-pair[1], pair[0]))[MAX_KINDS:]
    }
    if not rare:
        return counts
    limited: Counter[_ErrorKey] = Counter()
    for (pane_start_s, slice_name, kind), n in counts.items():
        limited[pane_start_s, slice_name, OTHER if (pane_start_s, kind) in rare else kind] += n
    return limited


def _distinct(group: NDArray[np.int64], seq: NDArray[np.int64]) -> tuple[IntArray, IntArray]:
    """Sort pairs of group and producer number, and drop repeats."""
    low, groups = int(seq.min()), int(group.max()) + 1
    span = int(seq.max()) - low + 1
    if groups * span < 2**62:
        # One integer per event sorts many times faster than two columns.
        key = np.sort(group * span + (seq - low))
        key = key[np.concatenate(([True], key[1:] != key[:-1]))]
        return key // span, key % span + low
    order = np.lexsort((seq, group))
    group, seq = group[order], seq[order]
    new = np.concatenate(([True], (group[1:] != group[:-1]) | (seq[1:] != seq[:-1])))
    return group[new], seq[new]
