"""The time from a change of a field to the page of each rule that reads it."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from barograph.contract import Contract

from barograph_server.alerts.prediction.window_power import FieldPower, Traffic, WindowTraffic
from barograph_server.alerts.rule import Rule, Severity
from barograph_server.alerts.rules import rules_of
from barograph_server.alerts.settings import AlertSettings
from barograph_server.alerts.templates.factory import RuleFactory
from barograph_server.alerts.templates.fields import RATE_RULES
from barograph_server.sketches.baseline.baseline import FieldBaseline
from barograph_server.sketches.detection.delay import QUANTILES, DetectionCurve
from barograph_server.sketches.detection.effects import FieldShares

PSI_RULES = ("psi-major", "psi-minor", "output-shift")


@dataclass(frozen=True, slots=True)
class RuleDetection:
    rule: Rule
    alternatives: tuple[tuple[DetectionCurve, ...], ...]
    """The rule fires as soon as all curves of one alternative have detected the change; empty with too little data."""
    sealed_after_s: float
    """Time from the end of a window to its verdict, in seconds."""

    def paged_s(self, quantile: float) -> float:
        """Return the time from the change to the page at a quantile, in seconds; infinite if it may never come."""
        times = [max(curve.reached_s(quantile) for curve in curves) for curves in self.alternatives]
        return min(times, default=math.inf) + self.delay_s(quantile)

    def is_paged(self, quantile: float, elapsed_s: float) -> bool:
        """Whether `paged_s` is at most a time: without computing it."""
        left_s = elapsed_s - self.delay_s(quantile)
        return any(all(curve.is_reached(quantile, left_s) for curve in curves) for curves in self.alternatives)

    def delay_s(self, quantile: float) -> float:
        """Return the time from the end of the window that decides to the page: sealing, evaluation and pending."""
        every_s = self.rule.every_s
        return self.sealed_after_s + quantile * every_s + math.ceil(self.rule.for_s / every_s) * every_s


@dataclass(frozen=True, slots=True)
class PageTime:
    """The predicted time to the page of one rule, in seconds; a quantile is infinite if the page may never come."""

    rule: str
    severity: Severity
    field: str
    low_s: float
    """10 % of the pages come earlier."""
    median_s: float
    high_s: float
    """90 % of the pages have come by then."""
    is_predictable: bool
    """Whether the windows of the rule have enough independent events for a prediction."""


def predict_pages(
    contract: Contract,
    field: FieldBaseline,
    after: FieldShares,
    traffic: Traffic,
    settings: AlertSettings | None = None,
) -> list[PageTime]:
    """Predict the pages and tickets for a change of one field, which begins at once and stays.

    Args:
        after: the field's shares after the change, of `sketches.detection.effects`.

    Returns:
        One entry for each rule of the contract that reads the field, in the order of the rules.
    """
    settings = settings or AlertSettings()
    windows = traffic.windows(contract, field)
    predictions = []
    for rule in rules_reading(contract, field.name, settings):
        detection = detect(rule, contract, field, after, windows, settings)
        low, median, high = (detection.paged_s(quantile) for quantile in QUANTILES)
        predictions.append(
            PageTime(rule.name, rule.severity, field.name, low, median, high, bool(detection.alternatives))
        )
    return predictions


def rules_reading(contract: Contract, field: str, settings: AlertSettings) -> list[Rule]:
    rules = rules_of(contract, settings)
    return [rule for rule in rules if rule.name in {*PSI_RULES, *RATE_RULES} and field in rule.signal.keys]


def detect(
    rule: Rule,
    contract: Contract,
    field: FieldBaseline,
    after: FieldShares,
    windows: Mapping[str, WindowTraffic],
    settings: AlertSettings,
) -> RuleDetection:
    """Return the detection of a change by one rule.

    Args:
        rule: one of `rules_reading`.
        windows: the traffic of the contract's windows by name; a window that is missing has no data.
    """
    factory = RuleFactory(contract, settings)
    curves = _psi_curves if rule.name in PSI_RULES else _rate_curves
    return RuleDetection(rule, tuple(curves(factory, rule, field, after, windows)), factory.pane.sealed_after_s)


def _psi_curves(
    factory: RuleFactory, rule: Rule, field: FieldBaseline, after: FieldShares, windows: Mapping[str, WindowTraffic]
) -> Iterator[tuple[DetectionCurve, ...]]:
    power = FieldPower(factory.contract, field)
    long, short = (windows.get(window.name) for window in factory.windows(rule.name))
    decisive = power.agreeing(long, after, rule.threshold) if long else None
    if decisive is not None:
        needs_both = short is not None and short != long and power.may_object(short)
        agreed = power.agreeing(short, after, rule.threshold) if short and needs_both else None
        yield (decisive,) if agreed is None else (decisive, agreed)
    fast, fast_threshold = factory.fast(rule.name, rule.threshold)
    if fast_threshold is None:
        return
    for window in fast:
        traffic = windows.get(window.name)
        curve = power.alone(traffic, after, fast_threshold) if traffic else None
        if curve is not None:
            yield (curve,)


def _rate_curves(
    factory: RuleFactory, rule: Rule, field: FieldBaseline, after: FieldShares, windows: Mapping[str, WindowTraffic]
) -> Iterator[tuple[DetectionCurve, ...]]:
    power = FieldPower(factory.contract, field)
    _, short = factory.windows(rule.name)
    kinds, _ = RATE_RULES[rule.name]
    for kind in kinds if short.name in windows else ():
        curve = power.rate(windows[short.name], after, kind, rule.threshold)
        if curve is not None:
            yield (curve,)
