"""`barograph promote`, with a candidate and with `--arm`: the decision, its exit code, and what counts."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest
from barograph.contract import Arms, Contract, LabelSpec, ShadowTest

from barograph_server.sketches.baseline.levels import InsufficientReason, Level
from barograph_server.sketches.rollout.split_traffic import arm_differences, unit_variances
from barograph_server.streams.registry.registry import build_registry
from barograph_server.streams.scorer.rules import make_rules
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.rollouts.arm_days import COUNTED, arm_days
from barograph_server.warehouse.rollouts.arm_ratios import ArmRatio, ArmUnits, write_ratio
from tests.support import scoring
from tests.support.command_line import OutputOf
from tests.support.warehouse import add_row, insert, row

ZONE = ZoneInfo("America/New_York")
FIRST = datetime(2026, 5, 1, tzinfo=ZONE)
PER_DAY = 400
CONTRACT = Contract(
    model="m",
    timezone="America/New_York",
    label=LabelSpec(type="bool", positive=True),
    shadow=ShadowTest(candidate="4", of="3", margins={"accuracy": 0.02, "latency": 0.2, "missing": 0.1}),
    arms=Arms(
        shares={"b": 0.5, "a": 0.5},
        unit="context.user",
        control="a",
        margins={"accuracy": 0.03, "brier": 0.03, "latency": 0.2, "errors": 0.02},
    ),
)
RULES = make_rules(CONTRACT, build_registry([(CONTRACT, 1)], []))
BASIS = RULES.basis


@pytest.fixture
def promote(client: Client, config: str, output_of: OutputOf) -> OutputOf:
    """Run `barograph promote`, and return its output on one line."""
    scoring.register(client, CONTRACT)
    return lambda code, *words: " ".join(output_of(code, "promote", "--model", "m", "--config", config, *words).split())


def write_days(
    client: Client,
    n_days: int,
    *,
    better: float,
    matured: int = 10**6,
    lost_right: int = 0,
    candidate: str = "4",
    of: str = "3",
    first_day: int = 0,
) -> None:
    """Write whole local days with two windows each, of which some have mature labels."""
    rng = np.random.default_rng(7)
    pairs: list[dict[str, Any]] = []
    performance: list[dict[str, Any]] = []
    for day in range(first_day, first_day + n_days):
        start_s = int(FIRST.timestamp()) + day * 86_400
        for hour in (0, 23):
            won, lost = (int(rng.poisson(PER_DAY * (0.05 + side * better / 2) / 2)) for side in (1, -1))
            timeouts = 2 + int(rng.integers(5))
            window = {"window_start": start_s + hour * 3600}
            versions = {"model": "m", "candidate": candidate, "of": of, "basis": BASIS, "window_s": 3600, "records": 1}
            versions["settings"] = RULES.pair_settings.hash
            counts: dict[str, Any] = {"requests": PER_DAY // 2 + timeouts, "pairs": PER_DAY // 2, "timed": PER_DAY // 2}
            counts |= {"labelled": PER_DAY // 2, "candidate_right": won, "primary_right": lost}
            counts |= {"log_latency": float(PER_DAY // 2 * 0.01 + rng.normal()), "missing": {"timeout": timeouts}}
            counts |= {"missing_labelled": lost_right, "missing_right": lost_right}
            sums = dict.fromkeys(SUMS, 0.0)
            pairs.append(row("shadow_pairs", **versions, slice="all", **window, **(sums | counts)))
            performance.append(measured(of, start_s + hour * 3600, mature=day < matured))
    insert(client, shadow_pairs=pairs, performance=performance)


def measured(version: str, start_s: int, **values: Any) -> dict[str, Any]:
    known = {"model": "m", "version": version, "slice": "all", "metric": "accuracy", "predictions": 1, "revision": 1}
    window = {"window": "1h", "window_start": start_s, "window_end": start_s + 3600}
    return row("performance", **known | window | values)


SUMS = (
    *("loss_primary", "loss_candidate", "brier_primary", "brier_candidate", "error_primary", "error_candidate"),
    *("score_difference", "log_latency"),
)


def test_a_better_candidate_is_promoted_unless_policy_objects(
    client: Client, promote: OutputOf, tmp_path: Path
) -> None:
    write_days(client, 60, better=0.04)
    out = promote(0)
    ((requests,),) = client.rows("SELECT sum(requests) FROM shadow_pairs")
    counted = f"{requests:,} requests = 24,000 pairs", f"+ {requests - 24_000} candidate time-outs"
    for text in ("m: version 4 beside version 3", *counted, "decision: promote"):
        assert text in out
    report = json.loads(promote(0, "--format", "json"))
    assert report["outcome"] == "promote"
    by_name = {each["criterion"]["name"]: each for each in report["criteria"]}
    assert by_name["accuracy"]["value"] == pytest.approx(0.04, abs=0.01)
    assert by_name["accuracy"]["least_value"] == pytest.approx(by_name["accuracy"]["value"])
    assert by_name["latency"]["value"] == pytest.approx(-0.01, abs=0.01)
    assert by_name["latency"]["criterion"]["margin"] == pytest.approx(np.log(1.2))
    assert by_name["missing"]["value"] == pytest.approx((24_000 - requests) / requests)
    assert all(each["is_met"] and each["days"] == 60 for each in report["criteria"])
    promote(0, "--candidate", "4")
    assert "The candidate of m is version 4, not 5" in promote(3, "--candidate", "5")
    policy = tmp_path / "policy.yaml"

    def with_policy(code: int, text: str, *words: str) -> str:
        policy.write_text(text)
        return promote(code, "--policy", str(policy), *words)

    with_policy(0, "days: 60\ncriteria: {accuracy: 0.05, latency: 0.2}\nmissing_share: 0.05\n")
    report = json.loads(with_policy(2, "days: 90\nmissing_share: 0.01\n", "--format", "json"))
    assert (report["outcome"], report["decision"]) == ("insufficient", {"outcome": "promote"})
    assert [text.split(";")[0] for text in report["policy"]["unmet"]] == [
        *["The policy requires 90 days"] * 3,
        "The policy allows at most 1.00% of the requests without an answer of the candidate",
    ]
    err = with_policy(3, "days: 28\n\ncriteria: {acuracy: 0.1}\n")
    assert "policy.yaml:3: criteria.acuracy: is not a criterion; did you mean accuracy?" in err


def test_missing_answers_can_prevent_a_promotion(client: Client, promote: OutputOf) -> None:
    write_days(client, 60, better=0.0, lost_right=8)
    assert "met, unless missing answers were wrong" in promote(2)


def test_only_days_that_are_over_and_have_mature_labels_count(client: Client, promote: OutputOf) -> None:
    write_days(client, 60, better=0.04, matured=20)
    # A window of the next local day, which in UTC is the same day as the last window.
    start = FIRST.timestamp() + 60 * 86_400
    assert datetime.fromtimestamp(start, UTC).hour == 4
    own = {"model": "m", "candidate": "4", "of": "3", "basis": BASIS, "slice": "all", "window_s": 3600}
    own |= {"window_start": int(start), "requests": 9, "pairs": 9, "timed": 9, **dict.fromkeys(SUMS, 0.0)}
    add_row(client, "shadow_pairs", **own)
    report = json.loads(promote(2, "--format", "json"))
    assert report["outcome"] == "insufficient"
    assert "too few days: 20 of 28" in promote(2)
    days = {each["criterion"]["name"]: each["days"] for each in report["criteria"]}
    assert days == {"accuracy": 20, "latency": 60, "missing": 60}
    assert report["days_left"] >= 8


def test_a_model_without_a_candidate_or_pairs_says_what_to_do(client: Client, promote: OutputOf) -> None:
    assert "No request of m version 3 has been counted" in promote(3)
    scoring.register(client, Contract(model="n"))
    assert "names no candidate: add `shadow`" in promote(3, "--model", "n")


@pytest.mark.parametrize(
    ("old_better", "expected", "text"),
    [
        pytest.param(0.06, 1, "decision: roll back to version 3", id="harm"),
        pytest.param(-0.04, 0, "decision: keep", id="no-harm"),
    ],
)
def test_after_a_promotion_the_old_version_is_the_candidate(
    client: Client, promote: OutputOf, tmp_path: Path, old_better: float, expected: int, text: str
) -> None:
    assert CONTRACT.shadow is not None
    swapped = msgspec.structs.replace(CONTRACT.shadow, candidate="3", of="4")
    scoring.register(client, msgspec.structs.replace(CONTRACT, shadow=swapped), applied_at=2)
    write_days(client, 60, better=old_better, candidate="3", of="4")
    out = promote(expected)
    assert text in out
    assert "m: version 4 replaced version 3, which is now its shadow" in out
    if expected == 0:
        # A policy is about the new primary.
        policy = tmp_path / "policy.yaml"
        policy.write_text("criteria: {accuracy: 0.01}\n")
        assert "with the policy: roll back to version 3" in promote(1, "--policy", str(policy))


BUCKETS = (0, 1, 17, 63)
PER_BUCKET = 100


def write_arm_days(client: Client, n_days: int, *, better: float, matured: int = 10**6) -> np.ndarray:
    """Write whole local days with two windows each; return their counts, (days, 2, buckets, columns)."""
    rng = np.random.default_rng(7)
    counts = np.zeros((n_days, 2, len(BUCKETS), len(COUNTED)))
    rows: list[dict[str, Any]] = []
    performance: list[dict[str, Any]] = []
    for day in range(n_days):
        start_s = int(FIRST.timestamp()) + day * 86_400
        for hour in (0, 23):
            for side, arm in enumerate("ab"):
                for i, bucket in enumerate(BUCKETS):
                    right = int(rng.binomial(PER_BUCKET, 0.8 + better * side))
                    values = {"predictions": PER_BUCKET + 1, "failed": 1, "right": right, "error": 0.0}
                    values |= dict.fromkeys(("timed", "labelled", "scored"), PER_BUCKET)
                    values |= {"loss": 0.5 * PER_BUCKET, "log_latency": float(PER_BUCKET * 3.0 + rng.normal())}
                    values |= {"brier": float(PER_BUCKET * 0.2 + rng.normal())}
                    counts[day, side, i] += [values[name] for name in COUNTED]
                    key: dict[str, Any] = {"model": "m", "basis": BASIS, "unit": "context.user", "arm": arm}
                    key |= {"slice": "all", "version": "34"[side], "bucket": bucket, "window_s": 3600, "records": 1}
                    rows.append(row("arm_counts", **key, window_start=start_s + hour * 3600, **values))
            performance.append(measured("3", start_s + hour * 3600, mature=day < matured))
    insert(client, arm_counts=rows, performance=performance)
    return counts


def check_ratio(client: Client, level: Level = Level.stable) -> None:
    since = datetime.fromtimestamp(0.001, UTC)
    arms = tuple(ArmUnits(arm, 0.5, 5_000, 0, 0) for arm in "ba")
    p_value = 1.0 if level == Level.stable else 0.0004
    ratio = ArmRatio("m", "context.user", since, datetime.now(UTC), arms, p_value, level, InsufficientReason.none)
    write_ratio(client, ratio)


def test_daily_sums_are_those_of_the_rows(client: Client) -> None:
    counts = write_arm_days(client, 5, better=0.0, matured=3)
    assert RULES.arms is not None
    (whole,) = arm_days(client, "m", RULES.arms, "a", "b", BASIS, "America/New_York")
    assert whole.slice == "all"
    assert whole.days == tuple(f"2026-05-0{day}" for day in range(1, 6))
    assert whole.ended.all()
    assert whole.mature.tolist() == [True, True, True, False, False]
    assert whole.versions == (("3",), ("4",))
    for i, name in enumerate(COUNTED):
        np.testing.assert_allclose(whole.sums[name][:, :, list(BUCKETS)], counts[..., i], rtol=1e-12)
        assert whole.sums[name].sum() == pytest.approx(counts[..., i].sum())


def test_an_equal_arm_is_promoted(client: Client, promote: OutputOf) -> None:
    counts = write_arm_days(client, 60, better=0.01)
    check_ratio(client)
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
    write_arm_days(client, 60, better=0.01)
    assert "not decided: the ratio of the arms has not been checked yet" in promote(2, "--arm", "b")
    check_ratio(client, Level.major)
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
