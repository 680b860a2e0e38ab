"""The capacity that a load needs, computed from unit costs: the tables of docs/scale.md.

`python -m benchmarks --only scale` measures the unit costs and writes docs/scale.json and the page. The constants of
this module are planning assumptions.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from barograph_server.streams.recorder.recorder import POLL_MESSAGES
from barograph_server.streams.sketcher.decode_batch import BATCH_BYTES, BATCH_MESSAGES, BATCH_S
from benchmarks.figures import Figures, markdown_table, number, replace_blocks
from benchmarks.stack import Testbed
from benchmarks.unit_costs import RAW_SHARE, UNITS, measure_unit_costs

DOCS = Path(__file__).resolve().parents[1] / "docs"
RECORD, PAGE = DOCS / "scale.json", DOCS / "scale.md"
UTILIZATION = 0.6
"""Planned utilization of a core; the rest is for bursts and for catching up."""
ENGINE_CORES = 2
"""Cores of the measured engine; a node is one such engine."""
REPLICAS = 3
"""Kafka's replication factor."""
LEAST_PARTIALS = 4
"""Minimum number of partitions of `partials`."""
FLUSH_S, PANE_S, DAY_S = 15, 60, 86_400
ROW_BYTES = 8 * 21
"""Bytes of an event's numbers in a sketcher's batch."""
NAMES = {"json": "JSON", "arrow": "Arrow"}


@dataclass(frozen=True, slots=True)
class Load:
    """Incoming events and what determines their cost."""

    events_per_s: float
    models: int = 10
    form: Literal["json", "arrow"] = "json"
    raw_share: float = 1.0
    """Share of the predictions that the recorder writes."""


LOADS = (
    Load(100, models=1),
    Load(1e4),
    *(Load(n, models, form) for n in (1e6, 15e6) for form in ("json", "arrow") for models in (10, 100)),
    *(Load(1e6, 10, form, RAW_SHARE) for form in ("json", "arrow")),
)


class Costs:
    """The formula. Sizes and shares follow from unit costs, which `python -m benchmarks --only scale` measures."""

    def __init__(self, units: Mapping[str, float]) -> None:
        self._units = units

    def sketcher_rate(self, load: Load) -> float:
        """Events per second of a sketcher on a whole core, in full batches."""
        event_s = self._units[f"sketcher_{load.form}_us"] / 1e6
        batch = min(BATCH_MESSAGES, BATCH_BYTES / ROW_BYTES, BATCH_S / event_s)
        return batch / (batch * event_s + (load.models - 1) * self._units["sketcher_model_ms"] / 1e3)

    def recorder_rate(self, load: Load) -> float:
        """Events per second of a recorder on a whole core, in full polls."""
        row_s, mixed_s = (self._units[f"recorder_{load.form}{name}_us"] / 1e6 for name in ("", "_share"))
        dropped_s = max(0.0, (mixed_s - RAW_SHARE * row_s) / (1 - RAW_SHARE))
        event_s = load.raw_share * row_s + (1 - load.raw_share) * dropped_s
        models_s = (load.models - 1) * self._units["recorder_model_ms"] / 1e3
        return POLL_MESSAGES / (POLL_MESSAGES * event_s + models_s)

    def engine_rate(self, load: Load) -> float:
        """Events per second whose rows a core of the engine inserts and merges."""
        return 1e6 / (load.raw_share * self._units[f"engine_{load.form}_us"])

    def partials_per_s(self, load: Load) -> float:
        """Partials per second of a sketcher: one per model and flush, and one more when a pane ends in the flush."""
        return load.models * (1 / FLUSH_S + 1 / PANE_S)

    def progress_s(self, sources: int, models: float) -> float:
        """CPU time of a monitor for a progress record, in a partition with so many models."""
        work_us = self._units["monitor_progress_us"] + self._units["monitor_source_us"] * sources * models
        return (work_us + self._units["monitor_record_us"]) / 1e6

    def monitor_cores(self, load: Load, sketchers: int, sources: int, partials: int) -> float:
        """Cores of all monitors without those of idle processes."""
        partial_s = self._units["monitor_partial_ms"] / 1e3 + self._units["monitor_record_us"] / 1e6
        merging = sketchers * self.partials_per_s(load) * partial_s
        judging = load.models * self._units["monitor_pane_ms"] / 1e3 / PANE_S
        # Every sketcher writes a progress record to every partition of `partials` at every flush.
        progress = sketchers * partials / FLUSH_S * self.progress_s(sources, load.models / partials)
        return merging + judging + progress

    def needs(self, load: Load) -> dict[str, float | str]:
        """Compute the capacity that a load needs, by the columns of the table."""
        units = self._units
        sketchers = _count(load.events_per_s / self.sketcher_rate(load), units["sketcher_idle"])
        recorders = _count(load.events_per_s / self.recorder_rate(load), units["recorder_idle"])
        sources = _power_of_two(max(sketchers, recorders))
        partials, monitors = LEAST_PARTIALS, 1
        # More monitors need more partitions of `partials`, which cost more progress records.
        for _ in range(10):
            judging = self.monitor_cores(load, sketchers, sources, partials)
            monitors = _count(judging, units["monitor_idle"])
            partials = _power_of_two(max(LEAST_PARTIALS, 2 * monitors))
        idle = units["engine_idle"] * (sketchers + recorders + monitors)
        engine = load.events_per_s / self.engine_rate(load) + idle
        # Each recorder inserts once a second.
        engine += recorders * units["engine_insert_ms"] / 1e3 + load.models * units["engine_pane_ms"] / 1e3 / PANE_S
        events = load.events_per_s * units[f"kafka_{load.form}_bytes"] / 1e6
        kafka_in = events + sketchers * self.partials_per_s(load) * units["partial_bytes"] / 1e6
        cores = {
            "sketchers": load.events_per_s / self.sketcher_rate(load) + sketchers * units["sketcher_idle"],
            "recorders": load.events_per_s / self.recorder_rate(load) + recorders * units["recorder_idle"],
            "ClickHouse": engine,
            "monitors": judging + monitors * units["monitor_idle"],
        }
        raw_rows = load.events_per_s * load.raw_share * units[f"row_{load.form}_bytes"]
        return {
            "Sketchers": sketchers,
            "Recorders": recorders,
            "Monitors": monitors,
            "Partitions: predictions": sources,
            "partials": partials,
            "ClickHouse nodes": math.ceil(engine / (ENGINE_CORES * UTILIZATION)),
            "Cores in all": sum(cores.values()),
            "most of them": max(cores, key=lambda stage: cores[stage]),
            # From producers and sketchers, before replication.
            "Kafka in, MB/s": kafka_in,
            "Raw rows, GB a day": raw_rows * DAY_S / 1e9,
            "Panes and verdicts, GB a day": load.models * units["pane_bytes"] * DAY_S / PANE_S / 1e9,
            "Kafka's log, GB a day": REPLICAS * kafka_in * DAY_S / 1e3,
        }


def _count(cores: float, idle: float) -> int:
    return max(1, math.ceil(cores / (UTILIZATION - idle)))


def _power_of_two(least: int) -> int:
    return 1 << max(0, (least - 1).bit_length())


def blocks(figures: Figures) -> dict[str, str]:
    units = {each.name: each.value for each in figures.of(UNITS)}
    costs = Costs(units)
    rows = []
    for load in LOADS:
        needs = costs.needs(load)
        cells = [number(load.events_per_s), NAMES[load.form], str(load.models), f"{load.raw_share:g}"]
        rows.append([*cells, *(each if isinstance(each, str) else number(each) for each in needs.values())])
    head = ["Events/s", "Format", "Models", "`raw: share`", *needs]
    limits = []
    for form in NAMES:
        load = Load(1.0, form=form)  # type: ignore[arg-type]
        rates = {
            "sketcher": costs.sketcher_rate(load) * (UTILIZATION - units["sketcher_idle"]),
            "recorder": costs.recorder_rate(load) * (UTILIZATION - units["recorder_idle"]),
            "ClickHouse node": costs.engine_rate(load) * ENGINE_CORES * UTILIZATION,
        }
        limits += [(NAMES[form], kind, number(rates[kind])) for kind in sorted(rates, key=lambda kind: rates[kind])]
    shown = [one for one in figures.of(UNITS) if any(kind in one.name for kind in ("json", "arrow", "pane"))]
    most = UTILIZATION * FLUSH_S / costs.progress_s(0, 0)
    return {
        "run": figures.facts(),
        "needs": markdown_table(head, rows, "rlr" + "r" * 8 + "lrrrr"),
        "limits": markdown_table(("Format", "Process or node", "Events/s"), limits, "llr")
        + f"\n\nThe progress records of {number(most)} sketchers fill the monitor of a partition of `partials`.",
        "units": markdown_table(
            ("Name", "Value", "Unit", "Notes"),
            [(f"`{one.name}`", number(one.value), one.unit, one.note) for one in shown],
            "lrll",
        ),
    }


def measure_scale(testbed: Testbed, figures: Figures, *, events: int, arrow_events: int) -> None:
    """Measure the unit costs, and write docs/scale.json and the page."""
    measure_unit_costs(testbed, figures, events=events, arrow_events=arrow_events)
    about = {name: text for name, text in figures.about.items() if name not in ("events", "latency")}
    Figures(about, figures.of(UNITS)).write(RECORD)
    redraw()


def rewrite(text: str, figures: Figures) -> str:
    return replace_blocks(text, RECORD.name, blocks(figures))


def redraw() -> None:
    PAGE.write_text(rewrite(PAGE.read_text(encoding="utf-8"), Figures.read(RECORD)), encoding="utf-8")
