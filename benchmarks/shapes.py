"""Cost of the sketcher by the shape of events, JSON and Arrow, each shape measured between two runs of the base.

The base is one model of 20 numeric features and a score without slices, in JSON events of 700 bytes. A cost of 1.3 × is
1.3 times the base's CPU time per event, measured right before and after: the speed of a machine changes within seconds,
by more than some of these factors.
"""

from dataclasses import dataclass
from statistics import harmonic_mean
from typing import Any

from benchmarks.figures import Figures
from benchmarks.rates import Form, fill_topic, rate, run_sketcher
from benchmarks.stack import Testbed
from benchmarks.workload import ARROW_ROWS, arrow_rows, make_workload

JSON_COST, ARROW_COST = "Cost of a JSON event by shape", "Cost of an event in Arrow batches by shape"
BASE = "base: 20 fields, no slices, 1 model, 700 bytes"
SLICES_2, SLICES_4 = "2 slice dimensions", "4 slice dimensions"
FIELDS_200, MODELS_50 = "200 fields", "50 models"


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
    Shape(MODELS_50, {"models": 50}, 1.5),
    # A batch of 1,000 such events exceeds the maximum size of a message.
    Shape("events of 5 KB, 20 fields of them watched", {"event_bytes": 5_000}, 3, arrow=False),
)
HEADLINES = (BASE, SLICES_2, FIELDS_200)
"""The shapes with goals, which the short profile measures."""


class _ShapeTopic:
    """A topic of events of one shape and encoding, and its results: rates, and costs relative to the base."""

    def __init__(self, testbed: Testbed, i: int, form: Form, events: int) -> None:
        self.shape, self.form, self.workload = SHAPES[i], form, make_workload(testbed.folder, **SHAPES[i].parameters)
        rows = arrow_rows(self.workload) if form == "arrow" else 1
        self.events = int(events / self.shape.weight) // rows * rows
        self.note = f"{self.events:,} events"
        if form == "arrow" and rows != ARROW_ROWS:
            self.note += f" in batches of {rows}, for a message is at most 1 MiB"
        self._testbed, self._database, self._prefix = testbed, f"shape_{i}_{form}", f"shape-{i}-{form}-"
        testbed.register(self._database, self.workload)
        self.topics = fill_topic(testbed, self.workload, self._prefix, form, self.events)
        self.rates: list[float] = []
        self.costs: list[float] = []

    def measure(self) -> float:
        """Run the sketcher on the topic; return its rate."""
        result = run_sketcher(self._testbed, self.workload, self._prefix, self.events, database=self._database)
        self.rates.append(rate(result))
        return self.rates[-1]


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
    forms: tuple[tuple[Form, int], ...] = (("json", events), ("arrow", arrow_events))
    cells = [
        _ShapeTopic(testbed, i, form, n)
        for i, shape in enumerate(SHAPES)
        for form, n in forms
        if (names is None or shape.name in names) and (shape.arrow or form == "json")
    ]
    for form, _ in forms:
        base, *others = (cell for cell in cells if cell.form == form)
        before = base.measure()
        for cell in others * runs:
            own = cell.measure()
            after = base.measure()
            cell.costs.append(harmonic_mean([before, after]) / own)
            before = after
    for cell in cells:
        testbed.delete_topics(cell.topics)
        section = ARROW_COST if cell.form == "arrow" else JSON_COST
        if cell.costs:
            figures.add_runs(section, cell.shape.name, cell.costs, "×", cell.note)
        figures.add_runs(section, f"{cell.shape.name}: rate", cell.rates, "events per CPU-second", cell.note)
