"""Performance goals, and by how much a run meets or misses each of them.

A goal refers to a figure by section and name; its limit is the only number. A goal whose figure a run did not measure
is reported as not measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from benchmarks import latency, publishing, rates, recording, shapes, storage, wide_model
from benchmarks.figures import Figures, number

GOALS = "Goals"
PEERS, PEER_RATIOS = "Beside its peers, events per CPU-second", "The sketcher ÷ its peers"
"""Sections with the rates and ratios of the peers, measured alternately with the sketcher."""
WHYLOGS = "÷ whylogs"
"""Part of the names of ratios to whylogs on prepared DataFrames. The first ratio of each encoding is to default use."""

Measurement = Callable[[Figures], float | None]


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure and its lower or upper limit."""

    name: str
    holds: Literal["at least", "under", "at most"]
    limit: float
    unit: str
    measured: Measurement


@dataclass(frozen=True, slots=True)
class GoalResult:
    """A goal and the measured value."""

    goal: Goal
    value: float | None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None if it was not measured."""
        if self.value is None:
            return None
        goal = self.goal
        return {
            "at least": self.value >= goal.limit,
            "under": self.value < goal.limit,
            "at most": self.value <= goal.limit,
        }[goal.holds]

    @property
    def target(self) -> str:
        """The limit as text."""
        return f"{self.goal.holds} {number(self.goal.limit)} {self.goal.unit}".rstrip()

    @property
    def shown(self) -> str:
        """The measured value as text."""
        return "–" if self.value is None else f"{number(self.value)} {self.goal.unit}".rstrip()

    @property
    def verdict(self) -> str:
        """Whether the goal is met, and the distance of the value from the limit as a share of the limit."""
        if self.value is None:
            return "not measured in this run"
        apart = abs(self.value / self.goal.limit - 1)
        return f"met, {apart:.0%} to spare" if self.met else f"**missed by {apart:.0%}**"


def evaluate_all(figures: Figures) -> list[GoalResult]:
    """Compare a run with every goal, in the order of `ALL_GOALS`."""
    return [GoalResult(goal, goal.measured(figures)) for goal in ALL_GOALS]


def rows(figures: Figures) -> list[tuple[str, str, str, str]]:
    """The goals as rows of a table: section, name, value, notes."""
    return [(GOALS, each.goal.name, each.shown, f"{each.target}: {each.verdict}") for each in evaluate_all(figures)]


def table(figures: Figures) -> str:
    """The goals as a Markdown table."""
    lines = ["| Goal | Target | Measured | |", "|---|--:|--:|---|"]
    lines += [f"| {one.goal.name} | {one.target} | {one.shown} | {one.verdict} |" for one in evaluate_all(figures)]
    return "\n".join(lines)


def _of(section: str, name: str, scale: float = 1.0) -> Measurement:
    def measured(figures: Figures) -> float | None:
        figure = figures.get(section, name)
        return None if figure is None else figure.value * scale

    return measured


_publisher, _recorder = partial(_of, publishing.PUBLISHER), partial(_of, recording.RECORDER)


def _to_whylogs(ours: str) -> Measurement:
    def measured(figures: Figures) -> float | None:
        ratios = (one for one in figures.of(PEER_RATIOS) if WHYLOGS in one.name)
        return next((one.value for one in ratios if one.name.strip("*").startswith(ours)), None)

    return measured


_JSON, _ARROW = (rates.RATES, rates.JSON_RATE), (rates.RATES, rates.ARROW_RATE)

ALL_GOALS = (
    Goal("Sketcher, JSON, per CPU-second", "at least", 250_000, "events", _of(*_JSON)),
    Goal("Sketcher, JSON ÷ Faust's bare loop", "at least", 15, "×", _of(rates.RATES, rates.TO_FAUST)),
    Goal("Sketcher, JSON ÷ whylogs on ready DataFrames", "at least", 1.5, "×", _to_whylogs("sketcher, JSON")),
    Goal("Sketcher, JSON ÷ msgspec's bare decode", "at least", 40, "%", _of(rates.RATES, rates.TO_DECODE, 100)),
    Goal("Sketcher, Arrow batches of 1,000, per CPU-second", "at least", 2_500_000, "events", _of(*_ARROW)),
    Goal("Sketcher, Arrow ÷ whylogs on ready DataFrames", "at least", 20, "×", _to_whylogs("sketcher, Arrow")),
    Goal("Two slice dimensions, JSON", "under", 1.6, "×", _of(shapes.JSON_COST, shapes.SLICES_2)),
    Goal("Two slice dimensions, Arrow", "under", 1.6, "×", _of(shapes.ARROW_COST, shapes.SLICES_2)),
    Goal("200 fields ÷ 20 fields, JSON", "under", 11, "×", _of(shapes.JSON_COST, shapes.FIELDS_200)),
    Goal("200 fields ÷ 20 fields, Arrow", "under", 11, "×", _of(shapes.ARROW_COST, shapes.FIELDS_200)),
    Goal(
        "Last event of a pane to its verdict in ClickHouse, beyond lateness, p99, at half the greatest rate",
        "under",
        2,
        "s",
        _of(latency.LATENCY, latency.BEYOND_P99),
    ),
    Goal("Publisher, per call in the serving thread, median", "under", 5, "µs", _publisher(publishing.CALL_MEDIAN)),
    Goal("Publisher, per call in the serving thread, p99.9", "under", 50, "µs", _publisher(publishing.CALL_TAIL)),
    Goal("Publisher, per row of predictions(table)", "under", 1, "µs", _publisher(publishing.TABLE_ROW)),
    Goal("Publisher, dead broker, prediction(…)", "at most", 100, "MB", _publisher(publishing.DEAD_EVENTS)),
    Goal("Publisher, dead broker, predictions(table)", "at most", 100, "MB", _publisher(publishing.DEAD_TABLES)),
    Goal("Sketcher, memory with 50 models of 100 fields", "under", 400, "MB", _of(rates.MEMORY, rates.WIDE)),
    Goal("Monitor, memory with 2,000 fields × 100 slices", "under", 1_000, "MB", _of(wide_model.WIDE, wide_model.PEAK)),
    Goal("A flush of 20 numeric fields in partials", "under", 60, "kB", _of(storage.STORAGE, storage.FLUSH)),
    Goal("A pane-minute of 20 numeric fields in ClickHouse", "under", 60, "kB", _of(storage.STORAGE, storage.PANE)),
    Goal("An hourly rollup of 20 numeric fields in ClickHouse", "under", 80, "kB", _of(storage.STORAGE, storage.HOUR)),
    Goal("Recorder, JSON, 20 features, per CPU-second", "at least", 100_000, "rows", _recorder(recording.JSON_ROWS)),
    Goal(
        "Recorder, CPU time at raw: 0.1 ÷ at raw: 1", "at most", 0.1, "×", _recorder(recording.COST.format(share=0.1))
    ),
)
"""The goals set before the optimization of the event path; none was added later."""
