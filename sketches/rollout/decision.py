"""Decision about a candidate from the daily sums of its shadow: promote, hold or insufficient.

`promote` if every criterion is met and e-BH names no slice. A criterion with margin m is met from day
max(28, T) on (`sketches.rollout.planned_auc`) while the 95 % confidence sequence of its difference is above −m, also if
missing answers are counted at their worst. Since all criteria must be met, no correction for their number is needed.

`hold` if, after the burn-in, one of K criteria is harmed: the confidence sequence at α/K is below 0, or the e-process
against a loss of at most m reaches K/α; or if e-BH names a slice. A criterion whose loss is known to be smaller than
its margin is not harmed. For a defect that the primary never has, such as a missing answer, the limit is −m instead
of 0.

The criterion `auc` has planned looks instead (`sketches.rollout.planned_auc`) and keeps its state between them.

`insufficient` otherwise, with a forecast of the days left. A criterion whose days are too alike has no interval: only
the e-process can hold it.

A promotion does not exclude harm on rare days that have not occurred yet. T bounds that risk by the assumed loss on
such a day, and a guard must remain after the promotion.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from barograph_server.sketches.rollout.day_evidence import DayEvidence, day_evidence
from barograph_server.sketches.rollout.day_interval import (
    BURN_IN_DAYS,
    LEAST_INDEPENDENT_DAYS,
    LEAST_PAIRS,
    day_interval,
)
from barograph_server.sketches.rollout.e_bh import e_bh, log_mean_e
from barograph_server.sketches.rollout.missing_pairs import MissingPairs, bounded_sums
from barograph_server.sketches.rollout.planned_auc import (
    WORST_DAY,
    days_left,
    least_days,
    planned_auc,
    planned_days,
    unseen_loss,
)

FloatArray = NDArray[np.float64]

DECISION_RULES = 2
"""Number of these rules. It rises when the same days may give another decision."""
ALPHA = 0.05
"""Error rate of each criterion."""
SLICE_ALPHA = 0.1
"""False discovery rate of harmed slices, and error rate of the evidence that some slice is harmed."""
HARM_E_VALUE = 1 / SLICE_ALPHA
"""Mean e-value of the slices from which some slice is harmed. Without harm at most one in ten candidates reaches it."""


class Outcome(Enum):
    """Decision about a candidate."""

    promote = "promote"
    hold = "hold"
    insufficient = "insufficient"


@dataclass(frozen=True, slots=True)
class Criterion:
    """A quality in which the candidate must not be worse than the primary by more than a margin."""

    name: str
    margin: float
    """Acceptable loss per pair, above 0, in the unit of the differences."""
    worst_day: float = WORST_DAY
    """Assumed loss per pair on a bad day, in the same unit."""
    days: int = BURN_IN_DAYS
    """Least number of days with pairs before the candidate is judged."""
    harmless: float = 0.0
    """Difference from which on the candidate is not worse: 0, or −margin for the share of a defect that the primary
    never has, such as missing answers."""


@dataclass(frozen=True, slots=True)
class CriterionDays:
    """The local days of a criterion, in order; days without pairs are ignored."""

    criterion: Criterion
    differences: FloatArray
    """Sums over the pairs of each day, (t,); positive if the candidate is better."""
    pairs: FloatArray
    """Complete pairs of each day, (t,)."""
    missing: MissingPairs | None = None
    """Pairs with a missing answer; None if there are none, or if the quality has no bounds."""
    unit_variance: float = 0.0
    """Variance of the mean difference by the assignment of units to two arms, which more days do not reduce
    (`sketches.rollout.split_traffic`); 0 for pairs, ∞ if unknown."""
    unit_freedom: float = math.inf
    """Degrees of freedom of `unit_variance`."""
    unit: float = 1.0
    """Size of one typical event, in the unit of the differences: e-processes assume a scale of half of it at least."""


@dataclass(frozen=True, slots=True)
class AucDays:
    """The days of the criterion `auc`, which is judged at planned looks."""

    criterion: Criterion
    primary: FloatArray
    """Labelled rows of each mature day, (t, bins, 3), bins by ascending score: n, Σ score, positives."""
    candidate: FloatArray
    """The same rows with the candidate's scores."""
    planned_days: int
    """Planned number of days; at least 28."""


@dataclass(frozen=True, slots=True)
class SliceDays:
    """The local days of one criterion in one slice."""

    name: str
    """Name of the slice, such as `country=DE`."""
    criterion: str
    differences: FloatArray
    pairs: FloatArray
    unit: float = 1.0
    """As in `CriterionDays`."""


@dataclass(frozen=True, slots=True)
class CriterionVerdict:
    criterion: Criterion
    days: int
    """Days with pairs."""
    value: float
    """Mean difference per complete pair; NaN without pairs."""
    low: float
    """Lower end of the 95 % confidence sequence; −∞ if there is not enough data."""
    high: float
    kappa: float
    """Factor of the variance for correlation between days; NaN before the second day."""
    too_alike: bool
    """Whether there is no interval because the days are worth fewer than six independent ones."""
    least_value: float
    """Mean difference if missing answers are as bad for the candidate as possible."""
    most_value: float
    """Mean difference if they are as good as possible."""
    least_low: float
    """Lower end of the confidence sequence of `least_value`."""
    least_days: int
    """Days before which the margin is never shown."""
    days_left: float
    """Forecast of the days until the criterion is met, at least those until `least_days`: only those if there is no
    interval yet. ∞ if the difference so far is at or below −margin. If days are too alike, the days until they are
    worth six. NaN if there is still no interval at `least_days` for another reason."""
    is_met: bool
    is_harmed: bool
    look_days: int = 0
    """Days of the newest planned look, which the interval uses; 0 before it, and for criteria that use all days."""
    next_look: int | None = None
    """Days of the next planned look; None if all days are used, or after the last look."""


@dataclass(frozen=True, slots=True)
class HarmedSlice:
    """A slice in which e-BH finds the candidate worse."""

    name: str
    criterion: str
    log_evidence: float
    """Natural logarithm of the e-value at this look."""


@dataclass(frozen=True, slots=True)
class SliceVerdict:
    """State of one criterion in one slice at one look."""

    name: str
    criterion: str
    days: int
    """Days with pairs."""
    value: float
    """Mean difference per pair; NaN without pairs."""
    low: float
    """Lower end of the 95 % confidence sequence of this slice alone; −∞ if there is not enough data."""
    high: float
    log_evidence: float
    """Natural logarithm of the e-value that the candidate is worse; NaN if there is not enough data."""
    is_harmed: bool
    """Whether e-BH names the slice."""


@dataclass(frozen=True, slots=True)
class ShadowDecision:
    outcome: Outcome
    criteria: tuple[CriterionVerdict, ...]
    """In the order of the arguments."""
    harmed_slices: tuple[HarmedSlice, ...]
    """By evidence, the strongest first, then by name."""
    some_slice_harmed: bool
    """Whether the mean e-value of all slices reaches 1/α: some slice is harmed, named or not."""
    log_mean_evidence: float
    """Natural logarithm of that mean; 0 without slices."""
    slices: tuple[SliceVerdict, ...]
    """All slices, in the order of the arguments."""
    judged_slices: int
    """Slices with enough data."""
    days_left: float
    """Most days left of all criteria; NaN if one has no forecast."""


def decide(criteria: Sequence[CriterionDays | AucDays], slices: Sequence[SliceDays] = ()) -> ShadowDecision:
    """Decide about a candidate.

    Args:
        criteria: at least one; all must be met.
        slices: criteria by slice; a slice needs more than 28 days, of which half have 50 pairs.

    Raises:
        ValueError: there is no criterion, a margin is not above 0, or the arrays do not fit.
    """
    if not criteria:
        raise ValueError("a decision needs at least one criterion with a margin")
    verdicts = tuple(
        _judge_auc(each, len(criteria)) if isinstance(each, AucDays) else _judge(each, len(criteria))
        for each in criteria
    )
    by_slice, log_mean = _slice_verdicts(slices)
    harmed = _harmed_slices(by_slice)
    if all(verdict.is_met for verdict in verdicts) and not harmed:
        outcome = Outcome.promote
    elif any(verdict.is_harmed for verdict in verdicts) or harmed:
        outcome = Outcome.hold
    else:
        outcome = Outcome.insufficient
    return ShadowDecision(
        outcome=outcome,
        criteria=verdicts,
        harmed_slices=harmed,
        some_slice_harmed=log_mean >= math.log(HARM_E_VALUE),
        log_mean_evidence=log_mean,
        slices=by_slice,
        judged_slices=sum(math.isfinite(each.log_evidence) for each in by_slice),
        days_left=float(np.max([verdict.days_left for verdict in verdicts])),
    )


def _judge(data: CriterionDays, criteria: int) -> CriterionVerdict:
    criterion = data.criterion
    all_sums, all_pairs = _series(data.differences, data.pairs)
    sums, pairs = all_sums[all_pairs > 0.0], all_pairs[all_pairs > 0.0]
    bounds = bounded_sums(all_sums, all_pairs, data.missing or MissingPairs(0.0, 0.0))
    any_pairs = bounds.pairs > 0.0
    observed = _Series.of(sums, pairs, data)
    least = _Series.of(bounds.low[any_pairs], bounds.pairs[any_pairs], data)
    total = float(bounds.pairs.sum())
    needed = _needed_days(criterion)
    days = len(sums)
    ready = days >= needed
    waiting = float(max(needed - days, 0))
    forecasts = [series.left(criterion.margin) for series in (observed, least)]
    is_met = ready and observed.low > -criterion.margin and least.low > -criterion.margin
    return CriterionVerdict(
        criterion=criterion,
        days=days,
        value=observed.value,
        low=observed.low,
        high=observed.high,
        kappa=observed.kappa,
        too_alike=observed.too_alike,
        least_value=float(bounds.low.sum() / total) if total else math.nan,
        most_value=float(bounds.high.sum() / total) if total else math.nan,
        least_low=least.low,
        least_days=needed,
        days_left=float(np.fmax.reduce([waiting, *forecasts])) if waiting else float(np.max(forecasts)),
        is_met=is_met,
        is_harmed=observed.low <= -criterion.margin and _is_harmed(data, sums, pairs, criteria),
    )


def _judge_auc(data: AucDays, criteria: int) -> CriterionVerdict:
    criterion, margin = data.criterion, data.criterion.margin
    has_rows = data.primary[..., 0].sum(axis=-1) > 0.0
    primary, candidate = data.primary[has_rows], data.candidate[has_rows]
    newest, strict = (
        planned_auc(primary, candidate, data.planned_days, alpha, criterion.worst_day)
        for alpha in (ALPHA, ALPHA / criteria)
    )
    is_known = math.isfinite(newest.half)
    low, high = (newest.value - newest.half, newest.value + newest.half) if is_known else (-math.inf, math.inf)
    looks = planned_days(data.planned_days)
    enough = [days for days in looks if days >= _needed_days(criterion)]
    least = enough[0] if enough else _needed_days(criterion)
    days = len(primary)
    is_met = newest.days >= least and low > -margin
    remaining = days_left(newest.days, newest.value, newest.half, margin) if is_known else 0.0
    if newest.too_alike:
        remaining = LEAST_INDEPENDENT_DAYS * newest.kappa - newest.days
    following = [each for each in enough if each > newest.days and each >= newest.days + remaining]
    return CriterionVerdict(
        criterion=criterion,
        days=days,
        value=newest.value,
        low=low,
        high=high,
        kappa=newest.kappa,
        too_alike=newest.too_alike,
        least_value=newest.value,
        most_value=newest.value,
        least_low=low,
        least_days=least,
        days_left=0.0 if is_met else float(max(following[0] - days, 0)) if following else math.inf,
        is_met=is_met,
        is_harmed=low <= -margin and strict.value + strict.half < criterion.harmless,
        look_days=newest.days,
        next_look=newest.next_days,
    )


def _needed_days(criterion: Criterion) -> int:
    return max(criterion.days, least_days(criterion.margin, criterion.worst_day, ALPHA))


@dataclass(frozen=True, slots=True)
class _Series:
    """The interval of one series of days."""

    days: int
    value: float
    low: float
    high: float
    kappa: float
    enough: bool
    too_alike: bool
    half: float
    """Half-width that shrinks with more days."""
    unit_half: float
    """Half-width by the assignment of units, which does not."""

    @classmethod
    def of(cls, sums: FloatArray, pairs: FloatArray, data: CriterionDays) -> _Series:
        days = len(sums)
        value = float(sums.sum() / pairs.sum()) if days else math.nan
        if days < 2:
            return cls(days, value, -math.inf, math.inf, math.nan, False, False, math.inf, 0.0)
        interval = day_interval(sums, pairs, ALPHA)
        kappa = float(interval.kappa)
        if not sums.any() and days >= BURN_IN_DAYS and np.median(pairs) >= LEAST_PAIRS:
            # No variance to measure: what remains possible is a difference on days that have not occurred.
            reach = unseen_loss(days, data.criterion.worst_day, ALPHA)
            return cls(days, value, -reach, reach, kappa, True, False, 0.0, 0.0)
        unit_half = _unit_half(data, ALPHA)
        half = math.hypot(float(interval.half), unit_half) if interval.enough else math.inf
        return cls(
            days,
            value,
            value - half,
            value + half,
            kappa,
            bool(interval.enough),
            bool(interval.too_alike),
            float(interval.half),
            unit_half,
        )

    def left(self, margin: float) -> float:
        if self.too_alike:
            return LEAST_INDEPENDENT_DAYS * self.kappa - self.days
        if not self.enough:
            return math.nan
        distance = self.value + margin
        if distance <= self.unit_half:
            return math.inf
        return days_left(self.days, math.sqrt(distance**2 - self.unit_half**2) - margin, self.half, margin)


def _unit_half(data: CriterionDays, alpha: float) -> float:
    """Return the half-width by the assignment of units.

    The assignment is drawn once and changes slowly, as new units come: half of α is enough for all looks.
    """
    return -float(stdtrit(data.unit_freedom, alpha / 4.0)) * math.sqrt(data.unit_variance)


def _is_harmed(data: CriterionDays, sums: FloatArray, pairs: FloatArray, criteria: int) -> bool:
    if len(sums) < BURN_IN_DAYS:
        return False
    interval = day_interval(sums, pairs, ALPHA / criteria)
    half = math.hypot(float(interval.half), _unit_half(data, ALPHA / criteria))
    if interval.enough and float(interval.value) + half < data.criterion.harmless:
        return True
    if data.unit_variance > 0.0:
        return False  # The e-process would take the luck of one assignment for a difference.
    evidence = _evidence(sums / data.unit, pairs, -data.criterion.margin / data.unit)
    return evidence is not None and float(evidence.worse[-1]) >= math.log(criteria / ALPHA)


def _evidence(sums: FloatArray, pairs: FloatArray, null: float) -> DayEvidence | None:
    """Return the evidence at one null; None if there is not enough data."""
    if len(sums) <= BURN_IN_DAYS or np.median(pairs) < LEAST_PAIRS:
        return None
    return day_evidence(sums, pairs, null)


def _slice_verdicts(slices: Sequence[SliceDays]) -> tuple[tuple[SliceVerdict, ...], float]:
    """Return the state of each slice, and the logarithm of the mean e-value of those with enough data."""
    n = len(slices)
    days = np.zeros(n, np.int64)
    value, low, high, log_e = np.full((4, n), [[math.nan], [-math.inf], [math.inf], [math.nan]])
    by_days: dict[int, list[tuple[int, FloatArray, FloatArray]]] = {}
    for i, each in enumerate(slices):
        sums, pairs = _series(each.differences, each.pairs)
        days[i] = np.count_nonzero(pairs)
        by_days.setdefault(int(days[i]), []).append((i, sums[pairs > 0.0], pairs[pairs > 0.0]))
    for count, group in by_days.items():
        numbers = [i for i, _, _ in group]
        all_sums, all_pairs = np.stack([sums for _, sums, _ in group]), np.stack([pairs for _, _, pairs in group])
        if count == 1:
            value[numbers] = all_sums[:, 0] / all_pairs[:, 0]
        elif count > 1:
            interval = day_interval(all_sums, all_pairs, ALPHA)
            value[numbers], low[numbers], high[numbers] = interval.value, interval.low, interval.high
        if count > BURN_IN_DAYS:
            units = np.array([slices[i].unit for i in numbers])
            evidence = day_evidence(all_sums / units[:, None], all_pairs, np.zeros(len(group))).worse[:, -1]
            log_e[numbers] = np.where(np.median(all_pairs, axis=-1) >= LEAST_PAIRS, evidence, math.nan)
    is_judged = ~np.isnan(log_e)
    is_harmed = np.zeros(n, np.bool_)
    is_harmed[is_judged] = e_bh(log_e[is_judged], SLICE_ALPHA)
    columns = [array.tolist() for array in (days, value, low, high, log_e, is_harmed)]
    verdicts = tuple(
        SliceVerdict(each.name, each.criterion, *state) for each, *state in zip(slices, *columns, strict=True)
    )
    return verdicts, float(log_mean_e(log_e[is_judged]))


def _harmed_slices(verdicts: Sequence[SliceVerdict]) -> tuple[HarmedSlice, ...]:
    """Return the slices that e-BH names, the strongest evidence first, then by name."""
    named = [HarmedSlice(each.name, each.criterion, each.log_evidence) for each in verdicts if each.is_harmed]
    named.sort(key=lambda each: (-each.log_evidence, each.name, each.criterion))
    return tuple(named)


def _series(differences: FloatArray, pairs: FloatArray) -> tuple[FloatArray, FloatArray]:
    sums, counts = np.asarray(differences, np.float64), np.asarray(pairs, np.float64)
    if sums.ndim != 1 or sums.shape != counts.shape:
        raise ValueError(f"differences and pairs need one value per day, not {sums.shape} and {counts.shape}")
    if not np.all(counts >= 0.0):
        raise ValueError("a count of pairs is negative")
    return sums, counts
