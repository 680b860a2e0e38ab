"""Which requests for data the preview page answers."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from barograph_server.local.preview import PreviewServer
from barograph_server.warehouse.client import Address
from tests.support.http import request

RANGE = {"from": "now-1h", "to": "now", "variables": {}}
PATHS = ("/api/incidents", "/api/pages/p/variables", "/api/pages/p/annotations", "/api/pages/p/panels/1")


@pytest.fixture(scope="module")
def server() -> Iterator[PreviewServer]:
    """A server without a ClickHouse: a request that it accepts is answered with 503, except for incidents."""
    panel = {"id": 1, "type": "text", "targets": []}
    page = {"uid": "p", "title": "P", "panels": [panel], "templating": {"list": []}}
    with PreviewServer([page], Address("127.0.0.1", 1), incidents=lambda *_: []) as server:
        yield server


def ask(server: PreviewServer, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Any:
    answer = request(method, server.url.rstrip("/") + path, body, headers)
    return answer.status, answer.data


def post(server: PreviewServer, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
    sent = {"Content-Type": "application/json", **(headers or {})}
    status, answer = ask(server, "POST", path, body, sent)
    return status, json.loads(answer)


def test_a_request_of_the_page_is_answered(server: PreviewServer) -> None:
    own = {"Origin": server.url.rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    for path in PATHS:
        for headers in ({}, own, {"Content-Type": "application/json; charset=utf-8"}):
            status, answer = post(server, path, json.dumps(RANGE).encode(), headers)
            assert status == (200 if path == "/api/incidents" else 503), answer


def test_a_body_of_another_shape_is_explained(server: PreviewServer) -> None:
    for body in (
        b"",
        b"{",
        b"[]",
        b"[" * 60_000,
        b'{"from": "now-1h"}',
        b'{"from": null, "to": "now", "variables": {}}',
        b'{"from": 1.5, "to": NaN, "variables": {}}',
        b'{"from": 1' + b"0" * 5000 + b', "to": "now"}',
        b'{"from": "now-1h", "to": "now", "variables": {"a": 1}}',
        b'{"from": "now-1h", "to": "now", "variables": {"a": {"b": "c"}}}',
    ):
        for path in PATHS:
            status, answer = post(server, path, body)
            assert status == 400, (path, body[:60])
            assert answer["error"].endswith((".", "14:00"))


def test_a_body_has_a_limit_and_is_json(server: PreviewServer) -> None:
    for path in PATHS:
        padded = json.dumps({**RANGE, "x": "y" * 65_536}).encode()
        assert post(server, path, padded)[0] == 413
        assert post(server, path, json.dumps({**RANGE, "x": "y" * 60_000}).encode())[0] in (200, 503)
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
            assert post(server, path, json.dumps(RANGE).encode(), {"Content-Type": kind})[0] == 415


def test_pages_of_other_sites_get_no_data(server: PreviewServer) -> None:
    for headers in (
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": "https://127.0.0.1"},
        {"Origin": "http://site.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "none"},
    ):
        for path in PATHS:
            assert post(server, path, json.dumps(RANGE).encode(), headers)[0] == 403, headers
        assert ask(server, "GET", "/api/pages", None, headers)[0] == 403, headers
        assert ask(server, "GET", "/api/pages/p", None, headers)[0] == 403, headers


def test_another_host_name_is_rejected(server: PreviewServer) -> None:
    assert ask(server, "GET", "/api/pages", None, {"Host": "rebound.example"})[0] == 400
