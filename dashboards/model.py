"""The page Model: what is wrong with this model, since when, and where?"""

from __future__ import annotations

from dashboards import model_outputs
from dashboards.layout import Placed, Row
from dashboards.links import TO_FIELD, TO_FIELD_OF_LABEL, TO_PIPELINE, TO_SLICE
from dashboards.panels import About, AnyPanel, figure, graph, levels, listing
from dashboards.style import STYLE
from warehouse.panels import drift, freshness, rates, traffic

UNITS = STYLE.units


def _about(key: str, title: str, description: str, unit: str = UNITS.plain) -> About:
    return About("model", key, title, description, unit)


def level() -> AnyPanel:
    """The worst level of all fields."""
    about = _about(
        "level",
        "Drift",
        "The worst of the fields' last verdicts in the chosen window and slice. Insufficient means that too little "
        "data came to say, not that all is well.",
    )
    return figure(about, drift.WORST_LEVEL, level=True)


def worst_field() -> AnyPanel:
    """The field that moved most."""
    about = _about(
        "worst_field",
        "Worst PSI",
        "The largest PSI of the fields' last verdicts, of those with data enough first. A click opens that field.",
    )
    return figure(about, drift.WORST_PSI, decimals=2, link=TO_FIELD)


def requests_now() -> AnyPanel:
    """Requests within the range."""
    about = _about("requests_now", "Requests", "Predictions of this version and slice within the range.", UNITS.count)
    return figure(about, traffic.REQUESTS_NOW)


def errors_now() -> AnyPanel:
    """Share of failures within the range."""
    about = _about("errors_now", "Failed", "Share of predictions within the range that failed.", UNITS.share)
    return figure(about, traffic.ERRORS_NOW)


def sealed_age() -> AnyPanel:
    """How old the newest final counts are."""
    about = _about(
        "freshness",
        "Counted up to, ago",
        "From the end of the newest sealed pane of the range to the range's end. Where this grows nothing on this page "
        "is about now: see Pipeline.",
        UNITS.seconds,
    )
    return figure(about, freshness.SEALED_AGE, link=TO_PIPELINE)


def completeness() -> AnyPanel:
    """Whether events were lost."""
    about = _about(
        "completeness",
        "Completeness",
        "Share of the last window's events that was counted. Under 100 % offsets were lost: see Pipeline, Losses.",
        UNITS.share,
    )
    return figure(about, freshness.COMPLETENESS, bad_under=1.0, link=TO_PIPELINE)


def psi() -> AnyPanel:
    """How far fields moved, with the contract's lines."""
    about = _about(
        "psi",
        "PSI of the fields that moved most",
        f"Population stability index of up to {drift.SHOWN_FIELDS} fields against training, at the end of each window. "
        "Windows with too little data to be judged are left out: see the levels. The lines are those that verdicts "
        "were given by. A click on a line opens the field.",
    )
    return graph(about, drift.PSI, drift.PSI_LINES, at_least=0, link=TO_FIELD_OF_LABEL)


def field_levels() -> AnyPanel:
    """Since when a field is in breach."""
    about = _about(
        "levels",
        "Levels of the fields that moved most",
        "Each field's level as judged. Several windows in one step are as bad as the worst of them.",
    )
    return levels(about, drift.LEVELS, link=TO_FIELD_OF_LABEL)


def fields() -> AnyPanel:
    """Every field with its last verdict."""
    about = _about(
        "fields",
        "Fields, the worst first",
        "The last verdict of every field in the range, with the interval of its PSI and the cell that moved most. "
        "`false alarms among such` is the share of false alarms to expect among fields this clear or clearer.",
    )
    units = {
        "its share in training": UNITS.share,
        "its share now": UNITS.share,
        "false alarms among such": UNITS.share,
        "completeness": UNITS.share,
        "events": UNITS.count,
    }
    return listing(about, drift.FIELDS, link=TO_FIELD, units=units)


def changed_rates() -> AnyPanel:
    """Nulls, invalid, outlying and unseen values that changed most."""
    about = _about(
        "rates",
        "Rates that changed most",
        "How much more often values are null, invalid, below or above their range, or not held by training: 5 % is "
        "five points more than in training. The lines are those that verdicts were given by.",
        UNITS.share,
    )
    return graph(about, rates.RATES, rates.RATE_LINES)


def violations() -> AnyPanel:
    """Values that broke the contract."""
    about = _about(
        "violations",
        "Broken contract",
        "Values that the contract refuses, over all slices: nulls where it refuses them, values outside its range, "
        "classes that it does not name. A click opens the field.",
    )
    return listing(about, rates.VIOLATIONS, link=TO_FIELD, units={"share where it came": UNITS.share})


def slices() -> AnyPanel:
    """Where it is wrong."""
    about = _about(
        "slices",
        "Slices, the worst first",
        "The last verdicts of all slices that had enough events to be judged. A click shows the slice on this page.",
    )
    return listing(about, drift.SLICES, link=TO_SLICE)


def requests() -> AnyPanel:
    """Traffic by version."""
    about = _about("requests", "Requests by version", "Predictions per minute, failed ones included.", UNITS.per_minute)
    return graph(about, traffic.REQUESTS, stacked=True, at_least=0)


def errors() -> AnyPanel:
    """Failures against the promise."""
    about = _about(
        "errors",
        "Failed predictions",
        "Share of predictions that failed, and what the contract in force promises.",
        UNITS.share,
    )
    return graph(about, traffic.ERRORS, at_least=0)


def error_kinds() -> AnyPanel:
    """Failures by kind."""
    about = _about(
        "error_kinds", "Errors by kind", "Failed predictions by the kind that their event names.", UNITS.count
    )
    return graph(about, traffic.ERROR_KINDS, counted=True, at_least=0)


def slow() -> AnyPanel:
    """Slowness against the promise."""
    about = _about(
        "latency",
        "Slow predictions",
        "Share of predictions that took longer than the contract promises, counted exactly, and the share that it "
        "allows. Empty where the contract promises no latency.",
        UNITS.share,
    )
    return graph(about, traffic.SLOW, at_least=0)


def latency() -> AnyPanel:
    """Quantiles of latency."""
    about = _about(
        "latency_quantiles",
        "Latency",
        "Quantiles of the field latency_ms in its shortest window, from sketches, and the promise. Empty where the "
        "contract does not watch latency_ms.",
        UNITS.milliseconds,
    )
    return graph(about, traffic.LATENCY, at_least=0)


def rows() -> list[Row]:
    """The page from the top down."""
    return [
        Row(
            "Now, at the end of the range",
            (
                Placed(level(), 4, 4),
                Placed(worst_field(), 4, 4),
                Placed(requests_now(), 4, 4),
                Placed(errors_now(), 4, 4),
                Placed(sealed_age(), 4, 4),
                Placed(completeness(), 4, 4),
            ),
        ),
        Row("Drift", (Placed(psi(), 24, 9), Placed(field_levels(), 12, 10), Placed(fields(), 12, 10))),
        Row("Traffic", (Placed(requests(), 24, 7),)),
        Row("Errors", (Placed(errors(), 12, 7), Placed(error_kinds(), 12, 7))),
        Row("Latency", (Placed(slow(), 12, 7), Placed(latency(), 12, 7))),
        Row(
            "Values and slices",
            (Placed(changed_rates(), 24, 8), Placed(violations(), 12, 8), Placed(slices(), 12, 8)),
            folded=True,
        ),
        *model_outputs.rows(),
    ]
