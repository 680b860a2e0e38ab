"""`/healthz` and `/metrics` over HTTP."""

from __future__ import annotations

import itertools
import json
import socket
from collections.abc import Iterator

import pytest

from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.health import endpoint as endpoint_module
from barograph_server.streams.health.endpoint import DEFAULT_PORTS, Endpoint
from barograph_server.streams.health.watchdog import Health
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse.client import Address
from tests.support.http import request
from tests.support.pipeline import wait_for


def settings(port: int | None = None, host: str = "127.0.0.1", names: str = "") -> ProcessorSettings:
    address = Address("127.0.0.1", 1, "d")
    return ProcessorSettings(
        instance="s-1",
        bootstrap_servers="b",
        warehouse=address,
        metrics_port=port,
        metrics_host=host,
        metrics_names=names,
    )


def get(address: str, path: str, **headers: str) -> tuple[int, str, str]:
    answer = request("GET", f"http://{address}{path}", headers=headers)
    return answer.status, answer.headers["Content-Type"], answer.data.decode()


class Served:
    health = Health("working")

    def __init__(self, port: int | None, **values: str) -> None:
        self.report = Report("sketcher", "s-1")
        self.endpoint = Endpoint(settings(port, **values), self.report, lambda: self.health)
        self.endpoint.start()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    # Port 0 is any free port, so that tests do not interfere.
    monkeypatch.setitem(DEFAULT_PORTS, "sketcher", 0)
    created = Served(None)
    yield created
    created.endpoint.stop()


def test_metrics_are_served_in_the_formats_of_prometheus_and_openmetrics(served: Served) -> None:
    served.report.count_committed(3, "counted")
    code, kind, text = get(served.endpoint.address, "/metrics")
    assert (code, kind.partition(";")[0]) == (200, "text/plain")
    assert 'barograph_events_total{outcome="counted"} 3.0' in text.splitlines()
    assert 'barograph_processor_info{name="s-1",processor="sketcher"} 1.0' in text.splitlines()
    code, kind, text = get(
        served.endpoint.address, "/metrics?x=1", Accept="application/openmetrics-text; version=1.0.0"
    )
    assert (code, kind.partition(";")[0]) == (200, "application/openmetrics-text")
    assert text.endswith("# EOF\n")


def test_health_is_a_status_and_a_reason(served: Served) -> None:
    for status, code in (("working", 200), ("waiting", 200), ("starting", 503), ("stuck", 503), ("stopping", 503)):
        served.health = Health(status, "Because.")  # type: ignore[arg-type]
        http_code, kind, text = get(served.endpoint.address, "/healthz")
        assert (http_code, kind) == (code, "application/json")
        assert json.loads(text) == {"status": status, "processor": "sketcher", "instance": "s-1", "reason": "Because."}
    assert get(served.endpoint.address, "/")[0] == 404
    assert get(served.endpoint.address, "/metrics/../etc")[0] == 404


def test_a_page_that_rebinds_its_name_reads_nothing(served: Served) -> None:
    names = ("attacker.example", "attacker.example:9611", "localhost.attacker.example", "127.0.0.1.nip.example", "[x")
    for host, path in itertools.product((*names, ""), ("/metrics", "/healthz", "/")):
        code, _, text = get(served.endpoint.address, path, Host=host)
        assert code == 421, host
        assert "metrics.names" in text
        assert "barograph_" not in text
        assert "working" not in text
    answer = send(served, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: attacker.example\r\n\r\n")
    assert b" 421 " in answer.splitlines()[0], "a second host header does not help"


def send(served: Served, data: bytes) -> bytes:
    host, _, port = served.endpoint.address.partition(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(data)
        return client.recv(4096)


def test_loopback_addresses_and_probes_without_a_host_are_answered(served: Served) -> None:
    addresses = ("127.0.0.1:1", "10.1.2.3:9611", "[::1]:9611", "[fd00::7]")
    for host in ("localhost", "LOCALHOST:9611", "localhost.", *addresses):
        assert get(served.endpoint.address, "/healthz", Host=host)[0] == 200, host
    assert b" 200 " in send(served, b"GET /healthz HTTP/1.0\r\n\r\n").splitlines()[0]


def test_configured_names_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEFAULT_PORTS, "sketcher", 0)
    served = Served(None, host="localhost", names="sketcher, Metrics.Example.com.")
    try:
        for host in ("sketcher:9611", "metrics.example.com", "localhost"):
            assert get(served.endpoint.address, "/healthz", Host=host)[0] == 200
        assert get(served.endpoint.address, "/healthz", Host="example.com")[0] == 421
    finally:
        served.endpoint.stop()


def test_a_silent_client_blocks_no_other(served: Served) -> None:
    host, _, port = served.endpoint.address.partition(":")
    with socket.create_connection((host, int(port))) as silent:
        assert get(served.endpoint.address, "/healthz")[0] == 200
        silent.sendall(b"GET /heal")
    assert b"400" in send(served, b"\x16\x03\x01 nonsense\r\n\r\n")
    assert get(served.endpoint.address, "/healthz")[0] == 200


def test_a_default_port_in_use_is_replaced_and_a_configured_one_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setitem(endpoint_module.DEFAULT_PORTS, "sketcher", port)
        created = Endpoint(settings(), Report("sketcher", "s"), lambda: Health("working"))
        assert created.address.startswith("127.0.0.1:")
        assert not created.address.endswith(f":{port}")
        created.stop()
        with pytest.raises(
            ProcessorError, match=f"served at 127.0.0.1:{port}: Address already in use.*0 for no endpoint"
        ):
            Endpoint(settings(port), Report("sketcher", "s"), lambda: Health("working"))
    wait_for(lambda: _listens(port), "the port")


def _listens(port: int) -> bool:
    created = Endpoint(settings(port), Report("sketcher", "s"), lambda: Health("working"))
    created.stop()
    return True
