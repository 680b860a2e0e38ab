"""The smallest change of a field that is detected within a time."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from barograph.contract import Contract

from barograph_server.alerts.prediction.page_time import detect, rules_reading
from barograph_server.alerts.prediction.window_power import FieldPower, WindowTraffic
from barograph_server.alerts.rule import Rule
from barograph_server.alerts.settings import AlertSettings
from barograph_server.alerts.templates.factory import RuleFactory
from barograph_server.sketches.baseline.baseline import ALL, FieldBaseline
from barograph_server.sketches.detection.effects import FieldShares, moved_share, shifted, trained_shares, with_rate

ChangeKind = Literal["shift", "moved", "nulls"]
"""A shift of the mean, events that move from the most frequent category to the second, or more nulls."""

POWER = 0.8
"""Probability with which the smallest change is detected."""
_RULES: dict[ChangeKind, tuple[str, ...]] = {
    "shift": ("psi-major", "output-shift"),
    "moved": ("psi-major", "output-shift"),
    "nulls": ("null-rate",),
}
"""The rules that detect a change; a field has the first or the second."""
_STEPS = 256
_SHIFTS = tuple(np.geomspace(0.01, 8.0, _STEPS).tolist())
"""Shifts that are tried, in standard deviations of training."""
_SHARES = tuple(np.geomspace(0.001, 1.0, _STEPS).tolist())


@dataclass(frozen=True, slots=True)
class Detectability:
    """The smallest changes that a rule, or the level `major` of one window, detects with 80 % probability."""

    field: str
    change: ChangeKind
    rule: str
    """Name of the rule; empty for the level of a window."""
    window: str
    """Name of the window; empty for a rule, which reads several."""
    slice_name: str
    traffic: WindowTraffic | None
    """Of the window; for a rule, that of the long window on which PSI depends, or of the short one that rates use. None
    without data."""
    smallest: tuple[float, ...]
    """Of each horizon: standard deviations of training for `shift`, else a share of the events. Infinite if no change
    is detected."""


class ChangeTable:
    """A field's shares after changes of growing size; computed once, because many windows are compared with them."""

    def __init__(self, field: FieldBaseline, change: ChangeKind, slice_name: str = ALL) -> None:
        self._field, self._change, self._slice = field, change, slice_name
        self.sizes: tuple[float, ...] = _SHIFTS if change == "shift" else _SHARES
        self._nulls = trained_shares(field, slice_name).rates["null"]
        self.after = lru_cache(maxsize=None)(self._after)

    def directions(self) -> tuple[int, ...]:
        """Return the directions of the change: a shift goes up or down."""
        return (1, -1) if self._change == "shift" else (1,)

    def smallest(self, is_detected: Callable[[FieldShares], bool]) -> float:
        """Return the smallest size that is detected in every direction; infinite if the largest is not.

        It is exact to 3 % of its value, and never too small. Detection is assumed to grow with the size.
        """
        return max(self._smallest(direction, is_detected) for direction in self.directions())

    def _smallest(self, direction: int, is_detected: Callable[[FieldShares], bool]) -> float:
        low, high = -1, len(self.sizes) - 1
        # Most windows detect nothing within an hour.
        if not is_detected(self.after(high, direction)):
            return math.inf
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if is_detected(self.after(middle, direction)) else (middle, high)
        return self.sizes[high]

    def _after(self, index: int, direction: int) -> FieldShares:
        size = direction * self.sizes[index]
        if self._change == "shift":
            return shifted(self._field, size, self._slice)
        if self._change == "moved":
            return moved_share(self._field, size, self._slice)
        return with_rate(self._field, "null", min(1.0, self._nulls + size), self._slice)


def rule_detectability(
    contract: Contract,
    field: FieldBaseline,
    windows: Mapping[str, WindowTraffic],
    horizons_s: tuple[float, ...],
    settings: AlertSettings,
) -> Iterator[Detectability]:
    """Yield the smallest changes that page, or create a ticket, within some times: of PSI, and of nulls.

    Args:
        windows: traffic of the slice `all`, by the name of the window.
    """
    by_name = {rule.name: rule for rule in rules_reading(contract, field.name, settings)}
    for change, table in change_tables(field).items():
        rule = next((by_name[name] for name in _RULES[change] if name in by_name), None)
        if rule is None:
            continue
        long, short = RuleFactory(contract, settings).windows(rule.name)
        decisive = windows.get((short if change == "nulls" else long).name)
        smallest = []
        for horizon_s in horizons_s:

            def is_detected(after: FieldShares, rule: Rule = rule, horizon_s: float = horizon_s) -> bool:
                return detect(rule, contract, field, after, windows, settings).is_paged(POWER, horizon_s)

            smallest.append(table.smallest(is_detected))
        yield Detectability(field.name, change, rule.name, "", ALL, decisive, tuple(smallest))


def window_detectability(
    contract: Contract,
    field: FieldBaseline,
    reference: str,
    slice_name: str,
    traffic: WindowTraffic,
    horizons_s: tuple[float, ...],
    tables: Mapping[ChangeKind, ChangeTable],
) -> Iterator[Detectability]:
    """Yield the smallest changes that make one window of one slice `major` within some times.

    Args:
        reference: the slice of training that the slice is compared with.
        tables: the changes of the field in the slice of training.
    """
    power = FieldPower(contract, field, reference)
    sealed_s = contract.lateness_s + contract.out_of_order_s
    for change, table in tables.items():
        smallest = []
        for horizon_s in horizons_s:

            def is_detected(after: FieldShares, change: ChangeKind = change, horizon_s: float = horizon_s) -> bool:
                is_rate = change == "nulls"
                curve = power.rate(traffic, after, "null", None) if is_rate else power.level(traffic, after)
                return curve is not None and curve.is_reached(POWER, horizon_s - sealed_s)

            smallest.append(table.smallest(is_detected))
        yield Detectability(field.name, change, "", traffic.window.name, slice_name, traffic, tuple(smallest))


def change_tables(field: FieldBaseline, slice_name: str = ALL) -> dict[ChangeKind, ChangeTable]:
    changes: list[ChangeKind] = ["nulls"]
    if field.kind == "category" and np.count_nonzero(trained_shares(field, slice_name).bins) > 1:
        changes.insert(0, "moved")
    elif field.quantiles and field.std > 0.0:
        changes.insert(0, "shift")
    return {change: ChangeTable(field, change, slice_name) for change in changes}
