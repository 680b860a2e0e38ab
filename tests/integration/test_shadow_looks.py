"""The scorer's looks at a candidate equal a computation from the pairs, after kills and late labels too."""

import math
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from barograph.contract import Contract, LabelSpec, ShadowTest

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.streams.registry.registry import build_registry
from barograph_server.streams.scorer import shadow_looks
from barograph_server.streams.scorer.rules import make_rules
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.tables import insert_rows
from tests.integration.test_promote import SUMS
from tests.support import scoring
from tests.support.scoring import Killed, MortalClient, Score
from tests.support.warehouse import insert, row

FIRST_S = int(datetime(2026, 5, 1, 4, tzinfo=UTC).timestamp())
"""Midnight in New York."""
FIRST_DAY = date(2026, 5, 1)
DAY_S = 86_400
DAYS = 60
MATURE_DAYS = 57
LAST_DAY = FIRST_DAY + timedelta(days=DAYS - 1)
CONTRACT = Contract(
    model="m",
    timezone="America/New_York",
    label=LabelSpec(type="bool", positive=True),
    shadow=ShadowTest(candidate="4", of="3", margins={"accuracy": 0.05, "latency": 0.2, "missing": 0.1}, worst_day=0.5),
)
FEWER = msgspec.structs.replace(
    CONTRACT, shadow=ShadowTest(candidate="4", of="3", margins={"accuracy": 0.05, "missing": 0.1}, worst_day=0.5)
)
BASIS = make_rules(CONTRACT, build_registry([(CONTRACT, 1)], [])).basis
VERSIONS: dict[str, Any] = {"model": "m", "candidate": "4", "of": "3", "basis": BASIS, "window_s": 3600}
KEY = ("day", "slice", "criterion")


def pair_rows(day: int, seed: int = 0, records: int = 1) -> list[dict[str, Any]]:
    """Return the pairs of one local day: all, a slice that is better, and one that is worse."""
    rng = np.random.default_rng((seed, day))
    rows = []
    for name, pairs, better in (("all", 400, 0.02), ("country=de", 300, 0.04), ("country=fr", 100, -0.12)):
        won, lost = (int(each) for each in rng.poisson([pairs * (0.1 + better / 2), pairs * (0.1 - better / 2)]))
        missing = {"timeout": int(rng.integers(1, 6))} if name == "all" else {}
        counts = {
            **dict.fromkeys(SUMS, 0.0),
            "requests": pairs + sum(missing.values()),
            "missing": missing,
            **dict.fromkeys(("pairs", "compared", "labelled", "timed"), pairs),
            "candidate_right": won,
            "primary_right": lost,
            "log_latency": float(rng.normal(0, pairs**0.5)),
        }
        start_s = FIRST_S + day * DAY_S + 23 * 3600
        rows.append(row("shadow_pairs", **VERSIONS, slice=name, window_start=start_s, records=records, **counts))
    return rows


def performance_row(day: int, *, mature: bool, revision: int = 1) -> dict[str, Any]:
    start_s = FIRST_S + day * DAY_S + 23 * 3600
    return row(
        "performance",
        **{"model": "m", "version": "3", "slice": "all", "metric": "accuracy", "window": "1h", "predictions": 1},
        **{"window_start": start_s, "window_end": start_s + 3600, "mature": mature, "revision": revision},
    )


@pytest.fixture
def score(client: Client, engine: LocalClickHouse) -> Score:
    address = engine.address(client.database)
    usual: dict[str, Any] = {"clock": lambda: FIRST_S + 90 * DAY_S}
    return lambda contract=CONTRACT, **changes: scoring.scorer(client, address, contract, **{**usual, **changes})


@pytest.fixture
def days(client: Client) -> dict[int, list[dict[str, Any]]]:
    rows = {day: pair_rows(day) for day in range(DAYS)}
    insert_rows(client, "shadow_pairs", [each for own in rows.values() for each in own])
    insert_rows(client, "performance", [performance_row(day, mature=day < MATURE_DAYS) for day in range(DAYS)])
    return rows


def stored(client: Client) -> dict[tuple[date, str, str], dict[str, Any]]:
    table = client.arrow(
        "SELECT * EXCEPT (judged_at), toUnixTimestamp64Milli(judged_at) AS judged_ms FROM shadow_verdicts FINAL "
        "ORDER BY day, slice, criterion"
    )
    names = table.schema.names
    rows = [dict(zip(names, values, strict=True)) for values in zip(*table.to_pydict().values(), strict=True)]
    return {(each["day"], each["slice"], each["criterion"]): each for each in rows}


def block_interval(sums: list[float], pairs: list[float], alpha: float = 0.05) -> tuple[float, float, float]:
    t, total = len(sums), math.fsum(pairs)
    value = math.fsum(sums) / total
    if t < 28:
        return value, -math.inf, math.inf
    z = [d - value * n for d, n in zip(sums, pairs, strict=True)]
    square = math.fsum(each * each for each in z)
    part = best = 0.0
    for lag in range(1, 8):
        part += math.fsum(z[i] * z[i - lag] for i in range(lag, t)) / square
        best = max(best, part)
        if lag == 1:
            first = part + (1 + 3 * part) / t + t**-0.5
            first = min(0.95, max(0.0, first))
    kappa = max(1 + 2 * (best + t**-0.5), (1 + first) / (1 - first))
    if t < 6 * kappa:
        return value, -math.inf, math.inf
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha)) + 1) / 60
    radius = math.sqrt(2 * (t * rho2 + 1) * math.log(math.sqrt(t * rho2 + 1) / alpha) / (t * t * rho2))
    half = math.sqrt(kappa * square / t) * radius * t / total
    return value, value - half, value + half


def compare(client: Client, days: dict[int, list[dict[str, Any]]], matured: int = MATURE_DAYS) -> None:
    rows = stored(client)
    expected_keys = set()
    for last in range(DAYS):
        day = FIRST_DAY + timedelta(days=last)
        assert len({own["outcome"] for key, own in rows.items() if key[0] == day}) == 1, day
        for name, slices in (
            ("accuracy", ("all", "country=de", "country=fr")),
            ("latency", ("all",)),
            ("missing", ("all",)),
            ("decision", ("all",)),
        ):
            expected_keys |= {(day, each, name) for each in slices}
        whole = [days[each][0] for each in range(last + 1)]
        labelled = min(last + 1, matured)
        for number, name in enumerate(("all", "country=de", "country=fr")):
            used = [days[each][number] for each in range(labelled)]
            own = rows[day, name, "accuracy"]
            sums = [each["candidate_right"] - each["primary_right"] for each in used]
            value, low, high = block_interval(sums, [each["labelled"] for each in used])
            assert (own["value"], own["low"], own["high"]) == pytest.approx((value, low, high), rel=1e-9), (day, name)
            assert own["days"] == labelled
            assert math.isfinite(own["evidence"]) == (name != "all" and labelled > 28)
        for name, column, count in (("latency", "log_latency", "timed"), ("missing", "", "requests")):
            own = rows[day, "all", name]
            losses = [-each[column] if column else -sum(each["missing"].values()) for each in whole]
            interval = block_interval(losses, [each[count] for each in whole])
            assert (own["value"], own["low"], own["high"]) == pytest.approx(interval, rel=1e-9), (day, name)
            assert own["days"] == last + 1
        decision = rows[day, "all", "decision"]
        assert decision["day_end"] == FIRST_S + (last + 1) * DAY_S
        assert decision["outcome"] == "insufficient" or last >= 27
    assert rows.keys() == expected_keys


@pytest.mark.smoke
def test_every_ended_day_has_a_look_that_equals_the_definition_after_late_labels_too(
    client: Client, score: Score, days: dict[int, list[dict[str, Any]]]
) -> None:
    score().score_once()
    compare(client, days)
    before = stored(client)
    assert before[LAST_DAY, "all", "decision"]["outcome"] == "hold"
    assert before[LAST_DAY, "country=fr", "accuracy"]["state"] == "worse"
    assert before[LAST_DAY, "country=de", "accuracy"]["state"] == "open"
    assert before[date(2026, 5, 3), "all", "accuracy"]["state"] == "insufficient"
    assert before[date(2026, 5, 3), "all", "decision"]["days_left"] > 0
    score().score_once()
    assert repr(stored(client)) == repr(before), "looks that did not change are not written again"
    days[30] = pair_rows(30, seed=1, records=2)
    insert(client, shadow_pairs=days[30], performance=[performance_row(MATURE_DAYS, mature=True, revision=2)])
    score().score_once()
    compare(client, days, MATURE_DAYS + 1)
    changed = {key[0] for key, own in stored(client).items() if own["judged_ms"] != before[key]["judged_ms"]}
    assert min(changed) == FIRST_DAY + timedelta(days=30)
    assert len(changed) == DAYS - 30


@pytest.mark.long
def test_a_pass_killed_between_writes_is_continued(
    client: Client, score: Score, days: dict[int, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(contract: Contract, writes: int) -> None:
        mortal: Any = MortalClient(client, writes, ("shadow_verdicts",))
        with pytest.raises(Killed):
            score(contract, connect_to=lambda _: mortal).score_once()

    monkeypatch.setattr(shadow_looks, "MAX_ROWS", 50)
    for writes in (1, 2, 3):
        client.command("TRUNCATE TABLE shadow_verdicts")
        killed(CONTRACT, writes)
        assert 0 < len({key[0] for key in stored(client)}) < DAYS, writes
        score().score_once()
        compare(client, days)
    killed(FEWER, 1)
    score(FEWER).score_once()
    assert {key[2] for key in stored(client)} == {"accuracy", "missing", "decision"}
