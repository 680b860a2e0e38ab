"""The guard writes what each model detects to the table `detectability`: on a thread, once a day."""

from __future__ import annotations

import math
import threading
import time

import msgspec
import pytest

from barograph_server.alerts.guard.detectability_history import PERIOD_S, detectability_history, due_models
from barograph_server.alerts.settings import AlertSettings
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.streams.registry.registry import build_registry
from barograph_server.warehouse.client import Client, connect
from tests.integration.test_detectability import make_model, write_model
from tests.support.guards import running
from tests.support.pipeline import Pipeline, wait_for

WAIT_S = 300.0
CONTRACT, _ = make_model()


class SteppedClock:
    """Unix seconds that a test moves. They begin now: rows of long ago would be deleted at once."""

    def __init__(self) -> None:
        self.now_s = float(int(time.time()))

    def __call__(self) -> float:
        return self.now_s


def computations(client: Client) -> list[float]:
    rows = client.rows("SELECT DISTINCT at FROM detectability ORDER BY at")
    return [at.timestamp() for (at,) in rows]


@pytest.mark.engine
def test_a_computation_a_day_and_one_after_a_change(client: Client, engine: LocalClickHouse) -> None:
    write_model(client)
    clock = SteppedClock()
    address = engine.address(client.database)
    silent = msgspec.structs.replace(CONTRACT, model="silent")
    contracts = {"silent": silent, "m": CONTRACT}
    history = detectability_history(address, AlertSettings(), connect, clock)
    history.follow(contracts)
    history.close()
    assert computations(client) == [], "it ends in the middle of a computation"
    history = detectability_history(address, AlertSettings(), connect, clock)
    history.follow(contracts)
    wait_for(lambda: len(computations(client)) == 1, "the first computation", WAIT_S)
    history.close()
    rows = client.rows(
        "SELECT field, slice, window, in_week, text FROM detectability WHERE change = 'shift' ORDER BY rule = '', rank"
    )
    assert rows[0][:3] == ("x", "all", "")
    assert 0.48 < rows[0][3] < 0.54
    assert rows[0][4].endswith("φ is 213, so 60,000 events in 1d count as 282 independent ones")
    hidden = ("x", "site=a", "1d", math.inf, "")
    assert hidden in rows
    assert rows.index(hidden) < [each[:3] for each in rows].index(("quiet", "all", "1d")), "blind spots first"
    assert all(each[2] for each in rows[2:]), "windows after the two rules"

    # A guard that starts again continues with the rows of the table.
    assert due_models(client, contracts, clock.now_s + PERIOD_S - 1) == ["silent"]
    changed = msgspec.structs.replace(CONTRACT, lateness_s=CONTRACT.lateness_s + 60)
    assert due_models(client, {"m": changed}, clock.now_s + 1) == ["m"]
    clock.now_s += PERIOD_S
    assert due_models(client, contracts, clock.now_s) == ["silent", "m"]
    again = detectability_history(address, AlertSettings(), connect, clock)
    again.follow(contracts)
    wait_for(lambda: len(computations(client)) == 2, "the computation of the next day", WAIT_S)
    again.close()


def test_the_leading_guard_computes_it(pipeline: Pipeline) -> None:
    pipeline.create()
    with pipeline.client as client:
        write_model(client)
        with running(pipeline, "g", SteppedClock(), build_registry([(CONTRACT, 1)], [])):
            wait_for(lambda: len(computations(client)) == 1, "the computation", WAIT_S)
    assert not [each for each in threading.enumerate() if each.name == "detectability"], "it ends with the guard"
