"""The verdict on a feedback loop from the effects on all inputs: likely, not seen, or cannot tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from barograph_server.sketches.loops.effect import LoopEffect

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
