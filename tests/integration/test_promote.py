"""`barograph promote` on real ClickHouse: the decision, its exit code, and which days count."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest
from barograph.contract import Contract, LabelSpec, ShadowTest

from barograph_server.streams.registry.registry import build_registry
from barograph_server.streams.scorer.rules import make_rules
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.tables import insert_rows
from tests.support import scoring
from tests.support.command_line import call
from tests.support.warehouse import row

ZONE = ZoneInfo("America/New_York")
FIRST = datetime(2026, 5, 1, tzinfo=ZONE)
PER_DAY = 400
CONTRACT = Contract(
    model="m",
    timezone="America/New_York",
    label=LabelSpec(type="bool", positive=True),
    shadow=ShadowTest(candidate="4", of="3", margins={"accuracy": 0.02, "latency": 0.2, "missing": 0.1}),
)
RULES = make_rules(CONTRACT, build_registry([(CONTRACT, 1)], []))
BASIS = RULES.basis


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
            won, lost = rng.poisson(PER_DAY * (0.05 + better / 2) / 2), rng.poisson(PER_DAY * (0.05 - better / 2) / 2)
            timeouts = 2 + int(rng.integers(5))
            window = {"window_start": start_s + hour * 3600}
            versions = {"model": "m", "candidate": candidate, "of": of, "basis": BASIS, "window_s": 3600, "records": 1}
            versions["settings"] = RULES.pair_settings.hash
            counts: dict[str, Any] = {"requests": PER_DAY // 2 + timeouts, "pairs": PER_DAY // 2, "timed": PER_DAY // 2}
            counts |= {"labelled": PER_DAY // 2, "candidate_right": int(won), "primary_right": int(lost)}
            counts |= {"log_latency": float(PER_DAY // 2 * 0.01 + rng.normal()), "missing": {"timeout": timeouts}}
            counts |= {"missing_labelled": lost_right, "missing_right": lost_right}
            sums = {name: 0.0 for name in SUMS}
            pairs.append(row("shadow_pairs", **versions, slice="all", **window, **(sums | counts)))
            ends = {"window_start": start_s + hour * 3600, "window_end": start_s + (hour + 1) * 3600}
            measured = {"model": "m", "version": of, "slice": "all", "metric": "accuracy", "window": "1h", **ends}
            measured |= {"mature": day < matured, "predictions": 1, "revision": 1}
            performance.append(row("performance", **measured))
    insert_rows(client, "shadow_pairs", pairs)
    insert_rows(client, "performance", performance)


SUMS = (
    *("loss_primary", "loss_candidate", "brier_primary", "brier_candidate", "error_primary", "error_candidate"),
    *("score_difference", "log_latency"),
)


Promote = Callable[..., tuple[int, str, str]]


@pytest.fixture
def promote(client: Client, config: str, capsys: pytest.CaptureFixture[str]) -> Promote:
    """Run `barograph promote` on a registered model; return its exit code, output, and errors on one line."""

    def run(*words: str, model: str = "m") -> tuple[int, str, str]:
        return call(capsys, "promote", "--model", model, "--config", config, *words)

    scoring.register(client, CONTRACT)
    return run


def test_a_better_candidate_is_promoted_unless_policy_wants_more(
    client: Client, promote: Promote, tmp_path: Path
) -> None:
    write_days(client, 60, better=0.04)
    code, out, err = promote()
    assert (code, err) == (0, ""), out
    assert "m: version 4 beside version 3" in out
    ((requests,),) = client.rows("SELECT sum(requests) FROM shadow_pairs")
    assert f"{requests:,} requests = 24,000 pairs" in out
    assert f"+ {requests - 24_000} candidate time-outs" in out
    assert "decision: promote" in out
    code, out, _ = promote("--format", "json")
    report = json.loads(out)
    assert (code, report["outcome"]) == (0, "promote")
    by_name = {each["criterion"]["name"]: each for each in report["criteria"]}
    assert by_name["accuracy"]["value"] == pytest.approx(0.04, abs=0.01)
    assert by_name["accuracy"]["least_value"] == pytest.approx(by_name["accuracy"]["value"])
    assert by_name["latency"]["value"] == pytest.approx(-0.01, abs=0.01)
    assert by_name["latency"]["criterion"]["margin"] == pytest.approx(np.log(1.2))
    assert by_name["missing"]["value"] == pytest.approx((24_000 - requests) / requests)
    assert all(each["is_met"] and each["days"] == 60 for each in report["criteria"])
    assert promote("--candidate", "4")[0] == 0
    code, _, err = promote("--candidate", "5")
    assert (code, "The candidate of m is version 4, not 5" in err) == (3, True)
    policy = tmp_path / "policy.yaml"

    def with_policy(text: str, *words: str) -> tuple[int, str, str]:
        policy.write_text(text)
        return promote("--policy", str(policy), *words)

    assert with_policy("days: 60\ncriteria: {accuracy: 0.05, latency: 0.2}\nmissing_share: 0.05\n")[0] == 0
    code, out, _ = with_policy("days: 90\nmissing_share: 0.01\n", "--format", "json")
    report = json.loads(out)
    assert (code, report["outcome"], report["decision"]) == (2, "insufficient", {"outcome": "promote"})
    assert [text.split(";")[0] for text in report["policy"]["unmet"]] == [
        *["The policy requires 90 days"] * 3,
        "The policy allows at most 1.00% of the requests without an answer of the candidate",
    ]
    code, _, err = with_policy("days: 28\n\ncriteria: {acuracy: 0.1}\n")
    assert code == 3
    assert "policy.yaml:3: criteria.acuracy: is not a criterion; did you mean accuracy?" in err


def test_missing_answers_can_prevent_a_promotion(client: Client, promote: Promote) -> None:
    write_days(client, 60, better=0.0, lost_right=8)
    code, out, _ = promote()
    assert code == 2
    assert "met, unless missing answers were wrong" in out


def test_only_days_that_are_over_and_have_mature_labels_count(client: Client, promote: Promote) -> None:
    write_days(client, 60, better=0.04, matured=20)
    # A window of the next local day, which in UTC is the same day as the last window.
    start = FIRST.timestamp() + 60 * 86_400
    assert datetime.fromtimestamp(start, UTC).hour == 4
    own = {"model": "m", "candidate": "4", "of": "3", "basis": BASIS, "slice": "all", "window_s": 3600}
    own |= {"window_start": int(start), "requests": 9, "pairs": 9, "timed": 9, **dict.fromkeys(SUMS, 0.0)}
    insert_rows(client, "shadow_pairs", [row("shadow_pairs", **own)])
    code, out, _ = promote("--format", "json")
    report = json.loads(out)
    assert (code, report["outcome"]) == (2, "insufficient")
    assert "too few days: 20 of 28" in promote()[1]
    days = {each["criterion"]["name"]: each["days"] for each in report["criteria"]}
    assert days == {"accuracy": 20, "latency": 60, "missing": 60}
    assert report["days_left"] >= 8


def test_a_model_without_a_candidate_or_pairs_says_what_to_do(client: Client, promote: Promote) -> None:
    code, _, err = promote()
    assert (code, "No request of m version 3 has been counted" in err) == (3, True)
    scoring.register(client, Contract(model="n"))
    assert "names no candidate: add `shadow`" in promote(model="n")[2]


@pytest.mark.parametrize(
    ("old_better", "expected", "text"),
    [
        pytest.param(0.06, 1, "decision: roll back to version 3", id="harm"),
        pytest.param(-0.04, 0, "decision: keep", id="no-harm"),
    ],
)
def test_after_a_promotion_the_old_version_is_the_canary(
    client: Client, promote: Promote, tmp_path: Path, old_better: float, expected: int, text: str
) -> None:
    assert CONTRACT.shadow is not None
    swapped = msgspec.structs.replace(CONTRACT.shadow, candidate="3", of="4")
    scoring.register(client, msgspec.structs.replace(CONTRACT, shadow=swapped), applied_at=2)
    write_days(client, 60, better=old_better, candidate="3", of="4")
    code, out, _ = promote()
    assert (code, text in out) == (expected, True), out
    assert "m: version 4 replaced version 3, which is now its shadow" in out
    if expected == 0:
        # A policy is about the new primary.
        policy = tmp_path / "policy.yaml"
        policy.write_text("criteria: {accuracy: 0.01}\n")
        code, out, _ = promote("--policy", str(policy))
        assert (code, "with the policy: roll back to version 3" in out) == (1, True)
