"""The charts of docs/performance.md and their figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from benchmarks import goals, processes, rates, recording, shapes, stages
from benchmarks.charts import Chart, Series, draw
from benchmarks.figures import Figure, Figures


def draw_all(figures: Figures, folder: Path) -> list[Path]:
    """Draw every chart for which the run has figures, delete the others, and return the files."""
    paths = []
    for name, make in CHARTS.items():
        chart, path = make(figures), folder / f"{name}.svg"
        if chart is None:
            path.unlink(missing_ok=True)
        else:
            draw(chart, path)
            paths.append(path)
    return paths


def _rates(figures: Figures) -> Chart | None:
    result = [one for one in figures.of(rates.RATES) if one.unit == "events"]
    if not result:
        return None
    # The section of the peers repeats the sketcher and Faust's empty loop, which the chart already contains.
    peers = [one for one in figures.of(goals.PEERS) if one.unit == "events"]
    result += [one for one in peers if not one.name.startswith(("sketcher", rates.FAUST))]
    result.sort(key=lambda one: -one.value)
    return Chart(
        "Events per CPU-second: the sketcher, the floors below it, and others",
        "events per second of the process's CPU time (logarithmic)",
        "",
        (_series("", result),),
        kind="bars",
        log_x=True,
    )


def _costs(figures: Figures) -> Chart | None:
    by_encoding = {
        name: {one.name: one for one in figures.of(section) if one.unit == "×"}
        for name, section in (("JSON", shapes.JSON_COST), ("Arrow batches", shapes.ARROW_COST))
    }
    names = [name for name in by_encoding["JSON"] if name in by_encoding["Arrow batches"]]
    if not names:
        return None
    series = tuple(_series(name, [result[each] for each in names]) for name, result in by_encoding.items())
    return Chart(
        "What one factor costs",
        "CPU time of an event, times that of the base (20 fields, no slices, 1 model)",
        "",
        series,
        kind="bars",
        goals=((1.0, "base"),),
    )


def _stages(figures: Figures, section: str, events: str) -> Chart | None:
    result = figures.of(section)
    if not result:
        return None
    title = f"Where the sketcher's time goes, {events}"
    return Chart(title, "CPU time per event, µs", "", (_series("", result),), kind="bars")


def _memory(figures: Figures) -> Chart | None:
    result = [one for one in figures.of(rates.MEMORY) if one.name.startswith("after ") and one.unit == "MB"]
    if len(result) < 2:
        return None
    millions = [float(one.name.split()[1]) for one in result]
    values = Series("", millions, [one.value for one in result])
    return Chart(
        "The sketcher's memory, one model of 20 fields", "events read, millions", "resident memory, MB", (values,)
    )


def _processes(figures: Figures) -> Chart | None:
    result = figures.of(processes.PROCESSES)
    if not result:
        return None
    kinds = ("per CPU-second", "by the wall clock")
    series = tuple(
        _series(kind, [one for one in result if one.name.endswith(kind) and one.unit != "×"]) for kind in kinds
    )
    renamed = tuple(
        Series(one.name, ["1 process", "2 processes"][: len(one.y)], one.y, one.low, one.high) for one in series
    )
    title = "One sketcher and two, on two partitions and two cores"
    return Chart(title, "events per second, all processes together", "", renamed, kind="bars")


def _recorder(figures: Figures) -> Chart | None:
    result = [
        (share, one)
        for share in sorted(recording.SHARES)
        if (one := figures.get(recording.RECORDER, recording.COST.format(share=share))) is not None
    ]
    if not result:
        return None
    shares = [share for share, _ in result]
    measured = Series(
        "measured",
        [*shares, 1.0],
        [*(one.value for _, one in result), 1.0],
        [*(one.low if one.low is not None else one.value for _, one in result), 1.0],
        [*(one.high if one.high is not None else one.value for _, one in result), 1.0],
    )
    even = Series("in proportion", [0.0, 1.0], [0.0, 1.0], dashed=True)
    return Chart(
        "What the recorder costs that keeps a share of the events",
        "share of the events that is kept (raw)",
        "CPU time, times that of all",
        (measured, even),
    )


def _series(name: str, figures: Iterable[Figure]) -> Series:
    """The values of figures with their minimum and maximum."""
    points = list(figures)
    return Series(
        name,
        [one.name for one in points],
        [one.value for one in points],
        [one.value if one.low is None else one.low for one in points],
        [one.value if one.high is None else one.high for one in points],
    )


CHARTS: dict[str, Callable[[Figures], Chart | None]] = {
    "performance-rates": _rates,
    "performance-costs": _costs,
    "performance-stages": partial(_stages, section=stages.JSON_STAGES, events="JSON events of 20 fields"),
    "performance-stages-arrow": partial(_stages, section=stages.ARROW_STAGES, events="Arrow batches of 20 fields"),
    "performance-processes": _processes,
    "performance-memory": _memory,
    "performance-recorder": _recorder,
}
"""Name of the file in docs/charts/ → function that builds the chart, or None without figures."""
