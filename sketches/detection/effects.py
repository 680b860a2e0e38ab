"""Shares of a field's bins, and its rates, after a change of its values.

The values of training are known from 1,001 quantiles and the counts of bins. A change is applied to points between the
quantiles, each weighted so that the unchanged points have exactly the shares of the bins. So a change of any form (a
shift, a factor, a constant) has shares on the bins of any field, at a resolution of about 10⁻³ of the rows.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from barograph_server.sketches.baseline.baseline import ALL, FieldBaseline, SliceCounts
from barograph_server.sketches.baseline.bins import bins_of
from barograph_server.sketches.baseline.cells import numeric_cells
from barograph_server.sketches.drift.rates import RATE_KINDS

FloatArray = NDArray[np.float64]
Transform = Callable[[FloatArray], FloatArray]

_POINTS_PER_STEP = 8
"""Points between two quantiles of a continuous field."""


@dataclass(frozen=True, slots=True)
class FieldShares:
    """A field's shares at some time; before a change, those of training."""

    bins: FloatArray
    """Share of each PSI bin, `null` included, (B,); the sum is 1."""
    rates: dict[str, float]
    """Rate of each kind of `sketches.drift.rates.RATE_KINDS` that the field has, a share of all events."""

    @property
    def valid(self) -> float:
        """Share of the events with a valid value."""
        return 1.0 - self.rates["null"] - self.rates["invalid"]


def trained_shares(field: FieldBaseline, slice_name: str = ALL) -> FieldShares:
    """Return a field's shares in training.

    Raises:
        ValueError: if training has no row of the slice with a value or a null.
    """
    return observed_shares(field, field.slices[slice_name], slice_name)


def observed_shares(field: FieldBaseline, counts: SliceCounts, slice_name: str = ALL) -> FieldShares:
    """Return a field's shares in events that were counted on the baseline's cells.

    Args:
        counts: counts of the events; `singletons` count as unseen, as in training.
        slice_name: the slice of training that decides which categories have a bin of their own.

    Raises:
        ValueError: if there is no event with a value or a null.
    """
    order, sizes = bins_of(field, np.array(field.slices[slice_name].cells, np.int64))
    bins = np.add.reduceat(np.array(counts.cells, np.float64)[order], np.cumsum(sizes) - sizes)
    rows = bins.sum() + counts.invalid
    if not bins.any():
        raise ValueError(f"there is no row of field {field.name!r} with a value or a null in slice {slice_name!r}")
    counted = {kind.name: counts.expected(kind.column) for kind in RATE_KINDS if kind.is_counted_in(field)}
    rates = {name: min(1.0, float(k / rows)) for name, k in counted.items() if k is not None}
    return FieldShares(bins / bins.sum(), rates)


def changed_values(field: FieldBaseline, change: Transform, slice_name: str = ALL) -> FieldShares:
    """Return the shares after a change of all values of a numeric field; nulls and invalid values stay.

    Args:
        change: maps values to values, elementwise.

    Raises:
        ValueError: if the field is not numeric, or its baseline has no values.
    """
    if field.kind != "numeric" or not field.quantiles:
        raise ValueError(f"field {field.name!r} has no numbers in training, so they cannot change")
    before = trained_shares(field, slice_name)
    edges = np.array(field.edges, np.float64)
    points = _points(field)
    bin_of = np.searchsorted(edges, points, "right")
    own = before.bins[:-1]
    points_per_bin = np.bincount(bin_of, minlength=len(own))
    # A bin that training filled between two quantiles has no point; its rows count as unchanged.
    weight = np.where(points_per_bin > 0, own / np.maximum(points_per_bin, 1), 0.0)[bin_of]
    changed = np.asarray(change(points), np.float64)
    after = np.bincount(np.searchsorted(edges, changed, "right"), weight, minlength=len(own))
    after = after + np.where(points_per_bin > 0, 0.0, own)
    rates, total = dict(before.rates), max(weight.sum(), 1e-300)
    flags = dict(numeric_cells(field, changed).flags)
    for kind in RATE_KINDS:
        if kind.column in flags and kind.name in rates:
            share = float(weight[flags[kind.column]].sum() / total)
            rates[kind.name] = max(before.rates[kind.name], share * before.valid)
    return FieldShares(np.append(after, before.bins[-1]), rates)


def shifted(field: FieldBaseline, sd: float, slice_name: str = ALL) -> FieldShares:
    """Return the shares after all values moved by a number of standard deviations of training."""
    return changed_values(field, lambda values: values + sd * field.std, slice_name)


def scaled(field: FieldBaseline, factor: float, slice_name: str = ALL) -> FieldShares:
    """Return the shares after all values were multiplied, as if their unit had changed."""
    return changed_values(field, lambda values: values * factor, slice_name)


def stuck(field: FieldBaseline, value: float, slice_name: str = ALL) -> FieldShares:
    """Return the shares after all values became one value, as of a sensor that hangs."""
    return changed_values(field, lambda values: np.full_like(values, value), slice_name)


def with_rate(field: FieldBaseline, kind: str, rate: float, slice_name: str = ALL) -> FieldShares:
    """Return the shares after the rate of nulls, invalid values or unseen categories became another one.

    The other values stay, in proportion. The rate is at least that of training.

    Args:
        kind: `null`, `invalid` or `unseen`.
        rate: the new rate, a share of all events.

    Raises:
        ValueError: if the kind is another one or not one of the field, or the rate does not lie in [0, 1].
    """
    before = trained_shares(field, slice_name)
    if kind not in ("null", "invalid", "unseen") or kind not in before.rates:
        raise ValueError(
            f"the rate of {kind!r} does not change alone in field {field.name!r}; use null, invalid or, of categories, "
            "unseen"
        )
    if not 0.0 <= rate <= 1.0:
        raise ValueError(f"a rate lies in [0, 1], not at {rate}")
    added = max(0.0, rate - before.rates[kind]) / max(1e-12, 1.0 - before.rates[kind])
    bins = before.bins.copy()
    if kind != "invalid":
        # `null` is the last bin; unseen categories are counted in `other`, the bin before it.
        bins *= 1.0 - added
        bins[-1 if kind == "null" else -2] += added
    rates = {name: share * (1.0 - added) for name, share in before.rates.items()}
    return FieldShares(bins, rates | {kind: max(rate, before.rates[kind])})


def moved_share(field: FieldBaseline, share: float, slice_name: str = ALL) -> FieldShares:
    """Return the shares after events moved from the most frequent category to the second: PSI changes least so.

    Args:
        share: of all events that move, at most the share of the most frequent category.

    Raises:
        ValueError: if the field has fewer than two bins with events.
    """
    before = trained_shares(field, slice_name)
    first, second = np.argsort(-before.bins, kind="stable")[:2]
    if before.bins[second] == 0.0:
        raise ValueError(f"field {field.name!r} has a single category in slice {slice_name!r}")
    bins = before.bins.copy()
    moved = min(share, float(bins[first]))
    bins[first] -= moved
    bins[second] += moved
    return FieldShares(bins, dict(before.rates))


def _points(field: FieldBaseline) -> FloatArray:
    """Return values of training at equal steps of rank; whole numbers are not interpolated."""
    quantiles = np.array(field.quantiles, np.float64)
    if field.integer:
        return quantiles
    ranks = np.arange(len(quantiles))
    steps = (np.arange((len(quantiles) - 1) * _POINTS_PER_STEP) + 0.5) / _POINTS_PER_STEP
    return np.interp(steps, ranks, quantiles)
