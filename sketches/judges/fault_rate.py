"""Rates of faults with intervals, and the reasons for which one is no basis for a decision."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from barograph_server.sketches.drift.rates import rate_of, wilson

FloatArray = NDArray[np.float64]

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


def fault_rate(value: FloatArray, low: FloatArray, high: FloatArray, reason: NDArray[np.int8]) -> FaultRate:
    """Return a rate with its interval clipped to [0, 1]."""
    value, low, high = (np.asarray(np.clip(each, 0.0, 1.0)) for each in (value, low, high))
    return FaultRate(value, low, high, reason)


def gold_rate(faulty: ArrayLike, gold: ArrayLike, *, is_uneven: ArrayLike = False) -> FaultRate:
    """Return the rate of gold alone, with Wilson's interval.

    Args:
        gold: labelled answers, a random sample of all, broadcast against `faulty`.
        is_uneven: whether gold is no random sample; the rate is then NaN.
    """
    faults, rows = np.broadcast_arrays(np.asarray(faulty, np.float64), np.asarray(gold, np.float64))
    uneven = np.broadcast_to(np.asarray(is_uneven, np.bool_), rows.shape)
    low, high = wilson(faults, rows)
    reason = first_reason(
        (rows == 0.0, RateReason.no_gold), (uneven, RateReason.uneven_gold), (rows < LEAST_GOLD, RateReason.little_gold)
    )
    blank = np.where((rows > 0.0) & ~uneven, 0.0, np.nan)
    return fault_rate(rate_of(faults, rows) + blank, low + blank, high + blank, reason)


def first_reason(*reasons: tuple[NDArray[np.bool_], RateReason]) -> NDArray[np.int8]:
    """Return the number of the first reason that applies; the arguments are (applies, reason), of one shape."""
    numbers = np.select([applies for applies, _ in reasons], [int(reason) for _, reason in reasons], 0)
    return np.asarray(numbers, np.int8)
