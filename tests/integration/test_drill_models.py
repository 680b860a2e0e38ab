"""Models of live drills in the tables of production: lists leave them out, and `drill clean` removes them."""

from __future__ import annotations

import time

import pytest

from barograph_server.drills.derived_model import drill_name
from barograph_server.drills.run import live_models
from barograph_server.drills.run.plan import derive_model
from barograph_server.operations.status.read import read_status
from barograph_server.settings import Settings
from barograph_server.warehouse import queries
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.history import event_counts
from barograph_server.warehouse.operations import drill_rows
from barograph_server.warehouse.panels.named import constants
from barograph_server.warehouse.tables import insert_rows
from tests.support.drill_events import CONTRACT, baseline
from tests.support.warehouse import row

pytestmark = pytest.mark.engine
OLD = [drill_name("shop", name) for name in ("r1", "r1-control")]
RUNNING = [drill_name("shop", name) for name in ("r2-1", "r2-control")]


@pytest.fixture
def drilled(client: Client) -> Client:
    """The tables of production with its model, an old drill that was killed, and one that runs."""
    now_s = int(time.time())
    for model in ("shop", *OLD, *RUNNING):
        insert_rows(
            client, "progress", [row("progress", model=model, sealed_until=now_s * 1000, watermark=now_s * 1000)]
        )
        insert_rows(
            client, "volume", [row("volume", model=model, version="1", slice="all", pane_start=now_s, pane_s=60, n=5)]
        )
        insert_rows(
            client, "violations", [row("violations", model=model, field="x", kind="invalid", pane_start=now_s, n=3)]
        )
    for model in OLD:
        insert_rows(client, "model_health", [row("model_health", model=model, at=(now_s - 3600) * 1000)])
    settings = Settings()
    models = [derive_model(CONTRACT, baseline(), name, settings.alerts) for name in RUNNING]
    live_models.register(client, models)
    return client


def rows_of(client: Client) -> set[str]:
    tables = ("contracts", "baselines", "progress", "volume", "violations", "model_health")
    return {model for table in tables for (model,) in client.rows(f"SELECT model FROM {table}")}


def test_lists_leave_models_of_drills_out(drilled: Client) -> None:
    drills = {*OLD, *RUNNING}
    assert {model for (model,) in drilled.rows(constants("fleet").KNOWN_MODELS)} == {"shop"}
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
