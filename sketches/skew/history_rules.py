"""Rules that use entity and time: an earlier value, and an aggregate over another window.

They need the history that training computed: rows of entity, time and value. A mismatch whose entity has no row that
far back cannot be judged and does not count against a rule; a rule that can judge less than half is not named.

Recognized mistakes and their limits:

- *A lag*: the served value is that of the same entity k rows earlier (k up to 30), or the one that was current Δt
  earlier (from a minute to a month). The history does not say when between two rows the value changed, so either of
  the two rows counts.
- *Another window of a known column*: means, sums and counts of the underlying column, over the last w rows or a span
  of time, with or without the row itself, are compared with both sides. Spans of time are the usual ones (`SPANS`);
  windows of rows have up to 400 rows.
- *Another window without the column*: one side is the mean or sum of the other's last w rows, or of every k-th of
  them. A window of j·k rows is j windows of k rows, so mean and sum over multiples follow from the aggregates alone,
  for windows of rows. Windows of time, and windows that are no multiples, cannot be recognized: the aggregates do not
  contain the values that are in one window and not in the other. Counts over a window of time need no column, only a
  history with every row.
- Minimum, maximum, quantiles and exponential weights are not recognized.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from barograph_server.sketches.skew.field import BoolArray, Explanation, FloatArray, IntArray, ValuePairs
from barograph_server.sketches.skew.units import name_length

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
"""Number of mismatches, spread evenly, on which rules are tried; a promising rule is then tried on all."""
_PROMISING = 0.3
_SUM_TOLERANCE = 1e-9
"""Relative rounding error of running sums, for fields that are compared exactly."""


@dataclass(frozen=True, slots=True)
class EntityHistory:
    """Rows that training computed for every entity over time, ordered by entity, then time.

    Times are Unix milliseconds. Create it with `EntityHistory.of`.
    """

    key: IntArray
    """Sort key of rows, shape (m,): entity · span + time."""
    first: IntArray
    """First row of each row's entity, shape (m,)."""
    last: IntArray
    """Last row of each row's entity, shape (m,)."""
    order: IntArray
    """Original index of each ordered row, shape (m,)."""
    rank: IntArray
    """Ordered index of each original row, shape (m,): the inverse of `order`."""

    @classmethod
    def of(cls, entity: NDArray[np.integer], time_ms: IntArray) -> EntityHistory:
        """Order rows; the sort is stable.

        Args:
            entity: codes from 0 on, shape (m,).
            time_ms: shape (m,).
        """
        order = np.lexsort((time_ms, entity))
        start = int(time_ms.min()) if len(time_ms) else 0
        # Entities are two spans apart, so that no look-back ends in the previous entity; times are whole milliseconds.
        span = 2 * (int(time_ms.max()) - start + 1 if len(time_ms) else 1) + 2 * SPANS[-1][1]
        key = entity[order].astype(np.int64) * span + (time_ms[order] - start)
        begins = np.flatnonzero(np.diff(entity[order], prepend=-1))
        lengths = np.diff(np.append(begins, len(order)))
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        return cls(key, np.repeat(begins, lengths), np.repeat(begins + lengths - 1, lengths), order, rank)


@dataclass(frozen=True, slots=True)
class EntitySeries:
    """The history of one field, and the position of the pairs in it."""

    history: EntityHistory
    at: IntArray
    """Ordered row of each pair, shape (n,)."""
    recomputed: FloatArray
    """Values that training computed, in the history's order, shape (m,); NaN is null."""
    served: FloatArray | None = None
    """Served values, in the history's order; NaN if nothing was served or it was null."""
    underlying: FloatArray | None = None
    """Column of which the field is an aggregate, in the history's order."""

    def lags(self, pairs: ValuePairs, rows: IntArray) -> Iterator[Explanation]:
        """Try earlier values.

        Args:
            rows: their indices among the pairs.
        """
        at = self.at[rows]
        rules = [self._row_lag(k) for k in range(1, MAX_LAG + 1)]
        rules += [self._time_lag(name, span) for name, span in SPANS]
        best = _best(rules, pairs, at)
        if best is None:
            return
        rule, explanation = best
        if rule.rows:
            back = at - rule.rows
            can = back >= self.history.first[at]
            apart = float(np.median(self.history.key[at[can]] - self.history.key[back[can]]))
            explanation = replace(explanation, detail=f"{explanation.detail} ({name_length(apart)})")
        yield explanation

    def rules(self, pairs: ValuePairs, rows: IntArray) -> Iterator[Explanation]:
        """Try all rules: lags, then windows; arguments as `lags`."""
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
        rule, explanation = best
        kind, detail = "other window length", f"served is {rule.detail}"
        # The window that training used follows in the same way from all its values.
        known = np.flatnonzero(~np.isnan(self.recomputed))
        training = replace(pairs, served=self.recomputed[known], recomputed=self.recomputed[known])
        trained = _best(rules, training, known)
        if trained is not None and trained[1].is_named:
            detail += f", recomputed is {trained[0].detail}"
            if trained[0].length == rule.length:
                kind = "other window"
        yield replace(explanation, kind=kind, detail=detail)

    def _counts(self, pairs: ValuePairs, at: IntArray) -> Iterator[Explanation]:
        rules = _window_rules(_Sums(self.history, np.ones(len(self.recomputed))), ("count",))
        best = _best(rules, pairs, at)
        if best is not None:
            yield replace(best[1], detail=f"served is {best[0].detail}")

    # --- windows of the aggregates themselves -------------------------------------------------------------------------

    def _multiples(self, pairs: ValuePairs, at: IntArray) -> Iterator[Explanation]:
        explanations = list(self._multiples_of(self.recomputed, ("served", "recomputed"), pairs, at))
        if self.served is not None:
            swapped = replace(pairs, served=pairs.recomputed, recomputed=pairs.served)
            explanations += self._multiples_of(self.served, ("recomputed", "served"), swapped, at)
        yield from sorted(explanations, key=lambda each: -each.explained)[:1]

    def _multiples_of(
        self, values: FloatArray, names: tuple[str, str], pairs: ValuePairs, at: IntArray
    ) -> Iterator[Explanation]:
        """Try `pairs.served` as mean and sum of the values of every k-th of the last rows."""
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
            detail = f"{target} is the {how} of the last {j} rows of {source}"
        else:
            detail = f"{target} is the {how} over {j * k} rows where {source} is over {k}"
        fits = int(_fits(pairs, predicted).sum())
        yield Explanation("other window length", detail, fits, int((~np.isnan(predicted)).sum()), len(at))

    def _earlier(self, values: FloatArray, at: IntArray, rows: int) -> FloatArray:
        """Return the values `rows` earlier of the same entity; NaN if there is none."""
        back = at - rows
        return np.where(back >= self.history.first[at], values[np.maximum(back, 0)], np.nan)


def _fits(pairs: ValuePairs, predicted: FloatArray) -> BoolArray:
    """Return where a known prediction equals the served value."""
    return pairs.equal(pairs.served, predicted) & ~np.isnan(predicted)


# --- trying many rules ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rule:
    kind: str
    detail: str
    judge: Callable[[ValuePairs, IntArray], tuple[BoolArray, BoolArray]]
    """Takes mismatches and their ordered rows; returns masks of those it can judge and those it predicts."""
    rows: int = 0
    """Number of rows of a lag; 0 for other rules."""
    length: str = ""
    """Length of the window; empty for other rules."""


def _spread(n: int) -> IntArray:
    return np.unique(np.linspace(0, n - 1, min(n, _SEARCHED)).astype(np.int64))


def _best(rules: Sequence[_Rule], pairs: ValuePairs, at: IntArray) -> tuple[_Rule, Explanation] | None:
    """Return the rule that predicts most, if it predicts a good part; tried on some mismatches, then on all."""
    chosen = _spread(len(at))
    few, few_at = pairs.take(chosen), at[chosen]
    best, rule = _PROMISING, None
    for each in rules:
        can, fits = each.judge(few, few_at)
        # A share of those that it can judge, so that a short history does not count against a rule; of at least half.
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
    """End of the window: `row` with the row itself, `before` without it, `earlier` and `peers` without and with all
    rows of its time."""

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
        # Sums around the mean stay small, so that their differences stay precise.
        self.mean = float(values[known].mean()) if known.any() else 0.0
        self.total = np.concatenate(([0.0], np.cumsum(np.where(known, values - self.mean, 0.0))))
        self.count = np.concatenate(([0], np.cumsum(known)))

    def over(self, window: _Window, at: IntArray) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Return sum, count, and whether the history covers the window, each of shape (n,)."""
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
