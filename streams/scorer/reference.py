"""The reference of each version: a matured week, with its counts at several ages of its labels.

Labels that arrive late differ from labels that arrive early, so a young window is not comparable with a matured
reference. A window is therefore compared with the reference as it was at the window's age: of the labels whose delay is
between two of `AGES_S`, the same share counts as has arrived in the window (`LabelDelayCurve.arrived_shares`).
`streams.scorer.freeze` chooses and counts the reference. The meaning of scores is learned from it, for estimates
without labels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from barograph_server.sketches.baseline.baseline import ALL
from barograph_server.sketches.performance.calibration_map import CalibrationMap
from barograph_server.sketches.performance.metric import MetricEstimate, undefined
from barograph_server.sketches.performance.selective import corrected_metrics
from barograph_server.streams.scorer.estimates import LearnedEstimate, class_differs, estimated_metrics, learn_estimates
from barograph_server.streams.scorer.measure import MetricName, measure
from barograph_server.streams.scorer.window_counts import WindowCounts, window_counts
from barograph_server.warehouse.scoring.rules import Rules

FloatArray = NDArray[np.float64]
SeriesKey = tuple[str, str]
"""A version and a slice."""

AGES_S = (3600, 3 * 3600, 6 * 3600, 12 * 3600, 86400, 3 * 86400, 7 * 86400)
"""Ages in seconds at which references are kept, besides the horizon."""
REFERENCE_S = 7 * 86400
"""Length of a reference in seconds: a week has every hour of the week once."""


class ReferencePeriod(NamedTuple):
    from_time: int
    """Unix seconds."""
    to_time: int
    """Unix seconds, exclusive."""
    chosen: bool
    """Whether a person chose it."""


def reference_ages_s(rules: Rules) -> tuple[int, ...]:
    """Return the ages in seconds at which a reference is kept, ascending."""
    horizon_s = rules.horizon_ms // 1000
    return (*(age for age in AGES_S if age < horizon_s), horizon_s)


def _scatter(metric: MetricEstimate, mask: NDArray[np.bool_], case: NDArray[np.intp]) -> MetricEstimate:
    """Spread the metrics of distinct cases over the selected windows; the others are undefined."""
    result = undefined(mask.shape)
    for target, values in zip(interval_of(result), interval_of(metric), strict=True):
        target[mask] = values[case]
    result.enough[mask] = metric.enough[case]
    return result


def interval_of(metric: MetricEstimate) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return value, low and high."""
    return metric.value, metric.low, metric.high


@dataclass
class References:
    rules: Rules
    frozen: pa.Table | None = None
    """Rows of `warehouse.scoring.results.references`."""
    _row: dict[tuple[str, str, int], int] = field(default_factory=dict)
    """Version, slice and age → row of `_counts`."""
    _learned: dict[str, LearnedEstimate | None] = field(default_factory=dict)
    _counts: WindowCounts | None = None
    _periods: dict[str, ReferencePeriod] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.frozen is None or self.frozen.num_rows == 0:
            return
        names = ("version", "slice", "age_s")
        keys = zip(*(self.frozen.column(name).to_pylist() for name in names), strict=True)
        self._row = {key: i for i, key in enumerate(keys)}
        self._counts = window_counts(self.rules, self.frozen)
        periods = zip(
            *(self.frozen.column(name).to_pylist() for name in ("version", *ReferencePeriod._fields)), strict=True
        )
        self._periods = {version: ReferencePeriod(*period) for version, *period in periods}

    @property
    def periods(self) -> Mapping[str, ReferencePeriod]:
        """The period of each version that has a reference."""
        return self._periods

    def rows_of(self, version: str) -> list[dict[str, Any]]:
        """Return the rows of a version's reference; no rows if it has none."""
        if self.frozen is None or version not in self._periods:
            return []
        is_own = pc.equal(self.frozen.column("version").cast(pa.string()), version)
        rows: list[dict[str, Any]] = self.frozen.filter(is_own).to_pylist()
        return rows

    def metrics(self, keys: Sequence[SeriesKey], arrived: FloatArray) -> dict[MetricName, MetricEstimate]:
        """Return the reference's metrics at the age of each window, by name; empty if there is no reference.

        Args:
            keys: version and slice of W windows.
            arrived: arrived share of the labels whose delay is between two of the `reference_ages_s`, shape (W, ages),
                as `LabelDelayCurve.arrived_shares` returns it.
        """
        ages = reference_ages_s(self.rules)
        rows = np.array([[self._row.get((*key, age), -1) for age in ages] for key in keys]).reshape(-1, len(ages))
        has_reference = np.asarray((rows >= 0).all(axis=1))
        if self._counts is None or not has_reference.any():
            return {}
        # The labels between two ages are the difference of two counts: Σ cₖ (Sₖ − Sₖ₋₁) = Σ (cₖ − cₖ₊₁) Sₖ.
        weights = arrived - np.append(arrived[:, 1:], np.zeros((len(arrived), 1)), axis=1)
        cases, case = np.unique(np.hstack((rows, weights))[has_reference], axis=0, return_inverse=True)
        counts = self._counts.weighted_sums(cases[:, : len(ages)].astype(np.int64), cases[:, len(ages) :])
        measured = measure(self.rules, counts)
        return {name: _scatter(each.metric, has_reference, case) for name, each in measured.items()}

    def estimates(self, keys: Sequence[SeriesKey], counts: WindowCounts) -> dict[MetricName, MetricEstimate]:
        """Estimate the metrics of windows of the slice `all` without their labels, by what the reference showed."""
        is_whole = np.array([name == ALL for _, name in keys], dtype=np.bool_)
        return self._by_version(
            keys, is_whole, lambda rows, learned: estimated_metrics(self.rules, learned, counts, rows)
        )

    def refusals(self, keys: Sequence[SeriesKey], counts: WindowCounts) -> dict[MetricName, list[str]]:
        """Return why metrics of windows of the slice `all` are not estimated; empty texts for the others."""
        result: dict[MetricName, list[str]] = {}
        for i, ((version, name), differs) in enumerate(zip(keys, class_differs(self.rules, counts), strict=True)):
            learned = self._learned_from(version) if name == ALL else None
            for metric, reason in learned.refusals(bool(differs)).items() if learned is not None else ():
                result.setdefault((metric, ""), [""] * len(keys))[i] = reason
        return result

    def corrections(
        self, keys: Sequence[SeriesKey], counts: WindowCounts, selective: NDArray[np.bool_]
    ) -> dict[MetricName, MetricEstimate]:
        """Correct metrics to all predictions, of windows whose labels depend on the score; only for two classes."""

        def correct(rows: list[int], learned: LearnedEstimate) -> dict[str, MetricEstimate]:
            if not isinstance(learned.map, CalibrationMap):
                return {}
            return corrected_metrics(
                counts.labelled_hist[rows], counts.prediction_hist[rows], learned.map, self.rules.threshold
            )

        return self._by_version(keys, selective, correct)

    def _by_version(
        self,
        keys: Sequence[SeriesKey],
        mask: NDArray[np.bool_],
        metrics: Callable[[list[int], LearnedEstimate], dict[str, MetricEstimate]],
    ) -> dict[MetricName, MetricEstimate]:
        """Compute the metrics of the selected windows whose version has a reference; the others are undefined."""
        rows_by_version: dict[str, list[int]] = {}
        for i in np.flatnonzero(mask).tolist():
            rows_by_version.setdefault(keys[i][0], []).append(i)
        result: dict[MetricName, MetricEstimate] = {}
        for version, rows in rows_by_version.items():
            learned = self._learned_from(version)
            if learned is None:
                continue
            for name, metric in metrics(rows, learned).items():
                target = result.setdefault((name, ""), undefined((len(keys),)))
                for array, values in zip(interval_of(target), interval_of(metric), strict=True):
                    array[rows] = values
                target.enough[rows] = metric.enough
        return result

    def _learned_from(self, version: str) -> LearnedEstimate | None:
        """Return what a version's reference teaches; None if there is no reference, or one with too few labels."""
        if version not in self._learned:
            row = self._row.get((version, ALL, reference_ages_s(self.rules)[-1]))
            self._learned[version] = None
            if self._counts is not None and row is not None:
                self._learned[version] = learn_estimates(self.rules, self._counts, row)
        return self._learned[version]
