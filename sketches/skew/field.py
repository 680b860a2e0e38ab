"""Train–serve skew of one field: the served value compared with the value that training computes.

Pairs of values are compared, and differences are explained by the mistakes that are common in practice. An explanation
is a rule that predicts the served value from the recomputed one; it is *named* only if it predicts nearly all
mismatches that it can judge: the lower end of Wilson's 95 % interval of that share must be at least 95 %, which takes
73 mismatches that are all explained. Otherwise the best candidate is reported with its share. Mismatches with null on
one side are always null handling, however few there are: that needs no proof.

Mismatches are judged in two parts: null on one side, and a value on both sides; so a field that is served in other
units and with zeros for nulls shows both. Rules that use time (a lag, another window, `sketches.skew.history_rules`)
judge both parts at once and come last: a rule with fewer free parameters is preferred.

"Null" includes NaN and infinities throughout. `sketches.skew.numbers` compares numbers, `sketches.skew.texts` texts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from barograph_server.sketches.drift.rates import wilson

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

NAMED_SHARE = 0.95
"""Least share of its mismatches that a named rule explains."""
_FEW = 3
_ZERO_SHARE = 1e-3
"""Absolute tolerance for values near zero, as a share of the relative tolerance times the median magnitude."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A rule that may explain mismatches."""

    kind: str
    """`null handling`, `constant offset`, `constant factor`, `linear`, `rounding`, `transformed`, `limited`,
    `lag in time`, `other window length`, `other window`, `category spelling`, `recoded`."""
    detail: str
    """The rule in words, with numbers and units."""
    explained: int
    """Number of mismatches that the rule predicts."""
    judged: int
    """Number of mismatches that it could judge."""
    of: int
    """Number of mismatches of its part."""
    is_plain: bool = False
    """Whether the kind states a fact instead of a guess at the cause: one side is null."""

    @property
    def share(self) -> float:
        """Share of judged mismatches that are explained."""
        return self.explained / self.judged if self.judged else 0.0

    @property
    def unexplained(self) -> int:
        """Number of judged mismatches that the rule does not predict."""
        return self.judged - self.explained

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval of the share."""
        return float(wilson(self.explained, self.judged)[0])

    @property
    def is_named(self) -> bool:
        """Whether the rule explains nearly all mismatches and judged at least half of them, or is plain."""
        return self.is_plain or (self.low >= NAMED_SHARE and 2 * self.judged >= self.of)


@dataclass(frozen=True, slots=True)
class Skew:
    """Differences of one field between serving and training."""

    compared: int
    mismatched: int
    low: float
    """Lower end of the 95 % interval of the rate of mismatches."""
    high: float
    explanations: tuple[Explanation, ...]
    """Rule of each part of the mismatches, named or best candidate; the larger part first."""
    precision: str
    """How equal numbers differ below the tolerance, in words; empty if they do not."""
    rows: IntArray
    """Indices of the pairs that differ, shape (mismatched,), ascending."""

    @property
    def rate(self) -> float:
        """Mismatched ÷ compared; 0 if nothing was compared."""
        return self.mismatched / self.compared if self.compared else 0.0

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of rules that explain the mismatches; `unexplained` if a part of them has no named rule.

        A part of under 5 % of the mismatches needs no named rule beside a part that has one.
        """
        if not self.mismatched:
            return ()
        named = [each for each in self.explanations if each.is_named]
        if not named or sum(each.of for each in named) < NAMED_SHARE * self.mismatched:
            return ("unexplained",)
        return tuple(dict.fromkeys(each.kind for each in named))


@dataclass(frozen=True, slots=True)
class ValuePairs:
    """Mismatches for rules to explain, shape (k,) each; NaN is null."""

    served: FloatArray
    recomputed: FloatArray
    tolerance: float
    floor: float
    """Absolute tolerance."""
    are_times: bool = False
    """Whether the values are Unix milliseconds."""

    def equal(self, left: FloatArray, right: FloatArray) -> BoolArray:
        """Return where two arrays of numbers agree, nulls included."""
        return agree(left, right, self.tolerance, self.floor)

    def take(self, chosen: NDArray[np.bool_] | IntArray) -> ValuePairs:
        return ValuePairs(self.served[chosen], self.recomputed[chosen], self.tolerance, self.floor, self.are_times)


def agree(left: FloatArray, right: FloatArray, tolerance: float, floor: float) -> BoolArray:
    """Return where numbers are equal within tolerance · larger magnitude + floor, or both null."""
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(left - right)
        near = apart <= tolerance * np.maximum(np.abs(left), np.abs(right)) + floor
    return (near & np.isfinite(apart)) | (np.isnan(left) & np.isnan(right))


def cleaned(values: FloatArray) -> FloatArray:
    """Return a copy with NaN in place of numbers that are not finite."""
    return np.where(np.isfinite(values), values, np.nan)


def absolute_floor(values: FloatArray, tolerance: float) -> float:
    """Return the absolute tolerance for a relative one, from the median magnitude of nonzero values."""
    nonzero = np.abs(values[np.isfinite(values) & (values != 0.0)])
    return float(np.median(nonzero)) * tolerance * _ZERO_SHARE if nonzero.size else 0.0


def choose(candidates: Iterable[Explanation]) -> Explanation | None:
    """Return the first named rule, else the one that explains most; None if there is none.

    A later rule wins if it leaves at most a tenth of the mismatches that the first leaves unexplained: a field that is
    mostly zero fits an offset nearly as well as the linear rule behind it.
    """
    best: Explanation | None = None
    for each in candidates:
        if best is None or not best.is_named:
            if each.is_named or (each.explained and (best is None or each.explained > best.explained)):
                best = each
        elif each.is_named and 10 * each.unexplained + _FEW < best.unexplained:
            best = each
        if best is not None and best.is_named and best.unexplained <= _FEW:
            return best
    return best


def most_frequent(values: FloatArray) -> tuple[float, int]:
    """Return the most frequent value and its count; the least value of several."""
    distinct, counts = np.unique(values, return_counts=True)
    top = int(np.argmax(counts))
    return float(distinct[top]), int(counts[top])
