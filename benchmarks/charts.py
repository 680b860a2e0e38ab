"""Charts as SVG files: lines over numbers or bars over names, with the spread of the measurements.

    draw(Chart("Cost of a flush", "fields", "CPU, ms", (Series("sketcher", (20, 200), (31.0, 270.0)),)), path)

Equal data give equal files: ids are derived from a fixed salt, and the file contains neither a timestamp nor a version.
The background is opaque, so that a chart is readable on light and dark pages. matplotlib, from the dependency group
`bench`, draws the charts; only this module imports it, and only when it draws.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b6b6b", "#8c564b")
"""Colors that color-blind readers can distinguish: Okabe and Ito's, then two more."""
NAME_CHARS = 34
"""Longer names of bars are wrapped."""
MARKERS = "osD^vPX*"
_TEXT, _QUIET, _PAPER = "#24292f", "#d0d7de", "#ffffff"
_GOAL: dict[str, Any] = {"color": "#b42318", "linewidth": 1.2, "linestyle": (0, (2, 2))}
_STYLE = {
    "svg.hashsalt": "barograph",
    # Text stays text: small files that can be searched. Readers without DejaVu Sans see their own sans-serif.
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
    "font.size": 10,
    "text.color": _TEXT,
    "axes.labelcolor": _TEXT,
    "axes.edgecolor": "#8c959f",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": _QUIET,
    "grid.linewidth": 0.7,
    "xtick.color": _TEXT,
    "ytick.color": _TEXT,
    "figure.facecolor": _PAPER,
    "axes.facecolor": _PAPER,
    "savefig.facecolor": _PAPER,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


@dataclass(frozen=True, slots=True)
class Series:
    """One line, or one set of bars."""

    name: str
    """Entry of the legend. A chart with a single unnamed series has no legend."""
    x: Sequence[float] | Sequence[str]
    """Numbers for lines, names for bars. All series of a bar chart have the same names."""
    y: Sequence[float]
    low: Sequence[float] | None = None
    """The minimum of the measurements at each x, drawn as an error bar together with `high`."""
    high: Sequence[float] | None = None
    dashed: bool = False
    """Whether the line is dashed and without markers: for computed values."""


@dataclass(frozen=True, slots=True)
class Chart:
    """The content of one chart."""

    title: str
    x_label: str
    """Label with unit. In a bar chart, whose bars are horizontal, it labels the values."""
    y_label: str
    """Label with unit; may be empty in a bar chart."""
    series: tuple[Series, ...]
    kind: Literal["lines", "bars"] = "lines"
    log_x: bool = False
    """Whether the values of bars are on a logarithmic axis; ignored for lines."""
    goals: tuple[tuple[float, str], ...] = ()
    """Values to compare bars with and their names, drawn as lines across the chart; ignored for lines."""


def draw(chart: Chart, path: Path) -> None:
    """Write a chart as SVG, 760 points wide.

    Raises:
        ValueError: a series' sequences differ in length, or bars have different names.
        ImportError: the dependency group `bench` is not installed.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    for series in chart.series:
        if any(y is not None and len(y) != len(series.x) for y in (series.y, series.low, series.high)):
            raise ValueError(f"{chart.title}: the sequences of {series.name!r} differ in length")
    with matplotlib.rc_context(_STYLE):
        height = 4.2 if chart.kind == "lines" else _bars_height(chart)
        figure = Figure(figsize=(7.6, height), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
        axes = figure.add_subplot()
        artists = [
            one
            for one in (_lines if chart.kind == "lines" else _bars)(axes, chart)
            if not one.get_label().startswith("_")
        ]
        # A title of the figure: one of the axes would be cut off where long names leave little space.
        figure.suptitle(chart.title, x=0.015, ha="left", fontsize=12, fontweight="bold")
        axes.set_xlabel(chart.x_label)
        axes.set_ylabel(chart.y_label)
        if artists:
            figure.legend(handles=artists, loc="outside lower left", ncols=min(len(artists), 4))
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None, "Title": chart.title})


def _lines(axes: Any, chart: Chart) -> list[Any]:
    artists = []
    for i, series in enumerate(chart.series):
        style: dict[str, Any] = {"color": COLOURS[i % len(COLOURS)], "label": series.name or "_", "linewidth": 1.8}
        if series.dashed:
            artists += axes.plot(series.x, series.y, linestyle=(0, (4, 3)), **style)
            continue
        marks = {"marker": MARKERS[i % len(MARKERS)], "markersize": 5} if len(series.x) <= 40 else {}
        artists.append(
            axes.errorbar(series.x, series.y, yerr=_errors(series), capsize=3, elinewidth=1.2, **marks, **style)
        )
    axes.set_ylim(0, max([axes.get_ylim()[1], *(1.06 * max(one.high or one.y) for one in chart.series)]))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: short(value))
    return artists


def _bars_height(chart: Chart) -> float:
    return 1.5 + len(chart.series[0].x) * (0.16 + 0.24 * len(chart.series))


def _bars(axes: Any, chart: Chart) -> list[Any]:
    names = list(chart.series[0].x)
    if any(list(series.x) != names for series in chart.series):
        raise ValueError(f"{chart.title}: the bars of a chart share their names")
    if chart.log_x:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter("")
    artists: list[Any] = [axes.axvline(value, label=name, **_GOAL) for value, name in chart.goals]
    n = len(chart.series)
    thick = 0.8 / n
    for i, series in enumerate(chart.series):
        at = [position + (i - (n - 1) / 2) * thick for position in range(len(names))]
        bars = axes.barh(
            at,
            series.y,
            height=thick * 0.92,
            xerr=_errors(series),
            color=COLOURS[i % len(COLOURS)],
            label=series.name or "_",
            error_kw={"ecolor": _TEXT, "capsize": 2.5, "elinewidth": 1.1},
        )
        artists.insert(i, bars)
        for position, value, end in zip(at, series.y, series.high or series.y, strict=True):
            axes.annotate(
                short(value),
                (max(value, end), position),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
                bbox={"facecolor": _PAPER, "edgecolor": "none", "pad": 1.0},
            )
    axes.set_yticks(range(len(names)), [textwrap.fill(str(name), NAME_CHARS) for name in names])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.14)
    axes.xaxis.set_major_formatter(lambda value, _: short(value))
    return artists


def _errors(series: Series) -> list[list[float]] | None:
    """Distances of the ends of the error bars below and above each value, shape (2, n)."""
    if series.low is None or series.high is None:
        return None
    below = [max(0.0, y - low) for y, low in zip(series.y, series.low, strict=True)]
    above = [max(0.0, high - y) for y, high in zip(series.y, series.high, strict=True)]
    return [below, above]


def short(value: float) -> str:
    """Format a number for an axis: 1.5 M, 20 k, 0.25."""
    for scale, suffix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= scale:
            return f"{value / scale:.3g}{suffix}"
    return f"{value:.3g}"
