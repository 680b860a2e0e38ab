"""The roles that `plan --roles` prints, on the engine: each allows the work of its processor, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from barograph.contract import Contract, LabelSpec
from barograph.contract.file import dump_contract

from alerts import rules_for, to_files
from cli.access.roles import role_lines
from cli.apply import apply_all
from cli.settings import Settings
from dashboards.macros import ALL, TimeRange, Value, expand, expand_backend
from dashboards.pages import dashboards
from dashboards.parse import queries_in, variables_of
from local.child_process import choose_port
from local.clickhouse import LocalClickHouse
from local.kafka import LocalKafka
from tests.support.alerting import contracts, installation
from tests.support.pipeline import ROOT, Pipeline, simple_baseline, simple_contract, wait_for
from tests.support.roles_gateway import write_config
from warehouse.client import Address, Client, WarehouseError, connect
from warehouse.roles import ROLES, Role

DATABASE = "guarded"
ACCESS_DENIED = 497
CONTRACT: Contract = simple_contract(label=LabelSpec(type="bool", positive=True))
RAW = (
    *("predictions", "labels", "all_predictions", "latest_labels", "labelled_predictions"),
    *("prediction_hours", "hour_labels", "pending_labels", "duplicate_predictions"),
)
"""Tables and views with raw rows, or with ids or labels of single predictions."""
KINDS = ("sketcher", "recorder", "monitor", "scorer")
N = 400
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def guarded(engine: LocalClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """An engine that runs requests of each user in the role of that name."""
    folder = tmp_path_factory.mktemp("guarded")
    write_config(folder, DATABASE)
    address = Address(engine.host, choose_port(), DATABASE)
    words = [sys.executable, "-m", "tests.support.roles_gateway", f"--path={folder}", f"--port={address.port}"]
    with (folder / "door.log").open("wb") as log:
        door = subprocess.Popen(words, cwd=ROOT, stdout=log, stderr=log)

    def answers() -> bool:
        assert door.poll() is None, (folder / "door.log").read_text()
        try:
            with urllib.request.urlopen(f"http://{address}/ping", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError):
            return False

    wait_for(answers, "the guarded engine", 60)
    yield address
    door.terminate()
    door.wait(60)


def of(guarded: Address, role: str, database: str = DATABASE) -> Client:
    return connect(Address(guarded.host, guarded.port, database, role))


@pytest.fixture(scope="module")
def ran(broker: LocalKafka, guarded: Address, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Everything done by its own role: the schema, counting, judging, recording, scoring."""
    prefix = f"r{uuid.uuid4().hex[:10]}-"
    settings = Settings(
        bootstrap_servers=broker.bootstrap_servers,
        warehouse=Address(guarded.host, guarded.port, DATABASE, "barograph_apply"),
        topic_prefix=prefix,
        predictions_partitions=1,
        labels_partitions=1,
        partials_partitions=1,
    )
    apply_all(settings, [(CONTRACT, dump_contract(CONTRACT))], [simple_baseline()])
    assert apply_all(settings, [(CONTRACT, dump_contract(CONTRACT))], [simple_baseline()]).is_empty
    pipeline = Pipeline(broker.bootstrap_servers, guarded, prefix, tmp_path_factory.mktemp("ran"))
    begin_ms = int(time.time() * 1000) // HOUR_MS * HOUR_MS - 20 * HOUR_MS
    events, labels = [], []
    for i in range(N):
        at = begin_ms + i * 60_000
        features = {"x": i / N, "k": i % 5, "flag": i % 2 == 0, "colour": "red" if i % 9 else "new"}
        event = {"model": "toy", "version": "1", "id": f"e{i}", "at": at, "features": features, "score": i / N}
        events.append((0, json.dumps({**event, "context": {"region": "north"}}).encode(), None))
        label = {"model": "toy", "id": f"e{i}", "label": i % 3 == 0, "at": at + HOUR_MS}
        labels.append((0, json.dumps(label).encode(), None))
    pipeline.produce([*events, (0, b"malformed", None)])
    pipeline.produce(labels, topic=pipeline.topics.labels)
    pipeline.end(1)
    for kind in KINDS:
        pipeline.start(kind, username=f"barograph_{kind}", score_s=1.0)
    pipeline.wait_rows(f"SELECT sum(n) = {N} AND min(sealed) FROM volume FINAL WHERE slice = 'all'", "sealed volume")
    pipeline.wait_rows(f"SELECT count() = {N} FROM predictions FINAL", "raw predictions")
    pipeline.wait_rows(f"SELECT count() = {N} FROM labels FINAL", "labels")
    pipeline.wait_rows("SELECT count() > 0 FROM latest_performance", "performance")
    pipeline.wait_rows("SELECT uniqExact(kind) = 4 FROM processors", "reports of all four")
    pipeline.wait_settled()
    yield pipeline
    pipeline.stop()


def test_each_processor_does_its_work_in_its_role(ran: Pipeline) -> None:
    written = {
        table
        for (table,) in ran.rows(
            "SELECT DISTINCT table FROM system.parts WHERE database = {database:String} AND active AND rows > 0",
            {"database": DATABASE},
        )
    }
    granted = {table for role in ROLES for table in role.writes}
    assert written <= granted
    assert written >= {
        "drift",
        "panes",
        "volume",
        "offset_ledger",
        "predictions",
        "labels",
        "performance",
        "dead_letter_counts",
    }
    for kind in KINDS:
        assert "refused" not in ran.log(f"{kind}-0")


def may(client: Client, privilege: str, table: str) -> bool:
    [(allowed,)] = client.rows(f"CHECK GRANT {privilege} ON {DATABASE}.{table}")
    return bool(allowed)


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_a_role_allows_its_work_and_nothing_else(ran: Pipeline, guarded: Address, role: Role) -> None:
    everything = [
        name
        for (name,) in ran.rows(
            "SELECT name FROM system.tables WHERE database = {database:String}", {"database": DATABASE}
        )
    ]
    assert {*role.reads, *role.writes} - {"*"} <= set(everything), "all granted tables exist"
    with of(guarded, role.name) as client:
        for table in everything:
            assert may(client, "SELECT", table) == (role.reads == ("*",) or table in role.reads), table
            assert may(client, "INSERT", table) == (table in role.writes), table
            for privilege in ("ALTER DELETE", "ALTER UPDATE", "DROP TABLE", "TRUNCATE", "OPTIMIZE"):
                assert not may(client, privilege, table), (privilege, table)
        for statement in (
            "CREATE TABLE elsewhere.t (a UInt8) ENGINE = Memory",
            "DROP DATABASE guarded",
            "SYSTEM SHUTDOWN",
            "CREATE USER anybody",
            "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')",
            "SELECT * FROM file('/etc/passwd', 'LineAsString', 'a String')",
            "GRANT SELECT ON *.* TO default",
            "TRUNCATE TABLE predictions",
            "ALTER TABLE predictions DELETE WHERE 1",
        ):
            with pytest.raises(WarehouseError) as refused:
                client.rows(statement) if statement.startswith("SELECT") else client.command(statement)
            assert refused.value.code == ACCESS_DENIED, statement


def test_analysts_read_every_view_and_write_nowhere(ran: Pipeline, guarded: Address) -> None:
    views = ran.rows(
        "SELECT name FROM system.tables WHERE database = {database:String} AND engine = 'View'", {"database": DATABASE}
    )
    with of(guarded, "barograph_analyst") as client:
        for (view,) in views:
            client.rows(f"SELECT * FROM {view} LIMIT 1")
        with pytest.raises(WarehouseError) as refused:
            client.command("INSERT INTO processors (kind) VALUES ('made up')")
        assert refused.value.code == ACCESS_DENIED
        assert "Grant the user this right" in str(refused.value)


def test_grafana_may_run_every_query_of_dashboards_and_rules(ran: Pipeline, guarded: Address) -> None:
    now_ms = int(time.time() * 1000)
    time_range = TimeRange(now_ms - 24 * HOUR_MS, now_ms)
    queries = []
    for dashboard in dashboards().values():
        chosen: dict[str, Value] = dict.fromkeys(variables_of(dashboard), ALL)
        chosen |= {"model": "toy", "version": "1", "slice": "all", "window": "1h", "field": "x"}
        queries += [(query.where, expand(query.sql, time_range, chosen)) for query in queries_in(dashboard)]
    for content in to_files(rules_for([CONTRACT, *contracts()], installation()), installation()).values():
        for group in content.get("groups", []):
            for rule in group["rules"]:
                queries += [
                    (rule["title"], expand_backend(query["model"]["rawSql"], time_range))
                    for query in rule["data"]
                    if "rawSql" in query["model"]
                ]
    assert len(queries) > 150
    denied = {}
    with of(guarded, "barograph_grafana") as client:
        for where, sql in queries:
            try:
                client.rows(sql)
            except WarehouseError as error:
                assert error.code == ACCESS_DENIED, (where, error)
                denied[where] = str(error)
        assert not denied
        assert client.rows("SELECT count() FROM label_times") == [(N,)], "the definer of a view reads its tables"


@pytest.mark.parametrize(
    "query",
    [
        *(f"SELECT * FROM {table}" for table in RAW),
        "SELECT label FROM labels",
        "SELECT uniqExact(id) FROM predictions",
        "SELECT sketch FROM panes",
        "SELECT sketch FROM rollups",
        "SELECT id FROM pending_labels",
    ],
)
def test_grafana_reads_no_raw_rows(ran: Pipeline, guarded: Address, query: str) -> None:
    with of(guarded, "barograph_grafana") as client, pytest.raises(WarehouseError) as refused:
        client.rows(query)
    assert refused.value.code == ACCESS_DENIED


def test_a_processor_with_a_missing_grant_reports_it(ran: Pipeline) -> None:
    recorder = ran.processes.pop("recorder-0")
    recorder.terminate()
    assert recorder.wait(30) == 0
    label = {"model": "toy", "id": "e1", "label": True, "at": int(time.time() * 1000)}
    ran.produce([(0, json.dumps(label).encode(), None)], topic=ran.topics.labels)
    process = ran.start("recorder", "stranger", username="barograph_sketcher")
    assert process.wait(60) == 1
    log = ran.log("stranger")
    del ran.processes["stranger"]
    assert "INSERT" in log
    assert f"{DATABASE}." in log
    assert "Grant the user this right" in log


def test_every_statement_is_one_that_clickhouse_understands(guarded: Address) -> None:
    """The embedded engine stores no roles, profiles and quotas; its parser reads them all the same."""
    text = "\n".join(line for line in role_lines(DATABASE) if not line.startswith("--"))
    result = [statement.strip() for statement in text.split(";") if statement.strip()]
    assert len(result) == 2 * len(ROLES) + 2 * len([role for role in ROLES if role.quota])
    with of(guarded, "default", "default") as client:
        for statement in result:
            [(formatted,)] = client.rows("SELECT formatQuerySingleLine({text:String})", {"text": statement})
            assert formatted.split()[:2] == statement.split()[:2]
        with pytest.raises(WarehouseError):
            client.rows("SELECT formatQuerySingleLine('CREATE QUOTA q FOR 1 week MAX everything')")


def test_the_page_names_every_role(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "security.md").read_text("utf-8")
    assert all(f"`{role.name}`" in page for role in ROLES)
