"""The dependence of tomorrow's inputs on today's outputs: all inputs of a model, and whether entities return at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from barograph_server.sketches.loops.effect import FloatArray, IntArray, LoopEffect, estimate_effect, follow
from barograph_server.sketches.loops.verdict import LoopVerdict, decide

WITHIN_LAGS = 7
"""An entity returns if it has a prediction at least one lag and less than this number of lags later."""
RETURNS = "(returns)"
"""Pseudo-input: 1 if the entity returns, otherwise 0."""


@dataclass(frozen=True, slots=True)
class LoopRows:
    """Predictions of entities, ordered by entity and event time, each array of shape (n,)."""

    entity: IntArray
    """Number of the entity, from 0, ascending."""
    at_ms: IntArray
    output: FloatArray
    """NaN if the prediction has none."""
    propensity: FloatArray
    """In (0, 1]; NaN if the prediction is not explored."""
    inputs: Mapping[str, FloatArray]
    """NaN if a value is unknown."""


@dataclass(frozen=True, slots=True)
class LoopMeasurement:
    """The effects on all inputs, and the verdict."""

    verdict: LoopVerdict
    effects: Mapping[str, LoopEffect]
    explored: int
    """Explored predictions among the rows."""
    recent: int
    """Of these, those left out because their later period is not over."""
    without_output: int
    """Of these, those left out because they have no output."""


def measure_loop(rows: LoopRows, lag_ms: int, end_ms: int, *, is_class: bool) -> LoopMeasurement:
    """Measure the effect of the output on the later value of each input, and decide.

    Args:
        rows: the predictions; those that are not explored serve only as later ones.
        lag_ms: shortest distance between a prediction and the later one.
        end_ms: end of the data, as epoch milliseconds.
        is_class: whether outputs are 1 for a class and 0 for others; otherwise they are numbers.
    """
    explored = np.isfinite(rows.propensity)
    is_over = rows.at_ms + WITHIN_LAGS * lag_ms <= end_ms
    has_output = np.isfinite(rows.output)
    index = np.flatnonzero(explored & is_over & has_output)
    later = follow(rows.entity, rows.at_ms, lag_ms, WITHIN_LAGS * lag_ms)[index]
    nothing = np.full(len(index), np.nan)

    def effect_on(before: FloatArray, values: FloatArray) -> LoopEffect:
        randomised = (rows.output[index], rows.propensity[index], before, values, rows.entity[index])
        return estimate_effect(*randomised, is_class=is_class)

    effects, placebos = {}, {}
    for name, values in rows.inputs.items():
        effects[name] = effect_on(values[index], np.where(later >= 0, values[later], np.nan))
        placebos[name] = effect_on(nothing, values[index])
    effects[RETURNS] = effect_on(nothing, (later >= 0).astype(np.float64))
    n = int(explored.sum())
    return LoopMeasurement(
        decide(effects, placebos, n),
        effects,
        n,
        int((explored & ~is_over).sum()),
        int((explored & is_over & ~has_output).sum()),
    )
