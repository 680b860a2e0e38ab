"""Performance goals, and by how much a run meets or misses each of them.

A goal refers to a figure by section and name; its limit is the only number.
"""

from dataclasses import dataclass
from typing import Literal

from benchmarks import latency, publishing, rates, recording, shapes, storage, wide_model
from benchmarks.figures import Figures, markdown_table, number
from benchmarks.peers.measure import RATIOS, TO_BYTEWAX, TO_CLICKHOUSE, TO_WHYLOGS, TO_WHYLOGS_ARROW


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure and its lower or upper limit."""

    name: str
    holds: Literal["at least", "under", "at most"]
    limit: float
    unit: str
    section: str
    figure: str
    scale: float = 1.0
    """Units of the goal in one of the figure."""

    def value(self, figures: Figures) -> float | None:
        """The measured value; None if the run did not measure it."""
        figure = figures.get(self.section, self.figure)
        return None if figure is None else figure.value * self.scale

    def verdict(self, value: float | None) -> str:
        """Whether a value meets the goal, and its distance from the limit as a share of the limit."""
        if value is None:
            return "not measured in this run"
        is_met = {"at least": value >= self.limit, "under": value < self.limit, "at most": value <= self.limit}
        apart = abs(value / self.limit - 1)
        return f"met, {apart:.0%} to spare" if is_met[self.holds] else f"**missed by {apart:.0%}**"


def table(figures: Figures) -> str:
    rows = []
    for goal in GOALS:
        value = goal.value(figures)
        shown = "–" if value is None else f"{number(value)} {goal.unit}"
        rows.append((goal.name, f"{goal.holds} {number(goal.limit)} {goal.unit}", shown, goal.verdict(value)))
    return markdown_table(("Goal", "Target", "Measured", ""), rows, "lrrl")


_RATES, _PUBLISHER = rates.RATES, publishing.PUBLISHER
_LATENCY = "Last event of a pane to its verdict in ClickHouse, beyond lateness, p99, at half the greatest rate"
_WIDE, _COST = "Monitor, memory with 2,000 fields × 100 slices", recording.COST.format(share=0.1)

GOALS = (
    Goal("Sketcher, JSON ÷ its path in Python", "at least", 2.6, "×", _RATES, rates.TO_PURE),
    Goal("Sketcher, JSON ÷ Faust's bare loop", "at least", 60, "×", _RATES, rates.TO_FAUST),
    Goal("Sketcher, JSON ÷ librdkafka called from C", "at least", 45, "%", _RATES, rates.TO_C, 100),
    Goal("Sketcher, JSON ÷ ClickHouse alone", "at least", 4, "×", RATIOS, TO_CLICKHOUSE),
    Goal("Sketcher, JSON ÷ Bytewax in batches", "at least", 5, "×", RATIOS, TO_BYTEWAX),
    Goal("Sketcher, JSON ÷ whylogs on ready DataFrames", "at least", 1.5, "×", RATIOS, TO_WHYLOGS),
    Goal("Sketcher, Arrow batches of 1,000, per CPU-second", "at least", 2_500_000, "events", _RATES, rates.ARROW_RATE),
    Goal("Sketcher, Arrow ÷ whylogs on ready DataFrames", "at least", 20, "×", RATIOS, TO_WHYLOGS_ARROW),
    Goal("Two slice dimensions, JSON", "under", 1.6, "×", shapes.JSON_COST, shapes.SLICES_2),
    Goal("Two slice dimensions, Arrow", "under", 1.6, "×", shapes.ARROW_COST, shapes.SLICES_2),
    Goal("50 models ÷ one model, JSON", "under", 1.5, "×", shapes.JSON_COST, shapes.MODELS_50),
    Goal("200 fields ÷ 20 fields, JSON", "under", 9, "×", shapes.JSON_COST, shapes.FIELDS_200),
    Goal("200 fields ÷ 20 fields, Arrow", "under", 11, "×", shapes.ARROW_COST, shapes.FIELDS_200),
    Goal(_LATENCY, "under", 2, "s", latency.LATENCY, latency.BEYOND_P99),
    Goal("Publisher, per call in the serving thread, median", "under", 5, "µs", _PUBLISHER, publishing.CALL_MEDIAN),
    Goal("Publisher, per call in the serving thread, p99.9", "under", 50, "µs", _PUBLISHER, publishing.CALL_TAIL),
    Goal("Publisher, per row of predictions(table)", "under", 1, "µs", _PUBLISHER, publishing.TABLE_ROW),
    Goal("Publisher, dead broker, prediction(…)", "at most", 100, "MB", _PUBLISHER, publishing.DEAD_EVENTS),
    Goal("Publisher, dead broker, predictions(table)", "at most", 100, "MB", _PUBLISHER, publishing.DEAD_TABLES),
    Goal("Sketcher, memory with 50 models of 100 fields", "under", 400, "MB", rates.MEMORY, rates.WIDE),
    Goal(_WIDE, "under", 1_000, "MB", wide_model.WIDE, wide_model.PEAK),
    Goal("A flush of 20 numeric fields in partials", "under", 60, "kB", storage.STORAGE, storage.FLUSH),
    Goal("A pane-minute of 20 numeric fields in ClickHouse", "under", 60, "kB", storage.STORAGE, storage.PANE),
    Goal("An hourly rollup of 20 numeric fields in ClickHouse", "under", 80, "kB", storage.STORAGE, storage.HOUR),
    Goal("Recorder, JSON ÷ its path in Python", "at least", 2.5, "×", recording.RECORDER, recording.PURE_RATIO),
    Goal("Recorder, CPU time at raw: 0.1 ÷ at raw: 1", "at most", 0.15, "×", recording.RECORDER, _COST),
)
"""The goals set before each optimization of the event path."""
