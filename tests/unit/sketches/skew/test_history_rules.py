"""Values of earlier and other windows, planted alone in series of many entities, are recognised by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from barograph_server.sketches.skew.field import FloatArray, IntArray, Skew
from barograph_server.sketches.skew.history_rules import EntityHistory, EntitySeries
from barograph_server.sketches.skew.numbers import compare_numbers

ENTITIES, ROWS = 40, 150
HOUR = 3_600_000
RNG = np.random.default_rng(11)
ENTITY = np.repeat(np.arange(ENTITIES), ROWS)
REGULAR = np.tile(np.arange(ROWS) * HOUR, ENTITIES)
UNEVEN = np.concatenate([np.cumsum(RNG.integers(1, 4 * HOUR, ROWS)) for _ in range(ENTITIES)])
RAW: FloatArray = np.round(RNG.normal(20.0, 6.0, ENTITIES * ROWS), 3)


def rolled(values: FloatArray, how: Callable[..., Any], rows: int, *, skip: int = 0) -> FloatArray:
    """By the definition: an aggregate over the last rows of each entity, partial ones at the start."""
    by_entity, out = values.reshape(ENTITIES, ROWS), np.full((ENTITIES, ROWS), np.nan)
    for i in range(ROWS):
        begin = max(0, i - skip - rows + 1)
        if begin <= i - skip:
            out[:, i] = how(by_entity[:, begin : i - skip + 1], axis=1)
    return out.ravel()


def rolled_sum(values: FloatArray, times: IntArray, span: int) -> FloatArray:
    """By the definition: a sum over a span of time up to each row of an entity."""
    by_entity, at = values.reshape(ENTITIES, ROWS), times.reshape(ENTITIES, ROWS)
    sums = [(by_entity[:, : i + 1] * (at[:, : i + 1] > at[:, [i]] - span)).sum(axis=1) for i in range(ROWS)]
    return np.stack(sums, axis=1).ravel()


def compared(
    served: FloatArray,
    recomputed: FloatArray,
    *,
    times: IntArray = REGULAR,
    underlying: FloatArray | None = None,
    shuffled: bool = True,
) -> Skew:
    order = RNG.permutation(len(served)) if shuffled else np.arange(len(served))
    history = EntityHistory.of(ENTITY[order], times[order])

    def ordered(values: FloatArray | None) -> FloatArray | None:
        return None if values is None else values[order][history.order]

    recomputed_now = ordered(recomputed)
    assert recomputed_now is not None
    series = EntitySeries(history, history.rank, recomputed_now, ordered(served), ordered(underlying))
    return compare_numbers(served[order], recomputed[order], series=series.rules)


def lagged(values: FloatArray, rows: int) -> FloatArray:
    return rolled(values, np.mean, 1, skip=rows)


def detail_of(skew: Skew) -> str:
    return skew.explanations[0].detail


def test_a_lag_of_rows_is_named() -> None:
    for rows, message in ((1, "1 row earlier (1 h)"), (3, "3 rows earlier (3 h)"), (24, "24 rows earlier (1 d)")):
        skew = compared(lagged(RAW, rows), RAW)
        assert skew.kinds == ("lag in time",)
        assert detail_of(skew) == f"served is the value {message}"
    # A window without the row itself is a lag of one row.
    skew = compared(rolled(RAW, np.mean, 7, skip=1), rolled(RAW, np.mean, 7), underlying=RAW)
    assert skew.kinds == ("lag in time",)


def test_a_lag_of_time_is_named_for_uneven_rows() -> None:
    steps = np.floor_divide(UNEVEN, 6 * HOUR)
    readings = {(e, s): RNG.normal(20, 6) for e, s in set(zip(ENTITY.tolist(), steps.tolist(), strict=True))}

    def reading(entity: int, step: int) -> float:
        return readings.setdefault((entity, step), float(RNG.normal(20, 6)))

    recomputed = np.array([reading(e, s) for e, s in zip(ENTITY.tolist(), steps.tolist(), strict=True)])
    served = np.array([reading(e, s - 4) for e, s in zip(ENTITY.tolist(), steps.tolist(), strict=True)])
    skew = compared(served, recomputed, times=UNEVEN)
    assert skew.kinds == ("lag in time",)
    assert detail_of(skew) == "served is the value of 1 d earlier"


def test_values_of_another_entity_or_later_are_no_lag() -> None:
    other = np.roll(RAW, ROWS // 2)
    assert compared(other, RAW).kinds == ("unexplained",)
    assert compared(-lagged(-RAW[::-1], 1)[::-1], RAW).kinds == ("unexplained",)


def test_another_window_of_rows_is_named_from_the_underlying_column() -> None:
    for served, recomputed, expected in (
        (7, 14, "served is the mean over the last 7 rows, recomputed is the mean over the last 14 rows"),
        (14, 7, "served is the mean over the last 14 rows, recomputed is the mean over the last 7 rows"),
        (30, 1, "served is the mean over the last 30 rows"),
    ):
        skew = compared(rolled(RAW, np.mean, served), rolled(RAW, np.mean, recomputed), underlying=RAW)
        assert skew.kinds == ("other window length",)
        assert detail_of(skew).startswith(expected)
    # Other aggregates are not guessed.
    assert compared(rolled(RAW, np.max, 5), rolled(RAW, np.mean, 5), underlying=RAW).kinds == ("unexplained",)


def test_another_window_of_time_is_named_from_the_underlying_column() -> None:
    served = rolled_sum(RAW, UNEVEN, 24 * HOUR)
    recomputed = rolled_sum(RAW, UNEVEN, 12 * HOUR)
    skew = compared(served, recomputed, times=UNEVEN, underlying=RAW)
    assert skew.kinds == ("other window length",)
    assert detail_of(skew) == "served is the sum over the last 1 d, recomputed is the sum over the last 12 h"
    # Counts of rows need no column.
    ones = np.ones(len(RAW))
    skew = compared(rolled_sum(ones, UNEVEN, 12 * HOUR), rolled_sum(ones, UNEVEN, 24 * HOUR), times=UNEVEN)
    assert (skew.kinds, detail_of(skew)) == (("other window length",), "served is the count of rows over the last 12 h")


def test_windows_that_are_multiples_are_named_without_the_column() -> None:
    for how, name in ((np.mean, "mean"), (np.sum, "sum")):
        for served, recomputed, expected in (
            (5, 1, f"served is the {name} of the last 5 rows of recomputed"),
            (21, 7, f"served is the {name} over 21 rows where recomputed is over 7"),
            (7, 21, f"recomputed is the {name} over 21 rows where served is over 7"),
        ):
            skew = compared(rolled(RAW, how, served), rolled(RAW, how, recomputed))
            assert skew.kinds == ("other window length",), (served, recomputed, skew.explanations)
            assert detail_of(skew) == expected
    # Others are not guessed.
    assert compared(rolled(RAW, np.mean, 5), rolled(RAW, np.mean, 7)).kinds == ("unexplained",)


def test_units_are_preferred_over_time() -> None:
    constant = np.repeat(RNG.normal(20, 6, ENTITIES), ROWS)  # a lag of it explains nothing
    assert compared(constant * 1000, constant).kinds == ("constant factor",)
    assert compared(RAW * 1000, RAW, underlying=RAW).kinds == ("constant factor",)
