"""Cost of the sketcher by the shape of events, JSON and Arrow, each shape measured between two runs of the base.

The base is one model of 20 numeric features and a score without slices, in JSON events of 700 bytes. A cost of 1.3 × is
1.3 times the base's CPU time per event, measured right before and after: the speed of a machine changes within seconds,
by more than some of these factors.
"""

from dataclasses import dataclass
from statistics import harmonic_mean
from typing import Any

from barograph_server.streams.topics import Topics
from benchmarks.figures import Figures
from benchmarks.rates import rate, run_sketcher, span
from benchmarks.stack import Testbed
from benchmarks.workload import ARROW_HEADERS, Workload, arrow_messages, arrow_rows, json_events, make_workload

JSON_COST, ARROW_COST = "Cost of a JSON event by shape", "Cost of an event in Arrow batches by shape"
BASE = "base: 20 fields, no slices, 1 model, 700 bytes"
SLICES_2, SLICES_4 = "2 slice dimensions", "4 slice dimensions"
FIELDS_200 = "200 fields"


@dataclass(frozen=True, slots=True)
class Shape:
    """One factor changed from the base."""

    name: str
    parameters: dict[str, Any]
    """Arguments of `make_workload`."""
    weight: float
    """Approximate CPU time per event relative to the base; the number of events is divided by it."""
    arrow: bool = True


SHAPES = (
    Shape(BASE, {}, 1),
    Shape(SLICES_2, {"dimensions": 2}, 1.5),
    Shape(SLICES_4, {"dimensions": 4}, 2),
    Shape(FIELDS_200, {"numbers": 200}, 10),
    Shape("5 models", {"models": 5}, 1),
    Shape("50 models", {"models": 50}, 1.5),
    # A batch of 1,000 such events exceeds the maximum size of a message.
    Shape("events of 5 KB, 20 fields of them watched", {"event_bytes": 5_000}, 3, arrow=False),
)
HEADLINES = (BASE, SLICES_2, FIELDS_200)
"""The shapes with goals, which the short profile measures."""


@dataclass(frozen=True, slots=True)
class _ShapeTopic:
    """A topic of events of one shape and encoding."""

    shape: Shape
    workload: Workload
    prefix: str
    database: str
    events: int
    arrow: bool


def measure_shapes(
    testbed: Testbed,
    figures: Figures,
    *,
    events: int,
    arrow_events: int,
    runs: int,
    names: tuple[str, ...] | None = None,
) -> None:
    """Measure the sketcher on topics of different shapes, and on the base before and after each."""
    cells = []
    for i, shape in enumerate(SHAPES):
        if names is None or shape.name in names:
            workload = make_workload(testbed.folder, **shape.parameters)
            database = f"shape_{i}"
            testbed.register(database, workload)
            cells.append(_fill(testbed, shape, workload, i, database, events, arrow=False))
            if shape.arrow:
                cells.append(_fill(testbed, shape, workload, i, database, arrow_events, arrow=True))
    rates: dict[tuple[str, bool], list[float]] = {}
    costs: dict[tuple[str, bool], list[float]] = {}
    for base in [cell for cell in cells if cell.shape.name == BASE]:
        others = [cell for cell in cells if cell.arrow == base.arrow and cell is not base]
        before = _measure(testbed, base, rates)
        for cell in others * runs:
            own = _measure(testbed, cell, rates)
            after = _measure(testbed, base, rates)
            costs.setdefault((cell.shape.name, cell.arrow), []).append(harmonic_mean([before, after]) / own)
            before = after
    for cell in cells:
        testbed.delete_topics(Topics(cell.prefix))
        section, key = ARROW_COST if cell.arrow else JSON_COST, (cell.shape.name, cell.arrow)
        note = f"{cell.events:,} events"
        if cell.arrow and arrow_rows(cell.workload) != arrow_rows(cells[0].workload):
            note += f" in batches of {arrow_rows(cell.workload)}, for a message is at most 1 MiB"
        if key in costs:
            figures.add_runs(section, cell.shape.name, costs[key], "×", note)
        figures.add_runs(section, f"{cell.shape.name}: rate", rates[key], "events per CPU-second", note)


def _measure(testbed: Testbed, cell: _ShapeTopic, rates: dict[tuple[str, bool], list[float]]) -> float:
    result = run_sketcher(testbed, cell.workload, cell.prefix, cell.events, database=cell.database)
    rates.setdefault((cell.shape.name, cell.arrow), []).append(rate(result))
    return rate(result)


def _fill(
    testbed: Testbed, shape: Shape, workload: Workload, i: int, database: str, events: int, *, arrow: bool
) -> _ShapeTopic:
    prefix = f"shape-{i}-{'arrow' if arrow else 'json'}-"
    topics = testbed.create_topics(prefix)
    n = int(events / shape.weight)
    if arrow:
        n = n // arrow_rows(workload) * arrow_rows(workload)
        testbed.fill(topics.predictions, arrow_messages(workload, n, *span()), ARROW_HEADERS)
    else:
        testbed.fill(topics.predictions, json_events(workload, n, *span()))
    return _ShapeTopic(shape, workload, prefix, database, n, arrow)
