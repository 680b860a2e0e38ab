"""Whether a page without a planted fault shows a change of the data: a test on the source's own rows, each once.

A stream of a real table has the days of this table, and these differ: storms cancel flights. The test shares the bins
with the product, and neither its statistics nor its thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import chi2, fisher_exact

from alerts.templates.fields import RATE_RULES
from benchmarks.scoreboard.replayed import StreamJudge
from sketches.baseline.columns import FieldColumn
from sketches.baseline.layout import IntArray

LEVEL = 1e-4
"""A change is real below this p-value: 5 % divided by four fields, five rules and 30 days, rounded."""
DAY_S = 86_400
_COLUMNS = {
    "null": FieldColumn.NULL,
    "invalid": FieldColumn.INVALID,
    "unseen": FieldColumn.UNSEEN,
    "below": FieldColumn.BELOW,
    "above": FieldColumn.ABOVE,
}


@dataclass(frozen=True, slots=True)
class SourceEvidence:
    """What the source's own rows say about a page."""

    p_value: float
    """Of the rows in the page's window, against all training rows."""
    n: int
    """Rows in the window."""
    phi: float
    """Overdispersion between the training windows of this length; the test divides the rows by it."""
    training_days: int
    """Days of training with a window at least as extreme."""

    @property
    def is_change(self) -> bool:
        """Whether the rows in the window differ from training."""
        return self.p_value < LEVEL


class SourceTest:
    """Compares windows of the source's rows with its training rows.

    Args:
        judge: whose bins count the rows.
        rows: of the source, each once, with their times.
        training_days: days of training, from the first row on.
    """

    def __init__(self, judge: StreamJudge, rows: pa.Table, training_days: int) -> None:
        self._layout, self._pane_s, self.sealed_after_s = judge.layout, judge.contract.pane_s, judge.sealed_after_s
        self._window_of = judge.window_of
        self._start_s, counts = judge.count(rows)
        self._sums: IntArray = np.vstack([np.zeros_like(counts[:1]), np.cumsum(counts, axis=0)])
        self._n_training = training_days * DAY_S // self._pane_s

    def evidence(self, rule: str, field: str, page_s: int) -> SourceEvidence:
        """Test the window that a page is about."""
        length = self._window_of(rule).length_s // self._pane_s
        end = (page_s - self.sealed_after_s - self._start_s) // self._pane_s
        windows = self._windows(field, np.arange(length, self._n_training + 1), length)
        training = self._windows(field, np.array([self._n_training]), self._n_training)[0]
        own = self._windows(field, np.array([end]), length)
        extremes = self._statistic(rule, field, windows, training)
        value = self._statistic(rule, field, own, training)
        per_day = DAY_S // self._pane_s
        days = np.arange(length, self._n_training + 1)[extremes >= value] // per_day
        phi = self._phi(field, windows[::length], training)
        n = int(own[0, : self._n_cells(field)].sum())
        return SourceEvidence(self._p_value(rule, field, own[0], training, phi), n, phi, len(np.unique(days)))

    def _windows(self, field: str, ends: NDArray[np.int64], length: int) -> IntArray:
        """Return the counts of a field in windows, (W, width)."""
        index = self._layout.field_index[field]
        start = int(self._layout.starts[index])
        own = self._sums[:, start : start + int(self._layout.widths[index])]
        counts: IntArray = own[ends] - own[ends - length]
        return counts

    def _n_cells(self, field: str) -> int:
        return int(self._layout.n_cells[self._layout.field_index[field]])

    def _affected(self, rule: str, field: str, counts: IntArray) -> IntArray:
        columns = [_COLUMNS[kind] + self._n_cells(field) for kind in RATE_RULES[rule][0]]
        affected: IntArray = counts[..., columns].sum(axis=-1)
        return affected

    def _statistic(self, rule: str, field: str, windows: IntArray, training: IntArray) -> NDArray[np.float64]:
        """Return the rate of each window, or the mean square of its differences from training, per event."""
        n = np.maximum(windows[:, : self._n_cells(field)].sum(axis=1), 1)
        is_rate = rule in RATE_RULES
        of_window = self._affected(rule, field, windows) if is_rate else self._chi_square(field, windows, training)[0]
        result: NDArray[np.float64] = of_window / n
        return result

    def _chi_square(self, field: str, windows: IntArray, training: IntArray) -> tuple[NDArray[np.float64], int]:
        """Return the statistic of each window over the cells that training has, and its degrees of freedom."""
        values = slice(0, self._n_cells(field) - 1)
        is_trained = training[values] > 0
        counts = windows[:, values][:, is_trained]
        shares = training[values][is_trained] / training[values].sum()
        expected = np.maximum(counts.sum(axis=1, keepdims=True), 1) * shares
        return ((counts - expected) ** 2 / expected).sum(axis=1), int(is_trained.sum()) - 1

    def _phi(self, field: str, windows: IntArray, training: IntArray) -> float:
        statistic, freedom = self._chi_square(field, windows, training)
        has_rows = windows[:, : self._n_cells(field) - 1].sum(axis=1) > 0
        return max(1.0, float(statistic[has_rows].mean()) / freedom)

    def _p_value(self, rule: str, field: str, own: IntArray, training: IntArray, phi: float) -> float:
        if rule not in RATE_RULES:
            statistic, freedom = self._chi_square(field, own[None], training)
            return float(chi2.sf(statistic[0] / phi, freedom))
        n_cells = self._n_cells(field)
        table = []
        for counts in (own, training):
            affected = int(self._affected(rule, field, counts))
            rest = int(counts[:n_cells].sum()) - affected
            table.append([round(affected / phi), round(rest / phi)])
        return float(fisher_exact(np.array(table), alternative="greater").pvalue)
