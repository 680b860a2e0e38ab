"""`barograph report` and `doctor` on the real servers."""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from barograph.contract.file import dump_contract
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from barograph_server.errors import EXIT_FAILED, EXIT_OK
from barograph_server.finding import Finding, FindingLevel
from barograph_server.local.child_process import choose_port
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.local.kafka import LocalKafka
from barograph_server.operations.doctor.broker import check_broker_config
from barograph_server.operations.doctor.clocks import compare_clocks
from barograph_server.operations.doctor.run_checks import run_checks
from barograph_server.provisioning import apply_all
from barograph_server.reports.weekly_report import week_of
from barograph_server.settings import GrafanaSettings, Settings
from barograph_server.warehouse.client import Address, Client, connect
from barograph_server.warehouse.tables import insert_rows
from tests.support.command_line import OutputOf, run
from tests.support.environment import enter_folder, installation, kafka_lines, write_settings
from tests.support.incident_models import END_S, ONE_MODEL, contract_of, fill
from tests.support.pipeline import Pipeline, configure_topic, simple_baseline, simple_contract
from tests.support.stub_grafana import StubGrafana
from tests.support.warehouse import add_row, migrated, row

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
        add_row(client, "drills", model=MODEL, at=at, passed=False, met=[False], **drill)
        contract = contract_of(MODEL)
        applied = {"contract_id": contract.id, "yaml": dump_contract(contract), "applied_at": at}
        add_row(client, "contracts", model=MODEL, **applied)
        where = engine.address(client.database)
        change = {"field": "amount", "kind": "below", "level": "major", "window": "1d", "window_end": END_S - 3600}
        add_row(client, "rates", model=MODEL, version="1", slice="country=FR", **change)
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
    measures = {each["slice"]: each["measures"] for each in facts["major_slices"]}
    assert "values below the range of amount" in measures["country=FR"], "rates of slices are named as text"


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


def test_incidents_are_those_of_simulate(planted: PlantedWeek, output_of: OutputOf) -> None:
    since = (WEEK.start - timedelta(days=28)).isoformat()
    period = ("--since", since, "--until", min(WEEK.end, datetime.now(UTC)).isoformat(), "--format", "json")
    out = output_of(0, "simulate", "--model", MODEL, *period, "--config", planted.config)
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


def test_wrong_models_weeks_and_files_are_errors(planted: PlantedWeek, output_of: OutputOf) -> None:
    for words, text in (
        (("--model", MODEL, "--week", "2020-W01"), "was counted in 2020-W01: choose a --week from "),
        (("--model", MODEL, "--output", "/nowhere/week.md", "--week", WEEK.name), "cannot be written"),
    ):
        assert text in " ".join(output_of(1, "report", *words, "--config", planted.config).split())


def test_traffic_without_verdicts_and_labels_is_not_healthy(client: Client, config: str, output_of: OutputOf) -> None:
    contract = contract_of("churn")
    applied = {"contract_id": contract.id, "yaml": dump_contract(contract), "applied_at": 0}
    add_row(client, "contracts", model="churn", **applied)
    words = ("report", "--model", "churn", "--week", WEEK.name, "--config", config, "--output", "-")
    assert "Nothing of 'churn' has been counted yet" in output_of(1, *words)
    pane = {"pane_start": int(WEEK.start.timestamp()), "pane_s": 3600, "n": 5, "sealed": True, "slice": "all"}
    add_row(client, "volume", model="churn", version="1", **pane)
    shown = output_of(0, *words)
    assert "**uncertain**" in shown
    for limit in ("only 1 of 168 hours are counted", "no verdicts", "no labels have arrived", "incidents are unknown"):
        assert limit in shown.split("## Compared")[0]


CONTRACT = simple_contract()
KINDS = ("sketcher", "recorder", "monitor", "scorer", "guard")


@pytest.fixture
def settings(broker: LocalKafka, engine: LocalClickHouse, topic_prefix: str) -> Iterator[Settings]:
    partitions = {"predictions_partitions": 2, "labels_partitions": 1, "partials_partitions": 2}
    with installation(broker, engine, topic_prefix, **partitions) as settings:
        apply_all(settings, [(CONTRACT, dump_contract(CONTRACT))], [simple_baseline(rows=1000)])
        with connect(settings.warehouse) as client:
            insert_rows(client, "processors", [report(kind, 0) for kind in KINDS])
        yield settings


def report(kind: str, ago_s: int) -> dict[str, object]:
    at_ms = int(time.time() * 1000) - 1000 * ago_s
    return row("processors", kind=kind, instance=f"{kind}-1", at=at_ms, host="here", pid=1, started_at=at_ms)


def run_doctor(settings: Settings, clock: Callable[[], float] = time.time) -> list[Finding]:
    return list(run_checks(settings, clock=clock))


def with_status(findings: list[Finding], *statuses: FindingLevel) -> list[Finding]:
    return [finding for finding in findings if finding.level in statuses]


def the(findings: list[Finding], text: str) -> Finding:
    (one,) = [finding for finding in findings if text in finding.message]
    return one


def test_a_new_installation_has_no_errors_unless_a_clock_is_wrong_or_the_database_missing(settings: Settings) -> None:
    findings = run_doctor(settings)
    assert with_status(findings, FindingLevel.ERROR) == []
    # The groups have no members, and no Grafana is configured; the disk is that of this machine.
    warnings = [finding for finding in with_status(findings, FindingLevel.WARNING) if "disk" not in finding.message]
    assert {finding.subject for finding in warnings} <= {"Groups"}
    unknown = with_status(findings, FindingLevel.UNKNOWN)
    assert [finding.subject for finding in unknown] == ["Grafana"], unknown
    checked = {"JSON", "Kafka", "Topics", "ClickHouse", "Contracts", "Processors", "Events", "Clocks"}
    assert {finding.subject for finding in with_status(findings, FindingLevel.OK)} == checked
    assert the(findings, "Transactions begin and commit").level is FindingLevel.OK
    agreeing = [finding for finding in findings if "agrees with this machine's" in finding.message]
    assert [finding.level for finding in agreeing] == [FindingLevel.OK] * 2
    assert not any(finding.action for finding in with_status(findings, FindingLevel.OK))
    # The temporary topic is deleted.
    topics = AdminClient({"bootstrap.servers": settings.bootstrap_servers}).list_topics(timeout=10).topics
    assert not [name for name in topics if name.startswith(f"{settings.topic_prefix}doctor-")]
    # A wrong clock of this machine is reported for both servers.
    wrong = with_status(run_doctor(settings, clock=lambda: time.time() + 3600), FindingLevel.ERROR)
    assert [finding.subject for finding in wrong] == ["Clocks", "Clocks"]
    for finding in wrong:
        seconds = finding.message.split(" is ")[1].split(" s behind this")[0]
        # A slow answer is not exactly an hour behind.
        assert float(seconds.replace(",", "")) == pytest.approx(3600, abs=10)
        assert "NTP" in finding.action
    missing = dataclasses.replace(settings.warehouse, database="missing_database")
    (wrong_database,) = with_status(run_doctor(dataclasses.replace(settings, warehouse=missing)), FindingLevel.ERROR)
    assert "has no database 'missing_database'. Run `barograph apply`" in wrong_database.message


def test_the_command_prints_tables_or_json_and_sets_the_exit_code(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, output_of: OutputOf
) -> None:
    servers = kafka_lines(settings.bootstrap_servers, settings.topic_prefix)
    partitions = "predictions_partitions = 2\nlabels_partitions = 1\npartials_partitions = 2"
    enter_folder(tmp_path, monkeypatch, settings.warehouse, servers, partitions)
    out = output_of(EXIT_OK, "doctor")
    assert "0 errors, " in out
    assert "Traceback" not in out
    assert " ok, 1 unknown." in out, "checks that were not possible are counted: no Grafana is configured"
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    admin.delete_topics([settings.topics.labels])[settings.topics.labels].result(30)
    findings = json.loads(output_of(EXIT_FAILED, "doctor", "--format", "json"))
    (wrong,) = [finding for finding in findings if finding["level"] == "error"]
    assert (wrong["subject"], wrong["action"]) == ("Topics", "Run `barograph apply`.")
    assert wrong["message"] == f"The topic {settings.topics.labels} is missing."


def test_settings_partitions_and_retention_of_topics(settings: Settings) -> None:
    topics, admin = settings.topics, AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    configure = partial(configure_topic, settings.bootstrap_servers)
    configure(topics.predictions, message_timestamp_type="CreateTime", retention_ms="600000")
    configure(topics.partials, cleanup_policy="compact", retention_ms="7200000")
    configure(topics.labels, retention_bytes="1000000", unclean_leader_election_enable="true")
    findings = run_doctor(settings)
    wrong = [finding.message for finding in with_status(findings, FindingLevel.ERROR)]
    assert [text.partition(":")[0] for text in wrong] == [
        f"The topic {topics.predictions} has message.timestamp.type=CreateTime and needs LogAppendTime",
        f"The topic {topics.predictions} retains events for 0.167 h",
        f"The topic {topics.labels} allows a replica that is out of sync to become leader",
        f"The topic {topics.partials} has cleanup.policy=compact and needs delete",
    ]
    assert the(findings, f"{topics.partials} retains events for 2 h").level is FindingLevel.WARNING
    assert the(findings, f"{topics.labels} retains 1000000 bytes").level is FindingLevel.WARNING
    assert all(finding.action for finding in with_status(findings, FindingLevel.ERROR, FindingLevel.WARNING))
    # Partitions that differ from the applied ones, and a group whose unread events were deleted.
    admin.create_partitions([NewPartitions(topics.partials, 3)])[topics.partials].result(30)
    pipeline = Pipeline(settings.bootstrap_servers, settings.warehouse, settings.topic_prefix, Path())
    pipeline.produce((0, b"{", None) for _ in range(10))
    group = f"{settings.topic_prefix}sketcher"
    consumer = Consumer({"bootstrap.servers": settings.bootstrap_servers, "group.id": group})
    consumer.commit(offsets=[TopicPartition(topics.predictions, 0, 3)], asynchronous=False)
    consumer.close()
    findings = run_doctor(dataclasses.replace(settings, predictions_partitions=4))
    assert "delete the topic" in the(findings, "has 3 partitions and should have 2").action
    more = the(findings, f"{topics.predictions} has 2 partitions, and the settings require 4")
    assert (more.level, more.action) == (FindingLevel.WARNING, "Run `barograph apply`.")
    assert "No sketcher is in the group" in the(findings, f"{group}; its lag is 7 offsets").message
    for future in admin.delete_records([TopicPartition(topics.predictions, 0, 8)]).values():
        future.result(30)
    assert the(run_doctor(settings), "5 offsets deleted before being read").level is FindingLevel.ERROR


def test_each_harmful_setting_of_a_broker_is_reported() -> None:
    """Tests the check alone: each case would need a broker of its own."""
    good = {"transaction.max.timeout.ms": "900000", "offsets.retention.minutes": "527040"}
    assert list(check_broker_config(good, 1, [], 60.0)) == []
    bad = {
        "transaction.max.timeout.ms": "30000",
        "transaction.state.log.replication.factor": "3",
        "offsets.topic.replication.factor": "3",
        "offsets.retention.minutes": "60",
        "auto.create.topics.enable": "true",
    }
    states = [finding.level for finding in check_broker_config(bad, 1, ["__consumer_offsets"], 60.0)]
    assert states == [FindingLevel.ERROR, FindingLevel.ERROR, FindingLevel.WARNING, FindingLevel.WARNING]


def test_migrations_contracts_baselines_and_processors(settings: Settings) -> None:
    def contract(model: str, yaml: str) -> dict[str, object]:
        return {"model": model, "contract_id": model, "yaml": yaml, "applied_at": 1}

    with connect(settings.warehouse) as client:
        last = client.rows("SELECT max(number) FROM migrations")[0][0]
        client.command(f"DELETE FROM migrations WHERE number = {last}")
        bare = dump_contract(simple_contract(model="bare"))
        insert_rows(client, "contracts", [contract("torn", "model: ["), contract("bare", bare)])
        torn = {"model": "toy", "version": "2", "baseline_id": "b", "body": "{", "accepted_at": 1}
        add_row(client, "baselines", **torn)
        client.command("TRUNCATE TABLE processors")
        insert_rows(client, "processors", [report("sketcher", 0), report("monitor", 100)])
    findings = run_doctor(settings)
    pending = the(findings, "1 migration pending")
    assert (pending.level, pending.action) == (FindingLevel.ERROR, "Run `barograph apply`.")
    wrong = [finding.message for finding in with_status(findings, FindingLevel.ERROR) if finding is not pending]
    assert [text.partition(": ")[0] for text in wrong] == [
        "The contract of torn in force cannot be read",
        "The baseline of toy 2 cannot be read",
    ]
    assert the(findings, "Model bare has no baseline").level is FindingLevel.WARNING
    processors = [finding for finding in findings if finding.subject == "Processors"]
    assert [finding.level for finding in processors] == [FindingLevel.OK, *[FindingLevel.WARNING] * 4]
    assert processors[1].message == "No recorder has reported."
    assert processors[2].message.startswith("No monitor reports; monitor-1 on here did 10")
    assert "--instance monitor-1" in processors[2].action
    assert [each.message for each in processors if "clock is `replay`" in each.action] == ["No guard has reported."]
    future = "(number, name, checksum, state, step) VALUES (9999, 'of_the_future', '', 'completed', 2)"
    with connect(settings.warehouse) as client:
        client.command(f"INSERT INTO migrations {future}")
    assert the(run_doctor(settings), "update the program").level is FindingLevel.ERROR


def test_the_round_trip_is_an_error_margin() -> None:
    for server_s, after_s, status in (
        (1000.5, 1001, FindingLevel.OK),
        (1001.4, 1001, FindingLevel.OK),
        (1003, 1001, FindingLevel.WARNING),
        (998, 1001, FindingLevel.WARNING),
        (1020, 1001, FindingLevel.ERROR),
        (980, 1001, FindingLevel.ERROR),
        # The round trip took too long for a verdict.
        (1020, 1040, FindingLevel.OK),
    ):
        assert compare_clocks("It", server_s, 1000, after_s).level is status, (server_s, after_s)


def test_grafana_before_and_after_apply(settings: Settings, stub: StubGrafana, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERTS_WEBHOOK_URL", "https://alerts.example.com/hook")

    def check(configured: GrafanaSettings) -> list[Finding]:
        findings = run_doctor(dataclasses.replace(settings, grafana=configured))
        return [finding for finding in findings if finding.subject == "Grafana"]

    findings = check(stub.settings())
    assert [finding.level for finding in findings] == [FindingLevel.OK, FindingLevel.WARNING]
    assert "Its dashboards and rules differ from those in force" in findings[1].message
    apply_all(dataclasses.replace(settings, grafana=stub.settings()), [], [])
    assert [finding.level for finding in check(stub.settings())] == [FindingLevel.OK, FindingLevel.OK]
    (refused,) = check(stub.settings(token="glsa_another"))
    (unreachable,) = check(stub.settings(url=f"http://127.0.0.1:{choose_port()}"))
    assert refused.level is unreachable.level is FindingLevel.ERROR
    assert "token" in refused.message
    assert "glsa_another" not in refused.message
    monkeypatch.delenv("ALERTS_WEBHOOK_URL")
    (unset,) = check(stub.settings())
    assert "ALERTS_WEBHOOK_URL" in unset.message


@pytest.mark.long
def test_each_unreachable_server_is_one_finding_and_the_others_are_checked(settings: Settings) -> None:
    unreachable = f"127.0.0.1:{choose_port()}"
    findings = run_doctor(dataclasses.replace(settings, bootstrap_servers=unreachable))
    (wrong,) = with_status(findings, FindingLevel.ERROR)
    assert wrong.subject == "Kafka"
    assert unreachable in wrong.message
    assert "Check bootstrap_servers and that the broker runs." in wrong.message
    checked = {finding.subject for finding in with_status(findings, FindingLevel.OK)}
    assert checked >= {"ClickHouse", "Contracts", "Clocks"}
    nowhere = Address("127.0.0.1", choose_port(), settings.warehouse.database)
    findings = run_doctor(dataclasses.replace(settings, warehouse=nowhere))
    (wrong,) = with_status(findings, FindingLevel.ERROR)
    assert wrong.subject == "ClickHouse"
    assert "could not be reached" in wrong.message
    checked = {finding.subject for finding in with_status(findings, FindingLevel.OK)}
    assert checked == {"JSON", "Kafka", "Topics", "Clocks"}
    findings = run_doctor(dataclasses.replace(settings, bootstrap_servers=unreachable, warehouse=nowhere))
    assert [(finding.subject, finding.level) for finding in findings] == [
        ("JSON", FindingLevel.OK),
        ("ClickHouse", FindingLevel.ERROR),
        ("Kafka", FindingLevel.ERROR),
        ("Grafana", FindingLevel.UNKNOWN),
    ]
