import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from barograph.contract import Contract

from barograph_server.errors import CommandError
from barograph_server.evaluation.review import label_files
from barograph_server.evaluation.review.gold_labels import GoldLabels
from barograph_server.evaluation.review.labelled_answers import LabelledAnswer, plan_import
from barograph_server.evaluation.review.server import ReviewServer, describe_citations
from barograph_server.settings import Settings
from barograph_server.streams.evaluator.checks.documents import DocumentSet
from barograph_server.warehouse.client import Address
from barograph_server.warehouse.evaluation.review_queue import ReviewItem, ReviewSource, uniform_hash
from barograph_server.warehouse.evaluation.reviews import Review
from tests.support.http import request

MODEL = "bot.cited"
PATH = Path("labels")
AT = datetime(2026, 11, 2, 10, 0, 0, 123_000, UTC)
NOW = AT + timedelta(days=1)
IN_SAMPLE = next(f"a{i}" for i in range(100) if uniform_hash("gold", MODEL, f"a{i}") < 0.1)
OUTSIDE = next(f"a{i}" for i in range(100) if uniform_hash("gold", MODEL, f"a{i}") > 0.9)
ENTRY = LabelledAnswer("", IN_SAMPLE, "1", "random", 0.1, "ana", "faulty", AT, "", "How?", "So.")
KNOWN = {(IN_SAMPLE, "1"): True, (OUTSIDE, "1"): True}
TEXTS = (
    *("=HYPERLINK(1)", "'=1", "''", "'plain", "-1", "@x", "+", "\t", 'a,"b";\r\nc', "שלום \u202e", "<script>", " ", ""),
    *("#N/A", "1e5", "null", "a\x00b"),
)


def entries() -> list[LabelledAnswer]:
    labelled = [
        replace(ENTRY, id=f"a{i}", note=text, prompt=text, answer=text or "A", probability=1 / (i + 3))
        for i, text in enumerate(TEXTS)
    ]
    second = replace(labelled[0], reviewer="ben", label="unsure", note="", at=AT + timedelta(milliseconds=1))
    return [labelled[0], second, *labelled[1:], replace(ENTRY, id="open", reviewer="", label="", at=None)]


def test_round_trips_are_equal() -> None:
    text = label_files.write_csv(entries())
    assert [replace(each, where="") for each in label_files.read_csv(text, PATH)] == entries()
    assert label_files.write_csv(label_files.read_csv(text, PATH)) == text
    text = label_files.write_label_studio(entries())
    result, cancelled = label_files.read_label_studio(text, PATH)
    assert cancelled == 0
    # Tasks without annotations carry no texts back.
    expected = [*entries()[:-1], replace(entries()[-1], prompt="", answer="")]
    assert [replace(each, where="") for each in result] == expected
    assert label_files.write_label_studio(result[:-1]) == label_files.write_label_studio(entries()[:-1])


def test_no_cell_is_a_formula_of_a_spreadsheet() -> None:
    rows = list(csv.reader(io.StringIO(label_files.write_csv(entries()), newline="")))
    assert rows[0] == list(label_files.COLUMNS)
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_files_that_are_no_labels() -> None:
    heads = ",".join(label_files.COLUMNS)
    for text, message in (
        ("", "labels has no column id, version, reason, probability, reviewer, label"),
        (heads + "\na,1\n", "labels, line 2: the row has more or fewer cells"),
        (heads + '\n"a', "labels is not CSV at line 2: unexpected end of data"),
        (heads + "\na,1,random,1,ana,sound,yesterday,,,\n", "labels, line 2: 'yesterday' is not a time"),
    ):
        with pytest.raises(CommandError, match=message):
            label_files.read_csv(text, PATH)
    for text, message in (
        ("{", "labels is not JSON"),
        ('[{"data": {"id": "\\ud800"}}]', "labels is not JSON.*surrogates not allowed"),
        ("[" * 100_000, "labels is not JSON"),
        ('[{"id": 1, "label": "faulty"}]', "labels, task 1: a task has `data` and `annotations`"),
    ):
        with pytest.raises(CommandError, match=message):
            label_files.read_label_studio(text, PATH)


def annotation(label: Any, **members: Any) -> dict[str, Any]:
    choice = {"from_name": "label", "to_name": "answer", "type": "choices", "value": {"choices": label}}
    return {"id": 5, "created_at": "2026-11-02T10:00:00.123456Z", "result": [choice], **members}


def test_annotations_that_people_made_in_label_studio() -> None:
    data = {"id": IN_SAMPLE, "version": "1", "reason": "random", "probability": 0.1, "answer": "So."}
    annotations = [
        annotation(["Faulty"], completed_by=7),
        annotation(["sound"], completed_by={"id": 8, "email": "ben@example.com"}),
        annotation(["faulty"], was_cancelled=True),
        annotation(["faulty", "sound"], completed_by=9),
        annotation([], completed_by=9),
        {"result": None},
    ]
    text = json.dumps([{"id": 1, "data": data, "annotations": annotations}])
    result, cancelled = label_files.read_label_studio(text, PATH)
    assert cancelled == 1
    assert [(each.reviewer, each.label) for each in result] == [
        ("label-studio-7", "faulty"),
        ("ben@example.com", "sound"),
        ("label-studio-9", "faulty and sound"),
        ("label-studio-9", "(none)"),
        ("", "(none)"),
    ]
    assert (result[0].at, result[0].reason, result[0].probability) == (AT, "random", 0.1)
    plan = plan_import(MODEL, result, KNOWN, [], NOW)
    assert [each.reviewer for each in plan.reviews] == ["label-studio-7", "ben@example.com"]
    assert [problem.partition(": ")[0] for problem in plan.problems] == [f"task 1, annotation {i}" for i in (3, 4, 5)]


def test_entries_that_are_not_imported() -> None:
    for changes, message in (
        ({"label": "wrong"}, "the label 'wrong' is none of faulty, sound, unsure"),
        ({"id": "unknown"}, "bot.cited has not evaluated an answer 'unknown' of version '1'"),
        ({"reviewer": ""}, "the reviewer is missing"),
        ({"reviewer": "a\x1bb"}, "is not a name"),
        ({"reason": "chosen"}, "the reason 'chosen' is none of random, uncertain, disagreement, reported"),
        ({"probability": math.nan}, "the probability with which"),
        ({"note": "x" * 2001}, "the note has more than 2,000 characters"),
        ({"id": OUTSIDE}, "is not in the random part of 0.1"),
    ):
        plan = plan_import(MODEL, [replace(ENTRY, where="line 2", **changes)], KNOWN, [], NOW)
        assert plan.reviews == []
        (problem,) = plan.problems
        assert problem.startswith("line 2: ")
        assert message in problem


def test_labels_of_one_reviewer_that_differ() -> None:
    both = [replace(ENTRY, where="line 2"), replace(ENTRY, where="line 3", label="sound")]
    plan = plan_import(MODEL, both, KNOWN, [], NOW)
    problem = f"line 2 and line 3: ana calls the answer {IN_SAMPLE!r} both faulty and sound; keep one of them"
    assert (plan.reviews, plan.problems) == ([], [problem])
    # Two reviewers may disagree: `agreement` lists the answer.
    assert len(plan_import(MODEL, [both[0], replace(both[1], reviewer="ben")], KNOWN, [], NOW).reviews) == 2
    # An answer without a result is not a random one.
    known = {(IN_SAMPLE, "1"): False}
    assert "no result" in plan_import(MODEL, [ENTRY], known, [], NOW).problems[0]
    assert plan_import(MODEL, [replace(ENTRY, reason="uncertain")], known, [], NOW).problems == []


def test_a_second_import_changes_nothing() -> None:
    without_time = replace(ENTRY, reviewer="ben", at=None)
    first = plan_import(MODEL, [ENTRY, ENTRY, without_time, replace(ENTRY, label="")], KNOWN, [], NOW)
    assert [(each.reviewer, each.at) for each in first.reviews] == [("ana", AT), ("ben", NOW)]
    assert (first.unchanged, first.without_label) == (1, 1)
    later = NOW + timedelta(days=1)
    second = plan_import(MODEL, [ENTRY, without_time], KNOWN, first.reviews, later)
    assert (second.reviews, second.unchanged, second.problems) == ([], 2, [])


def test_only_a_newer_label_replaces_a_stored_one() -> None:
    stored = [Review(MODEL, IN_SAMPLE, "1", "ana", AT, "sound", "random", 0.1)]
    for shift, n, older in ((-1, 0, 1), (0, 0, 1), (1, 1, 0)):
        entry = replace(ENTRY, at=AT + timedelta(seconds=shift))
        plan = plan_import(MODEL, [entry], KNOWN, stored, NOW)
        assert (len(plan.reviews), plan.older) == (n, older), shift


NOVEMBER = datetime(2026, 11, 2, tzinfo=UTC)
KEY = {"id": "a1", "version": "1"}
PATHS = ("/api/answer", "/api/labels")


@pytest.fixture(scope="module")
def server() -> Iterator[ReviewServer]:
    """A server without ClickHouse: a request that it accepts is answered with 503."""
    source = ReviewSource("bot", "bot.cited", ("bot.cited",), NOVEMBER, NOVEMBER)
    gold = GoldLabels(Contract(model="bot.cited"), Settings())
    items = [ReviewItem("a1", "1", NOVEMBER, "random", 0.1)]
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
    origins = [{"Origin": origin} for origin in ("null", "http://127.0.0.1:3000")]
    for headers in (*origins, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}):
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
    policy, page = headers["content-security-policy"], body.decode()
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
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
