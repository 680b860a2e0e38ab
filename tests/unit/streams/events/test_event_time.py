"""Event times: valid and invalid forms."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from streams.events.event_time import parse_time_ms, times_ms

NOON_MS = round(datetime.fromisoformat("2026-03-01T12:00:00+00:00").timestamp() * 1000)


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (NOON_MS, NOON_MS),
        (float(NOON_MS), NOON_MS),
        (0, 0),
        (-1, -1),
        ("2026-03-01T12:00:00Z", NOON_MS),
        ("2026-03-01T12:00:00.250Z", NOON_MS + 250),
        ("2026-03-01T14:30:00+02:30", NOON_MS),
        ("2026-03-01T12:00:00.0006+00:00", NOON_MS + 1),
    ],
)
def test_valid_times(value: Any, ms: int) -> None:
    assert parse_time_ms(value) == ms


def test_invalid_times() -> None:
    numbers = (None, True, 1.5, float("nan"), float("inf"), 1e30, 2**63, -(2**63) - 1, [NOON_MS])
    texts = ("", "yesterday", "2026-03-01", "2026-03-01T12:00:00", "2026-13-01T12:00:00Z", str(NOON_MS))
    for value in (*numbers, *texts):
        assert parse_time_ms(value) is None, value


def test_columns_of_times() -> None:
    at, bad = times_ms([NOON_MS, NOON_MS + 1])
    assert at.tolist() == [NOON_MS, NOON_MS + 1]
    assert bad is None
    at, bad = times_ms([NOON_MS, "2026-03-01T12:00:00Z", "x", 2**70])
    assert at[:2].tolist() == [NOON_MS, NOON_MS]
    assert bad is not None
    assert bad.tolist() == [False, False, True, True]
    at, bad = times_ms([])
    assert len(at) == 0
