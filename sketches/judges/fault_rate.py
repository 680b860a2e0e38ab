"""Rates of faults with intervals, and the reasons for which one is no basis for a decision."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from barograph_server.sketches.drift.rates import rate_of, wilson

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

LEAST_SAVING = 0.02
"""Part of the width of gold alone by which a judge must narrow the interval: the width that 4 % more labels save."""
UNEVEN_P = 0.001
"""p below which gold is no random part of the judged answers; one random sample in a thousand is called uneven."""
LEAST_GOLD = 50
"""Fewest labels of people for a rate; with fewer it is `insufficient`."""


class RateReason(IntEnum):
    """Why a rate of faults is `insufficient`; the numbers are those of arrays. The first that applies is reported."""

    none = 0
    """The rate is a basis for decisions."""
    no_gold = 1
    """No flagged or no unflagged answer has a label."""
    little_gold = 2
    """Fewer than 50 labels."""
    uneven_gold = 3
    """Gold is no random part of the judged answers: the judge's verdicts differ there (p < 0.001)."""
    wide_interval = 4
    """The interval is wider than the margin of the promise on either side."""


RATE_REASON_NAMES: tuple[str, ...] = ("", *(reason.name.replace("_", " ") for reason in RateReason if reason))
"""Texts of the reasons by number; empty for a sufficient rate."""


@dataclass(frozen=True, slots=True)
class FaultRate:
    """Share of faulty answers with its 95 % interval; every array has the shape of the counts."""

    value: FloatArray
    """Between 0 and 1, or NaN if it cannot be computed."""
    low: FloatArray
    """Lower end of the interval; NaN like the value."""
    high: FloatArray
    reason: NDArray[np.int8]
    """Numbers of `RateReason`; every number but 0 means that the rate is `insufficient`."""


@dataclass(frozen=True, slots=True)
class JudgedRate:
    """Rate of faults from verdicts and gold that was drawn at random from the judged answers."""

    rate: FaultRate
    gold_only: FaultRate
    """The rate from gold alone, with Wilson's interval: what one knows without the judge."""
    gold_share: FloatArray
    """Labelled share of the judged answers; NaN without answers."""

    @property
    def width_saved(self) -> FloatArray:
        """Part of the width of gold alone by which the interval is narrower; negative if wider, NaN without either."""
        return np.asarray(1.0 - (self.rate.high - self.rate.low) / (self.gold_only.high - self.gold_only.low))

    @property
    def judge_adds_nothing(self) -> NDArray[np.bool_]:
        """Whether there is no rate, or its interval is narrower than that of gold alone by less than 2 %.

        False if there is a rate but none of gold alone, because gold was drawn by verdict.
        """
        return np.asarray(np.isnan(self.rate.value) | (self.width_saved < LEAST_SAVING))


def fault_rate(
    value: FloatArray, low: FloatArray, high: FloatArray, reason: NDArray[np.int8], margin: ArrayLike | None
) -> FaultRate:
    """Return a rate with its interval clipped to [0, 1]; one that is too wide for the margin is `insufficient`.

    Args:
        value: rates; with `low`, `high` and `reason` of one shape.
        reason: numbers of `RateReason` so far.
        margin: largest half-width that the promise allows, above 0, broadcast against the rates; None for any.

    Raises:
        ValueError: a margin is not above 0.
    """
    clipped_low, clipped_high = np.asarray(np.clip(low, 0.0, 1.0)), np.asarray(np.clip(high, 0.0, 1.0))
    if margin is not None:
        margins = np.asarray(margin, np.float64)
        if not np.all(margins > 0.0):
            raise ValueError(f"margin must be above 0, not {margins}: it is the uncertainty that the promise allows")
        is_wide = (reason == RateReason.none) & ~(clipped_high - clipped_low <= 2.0 * margins)
        reason = np.where(is_wide, RateReason.wide_interval, reason).astype(np.int8)
    return FaultRate(np.asarray(np.clip(value, 0.0, 1.0)), clipped_low, clipped_high, reason)


def gold_rate(
    faulty: ArrayLike, gold: ArrayLike, margin: ArrayLike | None = None, *, is_uneven: ArrayLike = False
) -> FaultRate:
    """Return the rate of gold alone, with Wilson's interval.

    Args:
        gold: labelled answers, a random sample of all, broadcast against `faulty`.
        is_uneven: whether gold is no random sample; the rate is then NaN.
    """
    faults, rows = np.broadcast_arrays(np.asarray(faulty, np.float64), np.asarray(gold, np.float64))
    uneven = np.broadcast_to(np.asarray(is_uneven, np.bool_), rows.shape)
    low, high = wilson(faults, rows)
    reason = first_reason(
        (rows == 0.0, RateReason.no_gold),
        (uneven, RateReason.uneven_gold),
        (rows < LEAST_GOLD, RateReason.little_gold),
    )
    blank = np.where((rows > 0.0) & ~uneven, 0.0, np.nan)
    return fault_rate(rate_of(faults, rows) + blank, low + blank, high + blank, reason, margin)


def first_reason(*reasons: tuple[NDArray[np.bool_], RateReason]) -> NDArray[np.int8]:
    """Return the number of the first reason that applies; the arguments are (applies, reason), of one shape."""
    numbers = np.select([applies for applies, _ in reasons], [int(reason) for _, reason in reasons], 0)
    return np.asarray(numbers, np.int8)


def require_parts(*parts: tuple[IntArray, IntArray, str], reason: str = "") -> None:
    """Check that parts are not larger than their wholes.

    Args:
        parts: (part, whole, text), where the text says what there would be more of.
        reason: what the message adds.

    Raises:
        ValueError: a part is larger.
    """
    for part, whole, text in parts:
        if np.any(part > whole):
            raise ValueError(f"more {text}{reason}")


def checked_counts(**counts: ArrayLike) -> tuple[IntArray, ...]:
    """Return counts, broadcast to one shape.

    Raises:
        ValueError: a count is negative or no whole number; the message has its name.
    """
    for name, values in counts.items():
        numbers = np.asarray(values, np.float64)
        if not np.all((numbers >= 0.0) & (numbers == np.floor(numbers)) & np.isfinite(numbers)):
            raise ValueError(f"{name} must be whole numbers from 0 on, not {np.asarray(values)}")
    return tuple(np.broadcast_arrays(*(np.asarray(values).astype(np.int64) for values in counts.values())))
