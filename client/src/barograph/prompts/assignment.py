"""Sticky assignment of units to arms, without state.

Each arm draws a number for each unit from a hash, and the arm with the smallest -ln(u) / share wins (weighted
rendezvous hashing). The result depends on neither the order of the arms nor the other units. If one share grows or
shrinks and the others keep their proportions, only units of that arm's difference move, and all of them to or from
that arm.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

TOLERANCE = 1e-6


def check_shares(shares: Mapping[str, float]) -> None:
    """Check that shares are numbers of at least 0 that sum to 1.

    Raises:
        ValueError: They are not.
    """
    for arm, share in shares.items():
        if not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ValueError(f"the share of {arm!r} is {share!r}; write a number from 0 to 1")
    total = math.fsum(shares.values())
    if abs(total - 1) > TOLERANCE:
        raise ValueError(f"the shares sum to {total:g}; write shares that sum to 1")


def choose_arm(experiment: str, unit: str, shares: Mapping[str, float]) -> str:
    """Return the arm of a unit.

    Args:
        experiment: Makes the assignments of two experiments independent of each other.
        unit: Who or what is assigned, such as a user's id.
        shares: Arm → share; the sum is positive.
    """
    best, best_score = "", math.inf
    for arm in sorted(shares):
        if shares[arm] > 0:
            score = -math.log(_uniform(experiment, arm, unit)) / shares[arm]
            if score < best_score:
                best, best_score = arm, score
    return best


def _uniform(experiment: str, arm: str, unit: str) -> float:
    """Return a number in (0, 1) that looks uniform over units, the same on all machines."""
    text = "\0".join((experiment, arm, unit)).encode("utf-8", "surrogatepass")
    bits = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 12
    return (bits + 0.5) * 2.0**-52
