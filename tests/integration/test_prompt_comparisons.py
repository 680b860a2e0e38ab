"""What people see of compared prompts: the alert's signal and the command, on the real engine."""

import json
import math
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from barograph.contract.file import dump_contract, parse_contract

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.signals import point_sql
from barograph_server.warehouse.signals.prompts import prompt_harm
from barograph_server.warehouse.tables import insert_rows
from tests.support.command_line import OutputOf
from tests.support.warehouse import add_row, row

HOUR_S = 3600
NOW_S = int(time.time()) // HOUR_S * HOUR_S
CONTRACT = parse_contract(
    "contract: 1\nmodel: m\narms: {shares: {answer@7: 0.5, answer@8: 0.5}}\n"
    "rollback: {prompt: answer, margins: {errors: 0.01, ttft: 0.1, cost: 0.2}}\n"
)


def look_row(hours_ago: int, criterion: str, value: float, half: float, margin: float, outcome: str) -> dict[str, Any]:
    return row(
        "arm_comparisons",
        **{"model": "m", "control": "answer@7", "arm": "answer@8", "criterion": criterion, "margin": margin},
        **{"at": NOW_S - hours_ago * HOUR_S, "value": value, "low": value - half, "high": value + half},
        **{"unit": "share" if criterion == "errors" else "ratio", "control_value": 0.01, "outcome": outcome},
        **{"control_events": 1000, "arm_events": 990, "control_units": 1000, "arm_units": 990},
        compared_at=NOW_S * 1000,
    )


@pytest.fixture
def filled(client: Client) -> Client:
    looks = [
        look_row(2, "errors", 0.0, math.inf, 0.01, "insufficient"),
        look_row(1, "errors", 0.03, 0.01, 0.01, "harm"),
        look_row(1, "ttft", 0.0, 0.05, 0.1, "no-harm"),
        look_row(1, "cost", 0.15, 0.1, 0.2, "undecided"),
    ]
    insert_rows(client, "arm_comparisons", looks)
    return client


def test_the_signal_is_above_0_at_harm_alone(filled: Client) -> None:
    signal = prompt_harm("m", "answer@7", ["answer@8"], ["errors", "ttft", "cost"])

    def values(at_s: int, column: str = "value") -> dict[str, float]:
        return dict(filled.rows(point_sql(signal, column, at=str(at_s))))

    assert values(NOW_S) == {
        "answer@8: errors": pytest.approx(0.01),
        "answer@8: ttft": pytest.approx(-0.15),
        "answer@8: cost": pytest.approx(-0.15),
    }
    assert values(NOW_S - 2 * HOUR_S) == dict.fromkeys(signal.keys, 0.0), "not enough data"
    assert values(NOW_S + 6 * HOUR_S) == dict.fromkeys(signal.keys, 0.0), "the looks have expired"


def test_the_command_prints_one_table(filled: Client, config: str, output_of: OutputOf) -> None:
    words = ("prompts", "compare", "--config", config, "--model")
    applied = row("contracts", model="m", contract_id=CONTRACT.id, yaml=dump_contract(CONTRACT), applied_at=1000)
    insert_rows(filled, "contracts", [applied])
    own = {"model": "m", "prompt": "answer", "label": "production", "version": 8, "control": "answer@7"}
    what = {"arm": "answer@8", "target": "previous", "mode": "propose", "at": NOW_S, "reason": "worse"}
    add_row(filled, "rollback_proposals", **own, **what, proposed_at=NOW_S * 1000)
    lines = [" ".join(line.split()) for line in output_of(0, *words, "m").splitlines()]
    assert lines[0] == "m: prompt answer, compared with answer@7"
    at = datetime.fromtimestamp(NOW_S - HOUR_S, UTC).strftime("%Y-%m-%d %H:%M")
    assert f"answer@8 errors +3.00 points +2.00 to +4.00 1 1,000 and 990 1,000 and 990 {at} harm" in lines
    assert f"answer@8 ttft +0.00 % -5.00 to +5.00 10 1,000 and 990 1,000 and 990 {at} no harm" in lines
    assert lines[-1].endswith("roll answer:production back from 8 to the version before (propose): worse")
    shown = json.loads(output_of(0, *words, "m", "--format", "json"))
    assert [each["outcome"] for each in shown["looks"]] == ["harm", "no-harm", "undecided"]
    assert shown["proposals"][0]["version"] == 8
    assert "has no contract of 'x'" in output_of(1, *words, "x")
    filled.command("TRUNCATE TABLE arm_comparisons")
    assert "No hour of m has predictions of answer@7 and another arm yet" in output_of(1, *words, "m")
