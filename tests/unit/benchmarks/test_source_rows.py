"""A page shows a change of the data only if the source's own rows do, beyond what days differ by."""

from __future__ import annotations

from typing import cast

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.scoreboard.data_sets import DATA_SETS, DAY_MS, SOURCE_ROW, START_MS
from benchmarks.scoreboard.inference import infer_model
from benchmarks.scoreboard.replayed import StreamJudge
from benchmarks.scoreboard.source_rows import SourceTest
from warehouse.client import Client

DAYS, TRAINING_DAYS, PER_HOUR = 40, 30, 40
DAY_S = 86_400


def source(level_sd: float, shift: float, null_share: float) -> pa.Table:
    """Rows with a level of each day; those of the last day have a shift and nulls."""
    rng = np.random.default_rng(5)
    n = DAYS * 24 * PER_HOUR
    day = np.arange(n) // (24 * PER_HOUR)
    level = level_sd * rng.normal(size=DAYS)
    level[-1] = shift
    values = rng.normal(size=n) + level[day]
    is_null = rng.random(n) < np.where(day == DAYS - 1, null_share, 0.02)
    at = START_MS + np.arange(n) * (DAY_MS // (24 * PER_HOUR))
    return pa.table(
        {
            "at": pa.array(at).cast(pa.timestamp("ms", "UTC")),
            SOURCE_ROW: np.arange(n),
            "features.x": pa.array(values, mask=is_null),
            "features.k": pa.array(np.array(["a", "b"])[rng.integers(0, 2, n)].tolist()),
        }
    )


def source_test(rows: pa.Table, stream: pa.Table | None = None) -> SourceTest:
    training = rows.slice(0, TRAINING_DAYS * 24 * PER_HOUR)
    # The test counts rows, and reads no table.
    judge = StreamJudge(cast(Client, None), *infer_model(DATA_SETS["diabetes"], training))
    return SourceTest(judge, training, rows if stream is None else stream)


def page_s(test: SourceTest) -> int:
    return START_MS // 1000 + DAYS * DAY_S + test.sealed_after_s


@pytest.mark.parametrize(("shift", "is_change"), [(0.0, False), (1.0, True)])
def test_a_shift_of_independent_rows(shift: float, is_change: bool) -> None:
    test = source_test(source(0.0, shift, 0.02))
    evidence = test.evidence("psi-major", "x", page_s(test))
    assert evidence.is_change == is_change
    assert evidence.n == 24 * PER_HOUR
    assert evidence.phi < 1.5
    assert (evidence.training_days == 0) == is_change


def test_days_that_differ_anyway_explain_a_shift() -> None:
    test = source_test(source(0.5, 0.6, 0.02))
    evidence = test.evidence("psi-major", "x", page_s(test))
    assert evidence.phi > 10
    assert not evidence.is_change
    assert evidence.training_days > 3


@pytest.mark.parametrize(("null_share", "is_change"), [(0.04, False), (0.7, True)])
def test_a_rate_is_tested_in_the_short_window(null_share: float, is_change: bool) -> None:
    test = source_test(source(0.0, 0.0, null_share))
    evidence = test.evidence("null-rate", "x", page_s(test))
    assert evidence.n == PER_HOUR
    assert evidence.is_change == is_change


def test_a_row_that_the_stream_repeats_counts_once() -> None:
    rows = source(0.0, 0.0, 0.7)
    last_hour = rows.slice(rows.num_rows - 5)
    repeated = pa.concat_tables([last_hour] * 20).sort_by("at")
    test = source_test(rows, pa.concat_tables([rows.slice(0, rows.num_rows - PER_HOUR), repeated]))
    evidence = test.evidence("null-rate", "x", page_s(test))
    assert evidence.n == 5
