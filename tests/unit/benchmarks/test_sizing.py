"""Capacity estimates with invented costs."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.sizing import Costs, Load, capacities, most_sketchers, needs
from tests.support.growth import made_up


def test_an_empty_load_needs_one_process_of_each_kind() -> None:
    result = needs(made_up(), Load(events_per_s=0, models=1))
    assert (result.sketchers, result.recorders, result.monitors, result.engines) == (1, 1, 1, 1)
    assert (result.source_partitions, result.partials_partitions) == (1, 4)
    assert result.raw_gb_day == 0
    assert result.clickhouse_in_mb_s == 0


def test_progress_records_bound_the_sketchers_of_a_partition() -> None:
    growth = made_up()
    bound = most_sketchers(growth, 15.0)
    cores, progress = Costs(growth).monitor_cores(Load(events_per_s=0, models=0), round(bound), 0, 1)
    assert cores == pytest.approx(progress)
    assert progress == pytest.approx(0.6, rel=0.01)
    assert most_sketchers(growth, 30.0) == pytest.approx(2 * bound)


def test_a_known_load() -> None:
    growth = made_up()
    load = Load(events_per_s=1e6, models=1)
    # A batch of 250 ms has 62,500 events and 1.3 ms of fixed cost. 60 % minus about 1 % for idling and writing is
    # planned.
    assert Costs(growth).sketcher_capacity(load) == pytest.approx(62_500 / (0.250 + 0.001325), rel=1e-6)
    result = needs(growth, load)
    assert result.sketchers == 7
    assert result.recorders == 14
    assert result.source_partitions == 16
    assert result.raw_gb_day == pytest.approx(1e6 * 120 * 86_400 / 1e9)
    assert result.kafka_in_mb_s == pytest.approx(250, rel=0.01)
    # 4 µs a row, and 14 inserts a second of 30 ms, of 2 cores at 60 %.
    assert result.engines == 4 + 1


def test_capacities_show_the_first_bottleneck() -> None:
    result: dict[str, Any] = capacities(made_up(), Load(events_per_s=1, models=1))
    assert sorted(result, key=lambda stage: result[stage])[0] == "recorder"
    assert result["ClickHouse node"] == pytest.approx(2 * 0.6 / 4e-6)
    assert result["recorder"] == pytest.approx(0.6 / 8e-6)
