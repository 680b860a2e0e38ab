"""Pairs with the sides exchanged: after a promotion, the old version is the shadow of the new one.

The criteria judge the candidate. After a promotion they ask the same of the new primary, against the version before.
"""

import dataclasses
from collections.abc import Sequence

import msgspec
import numpy as np
from barograph.contract import ShadowTest

from barograph_server.sketches.rollout.shadow_days import COPY_SUMS, ShadowDays

_FAILED = "primary-failed"
_CANDIDATE_FAILED = "error"
_NEGATED = ("log_latency",)
_LOST = ("missing_labelled", "missing_right")


def judged(
    shadow: ShadowTest, slices: Sequence[ShadowDays], *, after_promotion: bool
) -> tuple[ShadowTest, list[ShadowDays]]:
    """Return the section of the contract and the daily sums whose candidate is the version to judge."""
    if not after_promotion:
        return shadow, list(slices)
    return mirrored_prices(shadow), [mirrored(each) for each in slices]


def mirrored(days: ShadowDays) -> ShadowDays:
    """Exchange the primary and the candidate.

    Requests in which the primary failed are then failures of the candidate; requests without an answer of the shadow
    are then requests in which the primary failed. A failed primary has no answer that could be right, so no missing
    answer is labelled. Agreement has no side: its counts stay.
    """
    names = {name: name if name in COPY_SUMS else _other_side(name) for name in days.sums}
    sums = {name: days.sums[other] for name, other in names.items()}
    sums |= {name: -days.sums[name] for name in _NEGATED}
    sums |= {name: np.zeros_like(days.sums[name]) for name in _LOST}
    failed = days.missing.get(_FAILED, np.zeros(len(days.days)))
    others = [counts for reason, counts in days.missing.items() if reason != _FAILED]
    missing = {_CANDIDATE_FAILED: failed, _FAILED: np.sum(others, axis=0) if others else np.zeros(len(days.days))}
    return dataclasses.replace(
        days,
        sums=sums,
        missing=missing,
        histograms={_other_side(name): counts for name, counts in days.histograms.items()},
        spent_primary=days.spent_candidate,
        spent_candidate=days.spent_primary,
    )


def mirrored_prices(shadow: ShadowTest) -> ShadowTest:
    """Exchange the prices of the primary and the candidate."""
    if not shadow.candidate_prices:
        return shadow
    return msgspec.structs.replace(shadow, prices=shadow.candidate_prices, candidate_prices=shadow.prices)


def _other_side(name: str) -> str:
    if "primary" in name:
        return name.replace("primary", "candidate")
    return name.replace("candidate", "primary")
