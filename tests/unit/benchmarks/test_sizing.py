"""Capacity estimates with invented costs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.sizing import Costs, Load, Needs, capacities, most_sketchers, needs
from tests.support.growth import made_up

GROWING = ("sketchers", "recorders", "source_partitions", "engines", "kafka_in_mb_s", "raw_gb_day", "kafka_gb_day")


def _numbers(result: Needs) -> dict[str, float]:
    return {name: getattr(result, name) for name in result.__dataclass_fields__}


loads = st.builds(
    Load,
    events_per_s=st.floats(0, 2e7),
    models=st.integers(0, 200),
    form=st.sampled_from(["json", "arrow"]),
    fields=st.sampled_from([5, 20, 100]),
    raw_share=st.floats(0, 1),
    flush_s=st.sampled_from([5.0, 15.0, 60.0]),
)


def test_an_empty_load_needs_one_process_of_each_kind() -> None:
    result = needs(made_up(), Load(events_per_s=0, models=1))
    assert (result.sketchers, result.recorders, result.monitors, result.engines) == (1, 1, 1, 1)
    assert (result.source_partitions, result.partials_partitions) == (1, 4)
    assert result.raw_gb_day == 0
    assert result.clickhouse_in_mb_s == 0


@given(loads, st.floats(1, 10))
def test_needs_grow_with_the_rate(load: Load, times: float) -> None:
    less, more = needs(made_up(), load), needs(made_up(), replace(load, events_per_s=load.events_per_s * times))
    for name in GROWING:
        assert getattr(more, name) >= getattr(less, name), name


@given(loads)
def test_processes_have_partitions_and_are_not_overfull(load: Load) -> None:
    result = needs(made_up(), load)
    assert result.source_partitions >= max(result.sketchers, result.recorders)
    assert result.partials_partitions >= result.monitors
    assert min(_numbers(result).values()) >= 0
    assert result.progress_cores <= result.monitor_cores + 1e-9
    assert result.sketcher_share <= 1


def test_progress_records_bound_the_sketchers_of_a_partition() -> None:
    growth = made_up()
    bound = most_sketchers(growth, 15.0)
    cores, progress = Costs(growth).monitor_cores(Load(events_per_s=0, models=0), round(bound), 0, 1)
    assert cores == pytest.approx(progress)
    assert progress == pytest.approx(0.6, rel=0.01)
    assert most_sketchers(growth, 30.0) == pytest.approx(2 * bound)


def test_an_excessive_load_does_not_hold() -> None:
    assert needs(made_up(), Load(events_per_s=1e4)).holds
    assert not needs(made_up(monitor_record_us=1e6), Load(events_per_s=15e6)).holds


@given(loads, st.floats(0, 1))
def test_a_smaller_share_of_raw_rows_needs_less(load: Load, part: float) -> None:
    less, more = needs(made_up(), replace(load, raw_share=load.raw_share * part)), needs(made_up(), load)
    for name in ("recorders", "engines", "raw_gb_day", "clickhouse_in_mb_s"):
        assert getattr(less, name) <= getattr(more, name), name
    assert less.kafka_in_mb_s == pytest.approx(more.kafka_in_mb_s, rel=0.2)


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


def test_events_without_raw_row_still_cost_reading() -> None:
    costs = Costs(made_up())
    whole, tenth, none = (costs.recorder_s(Load(events_per_s=1, raw_share=share)) for share in (1, 0.1, 0))
    assert whole == pytest.approx(8e-6)
    assert tenth == pytest.approx(3.5e-6)
    assert none == pytest.approx(3e-6)


def test_capacities_show_the_first_bottleneck() -> None:
    result: dict[str, Any] = capacities(made_up(), Load(events_per_s=1, models=1))
    assert sorted(result, key=lambda stage: result[stage])[0] == "recorder"
    assert result["ClickHouse node"] == pytest.approx(2 * 0.6 / 4e-6)
    assert result["recorder"] == pytest.approx(0.6 / 8e-6)


def test_a_missing_cost_is_named() -> None:
    growth = made_up()
    growth.curves = [curve for curve in growth.curves if curve.key != "monitor by sources"]
    with pytest.raises(KeyError, match="monitor by sources"):
        needs(growth, Load(events_per_s=1))
