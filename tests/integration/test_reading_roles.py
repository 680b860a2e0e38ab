"""The roles that only read, on the engine: people read everything; Grafana reads no raw row; nobody writes."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from barograph.contract import Contract, LabelSpec

from alerts import rules_for, to_files
from dashboards.macros import ALL, TimeRange, Value, expand, expand_backend
from dashboards.pages import dashboards
from dashboards.parse import queries_in, variables_of
from local.clickhouse import LocalClickHouse
from tests.support.alerting import contracts, installation
from tests.support.deploy_scripts import load_script
from tests.support.pipeline import simple_contract
from tests.support.roles_gateway import as_role, roles_gateway
from tests.support.warehouse import row
from warehouse import migrate
from warehouse.client import Address, WarehouseError
from warehouse.roles import ROLES, Role
from warehouse.scoring.new_rows import TOPICS
from warehouse.shadow.as_of import up_to
from warehouse.tables import insert_rows

pytestmark = pytest.mark.engine

DATABASE = "guarded"
ACCESS_DENIED = 497
CONTRACT: Contract = simple_contract(label=LabelSpec(type="bool", positive=True))
HOUR_MS = 3_600_000
RAW = (
    *("predictions", "labels", "all_predictions", "latest_labels", "labelled_predictions"),
    *("prediction_hours", "hour_labels", "pending_labels", "duplicate_predictions"),
)
"""Tables and views with raw rows, or with ids or labels of single predictions."""


@pytest.fixture(scope="module")
def guarded(engine: LocalClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """An engine with the schema, as `apply` creates it in its role, and one label."""
    with roles_gateway(tmp_path_factory.mktemp("guarded"), engine.host, DATABASE) as address:
        with as_role(address, "barograph_apply", create=True) as client:
            migrate.apply(client)
        with as_role(address, "barograph_recorder") as client:
            now_ms = int(time.time() * 1000)
            insert_rows(client, "labels", [row("labels", model="toy", id="e1", at=now_ms, received_at=now_ms)])
        yield address


def test_analysts_read_every_view_and_write_nowhere(guarded: Address) -> None:
    with as_role(guarded, "barograph_analyst") as client:
        views = client.rows("SELECT name FROM system.tables WHERE database = currentDatabase() AND engine = 'View'")
        assert len(views) > 20
        for (view,) in views:
            client.rows(f"SELECT * FROM {view} LIMIT 1")
        # `shadow verify` hides rows after an offset.
        client.rows(f"SELECT count() FROM predictions {up_to({topic: {} for topic in TOPICS})}")
        with pytest.raises(WarehouseError) as refused:
            client.command("INSERT INTO processors (kind) VALUES ('made up')")
        assert refused.value.code == ACCESS_DENIED
        assert "Grant the user this right" in str(refused.value)


def test_grafana_may_run_every_query_of_dashboards_and_rules(guarded: Address) -> None:
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
    with as_role(guarded, "barograph_grafana") as client:
        for where, sql in queries:
            try:
                client.rows(sql)
            except WarehouseError as error:
                denied[where] = str(error)
        assert not denied
        assert client.rows("SELECT count() FROM label_times") == [(1,)], "the definer of a view reads its tables"


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
def test_grafana_reads_no_raw_rows(guarded: Address, query: str) -> None:
    with as_role(guarded, "barograph_grafana") as client, pytest.raises(WarehouseError) as refused:
        client.rows(query)
    assert refused.value.code == ACCESS_DENIED


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_the_script_for_a_server_finds_what_a_role_may_do(guarded: Address, role: Role) -> None:
    """The embedded engine has grants, so these checks hold; it has no limits, so those of limits find holes."""
    script = load_script("clickhouse/check_roles.py")
    with as_role(guarded, "default") as client:
        tables = [name for (name,) in client.rows("SELECT name FROM system.tables WHERE database = currentDatabase()")]
    with as_role(guarded, role.name) as client:
        checks = list(script.role_checks(role, lambda sql: script._code(client, sql), tables))
    privileges = [check for check in checks if "SETTINGS" not in check[1]]
    assert len(privileges) > 2 * len(tables) - len(role.writes)
    assert not [text for holds, text in privileges if not holds]
    lifted = {text for holds, text in checks if not holds}
    assert any("SETTINGS max_memory_usage = 0" in text for text in lifted) == bool(role.limits)


def test_the_script_for_a_server_finds_a_role_that_reads_too_much(guarded: Address) -> None:
    script = load_script("clickhouse/check_roles.py")
    (grafana,) = (role for role in ROLES if role.name == "barograph_grafana")
    with as_role(guarded, "barograph_analyst") as client:
        checks = list(script.role_checks(grafana, lambda sql: script._code(client, sql), ["predictions", "drift"]))
    holes = [text for holds, text in checks if not holds and "SETTINGS" not in text]
    assert holes == ["barograph_grafana: SELECT on predictions: accepted"]
