"""Predicts when the expected rule pages, for faults whose effect on a field's distribution is known before."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import numpy as np
from barograph.contract import Contract

from alerts.prediction.page_time import PageTime, predict_pages
from alerts.prediction.traffic import Traffic
from alerts.routing import GROUP_WAIT_S
from alerts.settings import AlertSettings
from drills.faults import EventTables, Injection
from drills.faults.fault import epoch_ms
from sketches.detection.effects import FieldShares, changed_values, scaled, shifted, trained_shares, with_rate


def predict_page_s(
    injection: Injection, contract: Contract, events: EventTables, settings: AlertSettings
) -> tuple[float, float] | None:
    """Predict the event time from the start of the fault to the notification: its 10 and 90 % quantiles, in seconds.

    The fault is taken as lasting, and the traffic as constant.

    Args:
        injection: the fault.
        contract: the contract of the drill's model.
        events: without the fault; their rate is the traffic.
        settings: of the installation.

    Returns:
        None if nothing can be predicted: for a fault of whole events, one whose effect depends on the values of the
        events, or one that may never page.
    """
    effect = _EFFECTS.get(injection.fault.name)
    if effect is None or injection.affected is None or not injection.fires:
        return None
    at = epoch_ms(events.predictions)
    duration_s = (int(at.max()) - int(at.min())) / 1000
    if duration_s <= 0:
        return None
    # On the replay clock a verdict takes effect when its window ends.
    replayed = msgspec.structs.replace(contract, lateness_s=0, out_of_order_s=0)
    traffic = Traffic(len(at) / duration_s)
    pages = predict_pages(replayed, injection.baseline, effect(injection), traffic, settings)
    expected = next((page for page in pages if page.rule == injection.fires[0].rule), None)
    return None if expected is None else _interval(expected)


def _interval(page: PageTime) -> tuple[float, float] | None:
    low, high = page.low_s + GROUP_WAIT_S, page.high_s + GROUP_WAIT_S
    return (low, high) if page.is_predictable and math.isfinite(high) else None


def _clipped(injection: Injection) -> FieldShares:
    quantiles = injection.baseline.quantiles
    limit = quantiles[round((1 - injection.magnitude) * (len(quantiles) - 1))]
    return changed_values(injection.baseline, lambda values: np.minimum(values, limit))


def _with_more(kind: str) -> Callable[[Injection], FieldShares]:
    """Return the effect of a share of the events whose value is replaced."""

    def effect(injection: Injection) -> FieldShares:
        field = injection.baseline
        before = trained_shares(field).rates[kind]
        return with_rate(field, kind, before + injection.rate * (1.0 - before))

    return effect


_EFFECTS: dict[str, Callable[[Injection], FieldShares]] = {
    "mean-shift": lambda injection: shifted(injection.baseline, injection.magnitude),
    "scale": lambda injection: scaled(injection.baseline, injection.magnitude),
    "clipped-range": _clipped,
    "null-rise": _with_more("null"),
    "schema-change": _with_more("null"),
    "category-new": _with_more("unseen"),
}
"""Faults and the shares of the field after them."""
