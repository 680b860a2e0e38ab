"""Rules on a candidate beside the primary. Its own errors and latency never page: its answers are not used."""

from collections.abc import Iterator
from typing import Any

from barograph_server.alerts.rule import Rule
from barograph_server.alerts.templates.factory import RuleFactory
from barograph_server.alerts.text import LabelRef, NumberRef, duration, in_url, percent
from barograph_server.dashboards.uids import panel_link
from barograph_server.sketches.rollout.decision import HARM_E_VALUE
from barograph_server.warehouse.signals.shadow import decided, missing_share, shadow_lag, slice_harm

LAG_S = 3 * 3600
"""Default of `at_least` of the rule shadow-lag: pairs of an hour are counted when the hour has ended."""
MISSING_SHARE = 0.05
"""Default threshold of the rule shadow-missing without a margin for `missing`."""
SHOWN = "from=now-7776000s&to=now"
"""The last 90 days, as the page shows them."""
SHADOW_EVERY_S = 600
"""Shortest evaluation interval: pairs change by the hour, looks by the day."""


def shadow_rules(factory: RuleFactory) -> Iterator[Rule]:
    """Rules on the events, pairs and looks of the contract's candidate."""
    shadow = factory.contract.shadow
    if shadow is None:
        return
    versions = {"model": factory.contract.model, "candidate": shadow.candidate, "of": shadow.of}
    query = f"&var-model={in_url(versions['model'])}&var-candidate={in_url(shadow.candidate)}&{SHOWN}"
    shared: dict[str, Any] = {"every_s": SHADOW_EVERY_S, "page_query": (query,)}
    candidate = f"version {shadow.candidate} beside version {shadow.of}"
    horizon_s = 0 if factory.contract.label is None else factory.contract.label.horizon_s
    at_least_s = factory.override("shadow-lag").at_least_s or LAG_S
    yield from factory.rule(
        "shadow-lag",
        "ticket",
        headline="the shadow falls behind",
        summary=(f"No event of {candidate} has been paired for ", NumberRef("A", "duration"), " of traffic."),
        description=(
            f"The primary has had traffic for {duration(at_least_s)} since the last request with an event of the "
            "candidate. The candidate or the pairing has stopped. Clears with the next paired event."
        ),
        signal=shadow_lag(**versions, pane=factory.pane, threshold_s=float(at_least_s)),
        about="volume",
        form="duration",
        has_bounds=False,
        clear=float(at_least_s),
        panel=panel_link("shadow", "traffic"),
        **shared,
    )
    threshold, clear = factory.threshold("shadow-missing", shadow.margins.get("missing", MISSING_SHARE))
    yield from factory.rule(
        "shadow-missing",
        "ticket",
        headline="pairs are missing",
        summary=(
            NumberRef("A", "percent"),
            f" of the requests of the last day have no pair with {candidate}; the threshold is {percent(threshold)}.",
        ),
        description=(
            f"In the last day more requests have no pair than {percent(threshold)}, by a statistically significant "
            "margin. Requests outside the sample, and those that failed in the primary, do not count. Clears below "
            f"{percent(clear)}."
        ),
        signal=missing_share(**versions, threshold=threshold),
        about="volume",
        form="percent",
        clear=clear,
        panel=panel_link("shadow", "missing"),
        **shared,
    )
    e_value, clear_e_value = factory.threshold("shadow-harm", HARM_E_VALUE)
    yield from factory.rule(
        "shadow-harm",
        "page",
        headline="a slice is harmed",
        summary=(
            f"Some slice is worse in the test of {candidate}: the mean e-value of the slices is ",
            NumberRef("A", "number"),
            f"; the threshold is {e_value:g}. The page lists the slices.",
        ),
        description=(
            "There is evidence over all slices that the candidate is worse than the primary in at least one of them; "
            "after a promotion, that the new primary is worse than the version that it replaced. "
            f"Clears when the mean e-value falls below {clear_e_value:g}."
        ),
        signal=slice_harm(**versions, horizon_s=horizon_s, threshold=e_value),
        about="performance",
        form="number",
        has_bounds=False,
        clear=clear_e_value,
        panel=panel_link("shadow", "slices"),
        **shared,
    )
    yield from factory.rule(
        "shadow-decided",
        "ticket",
        headline="the test of the candidate is decided",
        summary=(f"The decision about {candidate} is ", LabelRef("decision"), "."),
        signal=decided(**versions, horizon_s=horizon_s),
        about="performance",
        form="number",
        has_bounds=False,
        clear=0.5,
        panel=panel_link("shadow", "decision"),
        **shared,
    )
