"""The reference of each version: a week that has matured, as it looked at several ages of its labels.

Labels that come late are not like those that come at once, so a young window and a matured reference do not compare. A
window is held against the reference as it would have been at the window's own age: of the labels that take from one of
`AGES_S` to the next the same share counts as has come in the window (`Ages.come`). The reference is frozen once
(`streams.scorer.freeze`), and from it is learned what scores mean, for estimates without labels.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sketches.baseline.baseline import ALL
from sketches.performance.calibration_map import CalibrationMap, learn_calibration
from sketches.performance.cbpe import cbpe_metrics
from sketches.performance.metric import MetricEstimate, undefined
from sketches.performance.selective import corrected_metrics
from streams.scorer.measure import Name, figures
from streams.scorer.window_counts import WindowCounts, dense
from warehouse.scoring.rules import Rules

FloatArray = NDArray[np.float64]
Key = tuple[str, str]
"""A version and a slice."""

AGES_S = (3600, 3 * 3600, 6 * 3600, 12 * 3600, 86400, 3 * 86400, 7 * 86400)
"""… and the horizon."""
REFERENCE_S = 7 * 86400
"""A week holds every hour of the week once."""


def ages_of(rules: Rules) -> tuple[int, ...]:
    """The ages, in seconds, at which a reference is kept."""
    horizon_s = rules.horizon_ms // 1000
    return (*(age for age in AGES_S if age < horizon_s), horizon_s)


def _spread_out(metric: MetricEstimate, known: NDArray[np.bool_], case: NDArray[np.intp]) -> MetricEstimate:
    """Give each window that is known the figure of its case."""
    found = undefined(known.shape)
    for into, part in zip(parts_of(found), parts_of(metric), strict=True):
        into[known] = part[case]
    found.enough[known] = metric.enough[case]
    return found


def parts_of(metric: MetricEstimate) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Value, low and high."""
    return metric.value, metric.low, metric.high


@dataclass
class References:
    """What is frozen of one model."""

    rules: Rules
    frozen: pa.Table | None = None
    """Rows of `warehouse.scoring.results.references`."""
    _place: dict[tuple[str, str, int], int] = field(default_factory=dict)
    _maps: dict[str, CalibrationMap | None] = field(default_factory=dict)
    _state: WindowCounts | None = None

    def __post_init__(self) -> None:
        if self.frozen is None or self.frozen.num_rows == 0:
            return
        names = ("version", "slice", "age_s")
        keys = zip(*(self.frozen.column(name).to_pylist() for name in names), strict=True)
        self._place = {key: i for i, key in enumerate(keys)}
        self._state = dense(self.rules, self.frozen)

    @property
    def versions(self) -> set[str]:
        """Versions that have a reference."""
        return {version for version, _, _ in self._place}

    def figures(self, keys: Sequence[Key], come: FloatArray) -> dict[Name, MetricEstimate]:
        """The figures of the reference with the labels that windows have, by name; no name where there is none.

        Args:
            keys: version and slice of W windows.
            come: of the labels that take from one of the ages of `ages_of` to the next, the share that has come in
                each window, shape (W, ages), as `Ages.come` gives it.
        """
        ages = ages_of(self.rules)
        places = np.array([[self._place.get((*key, age), -1) for age in ages] for key in keys]).reshape(-1, len(ages))
        known = np.asarray((places >= 0).all(axis=1))
        if self._state is None or not known.any():
            return {}
        # What came from one age to the next is the difference of two states: Σ cₖ (Sₖ − Sₖ₋₁) = Σ (cₖ − cₖ₊₁) Sₖ.
        parts = come - np.append(come[:, 1:], np.zeros((len(come), 1)), axis=1)
        cases, case = np.unique(np.hstack((places, parts))[known], axis=0, return_inverse=True)
        made = self._state.mixed(cases[:, : len(ages)].astype(np.int64), cases[:, len(ages) :])
        return {name: _spread_out(figure.metric, known, case) for name, figure in figures(self.rules, made).items()}

    def estimates(self, keys: Sequence[Key], state: WindowCounts) -> dict[Name, MetricEstimate]:
        """Metrics of windows of the slice `all` without their labels, by what scores meant in the reference."""
        whole = np.array([name == ALL for _, name in keys], dtype=np.bool_)
        return self._by_meaning(
            keys, whole, lambda own, meaning: cbpe_metrics(state.every[own], meaning, self.rules.threshold)
        )

    def corrections(self, keys: Sequence[Key], state: WindowCounts, selected: NDArray[np.bool_]) -> dict[Name, MetricEstimate]:
        """Metrics of all predictions of the windows that are selected, whose labels depend on the score."""
        return self._by_meaning(
            keys,
            selected,
            lambda own, meaning: corrected_metrics(state.hist[own], state.every[own], meaning, self.rules.threshold),
        )

    def _by_meaning(
        self,
        keys: Sequence[Key],
        asked: NDArray[np.bool_],
        metrics: Callable[[list[int], CalibrationMap], dict[str, MetricEstimate]],
    ) -> dict[Name, MetricEstimate]:
        """Metrics of the windows that are asked for, of versions of which it is known what their scores mean."""
        if self.rules.kind != "binary" or self._state is None:
            return {}
        rows: dict[str, list[int]] = {}
        for i in np.flatnonzero(asked).tolist():
            rows.setdefault(keys[i][0], []).append(i)
        found: dict[Name, MetricEstimate] = {}
        for version, own in rows.items():
            meaning = self._map(version)
            if meaning is None:
                continue
            for name, metric in metrics(own, meaning).items():
                target = found.setdefault((name, ""), undefined((len(keys),)))
                for into, part in zip(parts_of(target), parts_of(metric), strict=True):
                    into[own] = part
                target.enough[own] = metric.enough
        return found

    def _map(self, version: str) -> CalibrationMap | None:
        """What the scores of a version mean, learned from all its rows: that takes a fifth of a second."""
        if version not in self._maps:
            at = self._place.get((version, ALL, ages_of(self.rules)[-1]))
            self._maps[version] = None
            if self._state is not None and at is not None:
                # Of fewer than 20 rows of a class nothing is learned.
                with contextlib.suppress(ValueError):
                    self._maps[version] = learn_calibration(self._state.hist[at], np.array(self.rules.edges))
        return self._maps[version]
