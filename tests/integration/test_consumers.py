"""Lineage and undeclared consumers: contracts, groups, users of a query log, dashboards."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from barograph.contract import Contract, DeclaredConsumer
from barograph.contract.file import dump_contract
from confluent_kafka import Consumer, Producer

from barograph_server.alerts.rules import rules_of
from barograph_server.alerts.settings import AlertSettings
from barograph_server.cli.apply import plan_lines
from barograph_server.dashboards.macros import TimeRange, expand_backend
from barograph_server.governance.readers import read
from barograph_server.governance.readers.read import ConsumerReport, store_readers
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.local.kafka import LocalKafka
from barograph_server.provisioning import apply_all, impact, plan_all
from barograph_server.settings import Settings
from barograph_server.warehouse.client import Client, connect
from barograph_server.warehouse.governance.lineage import build_lineage
from barograph_server.warehouse.governance.query_log import read_users, users_of_field
from tests.support.command_line import OutputOf
from tests.support.environment import installation, kafka_lines, write_settings
from tests.support.pipeline import PATIENCE_S, simple_baseline, simple_contract, wait_for
from tests.support.scripted_http import ScriptedServer, reply
from tests.support.stub_grafana import StubGrafana
from tests.support.warehouse import add_rows
from tests.unit.governance.test_governance import CONTRACT

RULE = "undeclared-reader"
LOG = "recorded_queries"
CALLERS = ("shop", "shop", "crawler")
NOW = datetime.now(UTC).replace(microsecond=0)
DECLARED = {
    "pricing": DeclaredConsumer(owner="pricing", group="pricing", fields=("x",)),
    "archive": DeclaredConsumer(owner="storage", group="archive"),
    "reporting": DeclaredConsumer(owner="finance", user="reporting"),
    "science": DeclaredConsumer(owner="science", user="science", fields=("x", "k")),
    "revenue": DeclaredConsumer(owner="finance", dashboard="revenue"),
    "low-score": DeclaredConsumer(owner="finance", rule="low-score"),
    "shop": DeclaredConsumer(owner="shop", caller="shop"),
}


def consumed(**changes: Any) -> Contract:
    return simple_contract(**{"consumers": DECLARED, "caller": "context.client", **changes})


@pytest.fixture(scope="module")
def settings(broker: LocalKafka, engine: LocalClickHouse) -> Iterator[Settings]:
    with installation(broker, engine, f"t{uuid.uuid4().hex[:10]}-", predictions_partitions=2) as settings:
        apply_all(settings, [(consumed(), dump_contract(consumed()))], [simple_baseline()], reason="a test")
        yield settings


def read_topic(settings: Settings, group: str, *, commits: bool) -> Consumer:
    """Join a group, and read until a message arrived; the caller closes the consumer."""
    names = {"bootstrap.servers": settings.bootstrap_servers, "group.id": group, "client.id": f"{group}-1"}
    consumer = Consumer({**names, "auto.offset.reset": "earliest", "enable.auto.commit": False})
    consumer.subscribe([settings.topics.predictions])
    message: Any = wait_for(lambda: consumer.poll(1.0), f"a message for {group}", PATIENCE_S)
    assert message.error() is None
    if commits:
        consumer.commit(message=message, asynchronous=False)
    return consumer


def record_queries(client: Client) -> None:
    client.command(
        f"CREATE TABLE {LOG} (type String, query_kind String, event_date Date, event_time DateTime, user String, "
        "query String, tables Array(String), columns Array(String), http_user_agent String, client_name String, "
        "address IPv6, is_initial_query UInt8) ENGINE = MergeTree ORDER BY event_time"
    )
    select = "'QueryFinish', 'Select'"
    for kind, user, query, days in (
        (select, "reporting", "SELECT avg(score) FROM predictions", 1),
        (select, "science", "SELECT features['k'] FROM predictions", 2),
        (select, "scraper", "SELECT features['x'] FROM predictions", 3),
        (select, "scraper", "SELECT features['x'], score FROM predictions", 1),
        (select, "intern", "SELECT count() FROM labels", 1),
        (select, "long-ago", "SELECT 1 FROM labels", 90),
        # Neither another database, nor a failed query, nor an insert counts.
        (select, "nobody", "SELECT 1 FROM other.predictions", 0),
        ("'ExceptionWhileProcessing', 'Select'", "nobody", "SELECT 1 FROM predictions", 0),
        ("'QueryFinish', 'Insert'", "nobody", "INSERT INTO predictions", 0),
    ):
        database, _, name = query.split()[-1].rpartition(".")
        table = f"{database or client.database}.{name}"
        client.command(
            f"INSERT INTO {LOG} SELECT {kind}, toDate(time), time, {{user:String}}, {{query:String}}, ['{table}'], "
            f"['{table}.score', 'other.t.c'], 'python', '', toIPv6('::ffff:10.1.2.3'), 1 "
            "FROM (SELECT now() - INTERVAL {days:UInt32} DAY AS time)",
            {"user": user, "query": query, "days": days},
        )


def add_dashboard(grafana: StubGrafana, uid: str, sql: str, plugin: str = "grafana-clickhouse-datasource") -> None:
    targets = [{"rawSql": sql, "datasource": {"type": plugin}}]
    panels = [{"description": "Counts come from predictions", "targets": targets}]
    dashboard = {"uid": uid, "title": uid.title(), "panels": panels}
    stored = {"dashboard": dashboard, "folder": "", "version": 1, "by": "ana", "provisioned": False}
    grafana.state.dashboards[uid] = stored


def add_rule(grafana: StubGrafana, uid: str, sql: str, **labels: str) -> None:
    rule = {"uid": uid, "title": uid.title(), "labels": labels, "data": [{"refId": "A", "model": {"rawSql": sql}}]}
    grafana.state.groups["folder", uid] = {"rules": [rule]}


@pytest.fixture(scope="module")
def observed(settings: Settings) -> Iterator[Settings]:
    """Two groups, two users and one dashboard that are declared, and as many strangers."""
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers})
    for number in range(10):
        producer.produce(settings.topics.predictions, json.dumps({"n": number}).encode())
    producer.flush()
    with connect(settings.warehouse) as client:
        record_queries(client)
        at = NOW - timedelta(hours=1)
        common = {"model": "toy", "version": "1", "at": at, "received_at": at, "producer": "web-1"}
        called = [{"id": f"{n}", "offset": n, "context": [("client", name)]} for n, name in enumerate(CALLERS)]
        add_rows(client, "predictions", [*called, {"id": "3", "offset": 3}], **common)
    with (
        StubGrafana() as grafana,
        closing(read_topic(settings, "pricing", commits=True)),
        closing(read_topic(settings, "snoop", commits=False)),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(read, "read_users", partial(read_users, log=LOG))
        patch.setattr(impact, "users_of_field", partial(users_of_field, log=LOG))
        add_dashboard(grafana, "revenue", "SELECT score FROM predictions")
        add_dashboard(grafana, "marketing", "SELECT features['x'] FROM predictions WHERE model = 'toy'")
        add_dashboard(grafana, "labels", "SELECT x FROM labels", "grafana-postgresql-datasource")
        add_dashboard(grafana, "shop", "SELECT * FROM shop.predictions")
        add_dashboard(grafana, "weather", "SELECT temperature FROM stations")
        add_dashboard(grafana, "barograph-fleet", "SELECT 1 FROM predictions")
        add_rule(grafana, "stock", "SELECT count() FROM predictions WHERE numbers['x'] > 1")
        add_rule(grafana, "low-score", "SELECT score FROM predictions")
        add_rule(grafana, "storm", "SELECT wind FROM stations")
        add_rule(grafana, "own", "SELECT psi FROM drift", source="barograph")
        for group in ("archive", "copier"):
            # Groups without a member now, which have committed.
            read_topic(settings, group, commits=True).close()
        yield replace(settings, grafana=grafana.settings())


def report(settings: Settings) -> ConsumerReport:
    with connect(settings.warehouse) as client:
        return read.read_consumers(settings, client, [consumed()], NOW - timedelta(days=30))


def test_strangers_are_listed_and_declared_consumers_are_not(observed: Settings) -> None:
    result = report(observed)
    strangers = {(each.kind, each.name): each for each in result.undeclared}
    assert sorted(strangers) == [
        *(("caller", "crawler"), ("dashboard", "marketing"), ("group", "copier"), ("group", "snoop")),
        *(("rule", "stock"), ("user", "intern"), ("user", "scraper")),
    ]
    assert {each.name for each in result.declared if each.observed is not None} == set(DECLARED)
    # The local engine refuses to show roles, and so the users of processors.
    assert [note.partition(",")[0] for note in result.notes] == [
        "The user may not read system.role_grants",
        "1 prediction of toy names no caller in context.client.",
    ]
    crawler = strangers["caller", "crawler"]
    assert (crawler.reads, crawler.volume, crawler.origin) == (("toy",), 1, "web-1")
    assert crawler.last == NOW - timedelta(hours=1)
    snoop, copier = strangers["group", "snoop"], strangers["group", "copier"]
    assert snoop.origin.startswith("snoop-1 at ")
    assert snoop.reads == copier.reads == (observed.topics.predictions,)
    assert (copier.volume, copier.origin) == (1, "no member now")
    scraper = strangers["user", "scraper"]
    assert (scraper.reads, scraper.columns, scraper.volume) == (("predictions",), ("predictions.score",), 2)
    assert scraper.origin == "python at ::ffff:10.1.2.3"
    assert scraper.first is not None
    assert scraper.last is not None
    assert (scraper.last - scraper.first).days == 2


def test_the_rule_creates_a_ticket_for_each_stranger_until_it_is_declared(observed: Settings) -> None:
    critical = tuple(msgspec.structs.replace(each, critical=True) for each in consumed().fields)
    (rule,) = (each for each in rules_of(consumed(fields=critical), AlertSettings()) if each.name == RULE)

    def firing(client: Client, at: datetime) -> list[str]:
        sql = expand_backend(rule.queries["A"], TimeRange.between(at - timedelta(hours=1), at))
        return [reader for reader, number in client.rows(sql) if number > rule.threshold]

    with connect(observed.warehouse) as client:
        store_readers(client, report(observed), NOW)
        strangers = ["caller crawler", "dashboard marketing", "group copier", "group snoop"]
        strangers += ["rule stock", "user intern", "user scraper"]
        assert firing(client, NOW + timedelta(minutes=1)) == strangers
        declared = {**DECLARED, "copy": DeclaredConsumer(owner="ana", group="copier")}
        later = read.read_consumers(observed, client, [consumed(consumers=declared)], NOW - timedelta(days=30))
        store_readers(client, later, NOW + timedelta(hours=1))
        strangers.remove("group copier")
        assert firing(client, NOW + timedelta(hours=1, minutes=1)) == strangers
        assert firing(client, NOW + timedelta(days=5)) == []
    assert RULE not in {each.name for each in rules_of(consumed(), AlertSettings())}


def test_a_plan_names_the_readers_of_a_removed_field(observed: Settings) -> None:
    smaller = consumed()
    retained = tuple(field for field in smaller.fields if field.name != "x")
    consumers = {name: msgspec.structs.replace(each, fields=()) for name, each in DECLARED.items()}
    new = msgspec.structs.replace(smaller, fields=retained, consumers=consumers)
    settings = replace(observed, grafana=None)
    baseline = simple_baseline()
    fitting = msgspec.structs.replace(baseline, fields=tuple(each for each in baseline.fields if each.name != "x"))
    lines = plan_lines(plan_all(settings, [(new, dump_contract(new))], [fitting]))
    (line,) = [line for line in lines if "field x of toy is removed" in line]
    assert "pricing of pricing (group pricing)" in line
    assert "science of science (user science)" in line
    assert "user scraper, which is not declared (2 queries)" in line
    assert "reporting" not in line
    with connect(observed.warehouse) as client:
        removed = impact.removed_fields({"toy": consumed()}, {"toy": new})
        (note,) = impact.impact_notes(observed, client, removed)
    assert "dashboard marketing, which is not declared" in note
    assert "rule stock, which is not declared" in note
    assert "revenue" not in note


def test_the_command_prints_readers_and_exits_with_1_for_a_stranger(observed: Settings, tmp_path: Path) -> None:
    kafka = kafka_lines(observed.bootstrap_servers, observed.topic_prefix)
    config = write_settings(tmp_path / "barograph.toml", observed.warehouse, kafka)
    environment = {**os.environ, "BAROGRAPH_CLICKHOUSE_PASSWORD": observed.warehouse.password}
    # In a process of its own, as a user runs it.
    command = [sys.executable, "-m", "barograph_server.cli.main", "consumers", "--config", config]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    declared, _, strangers = " ".join(done.stdout.split()).partition("Readers that no contract declares")
    assert "pricing" in declared
    for text in ("group copier", "group snoop", "ClickHouse keeps no query log"):
        assert text in strangers, text
    assert "archive" not in strangers


def test_apply_stores_the_graph_that_is_shown_and_sent(
    settings: Settings, tmp_path: Path, output_of: OutputOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    for consumers in ({}, CONTRACT.consumers):
        described = msgspec.structs.replace(CONTRACT, model="graph", consumers=consumers)
        apply_all(settings, [(described, dump_contract(described))])
    monkeypatch.setenv("BAROGRAPH_CLICKHOUSE_PASSWORD", settings.warehouse.password)
    kafka = kafka_lines(settings.bootstrap_servers, settings.topic_prefix)
    config = write_settings(tmp_path / "barograph.toml", settings.warehouse, kafka)
    graph = build_lineage(described)
    with connect(settings.warehouse) as client:
        select = "SELECT node, detail, owner, upstream FROM latest_lineage WHERE model = 'graph' ORDER BY position"
        assert client.rows(select) == [(each.id, each.detail, each.owner, list(each.upstream)) for each in graph.nodes]
        assert len(client.rows("SELECT DISTINCT contract_id FROM lineage WHERE model = 'graph'")) == 2
    words = ("lineage", "--model", "graph", "--config", config)
    assert "gates" in output_of(0, *words)
    assert [tuple(edge) for edge in json.loads(output_of(0, *words, "--format", "json"))["edges"]] == list(graph.edges)
    assert output_of(0, *words, "--format", "svg").startswith("<svg ")
    printed = [json.loads(line) for line in output_of(0, *words, "--format", "openlineage").splitlines()]
    jobs = ["graph", "graph.gates", "graph.audit"]
    assert [event["job"]["name"] for event in printed] == jobs
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "secret")
    with ScriptedServer(reply(status=201)) as catalogue:
        url = catalogue.url
        assert output_of(0, *words, "--send", url) == f"Sent 3 events to {url}.\n"
        catalogue.answer = reply(status=403)
        error = " ".join(output_of(1, *words, "--send", url).split())
    accepted = catalogue.requests[:3]
    assert [request.json()["job"]["name"] for request in accepted] == jobs
    assert {(request.path, request.headers["Authorization"]) for request in accepted} == {
        ("/api/v1/lineage", "Bearer secret")
    }
    assert f"The catalogue at {url} did not take event 1 of 3: 403" in error
    output_of(1, *words, "--send", url, "--format", "svg")
