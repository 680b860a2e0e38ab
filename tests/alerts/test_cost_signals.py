"""The signals of costs on the real engine, over planted calls."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.operations.serving_facts import ServingFact, insert_serving_facts
from barograph_server.warehouse.signals import EventTimeRange, Signal, point_sql, series_sql
from barograph_server.warehouse.signals.costs import budget_use, cache_hit_fall, token_coverage_fall
from barograph_server.warehouse.tables import insert_columns
from tests.support.warehouse import columns, emptied, migrated

HOUR_S, DAY_S = 3600, 86_400
ODD = 'it\'s "50 %" {{ $__interval }} -- /* \\ 名前'
T0 = int(datetime(2026, 9, 20, tzinfo=UTC).timestamp())
"""A day in the middle of a month; rows are kept for 90 days from receipt, which is their event time here."""


@pytest.fixture(scope="module")
def database(engine: LocalClickHouse) -> Iterator[Client]:
    with migrated(engine) as client:
        # The tables drop old rows, and the planted days must not depend on today's.
        client.command("ALTER TABLE predictions REMOVE TTL")
        client.command("ALTER TABLE serving_facts REMOVE TTL")
        yield client


@pytest.fixture
def client(database: Client) -> Client:
    emptied(database)
    return database


def plant(client: Client, first_hour: int, hours: int, metrics: Callable[[int], list[dict[str, float]]]) -> None:
    at, values = [], []
    for hour in range(first_hour, first_hour + hours):
        for i, each in enumerate(metrics(hour)):
            at.append((T0 + hour * HOUR_S + i) * 1000)
            values.append(each)
    n, first_offset = len(at), (first_hour + 10_000) * 10_000
    known = {"model": [ODD] * n, "version": ["v"] * n, "at": at, "received_at": at, "metrics": values}
    known |= {"id": [f"{first_hour}-{i}" for i in range(n)], "offset": [first_offset + i for i in range(n)]}
    insert_columns(client, "predictions", columns("predictions", n, **known))


def number(client: Client, signal: Signal, hour: float, column: str = "value") -> dict[str, float]:
    rows = client.rows(point_sql(signal, column, at=str(T0 + round(hour * HOUR_S))))
    return {row[0]: float(row[1]) for row in rows} if signal.label else {"": float(rows[0][0])}


def priced(cost: float) -> dict[str, float]:
    return {"input_tokens": 100.0, "output_tokens": 10.0, "cost_usd": cost}


def test_what_is_spent_fires_and_an_unknown_cost_does_not_count(client: Client) -> None:
    signal = budget_use(ODD, {"day": 10.0, "month": 100.0})
    assert number(client, signal, 5) == {"day": 1, "month": 1}, "no data: neither fires nor clears"
    plant(client, 0, 24, lambda hour: [priced(1.0), {"input_tokens": 5.0}])
    assert number(client, signal, 5) == {"day": 0.5, "month": 0.05}
    assert number(client, signal, 10) == {"day": 1.0, "month": 0.1}, "all of the budget is not more than it"
    assert number(client, signal, 11) == pytest.approx({"day": 1.1, "month": 0.11})
    assert number(client, signal, 24) == pytest.approx({"day": 2.4, "month": 0.24})
    rows = client.rows(point_sql(signal, at=str(T0 + 11 * HOUR_S), shown_s=DAY_S))
    assert "no forecast yet; the cost of 50 % of the calls is known, so that this is a lower bound" in str(rows[0])


def test_a_forecast_fires_before_the_money_is_spent(client: Client) -> None:
    signal = budget_use(ODD, {"day": 30.0})
    # Seven days of about 48 dollars, most of them in the evening; the first one is not a whole day.
    plant(client, -8 * 24 + 5, 8 * 24 - 5, lambda hour: [priced(0.5 + hour % 3 * 0.01 if hour % 24 < 12 else 3.5)])
    plant(client, 0, 24, lambda hour: [priced(0.5)])
    early = number(client, signal, 6)["day"]
    assert early > 1, "three dollars are spent, and 45 are expected"
    assert early == pytest.approx((3 + 6 * 0.51 + 12 * 3.5) / 30, abs=0.01)
    low, high = number(client, signal, 6, "low")["day"], number(client, signal, 6, "high")["day"]
    assert low <= early <= high
    assert number(client, signal, 24) == pytest.approx({"day": 12 / 30}), "at the end it is what was spent"


def test_a_forecast_whose_interval_contains_the_budget_does_not_fire(client: Client) -> None:
    signal = budget_use(ODD, {"day": 22.0})
    plant(client, -8 * 24, 8 * 24, lambda hour: [priced(0.2 if hour // 24 % 2 else 2.0)])
    plant(client, 0, 24, lambda hour: [priced(1.0)])
    values = {column: number(client, signal, 1, column)["day"] for column in ("value", "observed", "low", "high")}
    assert values["low"] < 1 < values["observed"] < values["high"]
    assert values["value"] == 1


def test_a_month_is_forecast_from_the_days_before(client: Client) -> None:
    signal = budget_use(ODD, {"month": 500.0})
    plant(client, -19 * 24, 19 * 24, lambda hour: [priced(1.0)])
    plant(client, 0, 24, lambda hour: [priced(1.0)])
    # The first planted day is the first of the month: 20 days of 24 dollars, and ten are left.
    assert number(client, signal, 24) == pytest.approx({"month": 30 * 24 / 500})
    assert number(client, signal, 24, "observed") == pytest.approx({"month": 30 * 24 / 500})


def test_the_history_agrees_with_single_times(client: Client) -> None:
    signal = budget_use(ODD, {"day": 30.0, "month": 600.0})
    plant(client, -6 * 24, 7 * 24, lambda hour: [priced(1.0 + hour % 5 * 0.2)])
    period = EventTimeRange(str(T0), str(T0 + DAY_S))
    history = {(row[0], row[1]): row[2] for row in client.rows(series_sql(signal, period))}
    for hour in (3, 12, 24):
        single = number(client, signal, hour)
        assert {key: history[T0 + hour * HOUR_S, key] for key in single} == pytest.approx(single)


def cached(share: float, calls: int = 5) -> list[dict[str, float]]:
    return [{"input_tokens": 1000.0, "output_tokens": 1.0, "cached_input_tokens": 1000 * share}] * calls


def test_a_fall_of_the_cache_fires_for_spans(client: Client) -> None:
    signal = cache_hit_fall(ODD, 0.1)
    plant(client, -8 * 24, 7 * 24, lambda hour: cached(0.6 + hour % 2 * 0.02))
    assert number(client, signal, -7 * 24 - 5) == {"spans": 0.1, "servers": 0.1}, "the week before is not there yet"
    plant(client, -24, 24, lambda hour: cached(0.3))
    values = number(client, signal, 0)
    assert values["spans"] == pytest.approx(0.31, abs=0.001)
    assert values["servers"] == 0.1
    assert number(client, signal, 0, "low")["spans"] > 0.29


def test_a_small_or_uncertain_fall_does_not_fire(client: Client) -> None:
    signal = cache_hit_fall(ODD, 0.1)
    plant(client, -8 * 24, 7 * 24, lambda hour: cached(0.9 if hour % 2 else 0.1))
    plant(client, -24, 24, lambda hour: cached(0.75 if hour % 2 else 0.0))
    observed, value = number(client, signal, 0, "observed")["spans"], number(client, signal, 0)["spans"]
    assert observed == pytest.approx(0.125, abs=0.001)
    assert value == 0.1, "capped at the threshold"


def test_a_fall_of_the_cache_fires_for_servers(client: Client) -> None:
    signal = cache_hit_fall(ODD, 0.1)
    facts = [
        ServingFact(
            *(ODD, "host:1", "prefix_cache_hits", "", (T0 + hour * HOUR_S) * 1000, "vllm", "ratio", "share"),
            *(share, 1000.0, 1000 * share, 15.0),
        )
        for hour in range(-8 * 24, 0)
        for share in [0.7 + hour % 3 * 0.01 if hour < -24 else 0.2]
    ]
    insert_serving_facts(client, facts)
    values = number(client, signal, 0)
    assert values["servers"] == pytest.approx(0.51, abs=0.005)
    assert values["spans"] == 0.1


def test_a_fall_of_observed_tokens_fires(client: Client) -> None:
    signal = token_coverage_fall(ODD, 0.05)
    with_tokens: list[dict[str, float]] = [{"input_tokens": 1.0, "output_tokens": 1.0}]
    without: list[dict[str, float]] = [{"input_tokens": 1.0}]
    plant(client, -8 * 24, 7 * 24, lambda hour: with_tokens * 10)
    plant(client, -24, 24, lambda hour: with_tokens * 8 + without * (2 + hour % 2))
    assert number(client, signal, 0)[""] == pytest.approx(1 - 8 / 10.5, abs=0.001)
    assert number(client, signal, -7 * 24 - 5)[""] == 0.05, "neither fires nor clears without a week before"
