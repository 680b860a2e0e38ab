"""Compares the outputs of versions and arms in windows, as columns of `comparisons`.

Sides that are counted on the same bins are compared by exact counts. If two versions have baselines with different
edges, the counts of the older one are estimated from its sketch, and the sketch's error is treated as noise.

Every row depends on its own window alone: the other windows that are judged together do not change a bit of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from barograph.contract import CONFIDENCE
from barograph.events import METRICS
from numpy.typing import NDArray

from barograph_server.sketches.baseline.layout import ERRORS, EVENTS, SLOW, TIMED, IntArray
from barograph_server.sketches.comparison.aligned import AlignedField, align
from barograph_server.sketches.comparison.differences import (
    Differences,
    mean_differences,
    quantile_differences,
    rate_differences,
)
from barograph_server.sketches.comparison.two_sample import psi_differences
from barograph_server.streams.events.projection import LATENCY, SCORES_PREFIX, field_of
from barograph_server.streams.monitor.state.commit_rows import Columns
from barograph_server.streams.monitor.verdicts.column_buffer import concat_columns
from barograph_server.streams.monitor.verdicts.comparison_rows import (
    Measure,
    PairWindows,
    SampleSizes,
    comparison_columns,
)
from barograph_server.streams.monitor.verdicts.judge import ERROR_FIELD
from barograph_server.streams.monitor.verdicts.side_counts import PooledMoments, ReadNumbers, SideCounts
from barograph_server.streams.monitor.verdicts.sides import (
    ComparedPair,
    ComparedSide,
    SeriesSlice,
    SideKind,
    arm_pairs,
    version_pairs,
)
from barograph_server.streams.monitor.verdicts.window_counts import WindowSet, window_counts

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

MAX_CATEGORIES = 20
"""Categories of a field whose share is compared: the first ones in the baseline's order."""
QUANTILES = {"p50": 0.5, "p99": 0.99}
_OUTPUTS = ("score", "class", CONFIDENCE, LATENCY)
_OUTPUT_MAPS = (SCORES_PREFIX, f"{METRICS}.")
_FLAG_EDGES = (0.5,)


def is_output(source: str) -> bool:
    """Whether a field's source is an output of the model: score, class, confidence, latency, a metric."""
    return source in _OUTPUTS or source.startswith(_OUTPUT_MAPS)


def compare(
    windows: WindowSet, versions: Sequence[ComparedSide], arms: Sequence[ComparedSide], read_numbers: ReadNumbers
) -> Columns | None:
    """Compare the last two versions of each window, and each arm with the control.

    Args:
        windows: the panes or hours of all members are readable for them. Their counts are in memory together.

    Returns:
        Columns of `comparisons`; None if there is nothing to compare.
    """
    chunks: list[Columns] = []
    kinds: tuple[
        tuple[SideKind, Sequence[ComparedSide], Callable[[Sequence[ComparedSide], IntArray], list[ComparedPair]]], ...
    ] = (("version", versions, version_pairs), ("arm", arms, arm_pairs))
    for kind, sides, choose_pairs in kinds:
        counts = [[_window_counts(member, windows) for member in side.members] for side in sides]
        events = [of_member[:, EVENTS] for of_side in counts for of_member in of_side]
        if len(events) < 2:
            continue
        for pair in choose_pairs(sides, np.stack(events, axis=1)):
            chunks += _Comparison(windows, kind, sides, pair, counts, read_numbers).rows()
    return concat_columns([columns for columns in chunks if len(columns["record_seq"])])


def _window_counts(member: SeriesSlice, windows: WindowSet) -> IntArray:
    """Return a member's counts in each window, shape (W, width)."""
    slices = slice(member.slice_index, member.slice_index + 1)
    return window_counts(member.series, windows, slices)[:, 0]


class _Comparison:
    def __init__(
        self,
        windows: WindowSet,
        kind: SideKind,
        sides: Sequence[ComparedSide],
        pair: ComparedPair,
        counts: Sequence[Sequence[IntArray]],
        read_numbers: ReadNumbers,
    ) -> None:
        w = pair.windows
        self.contract, self.window = windows.contract, windows.window
        selected = windows.select(w)

        def side_counts(side: int, indices: tuple[int, ...], first: int) -> SideCounts:
            members = [sides[side].members[j] for j in indices]
            of_members = [counts[side][j][w] for j in indices]
            return SideCounts(sides[side].name, members, of_members, first, selected.ends_s, read_numbers)

        self.left = side_counts(pair.left, pair.left_members, 0)
        self.right = side_counts(pair.right, pair.right_members, len(pair.left_members))
        self.sides = (self.left, self.right)
        completeness = selected.completeness(self.left.events + self.right.events)
        self.pair = PairWindows(kind, self.left.name, self.right.name, selected, completeness)
        self.all_windows: BoolArray = np.ones(len(w), dtype=bool)

    @cached_property
    def fields(self) -> list[AlignedField]:
        """The outputs that all members have, on the bins of the right side's newest baseline."""
        declared = {field.name: field for field in self.contract.fields}
        layouts = [member.layout for side in self.sides for member in side.members]
        names = [
            field.name
            for field in layouts[-1].fields
            if is_output((declared.get(field.name) or field_of(field, self.contract)).source)
        ]
        return align(layouts[-1], layouts, names)

    def rows(self) -> list[Columns]:
        """Return columns of every measure of every output."""
        rows = [self._errors()]
        latency = next((field.name for field in self.contract.fields if field.source == LATENCY), LATENCY)
        for field in self.fields:
            if field.name == latency and self.contract.slo.latency_ms is not None:
                rows.append(self._slow(field))
            phis = self._phis(field)
            rows.append(self._psi(field, phis))
            nulls = [side.nulls(field) for side in self.sides]
            rows.append(self._rate(Measure(field.name, "null_rate", "counts"), nulls, self._phis(field, "null")))
            rows += self._shares(field, phis) if field.kind == "category" else self._numbers(field, phis)
        return rows

    # ------------------------------------------------------------------------------------------ counts

    def _errors(self) -> Columns:
        ones = np.ones(len(self.all_windows))
        sides = [(side.sum_header(ERRORS), side.events) for side in self.sides]
        return self._rate(Measure(ERROR_FIELD, "error_rate", "counts"), sides, (ones, ones))

    def _slow(self, field: AlignedField) -> Columns:
        """Compare the share of events slower than the contract promises, among the events with a latency."""
        sides = [(side.sum_header(SLOW), side.sum_header(TIMED)) for side in self.sides]
        known = (sides[0][1] > 0) & (sides[1][1] > 0)
        return self._rate(Measure(field.name, "slow_rate", "counts"), sides, self._phis(field), known)

    def _phis(self, field: AlignedField, rate: str | None = None) -> tuple[FloatArray, FloatArray]:
        return self.left.phi(field, self.window.name, rate), self.right.phi(field, self.window.name, rate)

    def _psi(self, field: AlignedField, phis: tuple[FloatArray, FloatArray]) -> Columns:
        thresholds = self.contract.thresholds
        (left, left_noise), (right, right_noise) = (side.binned(field) for side in self.sides)
        noise = left_noise + right_noise
        readable = np.isfinite(noise)
        result = psi_differences(
            left,
            right,
            [0],
            phi_left=phis[0][:, None],
            phi_right=phis[1][:, None],
            nu=min(side.nu(field, self.window.name) for side in self.sides),
            noise=np.where(readable, noise, 0.0)[:, None],
            thresholds=(thresholds.minor, thresholds.major),
            completeness=self.pair.completeness,
        )
        no_value = np.full(len(noise), np.nan)
        psi, low, high, p, df = (
            column[:, 0].astype(np.float64)
            for column in (result.psi, result.low, result.high, result.p_value, result.df)
        )
        is_exact = all(bins is not None for bins in field.bins_of_cells)
        return comparison_columns(
            self.pair,
            Measure(
                field.name, "psi", "counts" if is_exact else "sketches", thresholds=(thresholds.minor, thresholds.major)
            ),
            Differences(no_value, no_value, psi, low, high, p, df),
            SampleSizes(result.n_left[:, 0], result.n_right[:, 0], phis[0], phis[1]),
            readable & left.any(axis=1) & right.any(axis=1),
            level=result.level[:, 0],
            reason=result.reason[:, 0],
            top_bin=[field.labels[i] if i >= 0 else "" for i in result.top_bin[:, 0].tolist()],
        )

    def _shares(self, field: AlignedField, phis: tuple[FloatArray, FloatArray]) -> list[Columns]:
        left, right = (side.binned(field)[0] for side in self.sides)
        n_left, n_right = left.sum(axis=1), right.sum(axis=1)
        known = (n_left > 0) & (n_right > 0)
        return [
            self._rate(
                Measure(field.name, "share", "counts", category),
                [(left[:, i], n_left), (right[:, i], n_right)],
                phis,
                known,
            )
            for i, category in enumerate(field.categories[:MAX_CATEGORIES])
        ]

    def _rate(
        self,
        measure: Measure,
        sides: list[tuple[IntArray, IntArray]],
        phis: tuple[FloatArray, FloatArray],
        known: BoolArray | None = None,
    ) -> Columns:
        """Compare a rate.

        Args:
            sides: per side the counted events and all events, each (W,).
            phis: overdispersion per side, each (W,).
            known: the windows that get a row, shape (W,); None for all.
        """
        (k_left, n_left), (k_right, n_right) = sides
        thresholds = self.contract.rate_thresholds
        result = rate_differences(
            k_left,
            n_left,
            k_right,
            n_right,
            phi_left=phis[0],
            phi_right=phis[1],
            minor=thresholds.minor,
            major=thresholds.major,
            completeness=self.pair.completeness,
        )
        return comparison_columns(
            self.pair,
            replace(measure, thresholds=(thresholds.minor, thresholds.major)),
            result,
            SampleSizes(n_left, n_right, phis[0], phis[1]),
            self.all_windows if known is None else known,
            level=result.level,
            reason=result.reason,
        )

    # ------------------------------------------------------------------------------------------ numbers

    def _numbers(self, field: AlignedField, phis: tuple[FloatArray, FloatArray]) -> list[Columns]:
        """Compare means and quantiles, in the windows in which both sides have them."""
        left, right = (side.numbers(field) for side in self.sides)
        n_left, n_right = (np.array([pooled.n for pooled in side], dtype=np.int64) for side in (left, right))
        sizes = SampleSizes(n_left, n_right, phis[0], phis[1])
        known = (sizes.n_left > 0) & (sizes.n_right > 0)
        if not known.any():
            return []
        mean = [np.array([pooled.mean for pooled in side]) for side in (left, right)]
        variance = [np.array([pooled.variance for pooled in side]) for side in (left, right)]
        result = mean_differences(
            sizes.n_left, mean[0], variance[0], sizes.n_right, mean[1], variance[1], phi_left=phis[0], phi_right=phis[1]
        )
        finite = known & np.isfinite(result.difference)
        rows = [comparison_columns(self.pair, Measure(field.name, "mean", "moments"), result, sizes, finite)]
        # The quantiles of a flag add nothing to its mean.
        return rows if field.edges == _FLAG_EDGES else rows + self._quantiles(field, left, right, sizes)

    def _quantiles(
        self, field: AlignedField, left: list[PooledMoments], right: list[PooledMoments], sizes: SampleSizes
    ) -> list[Columns]:
        ranks = list(QUANTILES.values())
        figures = np.full((len(left), 7, len(ranks)), np.nan)
        known = np.zeros(len(left), dtype=bool)
        for w, (one, other) in enumerate(zip(left, right, strict=True)):
            if one.sketch is None or other.sketch is None:
                continue
            known[w] = True
            result = quantile_differences(
                one.sketch, other.sketch, ranks, phi_left=float(sizes.phi_left[w]), phi_right=float(sizes.phi_right[w])
            )
            figures[w] = (
                result.left,
                result.right,
                result.difference,
                result.low,
                result.high,
                result.p_value,
                result.df,
            )
        return [
            comparison_columns(
                self.pair, Measure(field.name, name, "sketches"), Differences(*figures[:, :, i].T), sizes, known
            )
            for i, name in enumerate(QUANTILES)
        ]
