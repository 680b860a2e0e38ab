"""The page Fleet: which model needs somebody now?"""

from __future__ import annotations

from dashboards.layout import Placed, Row
from dashboards.links import TO_MODEL, TO_MODEL_OF_LABEL, TO_VERSION
from dashboards.notes import LEVELS_NOTE
from dashboards.panels import About, AnyPanel, figure, graph, levels, listing, words
from dashboards.style import STYLE
from warehouse.panels import fleet

UNITS = STYLE.units


def _about(key: str, title: str, description: str, unit: str = UNITS.plain) -> About:
    return About("fleet", key, title, description, unit)


def in_breach() -> AnyPanel:
    """Models with a major verdict."""
    about = _about(
        "in_breach",
        "Models in breach",
        "Models of which a field's last verdict is major, in their longest window of the range's last day.",
    )
    return figure(about, fleet.IN_BREACH, bad_from=1)


def insufficient() -> AnyPanel:
    """Models that cannot be judged."""
    about = _about(
        "insufficient",
        "Models not judged",
        "Models of which no field is worse than insufficient, and one is: too little independent data came to say "
        "whether they are well. That is not health.",
    )
    return figure(about, fleet.INSUFFICIENT)


def silent() -> AnyPanel:
    """Models that nobody asks."""
    about = _about(
        "silent",
        "Silent models",
        "Models without a request for an hour, and for longer than at any time within the range, up to its end. "
        "Their callers are down, or their events do not arrive: see Pipeline.",
    )
    return figure(about, fleet.SILENT, bad_from=1)


def worst_psi() -> AnyPanel:
    """The field that moved most."""
    about = _about(
        "worst_psi",
        "Worst PSI",
        "The largest population stability index of any model's fields in the last day of the range. Lines are each "
        "contract's: the level stands in the table.",
    )
    return figure(about, fleet.WORST_PSI, decimals=2)


def models() -> AnyPanel:
    """How many models there are."""
    about = _about("models", "Models", "Models that have a contract, or of which events were read.")
    return figure(about, fleet.MODELS)


def levels_now() -> AnyPanel:
    """Every model with its levels, the worst first."""
    about = _about(
        "levels",
        "Models, the worst first",
        "Levels as judged: drift by the longest window, rates and performance by the worst of their last verdicts. "
        "`no verdict` means that nothing was judged in the last day of the range. A click opens the model.",
    )
    units = {
        "its psi": UNITS.plain,
        "requests": UNITS.count,
        "errors": UNITS.share,
        "slow": UNITS.share,
        "completeness": UNITS.share,
        "last request": UNITS.seconds,
    }
    return listing(about, fleet.LEVELS_NOW, link=TO_MODEL, units=units)


def levels_over_time() -> AnyPanel:
    """Since when a model is in breach."""
    about = _about(
        "levels_over_time",
        "Levels over time",
        "The worst level that each model's fields were given in its longest windows, in every revision of them. Gaps "
        "have no verdict.",
    )
    return levels(about, fleet.LEVELS, link=TO_MODEL_OF_LABEL)


def psi_over_time() -> AnyPanel:
    """The worst PSI of each model."""
    about = _about(
        "worst_psi_over_time",
        "Worst PSI of each model",
        "The largest PSI that any field of each model was given in its longest windows, in those that had enough data "
        "to be judged and in every revision of them.",
    )
    return graph(about, fleet.WORST_PSI_OVER_TIME, at_least=0, link=TO_MODEL_OF_LABEL)


def requests() -> AnyPanel:
    """Traffic by model."""
    about = _about("requests", "Requests by model", "Predictions per minute, failed ones included.", UNITS.per_minute)
    return graph(about, fleet.REQUESTS, at_least=0, link=TO_MODEL_OF_LABEL)


def errors() -> AnyPanel:
    """Failures by model."""
    about = _about("errors", "Failed predictions by model", "Share of predictions that failed.", UNITS.share)
    return graph(about, fleet.ERRORS, at_least=0, link=TO_MODEL_OF_LABEL)


def slow() -> AnyPanel:
    """Slowness by model."""
    about = _about(
        "latency",
        "Slow predictions by model",
        "Share of predictions over the latency that each contract promises; a model without a promise has none.",
        UNITS.share,
    )
    return graph(about, fleet.SLOW, at_least=0, link=TO_MODEL_OF_LABEL)


def performance() -> AnyPanel:
    """What labels show, by model."""
    about = _about(
        "performance",
        "Performance by model",
        "Each metric's last day within the range, the worst level first. `labels still come` means that the figure "
        "will move; it is then held against what the reference showed at the same age.",
    )
    return listing(about, fleet.PERFORMANCE, link=TO_VERSION)


def note() -> AnyPanel:
    """How to read the page."""
    return words(_about("note", "How to read this", "What the levels mean, and where to go next."), LEVELS_NOTE)


def rows() -> list[Row]:
    """The page from the top down."""
    return [
        Row(
            "Now, at the end of the range",
            (
                Placed(in_breach(), 4, 4),
                Placed(insufficient(), 4, 4),
                Placed(silent(), 4, 4),
                Placed(worst_psi(), 4, 4),
                Placed(models(), 4, 4),
                Placed(note(), 4, 4),
                Placed(levels_now(), 24, 10),
            ),
        ),
        Row("Since when", (Placed(levels_over_time(), 24, 8), Placed(psi_over_time(), 24, 8))),
        Row(
            "Traffic, errors, latency",
            (Placed(requests(), 8, 8), Placed(errors(), 8, 8), Placed(slow(), 8, 8)),
            folded=True,
        ),
        Row("Performance", (Placed(performance(), 24, 9),), folded=True),
    ]
