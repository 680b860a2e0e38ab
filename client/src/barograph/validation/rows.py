"""One prediction's features held against the contract, before the model is called.

What training was summarised by, serving is checked by: the same file, the same types and limits. Checks are laid out
once per contract, so that a call costs a few microseconds for twenty fields whose values are Python's own. No text
made here ever holds a value: a violation names field, kind and limit.
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
from barograph.values import InvalidEvent, epoch_ms, plain, text_of

ViolationKind = Literal["missing", "null", "type", "not-finite", "below", "above", "unknown"]
"""What is wrong with a field:

- `missing`: the contract watches it, and it is not there;
- `null`: it is null, and the contract refuses nulls;
- `type`: its value is not of the contract's type;
- `not-finite`: it is NaN or infinite;
- `below`, `above`: it lies outside the contract's range;
- `unknown`: it is there, and the contract neither watches nor ignores it.
"""

MAX_NAME_CHARS = 200
"""Characters kept of the name of an unknown feature; contracts have no longer names."""

_LARGEST = sys.float_info.max
_MS_PER_S = 1000.0
_MISSING: Any = object()


class Violation(msgspec.Struct, frozen=True):
    """One way in which one field does not keep the contract. It never holds the value."""

    field: str
    kind: ViolationKind
    limit: float | None = None
    """The limit of the contract's range that `below` or `above` speaks of; of a timestamp an age in seconds."""
    expected_type: str = ""
    """What `type` asks for: `float`, `int`, `bool`, `category`, `timestamp`."""

    def __str__(self) -> str:
        match self.kind:
            case "below" | "above":
                return f"{self.field} is {self.kind} {self.limit:g}"
            case "type":
                return f"{self.field} is no {self.expected_type}"
            case "null":
                return f"{self.field} is null, which the contract refuses"
            case "not-finite":
                return f"{self.field} is not finite"
            case "missing":
                return f"{self.field} is missing"
            case _:
                return f"{self.field} is unknown to the contract"


class ContractViolation(ValueError):
    """A prediction must not be made from these features: a field of the policy `reject` violates the contract.

    Attributes:
        violations: All violations of the policy `reject`, in the contract's order.
        field: The first one's field.
        kind: The first one's kind.
        limit: The first one's limit, None where it has none.
    """

    def __init__(self, violations: tuple[Violation, ...]) -> None:
        super().__init__(violations)
        self.violations = violations
        first = violations[0]
        self.field, self.kind, self.limit = first.field, first.kind, first.limit

    def __str__(self) -> str:
        return "; ".join(map(str, self.violations))


class _Check(NamedTuple):
    """A field as it is checked."""

    position: int
    field: Field
    name: str
    low: float
    high: float


class Validator:
    """Checks the features of one contract. Safe to share between threads: it keeps nothing between calls."""

    def __init__(self, contract: Contract) -> None:
        self._features = _Room(contract, "features")
        self._context = _Room(contract, "context")
        self._known = known_features(contract)
        self.rejected = frozenset(field.name for field in contract.fields if field.policy == "reject")
        """The fields whose violations must stop a prediction."""

    def check(
        self,
        features: Mapping[str, Any] | None,
        context: Mapping[str, Any] | None = None,
        at_ms: float | None = None,
    ) -> list[Violation]:
        """List what does not keep the contract, fields in the contract's order, unknown features last.

        Args:
            features: what the model is about to see, by name; values as `Publisher.prediction` takes them.
            context: the request's context; without it the fields that read it are not checked.
            at_ms: when the prediction is made, Unix milliseconds; without it no timestamp has an age, and ages have
                no limits.
        """
        if type(features) is not dict:
            features = _as_dict(features)
        found = self._features.check(features, at_ms)
        if context is not None:
            found += self._context.check(_as_dict(context), at_ms)
        violations = [violation for _, violation in sorted(found, key=_by_position)] if found else []
        if not self._known.issuperset(features):
            unknown = [name for name in features if name not in self._known]
            violations += [Violation((text_of(name) or "")[:MAX_NAME_CHARS], "unknown") for name in unknown]
        return violations


def known_features(contract: Contract) -> frozenset[str]:
    """The features that a contract watches, slices by or ignores."""
    sources = [field.source for field in contract.fields]
    sources += [source for cut in contract.slices for source in cut.sources]
    names = {name for room, _, name in (source.partition(".") for source in sources) if room == "features"}
    return frozenset(names | contract.ignored.keys())


def _as_dict(members: Any) -> dict[Any, Any]:
    """View whatever the publisher takes as a map; of what is none every field is missing."""
    try:
        return dict(members) if members is not None else {}
    except (TypeError, ValueError):
        return {}


def _by_position(found: tuple[int, Violation]) -> int:
    return found[0]


class _Room:
    """The fields that read one map of a prediction, by what their values usually are."""

    def __init__(self, contract: Contract, room: str) -> None:
        self._floats: list[tuple[str, float, float, _Check]] = []
        self._ints: list[tuple[str, float, float, _Check]] = []
        self._texts: list[tuple[str, _Check]] = []
        self._others: list[tuple[str, _Check]] = []
        for position, field in enumerate(contract.fields):
            found, _, name = field.source.partition(".")
            if found != room or not name:
                continue
            # No finite float lies beyond the outer limits, and everything that is not finite does.
            low = -_LARGEST if field.low is None else field.low
            high = _LARGEST if field.high is None else field.high
            check = _Check(position, field, name, low, high)
            if field.type == "float":
                self._floats.append((name, low, high, check))
            elif field.type == "int":
                self._ints.append((name, low, high, check))
            elif field.type == "category":
                self._texts.append((name, check))
            else:
                self._others.append((name, check))

    def check(self, members: Mapping[str, Any], at_ms: float | None) -> list[tuple[int, Violation]]:
        """Find violations, each with its field's position; nothing but what is unusual takes the second look."""
        get = members.get
        missing = _MISSING
        odd: list[tuple[_Check, Any]] = []
        for name, low, high, check in self._floats:
            value = get(name, missing)
            kind = type(value)
            if not ((kind is float or kind is int or isinstance(value, float)) and low <= value <= high):
                odd.append((check, value))
        for name, low, high, check in self._ints:
            value = get(name, missing)
            if not (type(value) is int and low <= value <= high):
                odd.append((check, value))
        for name, check in self._texts:
            value = get(name, missing)
            if type(value) is not str:
                odd.append((check, value))
        for name, check in self._others:
            value = get(name, missing)
            if type(value) is not bool or check.field.type != "bool":
                odd.append((check, value))
        return [(check.position, wrong) for check, value in odd if (wrong := _second_look(check, value, at_ms))]


def _second_look(check: _Check, value: Any, at_ms: float | None) -> Violation | None:
    """Judge a value with all that may be said of it: NumPy's and pandas' kinds, nulls, times."""
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
    return _JUDGES[field.type](check, value, at_ms)


def _simple(value: Any) -> Any:
    """Make one of Python's own values, as the publisher does."""
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


def _judge_number(check: _Check, value: Any, _at_ms: float | None) -> Violation | None:
    field = check.field
    if type(value) is bool or not isinstance(value, int | float):
        return Violation(field.name, "type", expected_type=field.type)
    if field.type == "int" and isinstance(value, float) and not value.is_integer():
        return Violation(field.name, "type", expected_type=field.type)
    return _in_range(check, value)


def _judge_flag(check: _Check, value: Any, _at_ms: float | None) -> Violation | None:
    if isinstance(value, int | float) and value in (0, 1):
        return None
    return Violation(check.field.name, "type", expected_type=check.field.type)


def _judge_text(check: _Check, value: Any, _at_ms: float | None) -> Violation | None:
    field = check.field
    if isinstance(value, str):
        return None
    # The publisher writes context, and what it hashes or cuts, as text.
    as_text = not isinstance(value, dict) and (field.pii in ("hash", "truncate") or field.source.startswith("context."))
    return None if as_text else Violation(field.name, "type", expected_type=field.type)


def _judge_time(check: _Check, value: Any, at_ms: float | None) -> Violation | None:
    moment_ms = time_ms(value)
    if moment_ms is None:
        return Violation(check.field.name, "type", expected_type="timestamp")
    return None if at_ms is None else _in_range(check, (at_ms - moment_ms) / _MS_PER_S)


def _in_range(check: _Check, value: float) -> Violation | None:
    field = check.field
    if value < check.low:
        return Violation(field.name, "below" if field.low is not None else "not-finite", field.low)
    if value > check.high:
        return Violation(field.name, "above" if field.high is not None else "not-finite", field.high)
    return None


def time_ms(value: Any) -> float | None:
    """Read a timestamp feature as Unix milliseconds: a finite number, RFC 3339 text, an aware datetime; else None."""
    if type(value) is bool:
        return None
    if isinstance(value, int | float):
        return float(value) if abs(value) <= _LARGEST else None
    try:
        return float(epoch_ms(datetime.fromisoformat(value) if isinstance(value, str) else value))
    except (InvalidEvent, ValueError, OverflowError):
        return None


_JUDGES: dict[str, Callable[[_Check, Any, float | None], Violation | None]] = {
    "float": _judge_number,
    "int": _judge_number,
    "bool": _judge_flag,
    "category": _judge_text,
    "timestamp": _judge_time,
}


def rejection(validator: Validator, violations: Iterable[Violation]) -> ContractViolation | None:
    """The error that violations of the policy `reject` are raised as; None where all are merely flagged."""
    rejected = tuple(violation for violation in violations if violation.field in validator.rejected)
    # An unknown feature may bear the name of a field that reads elsewhere; it has no policy.
    rejected = tuple(violation for violation in rejected if violation.kind != "unknown")
    return ContractViolation(rejected) if rejected else None
