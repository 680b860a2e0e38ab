"""Looks: the decision about a candidate at the end of each local day, from the days up to it."""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import msgspec
import numpy as np
from barograph.contract import ShadowTest

from barograph_server.sketches.baseline.baseline import ALL
from barograph_server.sketches.rollout.criteria import decision
from barograph_server.sketches.rollout.decision import DECISION_RULES, ShadowDecision
from barograph_server.sketches.rollout.shadow_days import FloatArray, ShadowDays

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LookDay:
    """A day that has ended, and what its look is computed from."""

    day: str
    """Date, such as `2026-03-29`."""
    inputs: str
    """Hash of the rules, the section of the contract and all days up to this one; 16 hexadecimal digits."""


def look_days(
    shadow: ShadowTest, basis: str, slices: Sequence[ShadowDays], *, after_promotion: bool = False
) -> list[LookDay]:
    """Return the days with a look, in order: the days of the slice `all` that have ended.

    Args:
        basis: the hash of the scoring rules.
        slices: the daily sums of the slices, `all` among them.
        after_promotion: whether their candidate is the new primary.
    """
    (whole,) = (each for each in slices if each.slice == ALL)
    content: dict[str, list[bytes]] = {day: [] for day in whole.days}
    for each in sorted(slices, key=lambda own: own.slice):
        for day, values in zip(each.days, _content(each), strict=True):
            content.setdefault(day, []).append(each.slice.encode() + b"\0" + values)
    settings = msgspec.json.encode([DECISION_RULES, basis, after_promotion, shadow])
    total = hashlib.blake2b(settings, digest_size=8)
    ended = dict(zip(whole.days, whole.ended.tolist(), strict=True))
    looks = []
    for day in sorted(content):
        total.update(day.encode() + b"".join(content[day]))
        if ended.get(day):
            looks.append(LookDay(day, total.hexdigest()))
    return looks


def decide_at(shadow: ShadowTest, slices: Sequence[ShadowDays], day: str) -> ShadowDecision:
    """Decide about a candidate from the days up to one of `look_days`."""
    return decision(shadow, [_until(each, sum(own <= day for own in each.days)) for each in slices])


def _until(days: ShadowDays, n: int) -> ShadowDays:
    """Return the first n days of a slice."""
    parts = {field.name: getattr(days, field.name) for field in dataclasses.fields(days)}
    return dataclasses.replace(days, **{name: _first(value, n) for name, value in parts.items()})


def _first(value: T, n: int) -> T:
    if isinstance(value, Mapping):
        return cast("T", {key: _first(each, n) for key, each in value.items()})
    if isinstance(value, np.ndarray | tuple):
        return cast("T", value[:n])
    return value


def _content(days: ShadowDays) -> Iterator[bytes]:
    """Yield the values of each day with their names. Zeros are left out: a reason is not known before it occurs."""
    columns: dict[str, FloatArray] = {}
    for field in dataclasses.fields(days):
        value = getattr(days, field.name)
        for name, array in (value if isinstance(value, Mapping) else {"": value}).items():
            if isinstance(array, np.ndarray):
                table = array.reshape(len(days.days), -1).T
                columns |= {f"{field.name}.{name}.{i}": column.astype(np.float64) for i, column in enumerate(table)}
    names = np.array([hashlib.blake2b(name.encode(), digest_size=8).digest() for name in columns], dtype="S8")
    matrix = np.array(list(columns.values())).T
    for values, is_set in zip(matrix, matrix != 0.0, strict=True):
        yield names[is_set].tobytes() + values[is_set].tobytes()
