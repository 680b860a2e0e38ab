"""Times of a load: what processors would reject, and the shift of old history."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from barograph.contract import Contract, Field, LabelSpec

from barograph_server.batch.backfill.check import inspect_file, read_blocks
from barograph_server.batch.backfill.files import EventFile
from barograph_server.batch.backfill.times import (
    FileTimes,
    RefusedTimes,
    check_times,
    read_times,
    shift_rows,
    shift_to_now_ms,
)

CONTRACT = Contract(
    model="m", fields=(Field(name="x", type="float", source="features.x"),), label=LabelSpec(type="float")
)
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)


def times_of(path: Path, at: list[datetime], retention_days: int = 400, shift_ms: int = 0) -> list[FileTimes]:
    pq.write_table(pa.table({"id": [str(i) for i in range(len(at))], "at": at, "x": [1.0] * len(at)}), path)
    sources = [inspect_file(EventFile(path, {}), CONTRACT, "1")]
    return read_times(sources, CONTRACT, "1", NOW_MS, retention_days, shift_ms)


def days_ago(*days: float) -> list[datetime]:
    return [NOW - timedelta(days=each) for each in days]


def test_times_within_the_retention_are_accepted(tmp_path: Path) -> None:
    times = times_of(tmp_path / "p.parquet", [*days_ago(398), NOW + timedelta(minutes=4)])
    check_times(times, NOW_MS, 400, is_shifted=False)


@pytest.mark.parametrize(
    ("at", "is_shifted", "message"),
    [
        (
            days_ago(500, 450, 1),
            False,
            "2 of 3 events are older than the retention of 400 days (the oldest is from 2025-07-15 12:00), and "
            "processors would reject them, so nothing was sent. Either set retention_days to 502 for all processors "
            "and commands, run `barograph apply` and restart them; or set retention_days to 508 for all processors and "
            "commands, run `barograph apply` and restart them and load with --shift-to-now.",
        ),
        (
            days_ago(606, 0),
            True,
            "1 of 2 events are older than the retention of 400 days (the oldest is from 2025-03-31 12:00), and "
            "processors would reject them, so nothing was sent. The files span a long time: set retention_days to 608 "
            "for all processors and commands, run `barograph apply` and restart them.",
        ),
        (
            [datetime(1970, 1, 1, tzinfo=UTC), NOW],
            False,
            "1 of 2 events are older than the retention of 400 days (the oldest is from 1970-01-01 00:00), and "
            "processors would reject them, so nothing was sent. Correct the column at: its unit, or rows without a "
            "real time.",
        ),
        (
            days_ago(-3, 0),
            False,
            "1 of 2 events are ahead of this machine's clock (the newest is from 2026-11-30 12:00), and processors "
            "would reject them, so nothing was sent. Correct the column at (its unit, or its time zone) or "
            "--label-delay, or load with --shift-to-now.",
        ),
    ],
)
def test_a_refusal_says_what_to_do(tmp_path: Path, at: list[datetime], is_shifted: bool, message: str) -> None:
    with pytest.raises(RefusedTimes) as error:
        check_times(times_of(tmp_path / "p.parquet", at), NOW_MS, 400, is_shifted=is_shifted)
    assert str(error.value) == message


def test_the_named_retention_is_enough_and_the_shift_keeps_the_hour_of_the_week(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    at = days_ago(500, 450, 1)
    check_times(times_of(path, at, 502), NOW_MS, 502, is_shifted=False)
    for old in (days_ago(900, 750), days_ago(-40, -3)):
        shift_ms = shift_to_now_ms(times_of(path, old), NOW_MS)
        shifted = times_of(path, old, shift_ms=shift_ms)
        check_times(shifted, NOW_MS, 400, is_shifted=True)
        assert shift_ms % (7 * 86_400_000) == 0
        assert 0 <= NOW_MS - shifted[0].newest_ms < 7 * 86_400_000


def test_a_shifted_prediction_keeps_its_original_time(tmp_path: Path) -> None:
    times_of(tmp_path / "p.parquet", days_ago(500, 450))
    source = inspect_file(EventFile(tmp_path / "p.parquet", {}), CONTRACT, "1")
    (block,) = read_blocks(source, CONTRACT, "1")
    shifted = shift_rows(block.rows, 448 * 86_400_000, keep_original=True).to_pylist()
    assert [row["at"] for row in shifted] == days_ago(52, 2)
    assert [row["context.original_at"] for row in shifted] == ["2025-07-15T12:00:00.000Z", "2025-09-03T12:00:00.000Z"]
    assert [row["features.x"] for row in shifted] == [1.0, 1.0]
