"""Processors in operation: `/healthz` and `/metrics`, the watchdog, and stopping."""

import itertools
import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from barograph.contract import LabelSpec

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.local.kafka import LocalKafka
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.health.endpoint import Endpoint
from barograph_server.streams.health.watchdog import Health
from barograph_server.streams.runtime.lifecycle import EXIT_STUCK
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.settings import DEFAULT_PORTS, ProcessorSettings
from barograph_server.warehouse.client import Address
from barograph_server.warehouse.operations.metrics import METRICS
from tests.support.http import request
from tests.support.operation import KINDS, address, families, get, health, held_up, lines, total, wait_total
from tests.support.pipeline import ROOT, Pipeline, simple_baseline, simple_contract, wait_for

NOW_MS = int(time.time() * 1000) - 1_000_000
STOP_S = 10.0
SECRET = "4929-s3cret-value"
CONTRACT = simple_contract(label=LabelSpec(type="bool", positive=True, horizon_s=3600))


def prediction(i: int) -> bytes:
    features = {"x": i / 8, "k": i % 5, "flag": True, "colour": SECRET}
    plain = {"model": "toy", "version": "1", "id": f"e{i}", "at": NOW_MS + i, "score": 0.5}
    return json.dumps(plain | {"features": features, "context": {"region": SECRET}, "seq": i}).encode()


def label(i: int) -> bytes:
    return json.dumps({"model": "toy", "id": f"e{i}", "label": i % 3 == 0, "at": NOW_MS + i}).encode()


def send(pipeline: Pipeline, n: int) -> None:
    pipeline.produce((0, prediction(i), None) for i in range(n))
    pipeline.produce(((0, label(i), None) for i in range(n)), pipeline.topics.labels)


def start_all(pipeline: Pipeline, **settings: Any) -> None:
    # These tests are about how a process starts, its memory, and how it stops.
    pipeline.fresh_interpreter = True
    pipeline.start_all(*KINDS, score_s=1.0, **settings)


@pytest.mark.long
def test_every_processor_reports_its_health_and_stops_under_load(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(tempfile, "tempdir", None)
    pipeline.prepare(CONTRACT, [simple_baseline()])
    start_all(pipeline, flush_s=2.0)
    where = {kind: address(pipeline, f"{kind}-0") for kind in KINDS}
    assert len(set(where.values())) == len(KINDS), "four processors on one machine are not in each other's way"
    send(pipeline, 500)
    pipeline.produce([(0, b"{", None), (0, b"[]", None), (0, b"", [("barograph-mark", b"end")])])
    handled = {"sketcher": "counted", "recorder": "recorded", "monitor": "merged", "scorer": "scored"}
    for kind, outcome in handled.items():
        expected = {"recorder": 1000, "scorer": 1}.get(kind, 500)
        wait_total(where[kind], expected, "barograph_events_total", outcome=outcome)
        told_well = (200, {"status": "working", "processor": kind, "instance": f"{kind}-0"})
        wait_for(lambda: health(where[kind]) == told_well, f"the {kind} to be healthy")  # noqa: B023
    assert total(where["sketcher"], "barograph_dead_letters_total") == 2
    assert total(where["sketcher"], "barograph_dead_letters_total", reason="not-json") == 1
    for kind in KINDS:
        counts = families(where[kind])
        declared = {metric.name.removesuffix("_total") for metric in METRICS if kind in metric.processors}
        assert counts.keys() == declared | {"barograph_processor_info"}
        assert total(where[kind], "barograph_memory_bytes") > 30e6
        assert total(where[kind], "barograph_healthy") == 1
        wait_total(where[kind], time.time() - 300, "barograph_last_commit_timestamp_seconds")
        assert total(where[kind], "barograph_last_commit_timestamp_seconds") < time.time() + 1
        if kind != "scorer":
            # Exported after the watchdog's first check of the offsets.
            for known in ("barograph_lag_messages", "barograph_committed_age_seconds"):
                wait_total(where[kind], 0, known)
        if kind in ("sketcher", "recorder"):
            wait_for(lambda: total(where[kind], "barograph_lag_messages") == 0, f"the {kind} to catch up")  # noqa: B023
            assert total(where[kind], "barograph_committed_age_seconds") == 0
        if kind == "monitor":
            assert total(where[kind], "barograph_committed_age_seconds") < 60
    assert total(where["recorder"], "barograph_inserted_rows_total", table="predictions") == 500
    for kind, timed in (("sketcher", "flush"), ("recorder", "insert"), ("monitor", "write")):
        assert total(where[kind], f"barograph_{timed}_seconds_count") > 0, timed
    # ClickHouse holds the same values, under the same names.
    for kind, n in (("sketcher", 500.0), ("recorder", 1000.0), ("monitor", 500.0)):
        wait_for(lambda: pipeline.rows(_DETAILS, {"kind": kind, "n": n}), "reports")  # noqa: B023
    keys = {key for (key,) in pipeline.rows("SELECT DISTINCT arrayJoin(mapKeys(details)) FROM processors")}
    assert {key.partition(" ")[0] for key in keys} <= {metric.short for metric in METRICS}
    shown = repr([get(where[kind], "/metrics")[1] for kind in KINDS] + sorted(keys))
    assert [secret for secret in (SECRET, "toy", "colour", "region") if secret in shown] == []
    with producing(pipeline):
        wait_total(where["sketcher"], 20_000, "barograph_events_total", outcome="counted")
        took = stop_all(pipeline)
    assert_ended_in_time(pipeline, took)
    assert list(scratch.iterdir()) == []
    assert not list(ROOT.glob("*-data"))


_DETAILS = (
    "SELECT instance, details FROM pipeline WHERE kind = {kind:String} "
    "AND arrayExists(k -> startsWith(k, 'events_total ') AND details[k] = {n:Float64}, mapKeys(details))"
)


@pytest.mark.long
def test_the_watchdog_ends_a_process_whose_loop_hangs(broker: LocalKafka, topic_prefix: str, tmp_path: Path) -> None:
    """Faust's event loop hangs in a call, so no task of the loop can detect or end it."""
    marker = tmp_path / "probe.handled"
    marker.touch()
    pipeline = Pipeline(broker.bootstrap_servers, Address(), topic_prefix, tmp_path)
    pipeline.produce([(0, b"hang", None)], pipeline.topics.partials)
    arguments = {"bootstrap": broker.bootstrap_servers, "prefix": topic_prefix, "handled": str(marker), "hangs": True}
    with (tmp_path / "probe.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.faust_probe", json.dumps(arguments)], cwd=ROOT, stdout=log, stderr=log
        )
    pipeline.processes["probe"] = process
    try:
        where = address(pipeline, "probe")
        wait_for(lambda: health(where)[1].get("status") == "stuck", "a stuck loop to be noticed")
        code, counts = health(where)
        assert code == 503
        assert counts["reason"].startswith("Its loop has not completed an iteration for ")
        assert total(where, "barograph_healthy") == 0
        assert process.wait(60) == EXIT_STUCK
        assert [line["event"] for line in lines(pipeline, "probe")][-1] == "stuck"
    finally:
        process.kill()


@contextmanager
def producing(pipeline: Pipeline) -> Iterator[threading.Event]:
    ends = threading.Event()

    def run() -> None:
        # At most ten thousand a second: more would take the CPU time in which the processors must stop.
        for n in itertools.takewhile(lambda _: not ends.wait(0.2), itertools.count(0, 2_000)):
            pipeline.produce((0, prediction(i), None) for i in range(n, n + 2_000))
            pipeline.produce(((0, label(i), None) for i in range(n, n + 500)), pipeline.topics.labels)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield ends
    ends.set()
    thread.join(60)


@pytest.fixture
def own_servers(tmp_path: Path) -> Iterator[tuple[Pipeline, LocalKafka, LocalClickHouse]]:
    """A broker and an engine of the test's own, which may be suspended."""
    with LocalKafka(tmp_path / "kafka", port=0) as kafka, LocalClickHouse(tmp_path / "engine", port=0) as engine:
        pipeline = Pipeline(kafka.bootstrap_servers, engine.address("own"), "own-", tmp_path)
        pipeline.prepare(CONTRACT, [simple_baseline()])
        yield pipeline, kafka, engine
        for process in pipeline.processes.values():
            process.kill()
            process.wait(30)


def stop_all(pipeline: Pipeline) -> dict[str, tuple[int | None, float]]:
    began = time.monotonic()
    for process in pipeline.processes.values():
        process.send_signal(signal.SIGTERM)
    took = {}
    for name, process in pipeline.processes.items():
        try:
            code: int | None = process.wait(max(0.1, began + STOP_S + 5 - time.monotonic()))
        except subprocess.TimeoutExpired:
            code = None
        took[name] = (code, time.monotonic() - began)
    return took


def assert_ended_in_time(pipeline: Pipeline, took: dict[str, tuple[int | None, float]]) -> None:
    for name, (code, seconds) in took.items():
        assert (code, seconds <= STOP_S) == (0, True), f"{name}: {seconds}\n{pipeline.log(name)}"
        assert "stopped" in {line.get("event") for line in lines(pipeline, name)}, pipeline.log(name)


@pytest.mark.long
def test_all_processors_stop_in_time_while_a_server_hangs(
    own_servers: tuple[Pipeline, LocalKafka, LocalClickHouse],
) -> None:
    pipeline, kafka, engine = own_servers
    for hangs in (engine, kafka):
        # With the timeout of the tests, the suspended broker would end sketcher and recorder before the stop request.
        start_all(pipeline, transaction_timeout_s=30.0)
        with producing(pipeline) as ends:
            for kind in KINDS:
                wait_total(address(pipeline, f"{kind}-0"), 1, "barograph_last_commit_timestamp_seconds")
            with held_up(hangs.pid):
                # Long enough that each waits for the suspended server.
                time.sleep(3)
                took = stop_all(pipeline)
                ends.set()
        assert_ended_in_time(pipeline, took)
        pipeline.processes.clear()
        for kind in KINDS:
            # The log names the addresses of earlier endpoints too.
            (pipeline.log_dir / f"{kind}-0.log").unlink()


@pytest.mark.long
def test_a_processor_that_waits_for_clickhouse_stops_at_once(
    broker: LocalKafka, topic_prefix: str, tmp_path: Path
) -> None:
    pipeline = Pipeline(
        broker.bootstrap_servers, Address("127.0.0.1", 1, "none"), topic_prefix, tmp_path, fresh_interpreter=True
    )
    pipeline.start_all(*KINDS)
    for kind in KINDS:
        assert health(address(pipeline, f"{kind}-0"))[1]["status"] == "starting"
    assert_ended_in_time(pipeline, took := stop_all(pipeline))
    assert max(seconds for _, seconds in took.values()) < 5


def settings(port: int | None = None, host: str = "127.0.0.1", names: str = "") -> ProcessorSettings:
    own: dict[str, Any] = {"metrics_port": port, "metrics_host": host, "metrics_names": names}
    return ProcessorSettings(instance="s-1", bootstrap_servers="b", warehouse=Address("127.0.0.1", 1, "d"), **own)


def get_page(address: str, path: str, **headers: str) -> tuple[int, str, str]:
    answer = request("GET", f"http://{address}{path}", headers=headers)
    return answer.status, answer.headers["Content-Type"], answer.data.decode()


class Served:
    health = Health("working")

    def __init__(self, **values: str) -> None:
        self.report = Report("sketcher", "s-1")
        # Port 0 is any free port, so that tests do not interfere.
        self.endpoint = Endpoint(settings(0, **values), self.report, lambda: self.health)
        self.endpoint.start()


@pytest.fixture
def served() -> Iterator[Served]:
    created = Served()
    yield created
    created.endpoint.stop()


def test_metrics_are_served_in_the_formats_of_prometheus_and_openmetrics(served: Served) -> None:
    served.report.count_committed(3, "counted")
    code, kind, text = get_page(served.endpoint.address, "/metrics")
    assert (code, kind.partition(";")[0]) == (200, "text/plain")
    assert 'barograph_events_total{outcome="counted"} 3.0' in text.splitlines()
    assert 'barograph_processor_info{name="s-1",processor="sketcher"} 1.0' in text.splitlines()
    openmetrics = "application/openmetrics-text; version=1.0.0"
    code, kind, text = get_page(served.endpoint.address, "/metrics?x=1", Accept=openmetrics)
    assert (code, kind.partition(";")[0]) == (200, "application/openmetrics-text")
    assert text.endswith("# EOF\n")


def test_health_is_a_status_and_a_reason(served: Served) -> None:
    for status, code in (("working", 200), ("waiting", 200), ("starting", 503), ("stuck", 503), ("stopping", 503)):
        served.health = Health(status, "Because.")  # type: ignore[arg-type]
        http_code, kind, text = get_page(served.endpoint.address, "/healthz")
        assert (http_code, kind) == (code, "application/json")
        assert json.loads(text) == {"status": status, "processor": "sketcher", "instance": "s-1", "reason": "Because."}
    assert get_page(served.endpoint.address, "/")[0] == 404
    assert get_page(served.endpoint.address, "/metrics/../etc")[0] == 404


def test_a_page_that_rebinds_its_name_reads_nothing(served: Served) -> None:
    names = ("attacker.example", "attacker.example:9611", "localhost.attacker.example", "127.0.0.1.nip.example", "[x")
    for host, path in itertools.product((*names, ""), ("/metrics", "/healthz", "/")):
        code, _, text = get_page(served.endpoint.address, path, Host=host)
        assert (code, "metrics.names" in text) == (421, True), host
        assert not re.search("barograph_|working", text), host
    answer = send_bytes(served, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: attacker.example\r\n\r\n")
    assert b" 421 " in answer.splitlines()[0], "a second host header does not help"


def send_bytes(served: Served, data: bytes) -> bytes:
    host, _, port = served.endpoint.address.partition(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(data)
        return client.recv(4096)


def test_loopback_addresses_and_probes_without_a_host_are_answered(served: Served) -> None:
    addresses = ("127.0.0.1:1", "10.1.2.3:9611", "[::1]:9611", "[fd00::7]")
    for host in ("localhost", "LOCALHOST:9611", "localhost.", *addresses):
        assert get_page(served.endpoint.address, "/healthz", Host=host)[0] == 200, host
    assert b" 200 " in send_bytes(served, b"GET /healthz HTTP/1.0\r\n\r\n").splitlines()[0]


def test_configured_names_are_answered() -> None:
    served = Served(host="localhost", names="sketcher, Metrics.Example.com.")
    try:
        for host in ("sketcher:9611", "metrics.example.com", "localhost"):
            assert get_page(served.endpoint.address, "/healthz", Host=host)[0] == 200
        assert get_page(served.endpoint.address, "/healthz", Host="example.com")[0] == 421
    finally:
        served.endpoint.stop()


def test_a_silent_client_blocks_no_other(served: Served) -> None:
    host, _, port = served.endpoint.address.partition(":")
    with socket.create_connection((host, int(port))) as silent:
        assert get_page(served.endpoint.address, "/healthz")[0] == 200
        silent.sendall(b"GET /heal")
    assert b"400" in send_bytes(served, b"\x16\x03\x01 nonsense\r\n\r\n")
    assert get_page(served.endpoint.address, "/healthz")[0] == 200


def test_a_default_port_in_use_is_replaced_and_a_configured_one_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setitem(DEFAULT_PORTS, "sketcher", port)
        created = Endpoint(settings(), Report("sketcher", "s"), lambda: Health("working"))
        assert created.address.startswith("127.0.0.1:")
        assert not created.address.endswith(f":{port}")
        created.stop()
        message = f"served at 127.0.0.1:{port}: Address already in use.*0 for no endpoint"
        with pytest.raises(ProcessorError, match=message):
            Endpoint(settings(port), Report("sketcher", "s"), lambda: Health("working"))
    Endpoint(settings(port), Report("sketcher", "s"), lambda: Health("working")).stop()
