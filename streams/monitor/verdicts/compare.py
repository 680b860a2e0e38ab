"""Windows of several series → rows of `comparisons`: outputs of versions and arms against each other.

Sides that are counted on the same bins are compared by exact counts. Where two versions have baselines of their own,
what lies on other bins is counted anew from its sketch, and what the sketch may be off by counts as noise.

Everything that a row says follows from its own window: what else is judged at the same time changes no bit of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from barograph.contract import Contract, Window
from barograph.contract.check import CONFIDENCE
from barograph.events import METRICS
from numpy.typing import NDArray

from sketches.baseline.layout import ERRORS, EVENTS, SLOW, TIMED, IntArray
from sketches.comparison.aligned import AlignedField, align
from sketches.comparison.differences import Differences, mean_differences, quantile_differences, rate_differences
from sketches.comparison.two_sample import psi_differences
from streams.events.projection import LATENCY, SCORES_PREFIX, field_of
from streams.monitor.verdicts.comparison_rows import Columns, Measure, Sizes, Windows, comparison_columns
from streams.monitor.verdicts.judge import ERROR_FIELD, join_columns, window_counts
from streams.monitor.verdicts.numbers import PooledMoments, ReadValues
from streams.monitor.verdicts.side_counts import SideCounts
from streams.monitor.verdicts.sides import Kind, Member, Pair, Side, arm_pairs, version_pairs

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

MOST_CATEGORIES = 20
"""So many categories of a field have their share compared, in the baseline's order."""
QUANTILES = {"p50": 0.5, "p99": 0.99}
_OUTPUTS = ("score", "class", CONFIDENCE, LATENCY)
_OUTPUT_MAPS = (SCORES_PREFIX, f"{METRICS}.")
_FLAG_EDGES = (0.5,)


@dataclass(frozen=True, slots=True)
class Judged:
    """Windows that are judged together, and what is the same for all of them."""

    contract: Contract
    window: Window
    ends_s: IntArray
    """Shape (W,), ascending."""
    lost: FloatArray
    """Lost offsets per window, shape (W,)."""
    whole: BoolArray
    """Whether the model's record covers the whole window, shape (W,); else levels are `insufficient`."""
    record_seq: int
    judged_ms: int


def is_output(source: str) -> bool:
    """Whether a field's source is an output of the model: score, class, confidence, latency, a metric."""
    return source in _OUTPUTS or source.startswith(_OUTPUT_MAPS)


def compare(judged: Judged, versions: Sequence[Side], arms: Sequence[Side], values: ReadValues) -> Columns | None:
    """Compare the last two versions of each window, and each arm with the control.

    Args:
        judged: the windows; panes or hours of all members are within reach for them. They take memory together.
        versions: the oldest first.
        arms: the control first.
        values: reads moments and sketches.

    Returns:
        Columns of `comparisons`; None where there is nothing to compare.
    """
    found: list[Columns] = []
    kinds: tuple[tuple[Kind, Sequence[Side], Callable[[Sequence[Side], IntArray], list[Pair]]], ...] = (
        ("version", versions, version_pairs),
        ("arm", arms, arm_pairs),
    )
    for kind, sides, choose in kinds:
        counts = [[_counts(member, judged) for member in side.members] for side in sides]
        events = [each[:, EVENTS] for of_side in counts for each in of_side]
        if len(events) < 2:
            continue
        for pair in choose(sides, np.stack(events, axis=1)):
            found += _Comparison(judged, kind, sides, pair, counts, values).rows()
    return join_columns([columns for columns in found if len(columns["record_seq"])])


def _counts(member: Member, judged: Judged) -> IntArray:
    """What was counted of a member in each window, shape (W, width)."""
    only = slice(member.slice_index, member.slice_index + 1)
    return window_counts(member.series, judged.window, judged.ends_s.tolist(), only)[:, 0]


class _Comparison:
    """One pair in its windows."""

    def __init__(
        self,
        judged: Judged,
        kind: Kind,
        sides: Sequence[Side],
        pair: Pair,
        counts: Sequence[Sequence[IntArray]],
        values: ReadValues,
    ) -> None:
        w = pair.windows
        self.judged = judged
        ends_s = judged.ends_s[w]

        def half(side: int, members: tuple[int, ...], first: int) -> SideCounts:
            told = [sides[side].members[j] for j in members]
            return SideCounts(sides[side].name, told, [counts[side][j][w] for j in members], first, ends_s, values)

        self.left = half(pair.left, pair.left_members, 0)
        self.right = half(pair.right, pair.right_members, len(pair.left_members))
        self.halves = (self.left, self.right)
        events, lost = self.left.events + self.right.events, judged.lost[w]
        self.windows = Windows(
            judged.contract.model,
            kind,
            self.left.name,
            self.right.name,
            judged.window,
            ends_s,
            np.where(lost > 0, events / np.maximum(events + lost, 1), 1.0),
            judged.whole[w],
            judged.judged_ms,
            judged.record_seq,
        )
        self.everywhere: BoolArray = np.ones(len(w), dtype=bool)

    @cached_property
    def fields(self) -> list[AlignedField]:
        """The outputs that all members have, on the bins of the right side's newest baseline."""
        contract = self.judged.contract
        declared = {field.name: field for field in contract.fields}
        layouts = [member.layout for half in self.halves for member in half.members]
        names = [
            kept.name
            for kept in layouts[-1].fields
            if is_output((declared.get(kept.name) or field_of(kept, contract)).source)
        ]
        return align(layouts[-1], layouts, names)

    @cached_property
    def _latency(self) -> str:
        """The name of the field that is the latency."""
        return next((field.name for field in self.judged.contract.fields if field.source == LATENCY), LATENCY)

    def rows(self) -> list[Columns]:
        """Columns of every measure of every output."""
        rows = [self._errors()]
        for field in self.fields:
            if field.name == self._latency and self.judged.contract.slo.latency_ms is not None:
                rows.append(self._slow(field))
            phis = self._phis(field)
            rows.append(self._psi(field, phis))
            nulls = [(half.nulls(field), half.events) for half in self.halves]
            rows.append(self._rate(Measure(field.name, "null_rate", "counts"), nulls, phis))
            rows += self._shares(field, phis) if field.kind == "category" else self._numbers(field, phis)
        return rows

    # ------------------------------------------------------------------------------------------ counts

    def _errors(self) -> Columns:
        ones = np.ones(len(self.everywhere))
        sides = [(half.sums(ERRORS), half.events) for half in self.halves]
        return self._rate(Measure(ERROR_FIELD, "error_rate", "counts"), sides, (ones, ones))

    def _slow(self, field: AlignedField) -> Columns:
        """Latency over what the contract promises, of the events that tell theirs."""
        sides = [(half.sums(SLOW), half.sums(TIMED)) for half in self.halves]
        known = (sides[0][1] > 0) & (sides[1][1] > 0)
        return self._rate(Measure(field.name, "slow_rate", "counts"), sides, self._phis(field), known)

    def _phis(self, field: AlignedField) -> tuple[FloatArray, FloatArray]:
        return self.left.phi(field, self.judged.window.name), self.right.phi(field, self.judged.window.name)

    def _psi(self, field: AlignedField, phis: tuple[FloatArray, FloatArray]) -> Columns:
        lines = self.judged.contract.thresholds
        (left, left_noise), (right, right_noise) = (half.binned(field) for half in self.halves)
        noise = left_noise + right_noise
        readable = np.isfinite(noise)
        found = psi_differences(
            left,
            right,
            [0],
            phi_left=phis[0][:, None],
            phi_right=phis[1][:, None],
            noise=np.where(readable, noise, 0.0)[:, None],
            minor=lines.minor,
            major=lines.major,
        )
        nothing = np.full(len(noise), np.nan)
        psi, low, high, p, df = (
            each[:, 0].astype(np.float64) for each in (found.psi, found.low, found.high, found.p_value, found.df)
        )
        exact = all(place is not None for place in field.places)
        return comparison_columns(
            self.windows,
            Measure(field.name, "psi", "counts" if exact else "sketches", lines=(lines.minor, lines.major)),
            Differences(nothing, nothing, psi, low, high, p, df),
            Sizes(found.n_left[:, 0], found.n_right[:, 0], phis[0], phis[1]),
            readable & left.any(axis=1) & right.any(axis=1),
            level=found.level[:, 0],
            top_bin=[field.labels[i] if i >= 0 else "" for i in found.top_bin[:, 0].tolist()],
        )

    def _shares(self, field: AlignedField, phis: tuple[FloatArray, FloatArray]) -> list[Columns]:
        left, right = (half.binned(field)[0] for half in self.halves)
        n_left, n_right = left.sum(axis=1), right.sum(axis=1)
        known = (n_left > 0) & (n_right > 0)
        return [
            self._rate(
                Measure(field.name, "share", "counts", category),
                [(left[:, i], n_left), (right[:, i], n_right)],
                phis,
                known,
            )
            for i, category in enumerate(field.categories[:MOST_CATEGORIES])
        ]

    def _rate(
        self,
        measure: Measure,
        sides: list[tuple[IntArray, IntArray]],
        phis: tuple[FloatArray, FloatArray],
        known: BoolArray | None = None,
    ) -> Columns:
        """Rows of a rate, from events that count and all events of both sides, each (W,)."""
        (k_left, n_left), (k_right, n_right) = sides
        lines = self.judged.contract.rate_thresholds
        found = rate_differences(
            k_left,
            n_left,
            k_right,
            n_right,
            phi_left=phis[0],
            phi_right=phis[1],
            minor=lines.minor,
            major=lines.major,
        )
        return comparison_columns(
            self.windows,
            replace(measure, lines=(lines.minor, lines.major)),
            found,
            Sizes(n_left, n_right, phis[0], phis[1]),
            self.everywhere if known is None else known,
            level=found.level,
        )

    # ------------------------------------------------------------------------------------------ numbers

    def _numbers(self, field: AlignedField, phis: tuple[FloatArray, FloatArray]) -> list[Columns]:
        """Means and quantiles, of the windows in which they are known on both sides."""
        left, right = (half.numbers(field) for half in self.halves)
        n_left, n_right = (np.array([each.n for each in side], dtype=np.int64) for side in (left, right))
        sizes = Sizes(n_left, n_right, phis[0], phis[1])
        known = (sizes.n_left > 0) & (sizes.n_right > 0)
        if not known.any():
            return []
        mean = [np.array([each.mean for each in side]) for side in (left, right)]
        variance = [np.array([each.variance for each in side]) for side in (left, right)]
        found = mean_differences(
            sizes.n_left,
            mean[0],
            variance[0],
            sizes.n_right,
            mean[1],
            variance[1],
            phi_left=phis[0],
            phi_right=phis[1],
        )
        finite = known & np.isfinite(found.difference)
        rows = [comparison_columns(self.windows, Measure(field.name, "mean", "moments"), found, sizes, finite)]
        # Of a flag the mean says everything.
        return rows if field.edges == _FLAG_EDGES else rows + self._quantiles(field, left, right, sizes)

    def _quantiles(
        self, field: AlignedField, left: list[PooledMoments], right: list[PooledMoments], sizes: Sizes
    ) -> list[Columns]:
        ranks = list(QUANTILES.values())
        figures = np.full((len(left), 7, len(ranks)), np.nan)
        known = np.zeros(len(left), dtype=bool)
        for w, (one, other) in enumerate(zip(left, right, strict=True)):
            if one.sketch is None or other.sketch is None:
                continue
            known[w] = True
            found = quantile_differences(
                one.sketch,
                other.sketch,
                ranks,
                phi_left=float(sizes.phi_left[w]),
                phi_right=float(sizes.phi_right[w]),
            )
            figures[w] = (
                found.left,
                found.right,
                found.difference,
                found.low,
                found.high,
                found.p_value,
                found.df,
            )
        return [
            comparison_columns(
                self.windows, Measure(field.name, name, "sketches"), Differences(*figures[:, :, i].T), sizes, known
            )
            for i, name in enumerate(QUANTILES)
        ]
