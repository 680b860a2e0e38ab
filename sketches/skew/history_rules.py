"""Rules that know entity and time: a value of earlier, and an aggregate over another window.

They need the history that training computed: rows of entity, time and value. A mismatch whose entity has no row that
far back cannot be judged, and does not count against a rule; a rule that can judge less than half is not named.

What can be recognised, and what not:

- *A lag*: served is the value of the same entity k rows earlier (k up to 30), or the one that was current Δt earlier
  (from a minute to a month). Between two rows of the history the value that was current is not known to the moment, so
  one of the two counts.
- *Another window of a known column*: means, sums and counts over the last w rows or the last w of time, with or
  without the row itself, are made of the underlying column and held against both sides. Windows of time are those
  people choose (`SPANS`), windows of rows are up to 400 long.
- *Another window without the column*: that one side is the mean or sum of the other's last w rows, or of every k-th of
  them: a window of j·k rows is j windows of k rows, so mean and sum over multiples can be told from the aggregates
  alone, where windows are of rows. Ratios of windows of time, and windows that are no multiples, cannot: the values
  that entered one and not the other are in neither. Counts over a window of time need no column at all, only that the
  history holds every row.
- Minimum, maximum, quantiles and exponential weights are not looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sketches.skew.field import BoolArray, Explanation, FloatArray, IntArray, ValuePairs
from sketches.skew.units import name_length

MAX_LAG = 30
MAX_WINDOW_ROWS = 400
_MAX_MULTIPLES = 60
_MINUTE, _HOUR, _DAY = 60_000, 3_600_000, 86_400_000
SPANS: tuple[tuple[str, int], ...] = (
    *((f"{m} min", m * _MINUTE) for m in (1, 2, 5, 10, 15, 20, 30, 45)),
    *((f"{h} h", h * _HOUR) for h in (1, 2, 3, 4, 6, 8, 12, 18)),
    *((f"{d} d", d * _DAY) for d in (1, 2, 3, 4, 5, 6, 7, 10, 14, 21, 28, 30, 60, 90)),
)
_SEARCHED = 2_000
"""Mismatches, spread evenly, on which rules are tried; what looks promising is then tried on all."""
_PROMISING = 0.3
_SUM_TOLERANCE = 1e-9
"""What running sums lose, where the field itself is compared exactly."""


@dataclass(frozen=True, slots=True)
class EntityHistory:
    """What training computed for every entity over time; rows in order of entity, then time.

    Times are Unix milliseconds. Make it with `EntityHistory.of`.
    """

    key: IntArray
    """Orders rows by entity and time, shape (m,): entity · span + time."""
    first: IntArray
    """The row at which each row's entity begins, shape (m,)."""
    last: IntArray
    """The row at which it ends, shape (m,)."""
    order: IntArray
    """Where each row stood before it was ordered, shape (m,)."""
    place: IntArray
    """Where each row stands now, shape (m,): the inverse of `order`."""

    @classmethod
    def of(cls, entity: NDArray[np.integer], time_ms: IntArray) -> EntityHistory:
        """Order rows; of one entity and time they keep their order.

        Args:
            entity: codes from 0 on, shape (m,).
            time_ms: shape (m,).
        """
        order = np.lexsort((time_ms, entity))
        start = int(time_ms.min()) if len(time_ms) else 0
        # Two spans apart, so that no look back ends in the entity before; finer than a millisecond nothing is needed.
        span = 2 * (int(time_ms.max()) - start + 1 if len(time_ms) else 1) + 2 * SPANS[-1][1]
        key = entity[order].astype(np.int64) * span + (time_ms[order] - start)
        begins = np.flatnonzero(np.diff(entity[order], prepend=-1))
        lengths = np.diff(np.append(begins, len(order)))
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        return cls(key, np.repeat(begins, lengths), np.repeat(begins + lengths - 1, lengths), order, place)


@dataclass(frozen=True, slots=True)
class EntitySeries:
    """The history of one field, and where the pairs stand in it."""

    history: EntityHistory
    at: IntArray
    """The ordered row of each pair, shape (n,)."""
    recomputed: FloatArray
    """What training computed, in the history's order, shape (m,); NaN is null."""
    served: FloatArray | None = None
    """What was served, in the history's order; NaN where nothing was served or it was null."""
    underlying: FloatArray | None = None
    """The column that the field is an aggregate of, in the history's order."""

    def lags(self, pairs: ValuePairs, rows: IntArray) -> Iterator[Explanation]:
        """Try the values of earlier.

        Args:
            pairs: the mismatches.
            rows: which of the pairs they are.
        """
        at = self.at[rows]
        rules = [self._row_lag(k) for k in range(1, MAX_LAG + 1)]
        rules += [self._time_lag(name, span) for name, span in SPANS]
        best = _best(rules, pairs, at)
        if best is None:
            return
        rule, found = best
        if rule.rows:
            back = at - rule.rows
            can = back >= self.history.first[at]
            apart = float(np.median(self.history.key[at[can]] - self.history.key[back[can]]))
            found = replace(found, detail=f"{found.detail} ({name_length(apart)})")
        yield found

    def rules(self, pairs: ValuePairs, rows: IntArray) -> Iterator[Explanation]:
        """Try everything: lags, then windows; arguments as `lags`."""
        yield from self.lags(pairs, rows)
        pairs = replace(pairs, tolerance=max(pairs.tolerance, _SUM_TOLERANCE))
        at = self.at[rows]
        if self.underlying is not None:
            yield from self._windows(self.underlying, pairs, at)
        yield from self._multiples(pairs, at)
        if self.underlying is None:
            yield from self._counts(pairs, at)

    # --- lags ---------------------------------------------------------------------------------------------------------

    def _row_lag(self, k: int) -> _Rule:
        def judge(pairs: ValuePairs, at: IntArray) -> tuple[BoolArray, BoolArray]:
            back = at - k
            can = back >= self.history.first[at]
            return can, can & pairs.equal(pairs.served, self.recomputed[np.maximum(back, 0)])

        return _Rule("lag in time", f"served is the value {k} row{'s' if k > 1 else ''} earlier", judge, rows=k)

    def _time_lag(self, name: str, span: int) -> _Rule:
        history = self.history

        def judge(pairs: ValuePairs, at: IntArray) -> tuple[BoolArray, BoolArray]:
            after = np.searchsorted(history.key, history.key[at] - span, side="right")
            before = after - 1
            can = before >= history.first[at]
            fits = pairs.equal(pairs.served, self.recomputed[np.maximum(before, 0)])
            fits |= pairs.equal(pairs.served, self.recomputed[np.minimum(after, at)]) & (after < at)
            return can, can & fits

        return _Rule("lag in time", f"served is the value of {name} earlier", judge)

    # --- windows of a known column ------------------------------------------------------------------------------------

    def _windows(self, underlying: FloatArray, pairs: ValuePairs, at: IntArray) -> Iterator[Explanation]:
        rules = _window_rules(_Sums(self.history, underlying))
        best = _best(rules, pairs, at)
        if best is None:
            return
        rule, found = best
        kind, told = "other window length", f"served is {rule.detail}"
        # What training used is found in the same way, from all its values.
        known = np.flatnonzero(~np.isnan(self.recomputed))
        every = replace(pairs, served=self.recomputed[known], recomputed=self.recomputed[known])
        trained = _best(rules, every, known)
        if trained is not None and trained[1].is_named:
            told += f", recomputed is {trained[0].detail}"
            if trained[0].length == rule.length:
                kind = "other window"
        yield replace(found, kind=kind, detail=told)

    def _counts(self, pairs: ValuePairs, at: IntArray) -> Iterator[Explanation]:
        rules = _window_rules(_Sums(self.history, np.ones(len(self.recomputed))), ("count",))
        best = _best(rules, pairs, at)
        if best is not None:
            yield replace(best[1], detail=f"served is {best[0].detail}")

    # --- windows of the aggregates themselves -------------------------------------------------------------------------

    def _multiples(self, pairs: ValuePairs, at: IntArray) -> Iterator[Explanation]:
        found = list(self._multiples_of(self.recomputed, ("served", "recomputed"), pairs, at))
        if self.served is not None:
            swapped = replace(pairs, served=pairs.recomputed, recomputed=pairs.served)
            found += self._multiples_of(self.served, ("recomputed", "served"), swapped, at)
        yield from sorted(found, key=lambda each: -each.explained)[:1]

    def _multiples_of(
        self, values: FloatArray, names: tuple[str, str], pairs: ValuePairs, at: IntArray
    ) -> Iterator[Explanation]:
        """Try `pairs.served` as mean and sum of values of every k-th of the last rows."""
        chosen = _spread(len(at))
        few, few_at = pairs.take(chosen), at[chosen]
        best = (0, 0, 0, "")
        for k in range(1, MAX_LAG + 1):
            total = self._earlier(values, few_at, 0)
            for j in range(2, min(MAX_WINDOW_ROWS // k, _MAX_MULTIPLES) + 1):
                total = total + self._earlier(values, few_at, (j - 1) * k)
                if np.isnan(total).all():
                    break
                for how, predicted in (("mean", total / j), ("sum", total)):
                    hits = int(_fits(few, predicted).sum())
                    if hits > best[0]:
                        best = (hits, k, j, how)
        hits, k, j, how = best
        if hits < max(1.0, _PROMISING * len(few_at)):
            return
        total = self._earlier(values, at, 0)
        for i in range(1, j):
            total = total + self._earlier(values, at, i * k)
        predicted = total / j if how == "mean" else total
        target, source = names
        if k == 1:
            told = f"{target} is the {how} of the last {j} rows of {source}"
        else:
            told = f"{target} is the {how} over {j * k} rows where {source} is over {k}"
        fits = int(_fits(pairs, predicted).sum())
        yield Explanation("other window length", told, fits, int((~np.isnan(predicted)).sum()), len(at))

    def _earlier(self, values: FloatArray, at: IntArray, rows: int) -> FloatArray:
        """The values so many rows earlier of the same entity, NaN where there is none."""
        back = at - rows
        return np.where(back >= self.history.first[at], values[np.maximum(back, 0)], np.nan)


def _fits(pairs: ValuePairs, predicted: FloatArray) -> BoolArray:
    """Where a prediction that is known is what was served."""
    return pairs.equal(pairs.served, predicted) & ~np.isnan(predicted)


# --- trying many rules ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rule:
    kind: str
    detail: str
    judge: Callable[[ValuePairs, IntArray], tuple[BoolArray, BoolArray]]
    """Takes mismatches and their ordered rows; returns which can be judged, and which are predicted."""
    rows: int = 0
    """How many rows earlier, where the rule says so."""
    length: str = ""
    """The window's length."""


def _spread(n: int) -> IntArray:
    return np.unique(np.linspace(0, n - 1, min(n, _SEARCHED)).astype(np.int64))


def _best(rules: Sequence[_Rule], pairs: ValuePairs, at: IntArray) -> tuple[_Rule, Explanation] | None:
    """The rule that predicts most, if one predicts a good part; tried on some mismatches, then on all."""
    chosen = _spread(len(at))
    few, few_at = pairs.take(chosen), at[chosen]
    best, rule = _PROMISING, None
    for each in rules:
        can, fits = each.judge(few, few_at)
        # Of what can be judged, so that a short history does not count against a rule; but of half at least.
        share = float(fits.sum()) / max(float(can.sum()), len(few_at) / 2.0)
        if share > best:
            best, rule = share, each
    if rule is None:
        return None
    can, fits = rule.judge(pairs, at)
    return rule, Explanation(rule.kind, rule.detail, int(fits.sum()), int(can.sum()), len(at))


# --- rolling sums -----------------------------------------------------------------------------------------------------

_Until = Literal["row", "before", "earlier", "peers"]
_UNTIL: dict[_Until, str] = {"row": "", "before": " without the row itself", "earlier": " before", "peers": ""}


@dataclass(frozen=True, slots=True)
class _Window:
    """The last rows, or the last span of time, of an entity."""

    length: str
    rows: int = 0
    span: int = 0
    closed: bool = False
    """Whether a row exactly `span` earlier is in it."""
    until: _Until = "row"
    """Where it ends: `row` with the row itself, `before` without it, `earlier` and `peers` without and with all rows
    of its time."""

    @property
    def name(self) -> str:
        return f"the last {self.length}{_UNTIL[self.until]}"


def _windows() -> Iterator[_Window]:
    for k in range(1, MAX_WINDOW_ROWS + 1):
        for until in ("row", "before"):
            yield _Window(f"{k} row{'s' if k > 1 else ''}", rows=k, until=until)
    yield from _spans()


def _spans() -> Iterator[_Window]:
    for name, span in SPANS:
        for until in _UNTIL:
            yield _Window(name, span=span, until=until)
            yield _Window(name, span=span, until=until, closed=True)


class _Sums:
    """Sums and counts of a column over windows, from running sums."""

    def __init__(self, history: EntityHistory, values: FloatArray) -> None:
        self.history = history
        known = ~np.isnan(values)
        # Sums about the mean: running sums stay small, and their differences exact enough.
        self.mean = float(values[known].mean()) if known.any() else 0.0
        self.total = np.concatenate(([0.0], np.cumsum(np.where(known, values - self.mean, 0.0))))
        self.count = np.concatenate(([0], np.cumsum(known)))

    def over(self, window: _Window, at: IntArray) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Sum, count, and whether the history reaches as far back as the window, each of shape (n,)."""
        key, first, last = self.history.key, self.history.first[at], self.history.last[at]
        match window.until:
            case "row":
                end = at + 1
            case "before":
                end = at
            case "earlier":
                end = np.maximum(np.searchsorted(key, key[at], side="left"), first)
            case _:
                end = np.minimum(np.searchsorted(key, key[at], side="right"), last + 1)
        if window.rows:
            begin = end - window.rows
            whole = begin >= first
        else:
            begin = np.searchsorted(key, key[at] - window.span, side="left" if window.closed else "right")
            whole = key[first] <= key[at] - window.span
        begin = np.minimum(np.maximum(begin, first), end)
        count = (self.count[end] - self.count[begin]).astype(np.float64)
        return self.total[end] - self.total[begin] + count * self.mean, count, whole


def _window_rules(sums: _Sums, hows: Sequence[str] = ("mean", "sum", "count")) -> list[_Rule]:
    windows = list(_windows()) if "mean" in hows else list(_spans())
    return [
        _window_rule(sums, window, how) for window in windows for how in hows if not (window.rows and how == "count")
    ]


def _window_rule(sums: _Sums, window: _Window, how: str) -> _Rule:
    def judge(pairs: ValuePairs, at: IntArray) -> tuple[BoolArray, BoolArray]:
        total, count, whole = sums.over(window, at)
        if how == "count":
            predicted = count
        elif how == "sum":
            predicted = total
        else:
            predicted = np.where(count > 0.0, total / np.maximum(count, 1.0), np.nan)
        fits = _fits(pairs, predicted)
        return whole | fits, fits

    rows = " of rows" if how == "count" else ""
    return _Rule("other window length", f"the {how}{rows} over {window.name}", judge, length=window.length)
