"""Whether a page without a planted fault shows a change of the data: a test on the source's rows of its window.

A stream of a real table has the days of this table, and these differ: storms cancel flights. The test takes each row
that occurs in the window once, however often the stream repeats it, and compares these rows with those of training. It
shares the bins with the product, and neither its statistics nor its thresholds.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import chi2, fisher_exact

from barograph_server.alerts.templates.fields import RATE_RULES
from barograph_server.sketches.baseline.layout import IntArray
from barograph_server.sketches.drift.rates import RATE_KINDS
from benchmarks.scoreboard.data_sets import SOURCE_ROW
from benchmarks.scoreboard.replayed import StreamJudge

LEVEL = 1e-4
"""A change is real below this p-value: 5 % divided by four fields, five rules and 30 days, rounded."""
DAY_S = 86_400
_COLUMNS = {kind.name: kind.column for kind in RATE_KINDS}


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
    """Compares the source's rows in windows of a stream with its training rows, each once."""

    def __init__(self, judge: StreamJudge, training: pa.Table, production: pa.Table) -> None:
        self._judge, self._production = judge, production
        self._layout, self._pane_s = judge.layout, judge.contract.pane_s
        self.sealed_after_s = judge.sealed_after_s
        _, counts = judge.count(training)
        self._sums: IntArray = np.vstack([np.zeros_like(counts[:1]), np.cumsum(counts, axis=0)])

    def evidence(self, rule: str, field: str, page_s: int) -> SourceEvidence:
        """Test the window that a page is about."""
        length_s = self._judge.window_of(rule).length_s
        length, n_training = length_s // self._pane_s, len(self._sums) - 1
        ends = np.arange(length, n_training + 1)
        windows = self._windows(field, ends, length)
        training = self._windows(field, np.array([n_training]), n_training)[0]
        end_s = (page_s - self.sealed_after_s) // self._pane_s * self._pane_s
        own = self._of_field(field, self._rows_between(end_s - length_s, end_s))
        extremes = self._statistic(rule, field, windows, training)
        value = self._statistic(rule, field, own, training)
        days = ends[extremes >= value] // (DAY_S // self._pane_s)
        phi = self._phi(field, windows[::length], training)
        n = int(own[0, : self._n_cells(field)].sum())
        return SourceEvidence(self._p_value(rule, field, own[0], training, phi), n, phi, len(np.unique(days)))

    def _rows_between(self, start_s: int, end_s: int) -> IntArray:
        """Count the rows that occur in a part of production, each once, (1, width)."""
        at_ms = self._production["at"].cast(pa.int64()).to_numpy()
        first, last = np.searchsorted(at_ms, [start_s * 1000, end_s * 1000])
        events = self._production.slice(first, last - first)
        _, once = np.unique(events[SOURCE_ROW].to_numpy(), return_index=True)
        _, counts = self._judge.count(events.take(pa.array(once)))
        total: IntArray = counts.sum(axis=0, keepdims=True)
        return total

    def _of_field(self, field: str, counts: IntArray) -> IntArray:
        index = self._layout.field_index[field]
        start = int(self._layout.starts[index])
        return counts[:, start : start + int(self._layout.widths[index])]

    def _windows(self, field: str, ends: NDArray[np.int64], length: int) -> IntArray:
        """Return the counts of a field in windows, (W, width)."""
        own = self._of_field(field, self._sums)
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

    def _chi_square(
        self, field: str, windows: IntArray, training: IntArray, *, has_nulls: bool = True
    ) -> tuple[NDArray[np.float64], int]:
        """Return the statistic of each window over the cells that training has, and its degrees of freedom."""
        cells = slice(0, self._n_cells(field) if has_nulls else self._n_cells(field) - 1)
        is_trained = training[cells] > 0
        counts = windows[:, cells][:, is_trained]
        shares = training[cells][is_trained] / training[cells].sum()
        expected = np.maximum(counts.sum(axis=1, keepdims=True), 1) * shares
        return ((counts - expected) ** 2 / expected).sum(axis=1), int(is_trained.sum()) - 1

    def _phi(self, field: str, windows: IntArray, training: IntArray) -> float:
        """Return φ of the values; nulls come with storms, which are changes that the test is to find."""
        statistic, freedom = self._chi_square(field, windows, training, has_nulls=False)
        has_values = windows[:, : self._n_cells(field) - 1].sum(axis=1) > 0
        return max(1.0, float(statistic[has_values].mean()) / freedom)

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
