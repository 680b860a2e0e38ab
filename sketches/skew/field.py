"""Train–serve skew of one field: what was served against what training computes for the same prediction.

Pairs of values are compared, and where they differ the reason is looked for among the mistakes that are made in
practice. An explanation is a rule that predicts the served value from the recomputed one; it is *named* only where
it predicts nearly all mismatches that it can judge: the lower end of Wilson's 95 % interval of that share is at
least 95 %, which takes 73 mismatches that are all explained. Otherwise the best candidate is told with its share.
Where one side is null, however few there are, that is null handling: it needs no proof.

Mismatches are judged in two parts: those where one side is null, and those where both sides hold a value; so a field
that is served in other units and with zeros for nulls shows both. Rules that know the time (a lag, another window,
`skew_series`) judge both parts at once, and come last: a rule with fewer free numbers is preferred.

Null stands for null, NaN and infinities throughout. Numbers are compared in `skew_numbers`, text in `skew_texts`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sketches.drift.rates import wilson

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

NAMED_SHARE = 0.95
"""The least share of its mismatches that a rule explains where it is named."""
_FEW = 3
_ZERO_SHARE = 1e-3
"""The absolute tolerance, for values near zero, as a share of the relative one times the median magnitude."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A rule that may explain mismatches."""

    kind: str
    """`null handling`, `constant offset`, `constant factor`, `linear`, `rounding`, `transformed`, `limited`,
    `lag in time`, `other window length`, `other window`, `category spelling`, `recoded`."""
    detail: str
    """The rule in words, numbers and units included."""
    explained: int
    """Mismatches that the rule predicts."""
    judged: int
    """Mismatches that it could judge."""
    of: int
    """Mismatches of its part."""
    is_plain: bool = False
    """Whether its kind is what the mismatches are, and no guess at what made them: one side is null."""

    @property
    def share(self) -> float:
        """The share of judged mismatches that are explained."""
        return self.explained / self.judged if self.judged else 0.0

    @property
    def unexplained(self) -> int:
        """Judged mismatches that the rule does not predict."""
        return self.judged - self.explained

    @property
    def low(self) -> float:
        """The lower end of the 95 % interval of the share."""
        return float(wilson(self.explained, self.judged)[0])

    @property
    def is_named(self) -> bool:
        """Whether it explains nearly all, and judged at least half; or is plain."""
        return self.is_plain or (self.low >= NAMED_SHARE and 2 * self.judged >= self.of)


@dataclass(frozen=True, slots=True)
class Skew:
    """How one field differs between serving and training."""

    compared: int
    mismatched: int
    low: float
    """Lower end of the 95 % interval of the rate of mismatches."""
    high: float
    explanations: tuple[Explanation, ...]
    """The rule of each part of the mismatches, named ones and best candidates; the larger part first."""
    precision: str
    """How equal numbers differ below the tolerance, in words; empty where they do not."""
    rows: IntArray
    """The pairs that differ, shape (mismatched,), ascending."""

    @property
    def rate(self) -> float:
        """Mismatched ÷ compared; 0 of none."""
        return self.mismatched / self.compared if self.compared else 0.0

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names of what explains the mismatches; `unexplained` where a part of them has no named rule.

        A part of under 5 % of the mismatches needs no name beside one that has.
        """
        if not self.mismatched:
            return ()
        named = [each for each in self.explanations if each.is_named]
        if not named or sum(each.of for each in named) < NAMED_SHARE * self.mismatched:
            return ("unexplained",)
        return tuple(dict.fromkeys(each.kind for each in named))


@dataclass(frozen=True, slots=True)
class ValuePairs:
    """Mismatches that rules are tried on, shape (k,) each; NaN is null."""

    served: FloatArray
    recomputed: FloatArray
    tolerance: float
    floor: float
    """The absolute tolerance."""
    are_times: bool = False
    """Whether the values are Unix milliseconds."""

    def equal(self, left: FloatArray, right: FloatArray) -> BoolArray:
        """Where two arrays of numbers agree; where both are null too."""
        return agree(left, right, self.tolerance, self.floor)

    def take(self, chosen: NDArray[np.bool_] | IntArray) -> ValuePairs:
        """Some of the pairs."""
        return ValuePairs(self.served[chosen], self.recomputed[chosen], self.tolerance, self.floor, self.are_times)


def agree(left: FloatArray, right: FloatArray, tolerance: float, floor: float) -> BoolArray:
    """Where numbers are equal within tolerance · the larger magnitude + floor, or both null."""
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(left - right)
        near = apart <= tolerance * np.maximum(np.abs(left), np.abs(right)) + floor
    return (near & np.isfinite(apart)) | (np.isnan(left) & np.isnan(right))


def cleaned(values: FloatArray) -> FloatArray:
    """Copy numbers with NaN for whatever is not finite."""
    return np.where(np.isfinite(values), values, np.nan)


def absolute_floor(values: FloatArray, tolerance: float) -> float:
    """The absolute tolerance beside a relative one, from the median magnitude of what is not zero."""
    some = np.abs(values[np.isfinite(values) & (values != 0.0)])
    return float(np.median(some)) * tolerance * _ZERO_SHARE if some.size else 0.0


def choose(found: Iterable[Explanation]) -> Explanation | None:
    """The first rule that is named, else the one that explains most; None of none.

    A later rule wins where it leaves a tenth of what the first one leaves unexplained: a field that is mostly zero fits
    an offset nearly as well as the line that it follows.
    """
    best: Explanation | None = None
    for each in found:
        if best is None or not best.is_named:
            if each.is_named or (each.explained and (best is None or each.explained > best.explained)):
                best = each
        elif each.is_named and 10 * each.unexplained + _FEW < best.unexplained:
            best = each
        if best is not None and best.is_named and best.unexplained <= _FEW:
            return best
    return best


def most_frequent(values: FloatArray) -> tuple[float, int]:
    """The value that occurs most often, and how often; of several the least."""
    distinct, counts = np.unique(values, return_counts=True)
    top = int(np.argmax(counts))
    return float(distinct[top]), int(counts[top])
