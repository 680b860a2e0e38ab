"""`barograph reference` on real ClickHouse: it lists the weeks, and windows are compared with the chosen period."""

import json
from typing import Any

import pytest
from barograph.contract.file import parse_contract

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.terminal import utc_second
from barograph_server.warehouse.client import Client
from tests.integration.test_performance_drop import BINARY, DAYS, PER_DAY, traffic
from tests.support import scoring
from tests.support.command_line import call
from tests.support.scoring import START_MS

CONTRACT = parse_contract(BINARY)
NOW_S = START_MS / 1000 + (DAYS + 1.5) * 86400


def day(number: int) -> str:
    return utc_second(START_MS / 1000 + number * 86400)


@pytest.fixture
def config(config: str, client: Client) -> str:
    predictions, labels = traffic(CONTRACT, 1)
    scoring.insert(client, "predictions", predictions)
    scoring.insert(client, "labels", labels)
    scoring.register(client, CONTRACT)
    return config


@pytest.mark.long
def test_a_person_lists_the_weeks_and_chooses_another_period(
    client: Client, engine: LocalClickHouse, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    address = engine.address(client.database)
    words = ("--model", "m", "--config", config)

    def listed() -> list[dict[str, Any]]:
        code, out, err = call(capsys, "reference", "list", "--format", "json", *words)
        assert (code, err) == (0, "")
        return list(json.loads(out))

    def score() -> None:
        scoring.scorer(client, address, CONTRACT, clock=lambda: NOW_S).score_once()

    def in_force() -> list[tuple[str, str, str]]:
        return [
            (utc_second(each["from_s"]), utc_second(each["to_s"]), each["reason"])
            for each in listed()
            if each["in_force"]
        ]

    code, _, err = call(capsys, "reference", "list", *words)
    assert code == 1
    assert "The scorer has not measured m under its contract yet" in err
    working = scoring.scorer(client, address, CONTRACT, clock=lambda: NOW_S)
    working.score_once()
    weeks = listed()
    assert [(utc_second(each["from_s"]), each["predictions"], each["in_force"], each["reason"]) for each in weeks] == [
        (day(0), 7 * PER_DAY, True, "first good week"),
        *((day(first), 7 * PER_DAY, False, "can be a reference") for first in (7, 14, 21, 28)),
        (day(35), 2 * PER_DAY, False, f"labels may arrive until {day(43)}"),
    ]
    assert all(each["labelled"] == each["predictions"] for each in weeks[:-1])
    assert weeks[0]["value"] == pytest.approx(0.75, abs=0.06)
    assert weeks[3]["value"] == pytest.approx(0.55, abs=0.06)

    # The collapse is the new normal.
    span = ("--version", "1", "--from", day(22), "--to", day(32), "--reason", "accepted")
    assert call(capsys, "reference", "set", *span, *words)[0] == 0
    assert next(each["reason"] for each in listed() if utc_second(each["from_s"]) == day(22)).endswith(
        "has not counted it yet"
    )
    working.score_once()
    [(first, end, reason)] = in_force()
    assert (first, end) == (day(22), day(32))
    assert reason.startswith("chosen ")
    assert reason.endswith(": accepted")
    levels = (
        "SELECT toUnixTimestamp(window_start) < {at:UInt32} AS early, groupUniqArray(level) FROM latest_performance "
        "WHERE metric = 'accuracy' AND window = '7d' AND predictions = {n:UInt32} GROUP BY early ORDER BY early DESC"
    )
    after = dict(client.rows(levels, {"at": START_MS // 1000 + 14 * 86400, "n": 7 * PER_DAY}))
    assert after == {1: ["stable"], 0: ["stable"]}, "the accepted weeks are no longer major"

    # It survives a restart without state.
    client.command("TRUNCATE TABLE scorer_models")
    score()
    assert [(first, end) for first, end, _ in in_force()] == [(day(22), day(32))]
    code, _, err = call(capsys, "reference", "set", "--version", "1", "--automatic", "--reason", "a mistake", *words)
    assert (code, err) == (0, "")
    working = scoring.scorer(client, address, CONTRACT, clock=lambda: NOW_S)
    working.score_once()
    assert in_force() == [(day(0), day(7), "first good week")]
    after = dict(client.rows(levels, {"at": START_MS // 1000 + 14 * 86400, "n": 7 * PER_DAY}))
    assert "major" in after[0]


def test_a_period_that_cannot_be_a_reference_is_rejected(
    client: Client, engine: LocalClickHouse, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    scoring.scorer(client, engine.address(client.database), CONTRACT, clock=lambda: NOW_S).score_once()

    def rejection(version: str, first: int, end: int) -> str:
        words = ("--from", day(first), "--to", day(end), "--reason", "r", "--model", "m", "--config", config)
        code, _, err = call(capsys, "reference", "set", "--version", version, *words)
        assert code == 1
        return err

    for version, span, message in (
        ("9", (0, 7), "Version 9 of m has no measured predictions; versions that have some: 1."),
        ("1", (7, 7), "change one of them"),
        ("1", (30, 38), "Labels of the period may arrive until"),
    ):
        assert message in rejection(version, *span)
    client.command(f"ALTER TABLE predictions DELETE WHERE toUnixTimestamp(at) < {START_MS // 1000 + 2 * 86400}")
    deleted = f"{2 * PER_DAY} of the {7 * PER_DAY:,} predictions of the period have been deleted"
    assert deleted in rejection("1", 0, 7)
    assert client.rows("SELECT count() FROM reference_choices") == [(0,)]
