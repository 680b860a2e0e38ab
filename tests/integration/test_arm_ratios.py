"""The ratio of arms from raw predictions on the real engine, against plain Python."""

import random
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from barograph.contract import Arms, Contract

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.sketches.baseline.levels import Level
from barograph_server.sketches.comparison.sample_ratio import anytime_p
from barograph_server.streams.registry.registry import build_registry
from barograph_server.streams.scorer.worker import MIN_INTERVAL_S, ArmRatioSchedule
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.rollouts.arm_ratios import ArmRatio, sample_ratio, write_ratio
from barograph_server.warehouse.tables import insert_rows
from tests.support import scoring
from tests.support.pipeline import simple_contract
from tests.support.warehouse import migrated, row

APPLIED_MS = 1_790_000_000_000
USERS = Arms(shares={"b": 0.5, "a": 0.5}, unit="context.user")


@pytest.fixture(scope="module")
def migrated_client(engine: LocalClickHouse) -> Iterator[Client]:
    with migrated(engine) as client:
        # The rows of these tests are of a fixed moment, which the TTL would take.
        client.command("ALTER TABLE predictions REMOVE TTL")
        client.command("ALTER TABLE arm_ratios REMOVE TTL")
        yield client


def contract(arms: Arms | None = USERS, **changes: Any) -> Contract:
    return simple_contract(arms=arms, **changes)


def apply(client: Client, applied: Contract, at_ms: int = APPLIED_MS) -> None:
    scoring.register(client, applied, applied_at=at_ms)


def write(
    client: Client, requests: list[tuple[str, str]], first: int = 0, received_ms: int = APPLIED_MS + 1000
) -> None:
    """Requests as (user, arm), one prediction each."""
    own = {"model": "toy", "version": "1", "at": received_ms, "received_at": received_ms}
    rows = [
        row("predictions", **own, id=f"p{i}", offset=i, arm=arm, context=[("user", user)] if user else [])
        for i, (user, arm) in enumerate(requests, first)
    ]
    insert_rows(client, "predictions", rows)


def check_due(client: Client, applied: Contract, at_ms: int = APPLIED_MS + 5000) -> ArmRatio:
    result = sample_ratio(client, applied, at_ms)
    assert result is not None
    return result


def test_distinct_units_against_the_source(client: Client) -> None:
    rng = random.Random(1)
    requests = [(f"u{user}", rng.choice("ab")) for user in range(900) for _ in range(1)]
    requests += [(user, arm) for user, arm in requests for _ in range(rng.randrange(6))]
    requests += [(f"u{user}", "b") for user in range(40)] + [("", "a")] * 7 + [("odd", "no such arm")] * 3
    apply(client, contract())
    write(client, requests)
    write(client, requests[:200])  # read again from Kafka: the same rows
    observations = defaultdict(set)
    for user, arm in requests:
        if user and arm in "ab":
            observations[user].add(arm)
    result = check_due(client, contract())
    assert [arm.arm for arm in result.arms] == ["b", "a"]
    for counted in result.arms:
        assert counted.units == sum(arms == {counted.arm} for arms in observations.values())
        assert counted.crossovers == sum(len(arms) == 2 for arms in observations.values()) > 0
        assert counted.without_unit == (7 if counted.arm == "a" else 0)
    assert result.p_value == pytest.approx(float(anytime_p([arm.units for arm in result.arms], [0.5, 0.5])))
    assert result.level == Level.insufficient


def test_counting_starts_when_the_shares_were_promised(client: Client) -> None:
    other = contract(Arms(shares={"a": 0.1, "b": 0.9}, unit="context.user"))
    apply(client, other, APPLIED_MS - 2000)
    apply(client, contract(), APPLIED_MS)
    apply(client, contract(description="changed since, not the arms"), APPLIED_MS + 2000)
    write(client, [(f"old{i}", "b") for i in range(500)], received_ms=APPLIED_MS - 1000)
    write(client, [(f"new{i}", "ab"[i % 2]) for i in range(500)], first=500)
    result = check_due(client, contract(description="changed since, not the arms"))
    assert round(result.since.timestamp() * 1000) == APPLIED_MS
    assert [arm.units for arm in result.arms] == [250, 250]


def test_a_mismatch_persists_within_one_test(client: Client) -> None:
    apply(client, contract())
    write(client, [(f"u{i}", "a") for i in range(40)])
    first = check_due(client, contract())
    assert first.level == Level.major
    write_ratio(client, first)
    write_ratio(client, first)
    write(client, [(f"v{i}", "b") for i in range(40)], first=40)
    second = check_due(client, contract(), APPLIED_MS + 9000)
    assert [arm.units for arm in second.arms] == [40, 40]
    assert (second.p_value, second.level) == (first.p_value, Level.major)
    write_ratio(client, second)
    rows = client.rows("SELECT arm, units, share, level FROM latest_arm_ratios ORDER BY arm")
    assert rows == [("a", 40, 0.5, "major"), ("b", 40, 0.5, "major")]
    assert client.rows("SELECT count() FROM arm_ratios FINAL") == [(4,)]
    other = contract(Arms(shares={"a": 0.6, "b": 0.4}, unit="context.user"))
    apply(client, other, APPLIED_MS + 9500)
    assert check_due(client, other, APPLIED_MS + 9600).p_value == 1.0


def test_without_raw_predictions_the_ratio_is_unknown_and_without_two_arms_there_is_none(client: Client) -> None:
    assert sample_ratio(client, contract(None)) is None
    assert sample_ratio(client, contract(Arms(shares={"a": 1.0}))) is None
    applied = contract(raw_share=0.0)
    apply(client, applied)
    write(client, [(f"u{i}", "a") for i in range(40)])
    result = check_due(client, applied)
    assert [arm.units for arm in result.arms] == [0, 0]
    assert (result.p_value, result.level) == (1.0, Level.insufficient)
    write_ratio(client, result)
    assert client.rows("SELECT countIf(isNaN(share)), any(reason) FROM latest_arm_ratios") == [(2, "no units")]


def test_the_scorer_looks_now_and_then(client: Client) -> None:
    """Also at models that it cannot measure: this one has no label."""
    apply(client, contract())
    registry = build_registry([(contract(), APPLIED_MS), (simple_contract(model="untested"), APPLIED_MS)], [])
    write(client, [(f"u{i}", "ab"[i % 2]) for i in range(40)])
    clock = [0.0]
    looks = ArmRatioSchedule(lambda: clock[0])
    for now_s in (0.0, MIN_INTERVAL_S - 1, MIN_INTERVAL_S):
        clock[0] = now_s
        looks.check_due(client, registry, APPLIED_MS + 5_000 + int(now_s * 1000))
    observations = client.rows("SELECT model, toUnixTimestamp64Milli(at), arm, units FROM arm_ratios ORDER BY at, arm")
    moments = (APPLIED_MS + 5_000, APPLIED_MS + 5_000 + int(MIN_INTERVAL_S * 1000))
    assert observations == [("toy", at, arm, 20) for at in moments for arm in "ab"]
