"""`barograph promote --arm` on real ClickHouse: the decision, its exit code, and what stands against it."""

import json
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest
from barograph.contract import Arms, Contract, LabelSpec

from barograph_server.sketches.baseline.levels import InsufficientReason, Level
from barograph_server.sketches.rollout.split_traffic import arm_differences, unit_variances
from barograph_server.streams.registry.registry import build_registry
from barograph_server.streams.scorer.rules import make_rules
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.rollouts.arm_days import COUNTED, arm_days
from barograph_server.warehouse.rollouts.arm_ratios import ArmRatio, ArmUnits, write_ratio
from tests.support import scoring
from tests.support.command_line import OutputOf
from tests.support.warehouse import insert, row

ZONE = ZoneInfo("America/New_York")
FIRST = datetime(2026, 5, 1, tzinfo=ZONE)
BUCKETS = (0, 1, 17, 63)
PER_BUCKET = 100
CONTRACT = Contract(
    model="m",
    timezone="America/New_York",
    label=LabelSpec(type="bool", positive=True),
    arms=Arms(
        shares={"b": 0.5, "a": 0.5},
        unit="context.user",
        control="a",
        margins={"accuracy": 0.03, "brier": 0.03, "latency": 0.2, "errors": 0.02},
    ),
)
RULES = make_rules(CONTRACT, build_registry([(CONTRACT, 1)], []))


def write_days(client: Client, n_days: int, *, better: float, matured: int = 10**6, first: int = 0) -> np.ndarray:
    """Write whole local days with two windows each; return their counts, (days, 2, buckets, columns)."""
    rng = np.random.default_rng(7)
    counts = np.zeros((n_days, 2, len(BUCKETS), len(COUNTED)))
    rows: list[dict[str, Any]] = []
    performance: list[dict[str, Any]] = []
    for day in range(n_days):
        start_s = int(FIRST.timestamp()) + (first + day) * 86_400
        for hour in (0, 23):
            for side, arm in enumerate("ab"):
                for i, bucket in enumerate(BUCKETS):
                    right = int(rng.binomial(PER_BUCKET, 0.8 + better * side))
                    values = {"predictions": PER_BUCKET + 1, "failed": 1, "right": right, "error": 0.0}
                    values |= dict.fromkeys(("timed", "labelled", "scored"), PER_BUCKET)
                    values |= {"loss": 0.5 * PER_BUCKET, "log_latency": float(PER_BUCKET * 3.0 + rng.normal())}
                    values |= {"brier": float(PER_BUCKET * 0.2 + rng.normal())}
                    counts[day, side, i] += [values[name] for name in COUNTED]
                    key: dict[str, Any] = {"model": "m", "basis": RULES.basis, "unit": "context.user", "arm": arm}
                    key |= {"slice": "all", "version": "34"[side], "bucket": bucket, "window_s": 3600, "records": 1}
                    rows.append(row("arm_counts", **key, window_start=start_s + hour * 3600, **values))
            ends = {"window_start": start_s + hour * 3600, "window_end": start_s + (hour + 1) * 3600}
            shown = {"version": "3", "slice": "all", "metric": "accuracy", "window": "1h", "mature": day < matured}
            performance.append(row("performance", model="m", **shown, predictions=1, revision=1, **ends))
    insert(client, arm_counts=rows, performance=performance)
    return counts


def check_ratio(client: Client, contract: Contract, level: Level = Level.stable, units: int = 5_000) -> None:
    assert contract.arms is not None
    since = datetime.fromtimestamp(0.001, UTC)
    arms = tuple(ArmUnits(arm, 0.5, units, 0, 0) for arm in contract.arms.shares)
    p_value = 1.0 if level == Level.stable else 0.0004
    unit = contract.arms.unit or "prediction"
    ratio = ArmRatio("m", unit, since, datetime.now(UTC), arms, p_value, level, InsufficientReason.none)
    write_ratio(client, ratio)


def test_daily_sums_are_those_of_the_rows(client: Client) -> None:
    counts = write_days(client, 5, better=0.0, matured=3)
    assert RULES.arms is not None
    (whole,) = arm_days(client, "m", RULES.arms, "a", "b", RULES.basis, "America/New_York")
    assert whole.slice == "all"
    assert whole.days == tuple(f"2026-05-0{day}" for day in range(1, 6))
    assert whole.ended.all()
    assert whole.mature.tolist() == [True, True, True, False, False]
    assert whole.versions == (("3",), ("4",))
    for i, name in enumerate(COUNTED):
        np.testing.assert_allclose(whole.sums[name][:, :, list(BUCKETS)], counts[..., i], rtol=1e-12)
        assert whole.sums[name].sum() == pytest.approx(counts[..., i].sum())


def test_an_equal_arm_is_promoted(client: Client, promote: OutputOf) -> None:
    counts = write_days(client, 60, better=0.01)
    check_ratio(client, CONTRACT)
    out = promote(0, "--arm", "b")
    assert "m: arm b compared with arm a" in out
    assert f"a: {60 * 8 * (PER_BUCKET + 1):,} predictions of 5,000 units, versions 3" in out
    assert "decision: promote" in out
    report = json.loads(promote(0, "--arm", "b", "--format", "json"))
    assert (report["outcome"], report["obstacles"]) == ("promote", [])
    assert report["versions"] == {"a": ["3"], "b": ["4"]}
    accuracy = report["criteria"][0]
    right, labelled = (counts[..., COUNTED.index(name)] for name in ("right", "labelled"))
    differences, weights = arm_differences(right.sum(axis=-1), labelled.sum(axis=-1))
    assert accuracy["value"] == pytest.approx(differences.sum() / weights.sum())
    assert accuracy["high"] - accuracy["value"] > 2.24 * unit_variances(right, labelled)[0][-1] ** 0.5
    assert {each["days"] for each in report["criteria"]} == {60}


def test_the_ratio_of_the_arms_can_prevent_a_decision(client: Client, promote: OutputOf) -> None:
    write_days(client, 60, better=0.01)
    assert "not decided: the ratio of the arms has not been checked yet" in promote(2, "--arm", "b")
    check_ratio(client, CONTRACT, Level.major)
    out = promote(2, "--arm", "b")
    assert "ratio of the arms: major (p = 0.0004)" in out
    assert "not decided: the arms have other shares of units than the contract states" in out
    assert "decision: insufficient" in out


def test_what_cannot_be_decided_says_what_to_do(client: Client, promote: OutputOf) -> None:
    assert "No prediction of the arms a and b of m has been counted" in promote(3, "--arm", "b")
    assert "a is not an arm that is compared with a: choose one of b." in promote(3, "--arm", "a")
    assert "leave them out with --arm" in promote(3, "--arm", "b", "--candidate", "4")
    scoring.register(client, msgspec.structs.replace(CONTRACT, arms=None), applied_at=5)
    assert "does not say how its arms are judged: add `arms`" in promote(3, "--arm", "b")
