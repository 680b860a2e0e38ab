"""The criteria of a contract's `shadow` section, as daily differences."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from barograph.contract import ShadowTest

from sketches.baseline.baseline import ALL
from sketches.shadow.decision import Criterion, CriterionDays, ShadowDecision, SliceDays, decide
from sketches.shadow.missing_pairs import MissingPairs
from warehouse.shadow.days import PLANNED, FloatArray, ShadowDays

LABELLED = ("accuracy", "brier", "log_loss", "mae")
"""Criteria that use only days with mature labels."""


def decision(shadow: ShadowTest, slices: Sequence[ShadowDays]) -> ShadowDecision:
    """Decide about a candidate.

    Args:
        shadow: the contract's section.
        slices: the daily sums of the slices, `all` among them.
    """
    (whole,) = (each for each in slices if each.slice == ALL)
    days = [criterion_days(name, margin, shadow, whole) for name, margin in shadow.margins.items()]
    parts = []
    if "accuracy" in shadow.margins:
        for each in slices:
            if each.slice != ALL:
                sums, pairs = differences("accuracy", each)
                parts.append(SliceDays(each.slice, "accuracy", sums[each.mature], pairs[each.mature]))
    return decide(days, parts)


def criterion_days(name: str, margin: float, shadow: ShadowTest, days: ShadowDays) -> CriterionDays:
    """Return the days of one criterion that are over, for labelled criteria with mature labels.

    Args:
        name: the criterion.
        margin: the contract's margin; of `latency` a ratio.
        shadow: the contract's section.
        days: the daily sums of the slice `all`.
    """
    used = days.ended & days.mature if name in LABELLED else days.ended
    sums, pairs = differences(name, days)
    missing = None
    if name == "accuracy":
        missing = MissingPairs(days.sums["missing_labelled"][used], days.sums["missing_right"][used])
    limit = math.log1p(margin) if name == "latency" else margin
    return CriterionDays(Criterion(name, limit, shadow.worst_day), sums[used], pairs[used], missing)


def differences(name: str, days: ShadowDays) -> tuple[FloatArray, FloatArray]:
    """Return a criterion's daily sums and pairs, each of shape (t,); sums above 0 mean that the candidate is better."""
    sums = days.sums
    match name:
        case "accuracy":
            return sums["candidate_right"] - sums["primary_right"], sums["labelled"]
        case "brier":
            return sums["brier_primary"] - sums["brier_candidate"], sums["scored"]
        case "log_loss":
            return sums["loss_primary"] - sums["loss_candidate"], sums["scored"]
        case "mae":
            return sums["error_primary"] - sums["error_candidate"], sums["scored"]
        case "latency":
            return -sums["log_latency"], sums["timed"]
        case "missing":
            failures, planned = np.zeros(len(days.days)), np.zeros(len(days.days))
            for reason, counts in days.missing.items():
                if reason in PLANNED:
                    planned += counts
                else:
                    failures += counts
            return -failures, sums["requests"] - planned
        case _:
            raise ValueError(f"unknown criterion {name!r}")
