"""The page Field: how did this field move, and is it the world, its source or the mix?"""

from __future__ import annotations

from dashboards.layout import Placed, Row
from dashboards.links import TO_FIELD_OF_SLICE
from dashboards.notes import FIELD_NOTE
from dashboards.panels import About, AnyPanel, bars, figure, graph, listing, map_of_heat, words
from dashboards.style import STYLE
from warehouse.panels import distribution, drift, rates

UNITS = STYLE.units


def _about(key: str, title: str, description: str, unit: str = UNITS.plain) -> About:
    return About("field", key, title, description, unit)


def level() -> AnyPanel:
    """The last verdict."""
    about = _about(
        "level",
        "Last verdict",
        "The level of the last window of the range. Insufficient means that too little data came to say.",
    )
    return figure(about, drift.FIELD_LEVEL, level=True)


def psi_now() -> AnyPanel:
    """PSI with its interval."""
    about = _about("psi_now", "PSI, between", "PSI of the last window and the ends of its 95 % interval.")
    return figure(about, drift.FIELD_PSI_NOW, decimals=3)


def nulls_now() -> AnyPanel:
    """Nulls against training."""
    about = _about("nulls_now", "Nulls", "Share of nulls in the last window, and in training.", UNITS.share)
    return figure(about, rates.NULLS_NOW)


def unseen_now() -> AnyPanel:
    """Unseen values against training."""
    about = _about(
        "unseen_now",
        "Unseen",
        "Share of values in the last window that training did not hold, and what to expect of them.",
        UNITS.share,
    )
    return figure(about, rates.UNSEEN_NOW)


def range_now() -> AnyPanel:
    """Outlying values against training."""
    about = _about(
        "range_now",
        "Out of range",
        "The largest of the shares of values below, above their range, and invalid, in the last window, and that in "
        "training.",
        UNITS.share,
    )
    return figure(about, rates.RANGE_NOW)


def psi() -> AnyPanel:
    """PSI with interval and lines."""
    about = _about(
        "psi",
        "PSI",
        "PSI of each window with its 95 % interval, and the lines that verdicts were given by. A wide interval is "
        "little data.",
    )
    return graph(about, drift.FIELD_PSI, at_least=0)


def now_against_training() -> AnyPanel:
    """What the last window held against training."""
    about = _about(
        "distribution",
        "The last window against training",
        "Shares of the field's cells, in the window that the last verdict is about and in training: of a slice in the "
        "slice's own training. These are the cells that PSI is taken over.",
        UNITS.share,
    )
    return bars(about, distribution.DISTRIBUTION)


def quantiles() -> AnyPanel:
    """Bands of quantiles."""
    about = _about(
        "quantiles",
        "Quantiles",
        "5, 25, 50, 75 and 95 % quantiles and the mean of each window, over all events. Numbers only.",
    )
    return graph(about, distribution.QUANTILES)


def cells_over_time() -> AnyPanel:
    """When it moved."""
    about = _about(
        "heatmap",
        "Cells over time",
        "Share of each cell per hour, on the bins of the last baseline of the range. A band that fades is a value that "
        "no longer comes.",
        UNITS.share,
    )
    return map_of_heat(about, distribution.HEATMAP)


def nulls() -> AnyPanel:
    """Nulls over time."""
    about = _about(
        "nulls",
        "Nulls",
        "Share of nulls, what training held, and from where on more of it is minor and major.",
        UNITS.share,
    )
    return graph(about, rates.NULLS, at_least=0)


def unseen() -> AnyPanel:
    """Unseen values over time."""
    about = _about(
        "unseen",
        "Unseen values",
        "Share of values that training did not hold, what is to be expected of it, and the lines. Categories only.",
        UNITS.share,
    )
    return graph(about, rates.UNSEEN, at_least=0)


def out_of_range() -> AnyPanel:
    """Outlying values over time."""
    about = _about(
        "range",
        "Out of range and invalid",
        "Shares of values below and above their range and of a wrong type, each with what training held and its lines.",
        UNITS.share,
    )
    return graph(about, rates.RANGE, at_least=0)


def categories() -> AnyPanel:
    """New values by name."""
    about = _about(
        "categories",
        "Values that training did not hold",
        "By name, over all versions: since when they come and how often.",
    )
    return listing(about, rates.CATEGORIES, units={"at least": UNITS.count, "at most": UNITS.count})


def slices() -> AnyPanel:
    """Where it moved."""
    about = _about(
        "slices",
        "Slices, the worst first",
        "The last verdict on this field in every slice that had enough events. A click shows the slice on this page.",
    )
    return listing(about, drift.FIELD_SLICES, link=TO_FIELD_OF_SLICE, units={"events": UNITS.count})


def verdicts() -> AnyPanel:
    """All verdicts, newest first."""
    about = _about(
        "verdicts",
        "Verdicts, the newest first",
        "Each window's PSI with its interval, the lines, the cell that moved most, and the smallest shift of the mean, "
        "in standard deviations, that it could have shown.",
    )
    units = {
        "its share in training": UNITS.share,
        "its share then": UNITS.share,
        "completeness": UNITS.share,
        "events": UNITS.count,
    }
    return listing(about, drift.FIELD_VERDICTS, units=units)


def distances() -> AnyPanel:
    """What describes the window beside PSI."""
    about = _about(
        "distances",
        "Other distances",
        "Kolmogorov–Smirnov with its threshold, Wasserstein in interquartile ranges, shift of the mean in standard "
        "deviations, ratio of standard deviations. They set no level. Numbers only, over all events.",
    )
    return graph(about, distribution.DISTANCES)


def note() -> AnyPanel:
    """How to read the page."""
    return words(_about("note", "How to read this", "What to look at first."), FIELD_NOTE)


def rows() -> list[Row]:
    """The page from the top down."""
    return [
        Row(
            "Now, at the end of the range",
            (
                Placed(level(), 4, 4),
                Placed(psi_now(), 5, 4),
                Placed(nulls_now(), 5, 4),
                Placed(unseen_now(), 5, 4),
                Placed(range_now(), 5, 4),
            ),
        ),
        Row(
            "Distribution",
            (Placed(psi(), 24, 8), Placed(now_against_training(), 12, 9), Placed(cells_over_time(), 12, 9)),
        ),
        Row(
            "Values",
            (
                Placed(quantiles(), 12, 8),
                Placed(nulls(), 12, 8),
                Placed(unseen(), 12, 8),
                Placed(out_of_range(), 12, 8),
            ),
        ),
        Row("Where, and what is new", (Placed(slices(), 12, 8), Placed(categories(), 12, 8)), folded=True),
        Row("Verdicts", (Placed(verdicts(), 24, 9), Placed(distances(), 16, 8), Placed(note(), 8, 8)), folded=True),
    ]
