"""The dependence of tomorrow's inputs on today's outputs: all inputs of a model, and whether entities return at all."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from barograph_server.sketches.loops.effect import FloatArray, IntArray, LoopEffect, estimate_effect, follow

LIKELY_ALPHA = 0.01
"""Largest probability of calling a loop where no input depends on the output, over all inputs (Holm)."""
RELEVANT = 0.1
"""Smallest relevant effect: `not seen` excludes it, and an interval within ±0.1 is no loop, however significant."""
PLACEBO_ALPHA = 0.001
"""Level of the test that outputs were really drawn at random: they cannot change the inputs before them."""

VerdictName = Literal["likely", "not seen", "cannot tell"]


@dataclass(frozen=True, slots=True)
class LoopVerdict:
    """The verdict, with the names of the inputs that decide it."""

    name: VerdictName
    reason: str
    """Why the verdict is `cannot tell`; otherwise empty."""
    fields: tuple[str, ...] = ()
    """Inputs that depend on the output, the largest effect first; otherwise empty."""


def decide(effects: Mapping[str, LoopEffect], placebos: Mapping[str, LoopEffect], explored: int) -> LoopVerdict:
    """Decide from the effects on all inputs.

    Args:
        effects: the effect on the later value of each input.
        placebos: the "effect" on its value at the prediction itself, which is 0 if outputs were drawn at random.
    """
    if not explored:
        return LoopVerdict("cannot tell", "no exploration")
    if not any(np.isfinite(effect.value) for effect in effects.values()):
        reason = next((effect.reason for effect in effects.values()), "no input")
        return LoopVerdict("cannot tell", reason)
    if wrong := _rejected(placebos, PLACEBO_ALPHA):
        reason = f"explored outputs depend on the inputs before them ({', '.join(wrong)}): propensities are wrong"
        return LoopVerdict("cannot tell", reason)
    likely = [name for name in _rejected(effects, LIKELY_ALPHA) if not _is_negligible(effects[name])]
    if likely:
        return LoopVerdict("likely", "", tuple(sorted(likely, key=lambda name: -abs(effects[name].value))))
    if open_fields := [name for name, effect in effects.items() if not _is_negligible(effect)]:
        first = effects[open_fields[0]].reason or f"its interval does not exclude an effect of {RELEVANT}"
        others = f", and {len(open_fields) - 1} more" if len(open_fields) > 1 else ""
        return LoopVerdict("cannot tell", f"{open_fields[0]}: {first}{others}")
    return LoopVerdict("not seen", "")


def _is_negligible(effect: LoopEffect) -> bool:
    return effect.low > -RELEVANT and effect.high < RELEVANT


def _rejected(effects: Mapping[str, LoopEffect], alpha: float) -> list[str]:
    """Return the names whose hypothesis of no effect Holm's procedure rejects (Holm 1979, Scand. J. Stat. 6, 65–70)."""
    measured = sorted((effect.p_value, name) for name, effect in effects.items() if np.isfinite(effect.p_value))
    rejected = []
    for i, (p_value, name) in enumerate(measured):
        if p_value > alpha / (len(measured) - i):
            break
        rejected.append(name)
    return rejected


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
