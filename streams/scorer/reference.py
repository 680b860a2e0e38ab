"""The reference of each version: its first matured week, as it looked at several ages of its labels.

A window is compared with the reference at its own age, the last of `AGES_S` that it has reached: labels that come late
are not like those that come at once, so a young window and a matured reference would not compare. The reference is
frozen once, and from it is learned what scores mean, for estimates without labels.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sketches.baseline import ALL
from sketches.performance.calibration_map import CalibrationMap, learn_calibration
from sketches.performance.cbpe import cbpe_metrics
from sketches.performance.metric import Metric, undefined
from streams.scorer.dense import Dense, dense
from streams.scorer.measure import Figure, Name, figures
from warehouse.scoring.rules import Rules

FloatArray = NDArray[np.float64]
Key = tuple[str, str]
"""A version and a slice."""

AGES_S = (3600, 6 * 3600, 86400, 3 * 86400, 7 * 86400)
"""… and the horizon."""
REFERENCE_S = 7 * 86400
"""A week holds every hour of the week once."""


def ages_of(rules: Rules) -> tuple[int, ...]:
    """The ages, in seconds, at which a reference is kept."""
    horizon_s = rules.horizon_ms // 1000
    return (*(age for age in AGES_S if age < horizon_s), horizon_s)


def parts_of(metric: Metric) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Value, low and high."""
    return metric.value, metric.low, metric.high


@dataclass
class References:
    """What is frozen of one model."""

    rules: Rules
    frozen: pa.Table | None = None
    """Rows of `warehouse.scoring.results.references`."""
    _figures: dict[Name, Figure] = field(default_factory=dict)
    _place: dict[tuple[str, str, int], int] = field(default_factory=dict)
    _maps: dict[str, CalibrationMap | None] = field(default_factory=dict)
    _state: Dense | None = None

    def __post_init__(self) -> None:
        if self.frozen is None or self.frozen.num_rows == 0:
            return
        names = ("version", "slice", "age_s")
        keys = zip(*(self.frozen.column(name).to_pylist() for name in names), strict=True)
        self._place = {key: i for i, key in enumerate(keys)}
        self._state = dense(self.rules, self.frozen)
        self._figures = figures(self.rules, self._state)

    @property
    def versions(self) -> set[str]:
        """Versions that have a reference."""
        return {version for version, _, _ in self._place}

    def figure(self, name: Name, keys: Sequence[Key], age_s: FloatArray) -> Metric:
        """The reference of windows at their ages, NaN where there is none, also of windows too young for the first."""
        found = undefined((len(keys),))
        if name not in self._figures:
            return found
        ages = ages_of(self.rules)
        places = [
            self._place.get((*key, ages[reached - 1]), -1) if (reached := bisect_right(ages, age)) else -1
            for key, age in zip(keys, age_s.tolist(), strict=True)
        ]
        at = np.array(places, dtype=np.int64)
        known = at >= 0
        metric = self._figures[name].metric
        value, low, high = (np.where(known, part[at], np.nan) for part in parts_of(metric))
        return Metric(value, low, high, known & metric.enough[at])

    def estimates(self, keys: Sequence[Key], state: Dense) -> dict[Name, Metric]:
        """Metrics of windows with two classes without labels, by what scores meant in the reference.

        Of the slice `all` alone: learning what scores mean takes a fifth of a second, and rows enough.
        """
        if self.rules.kind != "binary" or self._state is None:
            return {}
        rows: dict[str, list[int]] = {}
        for i, (version, name) in enumerate(keys):
            if name == ALL:
                rows.setdefault(version, []).append(i)
        found: dict[Name, Metric] = {}
        for version, own in rows.items():
            meaning = self._map(version)
            if meaning is None:
                continue
            for name, metric in cbpe_metrics(state.every[own], meaning, self.rules.threshold).items():
                target = found.setdefault((name, ""), undefined((len(keys),)))
                for into, part in zip(parts_of(target), parts_of(metric), strict=True):
                    into[own] = part
                target.enough[own] = metric.enough
        return found

    def _map(self, version: str) -> CalibrationMap | None:
        if version not in self._maps:
            at = self._place.get((version, ALL, ages_of(self.rules)[-1]))
            self._maps[version] = None
            if self._state is not None and at is not None:
                # Of fewer than 20 rows of a class nothing is learned.
                with contextlib.suppress(ValueError):
                    self._maps[version] = learn_calibration(self._state.hist[at], np.array(self.rules.edges))
        return self._maps[version]
