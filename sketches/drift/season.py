"""Hour-of-week expectations: what a window should hold, given the hours of the week that it lies in.

A baseline may hold counts per hour-of-week slot beside those of the whole. A slot of few rows, or a field with little
of a season, says less than the whole does, so each slot's shares are drawn to those of the whole:

    pₛ = wₛ·q̂ₛ + (1 − wₛ)·p,  wₛ = mₛ/(mₛ + nₛ⁰),  1/nₛ⁰ = max(eₛ, 0, mean of eₛ),  eₛ = (PSIₛ − dfₛ/n_h,ₛ)/dfₛ

where PSIₛ is that of the slot's mₛ rows against all m rows, dfₛ/n_h,ₛ what chance alone makes of it, and so 1/nₛ⁰ how
far the slot differs from the whole: as slots do on average, or further where it shows so itself. (Drawn as far as the
average slot, an hour that is much unlike the whole would be expected to be more like it than it is: 500 events of a
night of 250 rows, at a mild season, have p < 0.05 in 48 % of windows without drift, 14 % this way.) The mean is
weighted by n_h,ₛ: slots of equal rows count alike, and those of a quiet night, whose PSI is mostly chance, little.
(Unweighted, nights of 20 rows beside days of 4,000 hide a season of 5 % tilt altogether; nights of 3 rows make one up
where there is none, with n₀ = 13.) Without a season the mean is not above 0, and the field is judged as without slots.

A window of n events, nₛ of them in slot s, is held against Σ nₛpₛ/n, which is worth m_eff rows:

    1/m_eff = Σ (nₛ/n)²·wₛ²/mₛ + (Σ (nₛ/n)·(1 − wₛ))²/m + (Σ (nₛ/n)·(1 − wₛ)/√nₛ⁰)²

The last term is for what drawing to the whole leaves out of a true season: neighbouring hours differ alike, so that it
counts in full for a window of several. A slot alone is then worth about mₛ + nₛ⁰ rows. (Without it, 500 events of a
night that training knows by 50 rows read minor or major 42 % of the time though nothing drifts, with it 0.1 %; from 600
rows a slot on it hardly counts.)

Levels alarm in under 0.1 % of windows without drift. p < 0.05 comes in 5 to 9 % where training has as many rows of the
hour as the window has events, in more where it has fewer: what is drawn to the whole is then off by more than chance.

Values that repeat themselves make slots differ just as a season does, and n₀ takes them for one; φ, which is learned
with these expectations from windows that are left out of them, sees how far such slots can be trusted.

Results do not depend on what else is in the batch: a window alone gives the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sketches.baseline.baseline import HOURS_OF_WEEK, SLOT_NAMES
from sketches.baseline.bins import PsiBins
from sketches.baseline.layout import IntArray
from sketches.drift.psi import Expectation, FloatArray, psi_values, smoothed_shares, window_shares

SlotArray = NDArray[np.int16]

FEW_ROWS = 200
"""PSI of fewer rows is no χ²; such slots have no say in the mean where any has more, and none in their own n₀."""


class Season:
    """The hour-of-week counts of one baseline, compiled for its groups of the slice `all` that have a season.

    Attributes:
        timezone: the zone whose hours they are.
        groups: which groups of the bins, ascending, shape (S,).
        fields: the field of each in the layout, shape (S,).
        columns: the bins of those groups among all, end to end, shape (nb,).
        starts: the first of each group among them, shape (S,).
        n0: so many rows of a slot count as much as the whole does, shape (168, S).
        counts: rows per slot and bin, shape (168, nb).
    """

    def __init__(self, bins: PsiBins) -> None:
        layout = bins.layout
        self.timezone = layout.baseline.timezone
        self._bins = bins
        pairs = zip(bins.slice_index.tolist(), bins.field_index.tolist(), strict=True)
        slotted = [group for group, (row, field) in enumerate(pairs) if row == 0 and layout.fields[field].slots]
        self._choose(np.array(slotted, dtype=np.int64))
        self.counts = np.zeros((HOURS_OF_WEEK, len(self.columns)), dtype=np.int64)
        for start, size, field in zip(self.starts.tolist(), self._sizes.tolist(), self.fields.tolist(), strict=True):
            slots = layout.fields[field].slots
            rows = [slots.get(name) or (0,) * size for name in SLOT_NAMES]
            self.counts[:, start : start + size] = rows
        if not slotted:
            self.n0 = np.zeros((HOURS_OF_WEEK, 0))
            return
        n0 = _n0(bins.base_bins[self.columns], self.counts, self.starts)
        seasonal = np.isfinite(n0).any(axis=0)
        self.counts = self.counts[:, np.repeat(seasonal, self._sizes)]
        self._choose(self.groups[seasonal])
        self.n0 = n0[:, seasonal]
        self._compile()

    def _choose(self, groups: IntArray) -> None:
        """Take some groups, and lay their bins end to end."""
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
        whole = smoothed_shares(base, self.starts)
        self._share, self._p, self._noise, self._rest, self._apart = self._shrink(
            self.counts, self.n0, base[None], whole[None], np.add.reduceat(base, self.starts)[None]
        )

    def _shrink(
        self, counts: IntArray, n0: FloatArray, base: IntArray, whole: FloatArray, m: IntArray
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
        """Draw the shares of slots to those of the whole.

        Args:
            counts: rows of slots, (N, nb).
            n0: of these slots, (N, S).
            base: rows of the whole, (N or 1, nb).
            whole: its smoothed shares, (N or 1, nb).
            m: its sums, (N or 1, S).

        Returns:
            Shares as counted and smoothed, (N, nb); w²/mₛ, 1 − w and (1 − w)/√n₀, (N, S).
        """
        rows = np.add.reduceat(counts, self.starts, axis=1).astype(np.float64)
        w = rows / (rows + n0)
        own = w[:, self._of_bin]
        counted = counts / np.maximum(rows, 1.0)[:, self._of_bin]
        share = own * counted + (1.0 - own) * (base / np.maximum(m, 1)[:, self._of_bin])
        p = own * window_shares(counts, whole, self.starts) + (1.0 - own) * whole
        return share, p, w * w / np.maximum(rows, 1.0), 1.0 - w, (1.0 - w) / np.sqrt(n0)

    def expectation(self, slots: Sequence[int], n: IntArray) -> Expectation:
        """What windows should hold, for all groups of the bins; those without a season as the whole is.

        Args:
            slots: the slots that any of the windows lies in, ascending, (K,).
            n: events of each seasonal group per window and slot, (W, K, S).
        """
        bins = self._bins
        windows = len(n)
        base_m = np.add.reduceat(bins.base_bins, bins.starts)
        group = np.repeat(np.arange(bins.n_groups), bins.sizes)
        share = np.repeat((bins.base_bins / base_m[group])[None], windows, axis=0)
        p = np.repeat(smoothed_shares(bins.base_bins, bins.starts)[None], windows, axis=0)
        m = np.repeat(base_m[None].astype(np.float64), windows, axis=0)
        if len(self.groups):
            seasonal = self._mix(list(slots), n, base_m[self.groups])
            # A window without events has no verdict, whatever is expected of it.
            some = n.sum(axis=1) > 0
            filled = some[:, self._of_bin]
            share[:, self.columns] = np.where(filled, seasonal.share, share[:, self.columns])
            p[:, self.columns] = np.where(filled, seasonal.p, p[:, self.columns])
            m[:, self.groups] = np.where(some, seasonal.m, m[:, self.groups])
        return Expectation(share, p, m)

    def _mix(self, slots: list[int], n: IntArray, m: IntArray) -> Expectation:
        total = np.maximum(n.sum(axis=1), 1).astype(np.float64)
        share = np.zeros((len(n), len(self.columns)))
        p = np.zeros_like(share)
        noise, rest, apart = (np.zeros(total.shape) for _ in range(3))
        # Slot by slot, so that the order of additions is the same in whatever batch a window is.
        for i, slot in enumerate(slots):
            part = n[:, i] / total
            of_bin = part[:, self._of_bin]
            share += of_bin * self._share[slot]
            p += of_bin * self._p[slot]
            noise += part * part * self._noise[slot]
            rest += part * self._rest[slot]
            apart += part * self._apart[slot]
        return Expectation(share, p, self._worth(noise, rest, apart, m))

    def _worth(self, noise: FloatArray, rest: FloatArray, apart: FloatArray, m: IntArray) -> FloatArray:
        """m_eff, in the shape of `noise`; 0 where nothing is known."""
        known = m > 0
        spread = noise + rest * rest / np.where(known, m, 1) + apart * apart
        return np.where(known & (spread > 0.0), 1.0 / np.where(spread > 0.0, spread, 1.0), 0.0)

    def values_left_out(self, counts: IntArray, slots: SlotArray) -> tuple[FloatArray, IntArray, FloatArray, IntArray]:
        """PSI, df, T and n, each (W, S), of training windows, each against the baseline without the window itself.

        A window holds a good part of each of its slots' rows (a quarter, where training has four weeks); held against
        a slot with itself in it, it would resemble it too well: T would be (k − 1)/(k + 1) of what the windows of
        k + 1 weeks to come will show.

        Args:
            counts: rows per window, hour and bin, (W, K, nb), with the bins of `groups` end to end.
            slots: the slot of each of a window's hours, (W, K).
        """
        windows, hours, n_bins = counts.shape
        counts = _once_per_slot(counts, slots)
        whole = counts.sum(axis=1)
        base = self._bins.base_bins[self.columns] - whole
        m = np.add.reduceat(base, self.starts, axis=1)
        each = np.repeat(np.arange(windows), hours)
        share, p, noise, rest, apart = (
            values.reshape(windows, hours, -1)
            for values in self._shrink(
                (self.counts[slots] - counts).reshape(-1, n_bins),
                self.n0[slots].reshape(-1, len(self.groups)),
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
        # A group without events has no shares to expect and no verdict: any will do.
        empty = (n.sum(axis=1) == 0)[:, self._of_bin]
        np.copyto(expected.p, 1.0, where=empty)
        return psi_values(self._bins.base_bins[self.columns], whole, self.starts, expected=expected)


def _once_per_slot(counts: IntArray, slots: SlotArray) -> IntArray:
    """Move the counts of hours whose slot a window had before to the first hour of that slot."""
    ordered = np.sort(slots, axis=1)
    repeated = np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
    if not len(repeated):
        return counts
    counts = counts.copy()
    for window in repeated.tolist():
        _, first, slot = np.unique(slots[window], return_index=True, return_inverse=True)
        moved = np.zeros_like(counts[window])
        np.add.at(moved, first[slot], counts[window])
        counts[window] = moved
    return counts


def _n0(base: IntArray, counts: IntArray, starts: IntArray) -> FloatArray:
    """n₀ of each slot and group, (168, S), from the rows per slot; infinite where slots do not differ on average."""
    psi, df, _, n = psi_values(base, counts, starts)
    m = np.add.reduceat(base, starts).astype(np.float64)
    n_h = n * m / np.maximum(n + m, 1.0)
    many = n >= FEW_ROWS
    weight = np.where(many | ~many.any(axis=0), n_h, 0.0)
    excess = np.where(n > 0, (psi - df / np.maximum(n_h, 1e-300)) / df, 0.0)
    mean = (weight * excess).sum(axis=0) / np.maximum(weight.sum(axis=0), 1e-300)
    own = np.where(many & (mean > 0.0), np.maximum(excess, mean), np.maximum(mean, 0.0))
    with np.errstate(divide="ignore"):
        found: FloatArray = 1.0 / own
    return found
