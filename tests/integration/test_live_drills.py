"""Live drills: beside the stream of production, and in its topics, processors and tables."""

import signal
import subprocess
import sys
import threading
import time
import uuid
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from barograph import Publisher

from barograph_server.alerts.rules import rules_of
from barograph_server.alerts.settings import AlertSettings
from barograph_server.alerts.simulator import simulate
from barograph_server.drills.derived_model import drill_name
from barograph_server.drills.faults import InjectionRequest, find_fault
from barograph_server.drills.run import live_models
from barograph_server.drills.run.plan import DrillRequest, derive_model
from barograph_server.drills.run.results import DrillOutput
from barograph_server.drills.run.session import DrillSession, SessionOptions
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.operations.status.read import read_status
from barograph_server.settings import Settings
from barograph_server.warehouse import queries
from barograph_server.warehouse.client import Client, connect
from barograph_server.warehouse.history import event_counts
from barograph_server.warehouse.operations import drill_rows
from barograph_server.warehouse.panels.named import constants
from barograph_server.warehouse.tables import insert_rows
from tests.support.command_line import call_json, run
from tests.support.drill_models import (
    CONTRACT,
    LIVE_CONTRACT,
    PER_S,
    SHOP_ROUTES,
    START_MS,
    baseline,
    live_events,
    raw_rows,
)
from tests.support.environment import kafka_lines, write_settings
from tests.support.pipeline import ROOT, Pipeline
from tests.support.warehouse import add_row

PROCESSORS = ("sketcher", "recorder", "monitor", "scorer")
WAIT_S = 240.0
TIMES = ("--live", "--history", "200s", "--duration", "20s", "--timeout", "400")


def write_config(pipeline: Pipeline, path: Path) -> Path:
    lines = kafka_lines(pipeline.bootstrap, pipeline.prefix), f"partials_partitions = {pipeline.partials_partitions}"
    processors = "[processors]\nregistry_poll_s = 1\nflush_s = 0.5\nwrite_s = 1\n"
    return Path(write_settings(path, pipeline.address, *lines, sections=processors + SHOP_ROUTES))


@pytest.fixture
def production(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setenv("BAROGRAPH_CLICKHOUSE_PASSWORD", pipeline.address.password)
    pipeline.clock, pipeline.partials_partitions = "live", 1
    pipeline.prepare(LIVE_CONTRACT, [baseline(LIVE_CONTRACT)])
    events = live_events(int(time.time() * 1000) - 200_000, 200).predictions
    with connect(pipeline.address) as client:
        insert_rows(client, "predictions", raw_rows(events))
    pipeline.start_all(*PROCESSORS)
    pipeline.wait_rows("SELECT uniqExact(kind) = 4 FROM processors", "the processors")
    return pipeline


def assert_nothing_left(pipeline: Pipeline) -> None:
    tables = pipeline.rows(
        "SELECT DISTINCT table FROM system.columns WHERE database = currentDatabase() AND name = 'model' AND table IN "
        "(SELECT name FROM system.tables WHERE database = currentDatabase() AND endsWith(engine, 'MergeTree'))"
    )
    models = {table: {each for (each,) in pipeline.rows(f"SELECT DISTINCT model FROM {table}")} for (table,) in tables}
    assert {table: own for table, own in models.items() if own - {"", "shop"}} == {}


@pytest.mark.long
def test_a_live_drill_pages_and_the_guard_degrades_and_recovers(
    production: Pipeline, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = write_config(production, tmp_path / "barograph.toml")
    arguments = ("--model", "shop", "--field", "x", "--magnitude", 3, "--route", "shop", *TIMES, "--format", "json")
    code, result = call_json(capsys, "drill", "run", "mean-shift", *arguments, "--config", config)
    production.alive()
    (drill,) = result["results"]
    assert result["mode"] == "live"
    assert [check["observed"] for check in drill["report"]["checks"]] == [
        "page psi-major x at on-call",
        "none",
        "degraded, the fallback answered",
        "healthy, the primary answered",
    ], result
    assert code == 0, result
    assert production.rows("SELECT model, mode, passed FROM drills") == [("shop", "live", True)]
    assert_nothing_left(production)


@pytest.mark.long
@pytest.mark.parametrize("how", ["signal", "clean"])
def test_a_live_drill_that_is_stopped_leaves_nothing(production: Pipeline, tmp_path: Path, how: str) -> None:
    config = write_config(production, tmp_path / "barograph.toml")
    arguments = ("drill", "run", "mean-shift", "--model", "shop", "--field", "x", "--route", "shop", *TIMES)
    command = [sys.executable, "-m", "barograph_server.cli.main", *arguments, "--config", str(config)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as drill:
        try:
            counted = "SELECT sum(n) > 0 FROM volume WHERE startsWith(model, 'drill.')"
            production.wait_rows(counted, "events of the drill", WAIT_S)
            if how == "signal":
                drill.send_signal(signal.SIGTERM)
            else:
                run("drill", "clean", "--running", "--config", config)
            _, errors = drill.communicate(timeout=WAIT_S)
        finally:
            drill.kill()
    if how == "signal":
        assert (drill.returncode, errors.strip().splitlines()[-1]) == (130, "The models of the drill are removed.")
    else:
        assert drill.returncode == 1
        assert "were removed by `barograph drill clean --running`." in errors
    assert_nothing_left(production)
    production.alive()


STREAM_S, DRILL_S = 100, 60
STREAM_CONTRACT = msgspec.structs.replace(LIVE_CONTRACT, lateness_s=8)
RULES = rules_of(STREAM_CONTRACT, AlertSettings())
COMPARED = {
    "panes": "SELECT version, slice, field, pane_start, n, nulls, invalid, below, above, unseen, counts, "
    "minimum, maximum FROM panes FINAL "
    "WHERE model = 'shop' AND pane_start >= {since:DateTime} AND pane_start < {until:DateTime}",
    "volume": "SELECT version, slice, pane_start, n, errors, timed, slow "
    "FROM volume FINAL WHERE model = 'shop' AND pane_start >= {since:DateTime} AND pane_start < {until:DateTime}",
    "predictions": "SELECT id, at, version, numbers, strings "
    "FROM all_predictions WHERE model = 'shop' AND at >= {since:DateTime} AND at < {until:DateTime}",
    "drift": "SELECT version, slice, field, window, window_end, n, psi, psi_low, psi_high, p_value, level, reason "
    "FROM latest_drift WHERE model = 'shop' AND window_start >= {since:DateTime} AND window_end <= {until:DateTime}",
    "rates": "SELECT version, slice, field, kind, window, window_end, n, k, rate, delta, delta_low, delta_high, level "
    "FROM latest_rates WHERE model = 'shop' AND window_start >= {since:DateTime} AND window_end <= {until:DateTime}",
    "dead letters": "SELECT topic, reason, sum(n) FROM dead_letters GROUP BY topic, reason",
}
"""What depends on the events of production alone: not on offsets, and not on when processors wrote it."""


def pages(pipeline: Pipeline, since_s: int, until_s: int) -> tuple[list[Any], list[Any]]:
    with connect(pipeline.address) as client:
        simulation = simulate(client, RULES, AlertSettings(), since_s, until_s, "ended")
    episodes = [each for replay in simulation.replays for each in replay.episodes]
    notifications = [(each.at, each.point, each.firing, each.resolved) for each in simulation.notifications]
    return [(each.rule.name, each.key, each.start, each.end) for each in episodes], notifications


@pytest.mark.long
def test_production_is_the_same_with_and_without_a_live_drill(
    pipeline: Pipeline, engine: LocalClickHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAROGRAPH_CLICKHOUSE_PASSWORD", pipeline.address.password)
    name = f"t{uuid.uuid4().hex[:10]}"
    (tmp_path / "other").mkdir()
    other = Pipeline(pipeline.bootstrap, engine.address(name), f"{name}-", tmp_path / "other")
    both = pipeline, other
    recorded = tmp_path / "recorded.parquet"
    pq.write_table(live_events(START_MS, DRILL_S, seed=4).predictions, recorded)
    outputs: list[DrillOutput] = []

    def drill() -> None:
        request = DrillRequest(InjectionRequest(find_fault("mean-shift"), "x"), route="shop")
        options = SessionOptions((recorded,), history_s=DRILL_S, timeout_s=600, mode="live")
        outputs.append(DrillSession(config, "shop", options, quiet=True).run([request], is_suite=False))

    try:
        for each in both:
            each.clock, each.partials_partitions = "live", 1
            each.prepare(STREAM_CONTRACT, [baseline(STREAM_CONTRACT)])
            each.start_all(*PROCESSORS, "guard")
        config = write_config(pipeline, tmp_path / "barograph.toml")
        for each in both:
            each.wait_rows("SELECT uniqExact(kind) = 5 FROM processors", "the processors")
            each.wait_rows("SELECT count() > 0 FROM progress WHERE model = 'shop'", "the monitor")
        thread = threading.Thread(target=drill)
        thread.start()
        since_s = (int(time.time()) + 5) // 10 * 10
        listed = publish_both(since_s, both)
        until_s = since_s + STREAM_S
        sealed = f"SELECT max(sealed_until) >= fromUnixTimestamp({until_s}) FROM progress FINAL WHERE model = 'shop'"
        all_rows = f"SELECT count() >= {PER_S * STREAM_S} FROM all_predictions WHERE model = 'shop'"
        for each in both:
            each.wait_rows(sealed, "the end of the stream")
            each.wait_rows(all_rows, "the raw rows")
        thread.join(WAIT_S)
        assert not thread.is_alive()
        assert len(outputs) == 1, "the drill failed"
        assert listed == {True: {"shop"}}, "production's list of models while the drill's events are counted"
        period = {"since": datetime.fromtimestamp(since_s, UTC), "until": datetime.fromtimestamp(until_s, UTC)}
        with_drill, without = (
            {name: sorted(map(repr, each.rows(sql, period))) for name, sql in COMPARED.items()} for each in both
        )
        for table, rows in without.items():
            assert rows or table == "dead letters", table
            assert with_drill[table] == rows, table
        paged = pages(other, since_s, until_s)
        assert ("psi-major", "x") in {episode[:2] for episode in paged[0]}
        assert pages(pipeline, since_s, until_s) == paged
        assert_nothing_left(pipeline)
    finally:
        other.stop()
        with connect(pipeline.address) as client:
            client.command(f"DROP DATABASE IF EXISTS {name}")


def publish_both(since_s: int, pipelines: tuple[Pipeline, Pipeline]) -> dict[bool, set[str]]:
    """Publish the stream to both installations in time; return the models of the pages while a drill is counted."""
    events = live_events(1000 * since_s, STREAM_S).predictions
    at = events["at"].cast(pa.int64()).to_numpy()
    moved = events["features.x"].to_numpy() + 2.0 * (at >= 1000 * (since_s + STREAM_S // 2))
    events = events.set_column(events.column_names.index("features.x"), "features.x", pa.array(moved))
    listed: dict[bool, set[str]] = {}
    with ExitStack() as stack:
        publish = partial(Publisher.from_contract, STREAM_CONTRACT, version="1")
        publishers = [
            stack.enter_context(publish(bootstrap_servers=each.bootstrap, topic_prefix=each.prefix))
            for each in pipelines
        ]
        sent = 0
        while sent < len(at):
            end = int(np.searchsorted(at, 1000 * time.time(), "right"))
            for publisher in publishers if end > sent else ():
                publisher.predictions(events.slice(sent, end - sent))
            sent = end
            counted = "SELECT count() > 0 FROM volume WHERE startsWith(model, 'drill.') AND n > 0"
            if not listed and pipelines[0].rows(counted) == [(True,)]:
                with connect(pipelines[0].address) as client:
                    models = {each.model for each in read_status(client).models}
                listed[True] = models | {model for (model,) in pipelines[0].rows(constants("drills").KNOWN_MODELS)}
            time.sleep(0.2)
    return listed


OLD = [drill_name("shop", name) for name in ("r1", "r1-control")]
RUNNING = [drill_name("shop", name) for name in ("r2-1", "r2-control")]


@pytest.fixture
def drilled(client: Client) -> Client:
    """The tables of production with its model, an old drill that was killed, and one that runs."""
    now_s = int(time.time())
    for model in ("shop", *OLD, *RUNNING):
        add_row(client, "progress", model=model, sealed_until=now_s * 1000, watermark=now_s * 1000)
        add_row(client, "volume", model=model, version="1", slice="all", pane_start=now_s, pane_s=60, n=5)
        add_row(client, "violations", model=model, field="x", kind="invalid", pane_start=now_s, n=3)
    for model in OLD:
        add_row(client, "model_health", model=model, at=(now_s - 3600) * 1000)
    models = [derive_model(CONTRACT, baseline(), name, Settings().alerts) for name in RUNNING]
    live_models.register(client, models)
    return client


def rows_of(client: Client) -> set[str]:
    tables = ("contracts", "baselines", "progress", "volume", "violations", "model_health")
    return {model for table in tables for (model,) in client.rows(f"SELECT model FROM {table}")}


def test_lists_leave_models_of_drills_out(drilled: Client) -> None:
    drills = {*OLD, *RUNNING}
    assert {model for (model,) in drilled.rows(constants("drills").KNOWN_MODELS)} == {"shop"}
    for view in ("model_freshness", "silence"):
        assert {model for (model,) in drilled.rows(f"SELECT model FROM {view}")} == {"shop"}, view
    assert {each.model for each in event_counts.problems(drilled)} == {"shop"}
    assert {each.model for each in read_status(drilled).models} == {"shop"}
    assert {each.model for each in read_status(drilled, drills=True).models} == {"shop", *drills}
    assert queries.contracts(drilled) == []
    assert {each.model for each in queries.contracts(drilled, drills=True)} == set(RUNNING)


def test_clean_removes_models_of_drills_that_do_not_run(drilled: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    published: dict[str, bytes | None] = {}
    waits: list[float] = []
    monkeypatch.setattr(live_models, "publish_states", lambda settings, states: published.update(states))
    monkeypatch.setattr("barograph_server.drills.run.live_models.time.sleep", waits.append)
    settings = Settings()
    assert drill_rows.leftovers(drilled) == {*OLD, *RUNNING}
    assert drill_rows.in_use(drilled) == set(RUNNING)
    live_models.remove(settings, drilled, OLD)
    assert rows_of(drilled) == {"shop", *RUNNING}
    assert published == dict.fromkeys(OLD)
    assert waits == [], "no processor knows them"
    live_models.remove(settings, drilled, RUNNING)
    assert rows_of(drilled) == {"shop"}
    assert len(waits) == 2, "once until processors know, and once to see that they write no more"
    assert drill_rows.leftovers(drilled) == set()
