"""Windows of several series → rows of `comparisons`: outputs of versions and arms against each other.

Sides that are counted on the same bins are compared by exact counts. Where two versions have baselines of their own,
what lies on other bins is counted anew from its sketch, and what the sketch may be off by counts as noise.

Everything that a row says follows from its own window: what else is judged at the same time changes no bit of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from barograph.contract import Contract, Window
from numpy.typing import NDArray

from sketches.aligned import AlignedField, align
from sketches.bins import judged_against
from sketches.differences import Differences, mean_differences, quantile_differences, rate_differences
from sketches.layout import ERRORS, EVENTS, SLOW, TIMED, IntArray
from sketches.rebin import rebin
from sketches.two_sample import psi_differences
from streams.monitor.comparison_rows import Columns, Measure, Sizes, Windows, comparison_columns
from streams.monitor.judge import join_columns
from streams.monitor.numbers import Gathered, ReadValues, Values
from streams.monitor.sides import Member, Pair, Side, arm_pairs, version_pairs
from streams.monitor.windows import step_s
from streams.wanted import field_of

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

WINDOWS_AT_ONCE = 64
MOST_CATEGORIES = 20
"""So many categories of a field have their share compared, in the baseline's order."""
QUANTILES = {"p50": 0.5, "p99": 0.99}
EVENTS_FIELD = "events"
"""What stands for a field where a rate is of the events themselves."""
_LATENCY = "latency_ms"
_OUTPUTS = ("score", "class", "confidence", _LATENCY)
_OUTPUT_MAPS = ("scores.", "metrics.")
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
    pos: int
    judged_ms: int


def is_output(source: str) -> bool:
    """Whether a field's source is an output of the model: score, class, confidence, latency, a metric."""
    return source in _OUTPUTS or source.startswith(_OUTPUT_MAPS)


def compare(judged: Judged, versions: Sequence[Side], arms: Sequence[Side], values: ReadValues) -> Columns | None:
    """Compare the last two versions of each window, and each arm with the control.

    Args:
        judged: the windows; panes or hours of all members are in memory for them.
        versions: the oldest first.
        arms: the control first.
        values: reads moments and sketches.

    Returns:
        Columns of `comparisons`; None where there is nothing to compare.
    """
    found: list[Columns] = []
    for first in range(0, len(judged.ends_s), WINDOWS_AT_ONCE):
        part = slice(first, first + WINDOWS_AT_ONCE)
        some = replace(judged, ends_s=judged.ends_s[part], lost=judged.lost[part], whole=judged.whole[part])
        for kind, sides, choose in (("version", versions, version_pairs), ("arm", arms, arm_pairs)):
            if len(sides) < 2:
                continue
            counts = {
                (i, j): _window_counts(member, some)
                for i, side in enumerate(sides)
                for j, member in enumerate(side.members)
            }
            events = np.array([each[:, EVENTS] for each in counts.values()], dtype=np.int64)
            for pair in choose(sides, events.reshape(len(counts), -1).T):
                found += _Comparison(some, kind, sides, pair, counts, values).rows()
    return join_columns([columns for columns in found if len(columns["pos"])])


def _window_counts(member: Member, judged: Judged) -> IntArray:
    """Sum one slice's counts over windows, shape (W, width)."""
    length_s, step = judged.window.length_s, step_s(judged.contract, judged.window)
    first = int(judged.ends_s[0]) - length_s
    steps = member.series.stack(first, int(judged.ends_s[-1]), step, slice(member.slice_index, member.slice_index + 1))
    total = np.zeros((len(steps) + 1, steps.shape[2]), dtype=np.int64)
    np.cumsum(steps[:, 0], axis=0, out=total[1:])
    last = (judged.ends_s - first) // step
    summed: IntArray = total[last] - total[last - length_s // step]
    return summed


class _Half:
    """One side of a pair in its windows: its members, and what was counted of them."""

    def __init__(self, name: str, members: tuple[Member, ...], counts: list[IntArray], first: int) -> None:
        self.name, self.members, self.first = name, members, first
        self._counts = counts
        self.events = self.sums(EVENTS)

    def sums(self, column: int) -> IntArray:
        """Counts of a column of the header, (W,)."""
        summed: IntArray = np.array([each[:, column] for each in self._counts], np.int64).sum(axis=0)
        return summed

    def fields(self, field: AlignedField) -> list[tuple[Member, int, IntArray, IntArray | None]]:
        """Per member, the field's index, its counts per cell, (W, n_cells), and the bins of these cells."""
        found = []
        for i, member in enumerate(self.members):
            index = field.field_index[self.first + i]
            start = int(member.layout.starts[index])
            cells = self._counts[i][:, start : start + int(member.layout.n_cells[index])]
            found.append((member, index, cells, field.places[self.first + i]))
        return found

    def nulls(self, field: AlignedField) -> IntArray:
        nulls: IntArray = np.array([cells[:, -1] for *_, cells, _ in self.fields(field)], np.int64).sum(axis=0)
        return nulls

    def phi(self, field: AlignedField, window: str) -> FloatArray:
        """Overdispersion of the field, (W,); of several members each counts by its events."""
        n = np.zeros(len(self.events))
        total = np.zeros(len(self.events))
        for member, index, cells, _ in self.fields(field):
            of_member = cells.sum(axis=1)
            n += of_member
            total += of_member * _phi(member, index, window)
        phi: FloatArray = np.maximum(1.0, total / np.maximum(n, 1.0))
        return phi


def _is_of_all(member: Member, values: Values, n: int) -> bool:
    """Whether moments are of all n numbers: those of the slice `all` are, others where their sketch is."""
    return member.slice_index == 0 or (values.sketch is not None and values.sketch.n == n)


def _phi(member: Member, field: int, window: str) -> float:
    trained = judged_against(member.layout)[member.slice_index]
    counts = member.layout.fields[field].slices.get(trained)
    learned = None if counts is None else counts.phi.get(window)
    return 1.0 if learned is None else learned.value


class _Comparison:
    """One pair in its windows."""

    def __init__(
        self,
        judged: Judged,
        kind: str,
        sides: Sequence[Side],
        pair: Pair,
        counts: dict[tuple[int, int], IntArray],
        values: ReadValues,
    ) -> None:
        w = pair.windows
        self.judged, self._values = judged, values
        self.left, self.right = (
            _Half(
                sides[i].name,
                tuple(sides[i].members[j] for j in members),
                [counts[i, j][w] for j in members],
                first,
            )
            for i, members, first in (
                (pair.left, pair.left_members, 0),
                (pair.right, pair.right_members, len(pair.left_members)),
            )
        )
        self.halves = (self.left, self.right)
        events, lost = self.left.events + self.right.events, judged.lost[w]
        self.windows = Windows(
            judged.contract.model,
            kind,
            self.left.name,
            self.right.name,
            judged.window,
            judged.ends_s[w],
            np.where(lost > 0, events / np.maximum(events + lost, 1), 1.0),
            judged.whole[w],
            judged.judged_ms,
            judged.pos,
        )
        self.everywhere: BoolArray = np.ones(len(w), dtype=bool)
        self.read: dict[tuple[str, str, int, int, int], Values | None] = {}

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
        return next((field.name for field in self.judged.contract.fields if field.source == _LATENCY), _LATENCY)

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
        return self._rate(Measure(EVENTS_FIELD, "error_rate", "counts"), sides, (ones, ones))

    def _slow(self, field: AlignedField) -> Columns:
        """Latency over what the contract promises, of the events that tell theirs."""
        sides = [(half.sums(SLOW), half.sums(TIMED)) for half in self.halves]
        known = (sides[0][1] > 0) & (sides[1][1] > 0)
        return self._rate(Measure(field.name, "slow_rate", "counts"), sides, self._phis(field), known)

    def _phis(self, field: AlignedField) -> tuple[FloatArray, FloatArray]:
        return self.left.phi(field, self.judged.window.name), self.right.phi(field, self.judged.window.name)

    def _psi(self, field: AlignedField, phis: tuple[FloatArray, FloatArray]) -> Columns:
        lines = self.judged.contract.lines
        (left, left_noise), (right, right_noise) = (self._binned(field, half) for half in self.halves)
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

    def _binned(self, field: AlignedField, half: _Half) -> tuple[IntArray, FloatArray]:
        """One side's counts on the shared bins, (W, B), and the noise of what was read from sketches, (W,).

        The noise is infinite where a sketch is missing.
        """
        counts = np.zeros((len(self.everywhere), field.n_bins), dtype=np.int64)
        noise = np.zeros(len(self.everywhere))
        for member, index, cells, places in half.fields(field):
            if places is not None:
                np.add.at(counts.T, places, cells.T)
                continue
            counts[:, -1] += cells[:, -1]
            n = cells[:, :-1].sum(axis=1)
            for w in np.flatnonzero(n).tolist():
                values = self._read(member, index, w)
                if values is None or values.sketch is None or values.sketch.n != n[w]:
                    noise[w] = np.inf
                    continue
                found = rebin(values.sketch, field.edges)
                counts[w, :-1] += found.counts
                noise[w] += found.noise * float(n[w]) ** 2
        return counts, noise / np.maximum(counts.sum(axis=1), 1) ** 2.0

    def _shares(self, field: AlignedField, phis: tuple[FloatArray, FloatArray]) -> list[Columns]:
        left, right = (self._binned(field, half)[0] for half in self.halves)
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
        lines = self.judged.contract.rate_lines
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

    def _read(self, member: Member, field: int, w: int) -> Values | None:
        key = member.series.version, member.series.baseline_id, member.slice_index, field, w
        if key not in self.read:
            self.read[key] = self._values(member, field, int(self.windows.ends_s[w]))
        return self.read[key]

    def _numbers(self, field: AlignedField, phis: tuple[FloatArray, FloatArray]) -> list[Columns]:
        """Means and quantiles, of the windows in which they are known on both sides."""
        left, right = ([self._gathered(half, field, w) for w in range(len(phis[0]))] for half in self.halves)
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
        self, field: AlignedField, left: list[Gathered], right: list[Gathered], sizes: Sizes
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

    def _gathered(self, half: _Half, field: AlignedField, w: int) -> Gathered:
        """The numbers of one side in one window; none where something of them was not kept."""
        gathered = Gathered()
        for member, index, cells, _ in half.fields(field):
            n = int(cells[w, :-1].sum())
            if n:
                values = self._read(member, index, w)
                if values is None or not _is_of_all(member, values, n):
                    return Gathered()
                gathered.add(n, member.layout.fields[index].mean, values)
        return gathered
