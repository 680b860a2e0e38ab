"""Rules with an instance per field: drift of inputs and outputs, and rates."""

from collections.abc import Iterator, Sequence
from typing import Any

from barograph.contract import Window

from barograph_server.alerts.rule import Rule
from barograph_server.alerts.templates.factory import DAY_S, IN_WINDOW_OF_VERSION, REASON, RuleFactory, last_part
from barograph_server.alerts.text import LabelRef, NumberRef, percent
from barograph_server.dashboards.uids import panel_link
from barograph_server.sketches.drift.rates import RATE_KINDS
from barograph_server.warehouse.signals.verdicts import (
    ALONE_EVENTS,
    LIKE_P,
    RATE_P,
    UNLIKE_P,
    UNLIKE_RANK,
    mean_shift,
    psi,
    rate,
)

WEEK_S = 7 * DAY_S
FALSE_SHARE = 3e-4
"""Upper bound on the share of windows without drift beyond the threshold, at 50 independent events.

In simulations with 2, 5, 10 and 20 equal bins, at most 23 of 100,000 windows were; with 100 events 6, with 200 events
none. tests/alerts/test_false_alarms.py checks the bound."""

RATE_RULES = {
    rule: (tuple(kind.name for kind in RATE_KINDS if kind.rule == rule), what)
    for rule, what in {
        "null-rate": "nulls",
        "invalid-rate": "invalid values",
        "unseen-rate": "unseen categories",
        "range-rate": "values out of range",
    }.items()
}
"""Rules on rates: the kinds of rates that each reads, and what they count."""


def drift_rules(factory: RuleFactory) -> Iterator[Rule]:
    thresholds = factory.contract.thresholds
    panel = {"about": "inputs", "panel": panel_link("field", "psi")}
    yield from _psi(factory, "psi-major", thresholds.major, "inputs drift", (True, False), **panel)
    yield from _psi(factory, "psi-minor", thresholds.minor, "critical inputs start to drift", (True,), **panel)


def output_rules(factory: RuleFactory) -> Iterator[Rule]:
    """Rules on drift of scores and classes."""
    panel = {"about": "outputs", "panel": panel_link("field", "psi")}
    yield from _psi(factory, "output-shift", factory.contract.thresholds.major, "outputs shift", (True, False), **panel)


def mean_rules(factory: RuleFactory) -> Iterator[Rule]:
    """Rules on the mean ranks of fields on which PSI cannot decide."""
    threshold, clear = factory.threshold("mean-shift", UNLIKE_RANK)
    long, _ = factory.windows("mean-shift")
    for severity, fields in factory.by_field("mean-shift"):
        yield from factory.rule(
            "mean-shift",
            severity,
            headline=f"inputs are unlike training ({severity})",
            summary=(
                *(
                    "Values of ",
                    LabelRef("field"),
                    " are higher or lower than in windows of training: their mean rank is ",
                ),
                *(NumberRef("E", "number"), " away from one half", *IN_WINDOW_OF_VERSION),
                *(f"; the threshold is {threshold:g}. PSI has too few independent readings to decide."),
            ),
            description=(
                f"In the {last_part(long)} the mean rank of a field's values among those of training is more than "
                f"{threshold:g} away from one half, with p < {UNLIKE_P:g} by its variation in training. PSI "
                "has too little independent data for a level. Clears if it has one, or with "
                f"p > {LIKE_P:g}."
            ),
            signal=mean_shift(factory.contract.model, fields, factory.of(long), factory.pane, threshold),
            about="inputs",
            form="number",
            clear=clear,
            window_s=long.length_s,
            panel=panel_link("field", "verdicts"),
            **factory.per_field(),
        )


def rate_rules(factory: RuleFactory) -> Iterator[Rule]:
    """Rules on rates of null, invalid, unseen and out-of-range values."""
    for name, (kinds, what) in RATE_RULES.items():
        threshold, clear = factory.threshold(name, factory.contract.rate_thresholds.major)
        _, short = factory.windows(name)
        for severity, fields in factory.by_field(name):
            yield from factory.rule(
                name,
                severity,
                headline=f"more {what} ({severity})",
                summary=(
                    *(f"More {what} in ", LabelRef("field"), " than in training, by ", NumberRef("E", "percent")),
                    *(" of all values", *IN_WINDOW_OF_VERSION, f"; the threshold is {percent(threshold)}."),
                ),
                description=(
                    f"In the {last_part(short)} the rate of {what} exceeds the rate in training by more than "
                    f"{percent(threshold)}, with its whole 95 % interval and p < {RATE_P:g}, and by more "
                    f"than it repeatedly did in training (`training_delta`). Clears below {percent(clear)}."
                ),
                signal=rate(factory.contract.model, fields, kinds, factory.of(short), factory.pane, threshold),
                about="inputs",
                form="percent",
                clear=clear,
                window_s=short.length_s,
                panel=panel_link("field", "nulls" if name == "null-rate" else "range"),
                **factory.per_field(),
            )


def _psi(
    factory: RuleFactory, name: str, default: float, what: str, critical: Sequence[bool], **arguments: Any
) -> Iterator[Rule]:
    threshold, clear = factory.threshold(name, default)
    long, short = factory.windows(name)
    agree = f" and the {last_part(short)}" if long != short else ""
    fast, fast_threshold = factory.fast(name, threshold)
    names = " or the ".join(map(last_part, fast))
    alone = (
        f"Also fires if the whole interval of the {names} is above {fast_threshold:g}, with at least "
        f"{ALONE_EVENTS} events. "
        if fast
        else ""
    )
    for severity, fields in factory.by_field(name, critical):
        signal = psi(
            *(factory.contract.model, fields, factory.of(long), factory.of(short), factory.pane, threshold),
            fast=[factory.of(window) for window in fast if window != short],
            fast_threshold=fast_threshold,
        )
        yield from factory.rule(
            name,
            severity,
            headline=f"{what} ({severity})",
            summary=(
                *("PSI of ", LabelRef("field"), " is ", NumberRef("E", "number")),
                *(*IN_WINDOW_OF_VERSION, f"; the threshold is {threshold:g}.", REASON),
            ),
            description=(
                f"The PSI of a field against training exceeds {threshold:g} in the {last_part(long)}{agree}. "
                f"{alone}Clears below {clear:g}. If the short window has insufficient data, the long window decides "
                f"alone. Insufficient data neither fires nor clears the alert. {false_alarms(long)}"
            ),
            signal=signal,
            form="number",
            clear=clear,
            long_s=long.length_s,
            short_s=short.length_s,
            **arguments | factory.per_field(),
        )


def false_alarms(window: Window) -> str:
    """State the false alarm rate of a PSI rule per field. Overlapping windows do not fire more often."""
    per_week = FALSE_SHARE * WEEK_S / window.hop_s
    return (
        f"Without drift, a field fires at most {per_week:.2g} times a week if its windows have 50 independent events, "
        "and practically never with 200 or more."
    )
