"""`barograph report` on planted incidents: its figures equal SQL written here, and its page in Chromium shows them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from barograph.contract.file import dump_contract

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.reports.weekly_report import week_of
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.tables import insert_rows
from tests.support.command_line import call, run
from tests.support.environment import write_settings
from tests.support.incident_models import END_S, ONE_MODEL, contract_of, fill
from tests.support.warehouse import migrated, row

[MODEL] = ONE_MODEL
WEEK = week_of(datetime.fromtimestamp(END_S - 1, UTC).date(), "UTC")
IN_WEEK = f"toDateTime('{WEEK.start:%F %T}', 'UTC') AND $ < toDateTime('{WEEK.end:%F %T}', 'UTC')"
ENDED = f"toDateTime('{WEEK.start:%F %T}', 'UTC') AND window_end <= toDateTime('{WEEK.end:%F %T}', 'UTC')"


@dataclass(frozen=True)
class PlantedWeek:
    """The planted model, the settings file of its database, and the report of its last week with traffic."""

    client: Client
    config: str
    page: Path
    values: dict[str, Any]


@pytest.fixture(scope="module")
def planted(engine: LocalClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlantedWeek]:
    folder = tmp_path_factory.mktemp("report")
    with migrated(engine) as client, pytest.MonkeyPatch.context() as patch:
        fill(client, ONE_MODEL)
        at = (END_S - 6 * 3600) * 1000
        drill = {"drill_id": "d", "fault": "null-rise", "mode": "fast", "expected": ["a page"], "observed": ["no page"]}
        insert_rows(client, "drills", [row("drills", model=MODEL, at=at, passed=False, met=[False], **drill)])
        contract = contract_of(MODEL)
        applied = {"contract_id": contract.id, "yaml": dump_contract(contract), "applied_at": at}
        insert_rows(client, "contracts", [row("contracts", model=MODEL, **applied)])
        where = engine.address(client.database)
        config = write_settings(folder / "barograph.toml", where)
        patch.setenv("BAROGRAPH_CLICKHOUSE_PASSWORD", where.password)
        page, values = folder / "week.html", folder / "values.json"
        words = ["report", "--model", MODEL, "--week", WEEK.name, "--output", str(page), "--format", "json"]
        with values.open("w") as file, redirect_stdout(file):
            assert run(*words, "--config", config) == 0
        yield PlantedWeek(client, config, page, json.loads(values.read_text()))


def test_figures_equal_sql(planted: PlantedWeek) -> None:
    rows, facts = planted.client.rows, planted.values["facts"]
    pane = IN_WEEK.replace("$", "pane_start")
    volume = rows(
        "SELECT sum(n), sum(errors), sum(slow), count() FROM volume FINAL "
        f"WHERE model = '{MODEL}' AND slice = 'all' AND pane_start >= {pane}"
    )
    totals = [sum(day[name] for day in facts["days"]) for name in ("predictions", "errors", "slow", "hours")]
    assert volume == [tuple(totals)]
    assert totals[0] > 0
    ended = f"model = '{MODEL}' AND slice = 'all' AND window_end > {ENDED}"
    worst = rows(
        "SELECT field, window, max(psi), countIf(level = 'major') * if(window = '1d', 3, 24) AS hours "
        f"FROM latest_drift WHERE {ended} AND level != 'insufficient' GROUP BY field, window ORDER BY field, window"
    )
    psi = [each for each in facts["verdicts"] if each["what"] == "psi" and each["level"] != "insufficient"]
    assert [(each["field"], each["window"], each["value"], each["hours_major"]) for each in psi] == worst
    assert any(hours for *_, hours in worst)
    latency = rows(f"SELECT max(p50), max(p95), max(p99) FROM latest_distances WHERE {ended} AND field = 'latency_ms'")
    assert latency == [tuple(facts["latency"])]
    metrics = rows(
        f"SELECT metric, value, n FROM latest_performance WHERE {ended} AND class = '' AND window IN ('1d', '7d') "
        "ORDER BY metric, window, window_end"
    )
    assert [(each["metric"], each["value"], each["n"]) for each in facts["metrics"]] == metrics
    hour = IN_WEEK.replace("$", "hour")
    labels = rows(f"SELECT kind, sum(n) FROM label_counts WHERE model = '{MODEL}' AND hour >= {hour} GROUP BY kind")
    assert facts["labelled"] == [dict(labels)["predictions"], dict(labels)["labelled"]]


def test_printed_queries_repeat_the_figures(planted: PlantedWeek) -> None:
    facts, queries = planted.values["facts"], planted.values["queries"]
    for name, sql in queries.items():
        assert "{" not in sql, name
        repeated = planted.client.rows(sql)
        parts = {"volume": "days", "performance": "metrics"} | {each: each for each in ("served", "drills", "changes")}
        if name in parts:
            assert len(repeated) == len(facts[parts[name]]) > 0, name
    assert [list(repeated[:3]) for repeated in planted.client.rows(queries["volume"])] == [
        [day["day"], day["predictions"], day["errors"]] for day in facts["days"]
    ]


def test_incidents_are_those_of_simulate(planted: PlantedWeek, capsys: pytest.CaptureFixture[str]) -> None:
    since = (WEEK.start - timedelta(days=28)).isoformat()
    period = ("--since", since, "--until", min(WEEK.end, datetime.now(UTC)).isoformat(), "--format", "json")
    _, out, _ = call(capsys, "simulate", "--model", MODEL, *period, "--config", planted.config)
    expected = [
        (each["title"], each["severity"])
        for each in json.loads(out)["incidents"]
        if each["model"] == MODEL and (each["end"] or math.inf) > WEEK.start.timestamp()
    ]
    incidents = planted.values["facts"]["incidents"]
    assert [(each["title"], each["severity"]) for each in incidents] == expected
    # The contract was applied again after the drift of the amount had begun to page.
    [drift] = [each for each in incidents if "amount" in each["title"] and each["severity"] == "page"]
    assert [action["kind"] for action in drift["actions"]] == ["contract"]
    assert planted.values["facts"]["drills"][0]["missed"] == "no page"
    assert planted.values["answer"] == "unhealthy"


def test_wrong_models_weeks_and_files_are_errors(planted: PlantedWeek, capsys: pytest.CaptureFixture[str]) -> None:
    for words, text in (
        (("--model", MODEL, "--week", "2020-W01"), "was counted in 2020-W01: choose a --week from "),
        (("--model", MODEL, "--output", "/nowhere/week.md", "--week", WEEK.name), "cannot be written"),
    ):
        code, _, err = call(capsys, "report", *words, "--config", planted.config)
        assert (code, text in err) == (1, True), err


def test_traffic_without_verdicts_and_labels_is_not_healthy(
    client: Client, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    contract = contract_of("churn")
    applied = {"contract_id": contract.id, "yaml": dump_contract(contract), "applied_at": 0}
    insert_rows(client, "contracts", [row("contracts", model="churn", **applied)])
    words = ("report", "--model", "churn", "--week", WEEK.name, "--config", config, "--output", "-")
    assert "Nothing of 'churn' has been counted yet" in call(capsys, *words)[2]
    pane = {"pane_start": int(WEEK.start.timestamp()), "pane_s": 3600, "n": 5, "sealed": True, "slice": "all"}
    insert_rows(client, "volume", [row("volume", model="churn", version="1", **pane)])
    code, shown, _ = call(capsys, *words)
    assert (code, "**uncertain**" in shown) == (0, True)
    for limit in ("only 1 of 168 hours are counted", "no verdicts", "no labels have arrived", "incidents are unknown"):
        assert limit in shown.split("## Compared")[0]
