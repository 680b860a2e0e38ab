"""Every query of every dashboard and rule, in Grafana's role: with data, with awkward names, and without data."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from barograph_server.alerts import rules_for, to_files
from barograph_server.dashboards.macros import ALL, TimeRange, Value, expand, expand_backend
from barograph_server.dashboards.pages import dashboards
from barograph_server.dashboards.parse import panels_of
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.warehouse import migrate
from barograph_server.warehouse.client import Address, Client, QueryResult, WarehouseError
from barograph_server.warehouse.panels import PanelQuery
from barograph_server.warehouse.roles import ROLES
from barograph_server.warehouse.tables import SCHEMAS, insert_columns
from tests.support.alerting import contracts, installation
from tests.support.dashboard_lint import queries_in
from tests.support.language_model import SECRET, fill_evaluations, fill_serving, fill_topics
from tests.support.roles_gateway import as_role, roles_gateway
from tests.support.two_day_model import END_S, QUERIES, RANGE, START_S, ask, fill, fill_pipeline, watched
from tests.support.warehouse import columns as filled

pytestmark = pytest.mark.smoke

PAGES = dashboards()
AWKWARD = """it's a "model" \\ of $model, ${version}, {{x}}, [[field]] $__interval -- /* 模型 модель \\'"""
PREDICTORS = {"fraud": "binary", "triage": "classes", "demand": "number", AWKWARD: "binary"}
"""Name of a model of `two_day_model` → its kind."""
LANGUAGE_MODELS = ("answers", AWKWARD)
REPEATED = {panel["repeat"] for page in PAGES.values() for panel in panels_of(page) if panel.get("repeat")}
"""Variables of which each copy of a panel has one value."""
QUIET = {name for name in QUERIES if name.startswith("pipeline.none_")}
"""Zeros of nothing lost, which are not shown where something is lost."""


@pytest.fixture(scope="module")
def guarded(engine: LocalClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """A schema that `apply` created in its own role, and rows of every kind."""
    with roles_gateway(tmp_path_factory.mktemp("guarded"), engine.host, "guarded") as address:
        with as_role(address, "barograph_apply", create=True) as client:
            migrate.apply(client)
        with as_role(address, "default") as client:
            for model, kind in PREDICTORS.items():
                fill(client, watched(kind, model))
            fill_pipeline(client, "fraud")
            for model in LANGUAGE_MODELS:
                for fill_part in (fill_serving, fill_topics, fill_evaluations):
                    fill_part(client, model)
        yield address


@pytest.fixture
def grafana(guarded: Address) -> Iterator[Client]:
    with as_role(guarded, "barograph_grafana") as client:
        yield client


def opened(page: str) -> list[dict[str, Value]]:
    """The variables in the URLs that a page is opened with; later ones show what the earlier ones have no data of."""
    judged = [
        {"model": model, "slice": "all", "window": "1h", "version": v} for model in LANGUAGE_MODELS for v in ("v1", "1")
    ]
    return [*(judged if page == "llm" else ()), *({"model": model} for model in PREDICTORS)]


def chosen(client: Client, page: str, in_url: dict[str, Value]) -> dict[str, Value]:
    """Resolve the variables of a page as Grafana does: from the left, each by its own query and the ones before it."""
    result: dict[str, Value] = {}
    for variable in PAGES[page]["templating"]["list"]:
        name = variable["name"]
        if variable["type"] == "datasource":
            result[name] = "barograph"
        elif name in in_url:
            result[name] = in_url[name]
        elif variable["includeAll"] and name not in REPEATED:
            result[name] = ALL
        else:
            rows = client.rows(expand(variable["query"]["rawSql"], RANGE, result))
            result[name] = rows[0][0] if rows else ""
    return result


def kind_of(engine_type: str) -> str:
    bare = engine_type.removeprefix("LowCardinality(").removeprefix("Nullable(").rstrip(")")
    if bare.startswith("DateTime"):
        return "nullable time" if engine_type.startswith("Nullable") else "time"
    return "text" if bare.startswith("String") else "number" if bare.startswith(("UInt", "Int", "Float")) else bare


def faults_of(query: PanelQuery, result: QueryResult) -> Iterator[str]:
    columns = list(zip(result.names, map(kind_of, result.types), strict=True))
    # The driver returns no columns without rows.
    if columns and columns != list(query.columns):
        yield f"the columns {columns}"
    if SECRET in repr(result.columns):
        yield "a text of an event"
    if columns and query.format == 0:
        times = [time.timestamp() for time in result.columns[0]]
        if times != sorted(times):
            yield "times out of order"
        if not all(START_S - 86_400 <= time <= END_S for time in times):
            yield "times outside of the range"
        labels = [
            values for values, column in zip(result.columns, query.columns, strict=True) if column.kind != "number"
        ]
        if len(set(zip(*labels, strict=True))) != len(times):
            yield "two rows of one time and series, of which the plugin keeps one"


def test_every_query_shows_data_in_its_shape_also_of_awkward_names(grafana: Client) -> None:
    by_sql = {tuple(query.sql.split()): query for query in QUERIES.values()}
    faults: list[str] = []
    shown: set[tuple[bool, str]] = set()
    """Whether the name of the model is awkward, and the name of the query."""
    for page in PAGES:
        for in_url in opened(page):
            variables = chosen(grafana, page, in_url)
            for panel_query in queries_in(PAGES[page]):
                query = by_sql[tuple(panel_query.sql.split())]
                key = (in_url["model"] == AWKWARD, query.name)
                if key in shown:
                    continue
                sql = expand(panel_query.sql, RANGE, variables, interval_ms=query.grain_s * 1000)
                try:
                    result = grafana.query(sql, settings={})
                except WarehouseError as error:
                    faults.append(f"{query.name} ({panel_query.where}) of {in_url}: {error}")
                    continue
                faults += [f"{query.name} of {in_url}: {fault}" for fault in faults_of(query, result)]
                if any(value is not None for values in result.columns for value in values):
                    shown.add(key)
    assert not faults, "\n".join(faults)
    assert {name for name in QUERIES if (False, name) not in shown} == QUIET, "they show nothing of any model"


def test_no_query_fails_without_data(grafana: Client) -> None:
    variables = ("model", "version", "slice", "window", "field", "worst_field", "candidate", "criterion")
    long_ago = TimeRange.between(datetime(2001, 1, 1, tzinfo=UTC), datetime(2001, 1, 2, tzinfo=UTC))
    selected: dict[str, Any] = dict.fromkeys(variables, "")
    for name, query in QUERIES.items():
        rows = ask(grafana, name, time_range=long_ago, **selected)
        assert {len(row) for row in rows} <= {len(query.columns)}, (name, rows)


def test_grafana_may_run_every_query_of_a_rule(grafana: Client) -> None:
    files = to_files(rules_for(contracts(), installation()), installation()).values()
    rules = [rule for content in files for group in content.get("groups", []) for rule in group["rules"]]
    queries = [query["model"]["rawSql"] for rule in rules for query in rule["data"] if "rawSql" in query["model"]]
    assert len(queries) >= len(rules) > 50
    for sql in queries:
        grafana.rows(expand_backend(sql, RANGE))


def test_no_reading_role_reads_a_single_prediction(guarded: Address) -> None:
    """Of eight answers that differ in time, id and score, no role that reads sees a value, or a row of each."""
    known: dict[str, Any] = {"model": ["eight.judge"] * 8, "label": ["faulty"] * 8, "offset": [*range(8)]}
    known |= {name: [(END_S + 60 * i) * 1000 for i in range(8)] for name in ("at", "received_at")}
    known["id"] = [f"secret {i}" for i in range(8)]
    context = {"kind": "judge", "version": "1", "prompt": "p@1", "sample": "1", "answer_text": "secret"}
    rows = {
        "labels": {**known, "label_type": ["string"] * 8},
        "predictions": {**known, "version": ["1"] * 8, "class": ["faulty"] * 8, "context": [context] * 8}
        | {"score": [0.7000001 + i / 1e7 for i in range(8)], "strings": [{"topic": "new", "language": "en"}] * 8},
        "reviews": {**known, "evaluator_model": known["model"], "reviewer": ["secret"] * 8, "note": ["secret"] * 8},
    }
    here = "WHERE database = currentDatabase()"
    with as_role(guarded, "default") as client:
        views = [view for (view,) in client.rows(f"SELECT name FROM system.tables {here} AND engine = 'View'")]
        columns = dict(client.rows(f"SELECT table, groupArray(name) FROM system.columns {here} GROUP BY table"))
        before = {view: client.rows(f"SELECT count() FROM {view}")[0][0] for view in views}
        for table, values in rows.items():
            own = {name: values[name] for name in {*SCHEMAS[table].names} & values.keys()}
            insert_columns(client, table, filled(table, 8, **own))
        of_each = {view for view in views if client.rows(f"SELECT count() - {before[view]} FROM {view}")[0][0] >= 8}
    assert of_each >= {"evaluations", "label_times"}
    faults = []
    for role in (each for each in ROLES if each.name in ("barograph_grafana", "barograph_guard")):
        with as_role(guarded, role.name) as client:
            for name in role.reads:
                read = str(client.rows(f"SELECT * FROM {name}"))
                if {"id", "reviewer", "note", "sketch"} & {*columns[name]} or "secret" in read or "0.70000" in read:
                    faults.append(f"{role.name} reads values of single predictions in {name}")
                if name in of_each and {*columns[name]} - {"model", "at", "received_at"}:
                    faults.append(f"{role.name} reads a row of each prediction in {name}")
    assert not faults, "\n".join(faults)
