"""Checks of one prediction's features against the contract, before the model is called.

Serving is checked with the same file, types and limits that summarized training. Checks are prepared once per contract,
so that a call costs a few microseconds for twenty fields with built-in Python values. Messages never contain a value: a
violation names the field, the kind and the limit.
"""

from __future__ import annotations

import enum
import math
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, NamedTuple

import msgspec

from barograph.contract import Contract, Field
from barograph.contract.kinds import MAX_NAME_CHARS
from barograph.events import CONTEXT, FEATURES
from barograph.values import InvalidEvent, epoch_ms, plain, text_of

ViolationKind = Literal["missing", "null", "type", "not-finite", "below", "above", "unknown"]
"""Kinds of violations:

- `missing`: the contract monitors the field, and it is absent;
- `null`: the field is null, and the contract rejects nulls;
- `type`: the value has another type than the contract;
- `not-finite`: the value is NaN or infinite;
- `below`, `above`: the value is outside the contract's range;
- `unknown`: the field is present, and the contract neither monitors nor ignores it.
"""

_LARGEST = sys.float_info.max
_MS_PER_S = 1000.0
_MISSING: Any = object()


class Violation(msgspec.Struct, frozen=True):
    """One violation of the contract by one field. It never contains the value."""

    field: str
    kind: ViolationKind
    limit: float | None = None
    """The exceeded limit of the contract's range for `below` and `above`; for timestamps an age in seconds."""
    expected_type: str = ""
    """The contract's type for `type`: `float`, `int`, `bool`, `category`, `timestamp`."""

    def __str__(self) -> str:
        match self.kind:
            case "below" | "above":
                return f"{self.field} is {self.kind} {self.limit:g}"
            case "type":
                return f"{self.field} is not a {self.expected_type}"
            case "null":
                return f"{self.field} is null, which the contract rejects"
            case "not-finite":
                return f"{self.field} is not finite"
            case "missing":
                return f"{self.field} is missing"
            case _:
                return f"{self.field} is unknown to the contract"


class ContractViolation(ValueError):
    """The model must not be called with these features: a field with the policy `reject` violates the contract.

    Attributes:
        violations: All violations of fields with the policy `reject`, in the contract's order.
        limit: The limit of the first violation, None if it has none.
    """

    def __init__(self, violations: tuple[Violation, ...]) -> None:
        super().__init__(violations)
        self.violations = violations
        first = violations[0]
        self.field, self.kind, self.limit = first.field, first.kind, first.limit

    def __str__(self) -> str:
        return "; ".join(map(str, self.violations))


class _FieldCheck(NamedTuple):
    """The prepared check of one field."""

    position: int
    field: Field
    name: str
    low: float
    high: float


class Validator:
    """Checks features against one contract. May be shared between threads: it has no state between calls."""

    def __init__(self, contract: Contract) -> None:
        """Prepare the checks."""
        self._features = _MapChecks(contract, FEATURES)
        self._context = _MapChecks(contract, CONTEXT)
        self._known = known_features(contract)
        self.rejected = frozenset(field.name for field in contract.fields if field.policy == "reject")
        """The fields whose violations prevent a prediction."""

    def check(
        self, features: Mapping[str, Any] | None, context: Mapping[str, Any] | None = None, at_ms: float | None = None
    ) -> list[Violation]:
        """List all violations: fields in the contract's order, then unknown features.

        Args:
            features: The model's input, by name, with values as for `Publisher.prediction`.
            context: The request's context; without it, the fields that read it are not checked.
            at_ms: When the prediction is made, in Unix milliseconds; without it, ages of timestamps are not checked.
        """
        if type(features) is not dict:
            features = _as_dict(features)
        by_position = self._features.check(features, at_ms)
        if context is not None:
            by_position += self._context.check(_as_dict(context), at_ms)
        violations = [violation for _, violation in sorted(by_position, key=_position)] if by_position else []
        if not self._known.issuperset(features):
            unknown = [name for name in features if name not in self._known]
            violations += [Violation((text_of(name) or "")[:MAX_NAME_CHARS], "unknown") for name in unknown]
        return violations


def known_features(contract: Contract) -> frozenset[str]:
    """Return the features that a contract monitors, slices by or ignores."""
    parts = (source.partition(".") for source in contract.sources)
    names = {name for map_name, _, name in parts if map_name == FEATURES}
    return frozenset(names | contract.ignored.keys())


def _as_dict(members: Any) -> dict[Any, Any]:
    """Convert a mapping to a dict; anything else becomes an empty one, so that every field is missing."""
    try:
        return dict(members) if members is not None else {}
    except (TypeError, ValueError):
        return {}


def _position(violation: tuple[int, Violation]) -> int:
    return violation[0]


class _MapChecks:
    """The checks of the fields that read one map of a prediction, by their usual Python type."""

    def __init__(self, contract: Contract, map_name: str) -> None:
        self._floats: list[tuple[str, float, float, _FieldCheck]] = []
        self._ints: list[tuple[str, float, float, _FieldCheck]] = []
        self._texts: list[tuple[str, _FieldCheck]] = []
        self._others: list[tuple[str, _FieldCheck]] = []
        for position, field in enumerate(contract.fields):
            field_map, _, name = field.source.partition(".")
            if field_map != map_name or not name:
                continue
            # Every finite float is within the outer limits, and no other float is.
            low = -_LARGEST if field.low is None else field.low
            high = _LARGEST if field.high is None else field.high
            check = _FieldCheck(position, field, name, low, high)
            if field.type == "float":
                self._floats.append((name, low, high, check))
            elif field.type == "int":
                self._ints.append((name, low, high, check))
            elif field.type == "category":
                self._texts.append((name, check))
            else:
                self._others.append((name, check))

    def check(self, members: Mapping[str, Any], at_ms: float | None) -> list[tuple[int, Violation]]:
        """List violations with the positions of their fields. Only unusual values take the slow path."""
        get = members.get
        missing = _MISSING
        unusual: list[tuple[_FieldCheck, Any]] = []
        for name, low, high, check in self._floats:
            value = get(name, missing)
            kind = type(value)
            if not ((kind is float or kind is int or isinstance(value, float)) and low <= value <= high):
                unusual.append((check, value))
        for name, low, high, check in self._ints:
            value = get(name, missing)
            if not (type(value) is int and low <= value <= high):
                unusual.append((check, value))
        for name, check in self._texts:
            value = get(name, missing)
            if type(value) is not str:
                unusual.append((check, value))
        for name, check in self._others:
            value = get(name, missing)
            if type(value) is not bool or check.field.type != "bool":
                unusual.append((check, value))
        return [
            (check.position, violation)
            for check, value in unusual
            if (violation := _check_unusual(check, value, at_ms))
        ]


def _check_unusual(check: _FieldCheck, value: Any, at_ms: float | None) -> Violation | None:
    """Check any value: NumPy's and pandas' types, nulls, times."""
    field = check.field
    if value is _MISSING:
        return Violation(field.name, "missing")
    try:
        value = _simple(value)
    except Exception:  # an object whose own methods fail
        return Violation(field.name, "type", expected_type=field.type)
    if value is None:
        return Violation(field.name, "null") if field.nulls == "refuse" else None
    if isinstance(value, float) and not math.isfinite(value):
        return Violation(field.name, "not-finite")
    return _CHECKS[field.type](check, value, at_ms)


def _simple(value: Any) -> Any:
    """Convert a value to a built-in type, as the publisher does."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, enum.Enum):
        return _simple(value.value)
    if isinstance(value, uuid.UUID):
        return str(value)
    return value if isinstance(value, datetime) and not _is_null(value) else plain(value)


def _is_null(value: datetime) -> bool:
    return type(value).__name__ == "NaTType"


def _check_number(check: _FieldCheck, value: Any, _at_ms: float | None) -> Violation | None:
    field = check.field
    if type(value) is bool or not isinstance(value, int | float):
        return Violation(field.name, "type", expected_type=field.type)
    if field.type == "int" and isinstance(value, float) and not value.is_integer():
        return Violation(field.name, "type", expected_type=field.type)
    return _in_range(check, value)


def _check_flag(check: _FieldCheck, value: Any, _at_ms: float | None) -> Violation | None:
    if isinstance(value, int | float) and value in (0, 1):
        return None
    return Violation(check.field.name, "type", expected_type=check.field.type)


def _check_text(check: _FieldCheck, value: Any, _at_ms: float | None) -> Violation | None:
    field = check.field
    if isinstance(value, str):
        return None
    # The publisher converts context and hashed or truncated values to text.
    is_text = not isinstance(value, dict) and (
        field.pii in ("hash", "truncate") or field.source.startswith(f"{CONTEXT}.")
    )
    return None if is_text else Violation(field.name, "type", expected_type=field.type)


def _check_time(check: _FieldCheck, value: Any, at_ms: float | None) -> Violation | None:
    moment_ms = time_ms(value)
    if moment_ms is None:
        return Violation(check.field.name, "type", expected_type="timestamp")
    return None if at_ms is None else _in_range(check, (at_ms - moment_ms) / _MS_PER_S)


def _in_range(check: _FieldCheck, value: float) -> Violation | None:
    field = check.field
    if value < check.low:
        return Violation(field.name, "below" if field.low is not None else "not-finite", field.low)
    if value > check.high:
        return Violation(field.name, "above" if field.high is not None else "not-finite", field.high)
    return None


def time_ms(value: Any) -> float | None:
    """Convert a number, RFC 3339 text or an aware datetime to Unix milliseconds; None for other values."""
    if type(value) is bool:
        return None
    if isinstance(value, int | float):
        return float(value) if abs(value) <= _LARGEST else None
    try:
        return float(epoch_ms(datetime.fromisoformat(value) if isinstance(value, str) else value))
    except (InvalidEvent, ValueError, OverflowError):
        return None


_CHECKS: dict[str, Callable[[_FieldCheck, Any, float | None], Violation | None]] = {
    "float": _check_number,
    "int": _check_number,
    "bool": _check_flag,
    "category": _check_text,
    "timestamp": _check_time,
}


def rejection(validator: Validator, violations: Iterable[Violation]) -> ContractViolation | None:
    """Return the error to raise for violations of fields with the policy `reject`; None if there are none."""
    rejected = tuple(violation for violation in violations if violation.field in validator.rejected)
    # An unknown feature may have the name of a field that reads another source; it has no policy.
    rejected = tuple(violation for violation in rejected if violation.kind != "unknown")
    return ContractViolation(rejected) if rejected else None
