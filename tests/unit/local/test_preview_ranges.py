"""Ranges of time as they stand in addresses."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from local.preview.ranges import RangeError, moment_ms, read_range

NOW = datetime(2026, 11, 25, 10, 30, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("now-90m", datetime(2026, 11, 25, 9, 0, tzinfo=UTC)),
        ("now-7d", datetime(2026, 11, 18, 10, 30, tzinfo=UTC)),
        ("now-1d/d", datetime(2026, 11, 24, tzinfo=UTC)),
        ("2026-11-03 14:00", datetime(2026, 11, 3, 14, tzinfo=UTC)),
        ("2026-11-03T14:00:00+02:00", datetime(2026, 11, 3, 12, tzinfo=UTC)),
        (str(NOW_MS), NOW),
    ],
)
def test_one_end(text: str, expected: datetime) -> None:
    assert moment_ms(text, NOW_MS, is_end=False) == round(expected.timestamp() * 1000)


def test_a_rounded_end_is_the_end_of_its_day() -> None:
    start, end = read_range("now/d", "now/d", NOW_MS)
    assert end - start == 86_400_000
    assert start <= NOW_MS < end


@pytest.mark.parametrize(("start", "end"), [(0, 10**30), (-1, "now"), ("now-999999w", "now"), (0, 4_300_000_000_000)])
def test_a_range_outside_of_clickhouses_times_is_an_error(start: str | int, end: str | int) -> None:
    with pytest.raises(RangeError, match="is not within the years 1970 to 2105"):
        read_range(start, end, NOW_MS)


@pytest.mark.parametrize("text", ["", "yesterday", "now-", "now-3y", "now+1h", "2026-13-01"])
def test_what_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(RangeError, match="is not a time: write now, now-6h"):
        moment_ms(text, NOW_MS, is_end=False)


def test_an_empty_range_is_rejected() -> None:
    with pytest.raises(RangeError, match="from now to now-1h is empty"):
        read_range("now", "now-1h", NOW_MS)
