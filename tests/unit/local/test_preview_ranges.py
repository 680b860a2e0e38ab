"""Ranges of time as they stand in addresses."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from barograph_server.local.preview.frames import RangeError, moment_ms, read_range

NOW = datetime(2026, 11, 25, 10, 30, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)


def test_one_end() -> None:
    for text, expected in (
        ("now", NOW),
        ("now-90m", datetime(2026, 11, 25, 9, 0, tzinfo=UTC)),
        ("now-7d", datetime(2026, 11, 18, 10, 30, tzinfo=UTC)),
        ("now-1d/d", datetime(2026, 11, 24, tzinfo=UTC)),
        ("2026-11-03 14:00", datetime(2026, 11, 3, 14, tzinfo=UTC)),
        ("2026-11-03T14:00:00+02:00", datetime(2026, 11, 3, 12, tzinfo=UTC)),
        (str(NOW_MS), NOW),
    ):
        assert moment_ms(text, NOW_MS, is_end=False) == round(expected.timestamp() * 1000), text
    start, end = read_range("now/d", "now/d", NOW_MS)
    assert end - start == 86_400_000, "a rounded end is the end of its day"
    assert start <= NOW_MS < end


def test_what_is_no_range_of_times_is_named() -> None:
    ranges: list[tuple[str | int, str | int]] = [(0, 10**30), (0, 4_300_000_000_000)]
    for start, end in ranges:
        with pytest.raises(RangeError, match="is not within the years 1970 to 2105"):
            read_range(start, end, NOW_MS)
    for text in ("", "yesterday", "now-", "now-3y", "now+1h", "2026-13-01"):
        with pytest.raises(RangeError, match="is not a time: write now, now-6h"):
            moment_ms(text, NOW_MS, is_end=False)
    with pytest.raises(RangeError, match="from now to now-1h is empty"):
        read_range("now", "now-1h", NOW_MS)
