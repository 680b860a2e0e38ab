"""Which requests the page for reviewers answers, and what it says of citations."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from barograph.contract import Contract

from barograph_server.evaluation.review.gold_labels import GoldLabels
from barograph_server.evaluation.review.server import ReviewServer, describe_citations
from barograph_server.settings import Settings
from barograph_server.streams.evaluator.checks.documents import DocumentSet
from barograph_server.warehouse.client import Address
from barograph_server.warehouse.evaluation.review_queue import ReviewItem, ReviewSource
from tests.support.http import request

AT = datetime(2026, 11, 2, tzinfo=UTC)
KEY = {"id": "a1", "version": "1"}
PATHS = ("/api/answer", "/api/labels")


@pytest.fixture(scope="module")
def server() -> Iterator[ReviewServer]:
    """A server without ClickHouse: a request that it accepts is answered with 503."""
    source = ReviewSource("bot", "bot.cited", ("bot.cited",), AT, AT)
    gold = GoldLabels(Contract(model="bot.cited"), Settings())
    items = [ReviewItem("a1", "1", AT, "random", 0.1)]
    with ReviewServer(Address("127.0.0.1", 1), source, items, "ana", gold) as server:
        yield server


def ask(
    server: ReviewServer, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes, Mapping[str, str]]:
    sent = {"Content-Type": "application/json", **(headers or {})}
    data = None if body is None else json.dumps(body).encode()
    answer = request(method, server.url.rstrip("/") + path, data, sent)
    return answer.status, answer.data, answer.headers


def test_own_requests_are_answered(server: ReviewServer) -> None:
    own = {"Origin": server.url.rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    status, body, _ = ask(server, "GET", "/api/queue", headers=own)
    assert status == 200
    queue = json.loads(body)
    assert queue["items"] == [{**KEY, "reason": "random", "label": ""}]
    assert (queue["evaluator"], queue["reviewer"], queue["waiting"]) == ("bot.cited", "ana", 0)
    for path in PATHS:
        status, body, _ = ask(server, "POST", path, {**KEY, "label": "faulty", "note": "x"}, own)
        assert status == 503
        assert "ClickHouse at 127.0.0.1:1 could not be reached" in json.loads(body)["error"]
    # A label that was not stored is not shown as one.
    assert server.labelled == 0


def test_pages_of_other_sites_cannot_read_or_label(server: ReviewServer) -> None:
    for headers in (
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": "http://site.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        for path in PATHS:
            assert ask(server, "POST", path, {**KEY, "label": "faulty"}, headers)[0] == 403, headers
        for path in ("/api/queue", "/api/status"):
            assert ask(server, "GET", path, headers=headers)[0] == 403, headers


def test_another_host_name_or_content_type_is_rejected(server: ReviewServer) -> None:
    assert ask(server, "GET", "/api/queue", headers={"Host": "rebound.example"})[0] == 400
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        assert ask(server, "POST", "/api/labels", {**KEY, "label": "sound"}, {"Content-Type": kind})[0] == 415


def test_labels_of_another_shape_are_explained(server: ReviewServer) -> None:
    bodies: list[tuple[Any, int]] = [
        ({}, 404),
        ({"id": ["a1"], "version": "1"}, 404),
        ({"id": "a2", "version": "1", "label": "faulty"}, 404),
        ({**KEY, "label": "wrong"}, 400),
        ({**KEY, "label": ["faulty"]}, 400),
        ({**KEY, "label": "faulty", "note": "x" * 2001}, 400),
        ({**KEY, "label": "faulty", "note": "half a pair: \ud800"}, 400),
        ({**KEY, "label": "faulty", "note": "x" * 70_000}, 413),
    ]
    for body, status in bodies:
        answered, text, _ = ask(server, "POST", "/api/labels", body)
        assert answered == status, body
        assert json.loads(text)["error"].endswith(".")


def test_the_page_needs_nothing_from_elsewhere(server: ReviewServer) -> None:
    status, body, headers = ask(server, "GET", "/")
    assert status == 200
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    page = body.decode()
    assert "http" not in page.replace("http-equiv", "")
    assert "innerHTML" not in page


def test_passages_of_cited_documents() -> None:
    text = "A" * 400 + ". Customers may return goods within 30 days of delivery. \u202e" + "B" * 400
    quote = "Customers may return goods within 60 days of delivery"
    documents = DocumentSet({"returns": text})
    altered, unknown = describe_citations(f"“{quote}” [returns]. “{quote}” [nothing-1].", documents)
    assert altered["status"] == "altered"
    assert altered["passage"] == "Customers may return goods within 30 days of delivery"
    assert altered["before"] == "A" * 298 + ". "
    assert altered["after"].startswith(". \\u202eBBB")
    assert (unknown["status"], unknown["source"], unknown["passage"]) == ("unknown-source", "nothing-1", "")
    assert describe_citations("Nothing is cited.", documents) == []
