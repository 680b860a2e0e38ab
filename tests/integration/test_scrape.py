"""`barograph run scrape` as a process: real HTTP endpoints become rows of `serving_facts`, and nothing needs Kafka."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.scrape.fact_buffer import FactBuffer
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.errors import WarehouseBusy
from barograph_server.warehouse.operations import metrics
from barograph_server.warehouse.operations.serving_facts import ServingFact
from tests.support.pipeline import Pipeline, wait_for
from tests.support.scripted_http import ScriptedServer, reply

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "serving"


def show(server: ScriptedServer, scrape: int) -> None:
    server.answer = reply((FOLDER / f"vllm.{scrape}.txt").read_bytes())


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(reply()) as served:
        yield served


def test_facts_of_servers_are_rows(pipeline: Pipeline, server: ScriptedServer) -> None:
    pipeline.create(1)
    show(server, 1)
    with ScriptedServer(reply()) as with_no_server:
        pass
    good = {"model": "answers", "url": f"http://127.0.0.1:{server.port}/metrics"}
    down = {"model": "bot", "url": f"http://127.0.0.1:{with_no_server.port}/m"}
    pipeline.start("scrape", scrape={"targets": [good, down], "interval_s": 1.0})

    def rows(sql: str) -> list[tuple[Any, ...]]:
        pipeline.alive()
        return pipeline.client.rows(sql)

    wait_for(lambda: rows("SELECT 1 FROM serving_facts WHERE name = 'running_requests' LIMIT 1"), "the first scrape")
    show(server, 2)
    (ttft,) = wait_for(
        lambda: rows(
            "SELECT server, kind, unit, n, total, round(value), bucket_counts, p50_low, p50_high FROM serving_facts "
            "FINAL WHERE name = 'ttft_ms'"
        ),
        "the difference",
    )
    assert ttft[:4] == ("vllm", "histogram", "ms", 20)
    assert ttft[5:] == (65, [0, 2, 10, 6, 1, 1, 0, 0], 20, 40)
    # Differences, not sums: all scrapes together have what the counter grew.
    tokens = rows("SELECT sum(value), min(kind), any(instance) FROM serving_facts FINAL WHERE name = 'input_tokens'")
    assert tokens == [(4200, "counter", f"127.0.0.1:{server.port}")]
    states = rows("SELECT model, min(value), max(value) FROM serving_facts WHERE name = 'up' GROUP BY model ORDER BY 1")
    assert states == [("answers", 1, 1), ("bot", 0, 0)]
    assert rows("SELECT count() FROM serving_facts WHERE model = 'bot' AND name != 'up'") == [(0,)]
    report = wait_for(lambda: rows("SELECT details FROM pipeline WHERE kind = 'scrape'"), "a report")
    assert report[0][0]["scrapes_total read"] >= 1
    pipeline.stop()
    lines = [json.loads(line) for line in pipeline.log("scrape-0").splitlines() if line.startswith("{")]
    assert [line["outcome"] for line in lines if line["event"] == "target not read"] == ["unreachable"]


def facts(n: int) -> list[ServingFact]:
    return [
        ServingFact("answers", "host:1", "waiting_requests", "", 1_795_900_000_000 + 15_000 * i, "vllm", "gauge", "", i)
        for i in range(n)
    ]


def test_the_oldest_rows_are_dropped_while_clickhouse_is_down_and_the_rest_is_written(client: Client) -> None:
    is_down = threading.Event()
    is_down.set()
    attempted = threading.Event()

    class Connection:
        """A connection that refuses until the server is up; the rest is the real one."""

        on_insert: Any = None

        def insert(self, table: str, rows: Any) -> None:
            attempted.set()
            if is_down.is_set():
                raise WarehouseBusy("down")
            client.insert(table, rows)

        def close(self) -> None:
            pass

    report = Report("scrape", "scrape-0")
    buffer = FactBuffer(lambda: Connection(), report, max_rows=10)  # type: ignore[arg-type,return-value]
    buffer.start()
    buffer.add(facts(8))
    assert attempted.wait(30)
    buffer.add(facts(20)[8:])
    assert buffer.waiting == 10
    assert sum(report.values(metrics.FACTS_DROPPED).values()) == 10
    is_down.clear()
    wait_for(lambda: buffer.waiting == 0, "the rows")
    assert buffer.stop(30) == 0
    assert client.rows("SELECT min(value), max(value), count() FROM serving_facts FINAL") == [(10, 19, 10)]
    assert report.retries >= 1
    assert report.events == 10
