"""Hour-of-week expectations: the expected shares of a window, given the hours of the week that it covers.

A baseline may have counts per hour of the week beside the total counts. An hour with few rows, or a field with little
seasonality, is less informative than the total, so each hour's shares are shrunk towards those of the total:

    pₛ = wₛ·q̂ₛ + (1 − wₛ)·p,  wₛ = mₛ/(mₛ + nₛ⁰),  1/nₛ⁰ = max(eₛ, 0, mean of eₛ),  eₛ = (PSIₛ − dfₛ/n_h,ₛ)/dfₛ

PSIₛ compares the mₛ rows of hour s with all m rows, dfₛ/n_h,ₛ is its expectation by chance alone, and so 1/nₛ⁰ measures
how far the hour differs from the total: as hours do on average, or further if its own data shows so. (With shrinkage by
the average alone, an unusual hour would be expected to be more like the total than it is: 500 events of a night of 250
rows, at a mild season, have p < 0.05 in 48 % of windows without drift, 14 % with this formula.) The mean is weighted by
n_h,ₛ: hours of equal rows have equal weight, and those of a quiet night, whose PSI is mostly chance, little. (Without
weights, nights of 20 rows beside days of 4,000 hide a season of 5 % tilt altogether; nights of 3 rows simulate one that
does not exist, with n₀ = 13.) Without a season the mean is at most 0, and the field is judged without hours.

A window of n events, nₛ of them in hour s, is compared with Σ nₛpₛ/n, which has the weight of m_eff rows:

    1/m_eff = Σ (nₛ/n)²·wₛ²/mₛ + (Σ (nₛ/n)·(1 − wₛ))²/m + (Σ (nₛ/n)·(1 − wₛ)/√nₛ⁰)²

The last term covers the part of a true season that shrinkage removes: neighboring hours differ in the same way, so it
counts in full for a window of several. A single hour then has the weight of about mₛ + nₛ⁰ rows. (Without the term, 500
events of a night with 50 training rows have level minor or major in 42 % of windows without drift, with it in 0.1 %;
from 600 rows an hour its effect is small.)

Levels alarm in under 0.1 % of windows without drift. p < 0.05 occurs in 5 to 9 % if training has as many rows of the
hour as the window has events, in more if it has fewer: the bias of shrinkage is then larger than chance.

Correlated values make hours differ just as a season does, and n₀ cannot distinguish the two; φ, which is learned with
these expectations from windows that are excluded from them, accounts for it.

Results do not depend on the rest of the batch: a window alone gives the same bits.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from barograph_server.sketches.baseline.baseline import HOUR_NAMES, HOURS_OF_WEEK
from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.baseline.layout import IntArray
from barograph_server.sketches.drift.psi import Expectation, FloatArray, psi_values, smoothed_shares, window_shares

HourArray = NDArray[np.int16]

FEW_ROWS = 200
"""Fewest rows for a PSI that is χ²: smaller hours have no weight in the mean if any is larger, nor in their own n₀."""


class Season:
    """The hour-of-week counts of one baseline, compiled for its groups of the slice `all` that have a season.

    Attributes:
        timezone: time zone of the hours.
        groups: groups of the bins that have a season, ascending, shape (S,).
        fields: index of each group's field in the layout, shape (S,).
        columns: indices of the bins of those groups, end to end, shape (nb,).
        starts: first bin of each group among them, shape (S,).
        n0: number of rows of an hour at which it has the same weight as the total, shape (168, S).
        counts: rows per hour of the week and bin, shape (168, nb).
    """

    def __init__(self, bins: PsiBins) -> None:
        layout = bins.layout
        self.timezone = layout.baseline.timezone
        self._bins = bins
        pairs = zip(bins.slice_index.tolist(), bins.field_index.tolist(), strict=True)
        candidates = [
            group for group, (row, field) in enumerate(pairs) if row == 0 and layout.fields[field].hours_of_week
        ]
        self._choose(np.array(candidates, dtype=np.int64))
        self.counts = np.zeros((HOURS_OF_WEEK, len(self.columns)), dtype=np.int64)
        for start, size, field in zip(self.starts.tolist(), self._sizes.tolist(), self.fields.tolist(), strict=True):
            hours_of_week = layout.fields[field].hours_of_week
            rows = [hours_of_week.get(name) or (0,) * size for name in HOUR_NAMES]
            self.counts[:, start : start + size] = rows
        if not candidates:
            self.n0 = np.zeros((HOURS_OF_WEEK, 0))
            return
        n0 = _n0(bins.base_bins[self.columns], self.counts, self.starts)
        seasonal = np.isfinite(n0).any(axis=0)
        self.counts = self.counts[:, np.repeat(seasonal, self._sizes)]
        self._choose(self.groups[seasonal])
        self.n0 = n0[:, seasonal]
        self._compile()

    def _choose(self, groups: IntArray) -> None:
        """Select groups, and lay their bins end to end."""
        self.groups = groups
        self.fields: IntArray = self._bins.field_index[groups].astype(np.int64)
        sizes = self._sizes = self._bins.sizes[groups]
        self.starts: IntArray = np.cumsum(sizes) - sizes
        self._of_bin: IntArray = np.repeat(np.arange(len(groups)), sizes)
        self.columns: IntArray = self._bins.starts[groups][self._of_bin] + (
            np.arange(len(self._of_bin)) - self.starts[self._of_bin]
        )

    def _compile(self) -> None:
        if not len(self.groups):
            return
        base = self._bins.base_bins[self.columns]
        total = smoothed_shares(base, self.starts)
        self._share, self._p, self._noise, self._rest, self._apart = self._shrink(
            self.counts, self.n0, base[None], total[None], np.add.reduceat(base, self.starts)[None]
        )

    def _shrink(
        self, counts: IntArray, n0: FloatArray, base: IntArray, total: FloatArray, m: IntArray
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
        """Shrink the shares of hours towards those of the total.

        Args:
            counts: rows of hours of the week, (N, nb).
            n0: n₀ of these hours, (N, S).
            base: rows of the total, (N or 1, nb).
            total: its smoothed shares, (N or 1, nb).
            m: its sums, (N or 1, S).

        Returns:
            Shares as counted and smoothed, (N, nb); w²/mₛ, 1 − w and (1 − w)/√n₀, (N, S).
        """
        rows = np.add.reduceat(counts, self.starts, axis=1).astype(np.float64)
        w = rows / (rows + n0)
        own = w[:, self._of_bin]
        counted = counts / np.maximum(rows, 1.0)[:, self._of_bin]
        share = own * counted + (1.0 - own) * (base / np.maximum(m, 1)[:, self._of_bin])
        p = own * window_shares(counts, total, self.starts) + (1.0 - own) * total
        return share, p, w * w / np.maximum(rows, 1.0), 1.0 - w, (1.0 - w) / np.sqrt(n0)

    def expectation(self, hours_of_week: Sequence[int], n: IntArray) -> Expectation:
        """Return the expected shares of windows for all groups; those without a season get the total's.

        Args:
            hours_of_week: hours that any of the windows covers, ascending, (K,).
            n: events of each seasonal group per window and hour, (W, K, S).
        """
        bins = self._bins
        windows = len(n)
        base_m = np.add.reduceat(bins.base_bins, bins.starts)
        group = np.repeat(np.arange(bins.n_groups), bins.sizes)
        share = np.repeat((bins.base_bins / base_m[group])[None], windows, axis=0)
        p = np.repeat(smoothed_shares(bins.base_bins, bins.starts)[None], windows, axis=0)
        m = np.repeat(base_m[None].astype(np.float64), windows, axis=0)
        if len(self.groups):
            seasonal = self._mix(list(hours_of_week), n, base_m[self.groups])
            # A window without events has no verdict, so its expectation does not matter.
            has_events = n.sum(axis=1) > 0
            filled = has_events[:, self._of_bin]
            share[:, self.columns] = np.where(filled, seasonal.share, share[:, self.columns])
            p[:, self.columns] = np.where(filled, seasonal.p, p[:, self.columns])
            m[:, self.groups] = np.where(has_events, seasonal.m, m[:, self.groups])
        return Expectation(share, p, m)

    def _mix(self, hours_of_week: list[int], n: IntArray, m: IntArray) -> Expectation:
        total = np.maximum(n.sum(axis=1), 1).astype(np.float64)
        share = np.zeros((len(n), len(self.columns)))
        p = np.zeros_like(share)
        noise, rest, apart = (np.zeros(total.shape) for _ in range(3))
        # Hour by hour, so that the order of additions does not depend on the batch.
        for i, hour_of_week in enumerate(hours_of_week):
            part = n[:, i] / total
            of_bin = part[:, self._of_bin]
            share += of_bin * self._share[hour_of_week]
            p += of_bin * self._p[hour_of_week]
            noise += part * part * self._noise[hour_of_week]
            rest += part * self._rest[hour_of_week]
            apart += part * self._apart[hour_of_week]
        return Expectation(share, p, self._worth(noise, rest, apart, m))

    def _worth(self, noise: FloatArray, rest: FloatArray, apart: FloatArray, m: IntArray) -> FloatArray:
        """Return m_eff, in the shape of `noise`; 0 without data."""
        known = m > 0
        spread = noise + rest * rest / np.where(known, m, 1) + apart * apart
        return np.where(known & (spread > 0.0), 1.0 / np.where(spread > 0.0, spread, 1.0), 0.0)

    def values_left_out(
        self, counts: IntArray, hours_of_week: HourArray
    ) -> tuple[FloatArray, IntArray, FloatArray, IntArray]:
        """Return PSI, df, T and n, each (W, S), of training windows compared with the baseline without the window.

        A window has a large share of each of its hours' rows (a quarter with four weeks of training). Compared with
        hours that include the window, it would be too similar: T would be (k − 1)/(k + 1) of the T of future windows,
        with k weeks of training.

        Args:
            counts: rows per window, hour and bin, (W, K, nb), with the bins of `groups` end to end.
            hours_of_week: hour of the week of each of a window's hours, (W, K).
        """
        windows, hours, n_bins = counts.shape
        counts = _once_per_hour(counts, hours_of_week)
        total = counts.sum(axis=1)
        base = self._bins.base_bins[self.columns] - total
        m = np.add.reduceat(base, self.starts, axis=1)
        each = np.repeat(np.arange(windows), hours)
        share, p, noise, rest, apart = (
            values.reshape(windows, hours, -1)
            for values in self._shrink(
                (self.counts[hours_of_week] - counts).reshape(-1, n_bins),
                self.n0[hours_of_week].reshape(-1, len(self.groups)),
                base[each],
                smoothed_shares(base, self.starts)[each],
                m[each],
            )
        )
        n = np.add.reduceat(counts, self.starts, axis=2)
        part = n / np.maximum(n.sum(axis=1, keepdims=True), 1)
        of_bin = part[:, :, self._of_bin]
        worth = self._worth((part * part * noise).sum(axis=1), (part * rest).sum(axis=1), (part * apart).sum(axis=1), m)
        expected = Expectation((of_bin * share).sum(axis=1), (of_bin * p).sum(axis=1), worth)
        # A group without events has no expected shares and no verdict: any shares will do.
        empty = (n.sum(axis=1) == 0)[:, self._of_bin]
        np.copyto(expected.p, 1.0, where=empty)
        return psi_values(self._bins.base_bins[self.columns], total, self.starts, expected=expected)


def _once_per_hour(counts: IntArray, hours_of_week: HourArray) -> IntArray:
    """Add counts of hours that repeat an hour of the week of the same window to its first occurrence."""
    ordered = np.sort(hours_of_week, axis=1)
    repeated = np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
    if not len(repeated):
        return counts
    counts = counts.copy()
    for window in repeated.tolist():
        _, first, hour_of_week = np.unique(hours_of_week[window], return_index=True, return_inverse=True)
        moved = np.zeros_like(counts[window])
        np.add.at(moved, first[hour_of_week], counts[window])
        counts[window] = moved
    return counts


def _n0(base: IntArray, counts: IntArray, starts: IntArray) -> FloatArray:
    """Return n₀ of each hour of the week and group, (168, S); infinite if hours do not differ on average."""
    psi, df, _, n = psi_values(base, counts, starts)
    m = np.add.reduceat(base, starts).astype(np.float64)
    n_h = n * m / np.maximum(n + m, 1.0)
    many = n >= FEW_ROWS
    weight = np.where(many | ~many.any(axis=0), n_h, 0.0)
    excess = np.where(n > 0, (psi - df / np.maximum(n_h, 1e-300)) / df, 0.0)
    mean = (weight * excess).sum(axis=0) / np.maximum(weight.sum(axis=0), 1e-300)
    own = np.where(many & (mean > 0.0), np.maximum(excess, mean), np.maximum(mean, 0.0))
    with np.errstate(divide="ignore"):
        n0: FloatArray = 1.0 / own
    return n0
