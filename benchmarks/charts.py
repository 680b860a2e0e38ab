"""The charts of docs/performance.md: bars with the spread of the measurements, drawn by matplotlib as SVG files.

Equal figures give equal files: ids are derived from a fixed salt, and a file has neither a timestamp nor a version.
The background is opaque, so that a chart is readable on light and dark pages. matplotlib is in the dependency group
`bench`; only this module imports it, and only when it draws.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import rates, shapes, stages
from benchmarks.figures import Figure, Figures
from benchmarks.peers.measure import RATES as PEER_RATES

COLOURS = ("#0072b2", "#d55e00")
"""Of Okabe and Ito: color-blind readers can distinguish them."""
NAME_CHARS = 34
"""Longer names of bars are wrapped."""
_TEXT = "#24292f"
_STYLE = {
    "svg.hashsalt": "barograph",
    # Text stays text: small files that can be searched. Readers without DejaVu Sans see their own sans-serif.
    "svg.fonttype": "none",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
    "text.color": _TEXT,
    "axes.labelcolor": _TEXT,
    "axes.edgecolor": "#8c959f",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": _TEXT,
    "ytick.color": _TEXT,
    "legend.frameon": False,
}


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars of one or several series over the same names."""

    file: str
    title: str
    label: str
    """Of the values, with their unit."""
    series: Mapping[str, Sequence[Figure]]
    """Entry of the legend, or "" for a single series → bars."""
    is_log: bool = False


def charts(figures: Figures) -> list[Chart]:
    """Every chart for which the run has figures."""
    measured = [one for one in figures.of(rates.RATES) if one.unit == "events"]
    # The section of the peers repeats the sketcher and Faust's empty loop, which the chart already contains.
    peers = [one for one in figures.of(PEER_RATES) if one.unit == "events"]
    measured += [one for one in peers if not one.name.startswith(("sketcher", rates.FAUST))]
    measured.sort(key=lambda one: -one.value)
    costs = {name: [one for one in figures.of(section) if one.unit == "×"] for name, section in _COSTS.items()}
    names = {one.name for one in costs["Arrow batches"]}
    costs["JSON"] = [one for one in costs["JSON"] if one.name in names]
    of_rates = "events per second of the process's CPU time (logarithmic)"
    of_base = "CPU time of an event, times that of the base (20 fields, no slices, 1 model)"
    time, of_event = "Where the sketcher's time goes", "CPU time per event, µs"
    result = [
        Chart(
            "rates",
            "Events per CPU-second: the sketcher, the floors below it, and others",
            of_rates,
            {"": measured},
            is_log=True,
        ),
        Chart("costs", "What one factor costs", of_base, costs),
        Chart("stages", f"{time}, JSON events of 20 fields", of_event, {"": figures.of(stages.JSON_STAGES)}),
        Chart("stages-arrow", f"{time}, Arrow batches of 20 fields", of_event, {"": figures.of(stages.ARROW_STAGES)}),
    ]
    return [chart for chart in result if all(chart.series.values())]


_COSTS = {"JSON": shapes.JSON_COST, "Arrow batches": shapes.ARROW_COST}


def draw(chart: Chart, folder: Path) -> None:
    """Write `performance-FILE.svg`, 760 points wide."""
    import matplotlib
    from matplotlib.figure import Figure as Canvas
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    n, names = len(chart.series), [one.name for one in next(iter(chart.series.values()))]
    thick = 0.8 / n
    with matplotlib.rc_context(_STYLE):
        height = 1.5 + len(names) * (0.16 + 0.24 * n)
        canvas = Canvas(figsize=(7.6, height), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
        axes = canvas.add_subplot()
        if chart.is_log:
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter("")
        for i, (name, bars) in enumerate(chart.series.items()):
            at = [position + (i - (n - 1) / 2) * thick for position in range(len(names))]
            values, lows, highs = zip(*map(_bounds, bars), strict=True)
            errors = np.subtract(values, lows), np.subtract(highs, values)
            style: dict[str, Any] = {"ecolor": _TEXT, "capsize": 2.5, "elinewidth": 1.1}
            axes.barh(at, values, height=thick * 0.92, xerr=errors, color=COLOURS[i], label=name, error_kw=style)
            for position, value, end in zip(at, values, highs, strict=True):
                offset: dict[str, Any] = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
                axes.annotate(short(value), (end, position), fontsize=9, **offset)
        # A title of the figure: one of the axes would be cut off where long names leave little space.
        canvas.suptitle(chart.title, x=0.015, ha="left", fontsize=12, fontweight="bold")
        axes.set_xlabel(chart.label)
        axes.set_yticks(range(len(names)), [textwrap.fill(name, NAME_CHARS) for name in names])
        axes.invert_yaxis()
        axes.grid(axis="x", color="#d0d7de", linewidth=0.7)
        axes.margins(x=0.14)
        axes.xaxis.set_major_formatter(lambda value, _: short(value))
        if n > 1:
            canvas.legend(loc="outside lower left", ncols=n)
        metadata = {"Date": None, "Creator": None, "Title": chart.title}
        canvas.savefig(folder / f"performance-{chart.file}.svg", format="svg", metadata=metadata)


def _bounds(figure: Figure) -> tuple[float, float, float]:
    """Value, minimum and maximum."""
    low, high = (figure.value if each is None else each for each in (figure.low, figure.high))
    return figure.value, low, high


def short(value: float) -> str:
    """Format a number for an axis: 1.5 M, 20 k, 0.25."""
    for scale, suffix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= scale:
            return f"{value / scale:.3g}{suffix}"
    return f"{value:.3g}"
