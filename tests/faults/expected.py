"""The expected contents of the warehouse, computed from the source data in plain Python."""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from barograph.contract import Contract

from barograph_server.sketches.baseline.baseline import Baseline, FieldBaseline
from barograph_server.streams.topics import Topics
from tests.faults.source import STRICT, Event, Label, Sent

FIELDS = ("x", "k", "flag", "colour")
REGIONS = ("north", "south")

PaneKey = tuple[str, str, str, str, int]
"""Model, version, slice, field, start of the pane (Unix s)."""
CellKey = tuple[str, str, str, str, int, str]
"""Model, version, slice, field, start of the pane (Unix s), baseline id."""


@dataclass
class Count:
    n: int = 0
    nulls: int = 0
    invalid: int = 0


@dataclass(frozen=True)
class EffectiveBaseline:
    from_s: int
    id: str
    fields: Mapping[str, FieldBaseline]


@dataclass
class Expected:
    volume: Counter[tuple[str, str, str, int]] = field(default_factory=Counter)
    """Number of events by model, version, slice and start of the pane."""
    panes: dict[PaneKey, Count] = field(default_factory=lambda: defaultdict(Count))
    cells: dict[CellKey, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    """Number of events per cell, of versions that have a baseline at the time of the event."""
    predictions: dict[tuple[int, int, int], Event] = field(default_factory=dict)
    """By partition, offset and index in the message."""
    labels: dict[tuple[int, int, int], Label] = field(default_factory=dict)
    dead: dict[str, Counter[tuple[int, int, int, str]]] = field(default_factory=dict)
    """By topic: partition, offset, index in the message, reason."""
    labelled: dict[tuple[str, str, int], tuple[int, int]] = field(default_factory=dict)
    """By version, slice and hour: predictions of the strict model, and the number of them that have a label."""


def compute_expected(
    sent: Mapping[tuple[str, int], Sequence[Sent]],
    topics: Topics,
    contract: Contract,
    baselines: Sequence[tuple[int, Baseline]],
    lost: Mapping[int, Collection[int]] | None = None,
) -> Expected:
    """Compute all expected counts and rows; the baselines are those of the strict model, each with its first second.

    Retention deleted the offsets `lost` before the sketcher read them; the recorder has stored their events.
    """
    known = [
        EffectiveBaseline(from_s, each.id, {field.name: field for field in each.fields}) for from_s, each in baselines
    ]
    result = Expected(dead={topics.predictions: Counter(), topics.labels: Counter()})
    for partition, offset, each in _messages(sent, topics.predictions):
        is_lost = lost is not None and offset in lost.get(partition, ())
        if not is_lost:
            result.dead[topics.predictions].update((partition, offset, i, reason) for i, reason in each.dead)
        for i, event in each.events:
            result.predictions[partition, offset, i] = event
            if not is_lost:
                _count(result, event, contract.pane_s, known)
    for partition, offset, each in _messages(sent, topics.labels):
        result.dead[topics.labels].update((partition, offset, i, reason) for i, reason in each.dead)
        result.labels.update({(partition, offset, i): label for i, label in each.labels})
    _join(result)
    return result


def _messages(sent: Mapping[tuple[str, int], Sequence[Sent]], topic: str) -> Iterator[tuple[int, int, Sent]]:
    for (name, partition), messages in sent.items():
        if name == topic:
            for offset, each in enumerate(messages):
                yield partition, offset, each


def _count(expected: Expected, event: Event, pane_s: int, baselines: Sequence[EffectiveBaseline]) -> None:
    start = event.at_ms // 1000 // pane_s * pane_s
    known = None
    if event.version == "1" and event.model == STRICT:
        known = max((each for each in baselines if each.from_s <= start), key=lambda each: each.from_s)
    for slice_ in _slices(event):
        expected.volume[event.model, event.version, slice_, start] += 1
        for name in FIELDS:
            value = getattr(event, name)
            count = expected.panes[event.model, event.version, slice_, name, start]
            if name in event.invalid:
                count.invalid += 1
                continue
            count.n += 1
            count.nulls += value is None
            if known is not None:
                cell = _cell(known.fields[name], value)
                expected.cells[event.model, event.version, slice_, name, start, known.id][cell] += 1


def _slices(event: Event) -> tuple[str, str]:
    return "all", f"region={event.region if event.region in REGIONS else 'other'}"


def _cell(field_: FieldBaseline, value: object) -> int:
    """Return the cell of a value: bins or categories, then unseen (categories only), then null."""
    if field_.kind == "numeric":
        last = len(field_.edges) + 1
        return last if value is None else bisect_right(field_.edges, float(value))  # type: ignore[arg-type]
    unseen = len(field_.categories)
    if value is None:
        return unseen + 1
    return field_.categories.index(value) if value in field_.categories else unseen


def _join(expected: Expected) -> None:
    labelled = {label.id for label in expected.labels.values()}
    counts: dict[tuple[str, str, int], list[int]] = defaultdict(lambda: [0, 0])
    for event in expected.predictions.values():
        if event.model != STRICT:
            continue
        hour = event.at_ms // 3_600_000 * 3600
        for slice_ in _slices(event):
            each = counts[event.version, slice_, hour]
            each[0] += 1
            each[1] += event.id in labelled
    expected.labelled = {key: (n, known) for key, (n, known) in counts.items()}
