import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from barograph_server.dashboards.macros import ALL, TimeRange
from barograph_server.local.preview import PreviewServer
from barograph_server.local.preview.frames import RangeError, frame_of, kind_of, moment_ms, read_range
from barograph_server.local.preview.pages import PageError, annotations_of, panel_answers, panel_of, resolve
from barograph_server.warehouse.client import Address, QueryResult
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


HOUR_MS = 3_600_000
BETWEEN = TimeRange(0, 24 * HOUR_MS)
PAGE: dict[str, Any] = {
    "uid": "p",
    "title": "Page",
    "templating": {
        "list": [
            {"name": "datasource", "type": "datasource"},
            {"name": "model", "type": "query", "query": {"rawSql": "MODELS"}},
            {
                "name": "field",
                "type": "query",
                "multi": True,
                "includeAll": True,
                "current": {"value": [ALL]},
                "query": {"rawSql": "FIELDS ${model:singlequote}"},
            },
            {
                "name": "window",
                "type": "custom",
                "options": [{"text": "a day", "value": "1d"}, {"text": "a week", "value": "7d"}],
            },
        ]
    },
    "annotations": {
        "list": [
            {"name": "built in", "builtIn": 1},
            {"name": "deployments", "iconColor": "blue", "target": {"rawSql": "NOTES"}},
            {"name": "off", "enable": False, "target": {"rawSql": "NEVER"}},
        ]
    },
    "panels": [{"id": 2, "type": "row", "collapsed": True, "panels": [{"id": 3}]}],
}  # fmt: skip


class Desk:
    def __init__(self, **answers: list[list[Any]]) -> None:
        self.answers, self.queries = answers, list[str]()

    def __call__(self, sql: str) -> QueryResult:
        self.queries.append(sql)
        columns = self.answers.get(sql.split()[0], [])
        names = ("time", "text") if len(columns) == 2 else ("x",) * len(columns)
        return QueryResult(names, ("String",) * len(columns), columns)


def selected(requested: dict[str, Any], **answers: list[list[Any]]) -> tuple[dict[str, Any], Desk]:
    desk = Desk(**answers)
    _, values = resolve(PAGE, BETWEEN, requested, desk)
    return dict(values), desk


def test_each_variable_has_a_value_that_later_queries_use() -> None:
    values, desk = selected({}, MODELS=[["it's", "b"]], FIELDS=[["x", "y"]])
    assert values == {"datasource": "clickhouse", "model": "it's", "field": (ALL,), "window": "1d"}
    assert desk.queries == ["MODELS", r"FIELDS 'it\'s'"]


def test_what_was_given_is_taken_where_it_is_an_option() -> None:
    requested = {"model": "b", "field": ("y", ALL), "window": "1h"}
    values, _ = selected(requested, MODELS=[["a", "b"]], FIELDS=[["x", "y"]])
    assert (values["model"], values["field"], values["window"]) == ("b", ("y",), "1d")
    assert selected({"model": "b"})[0]["model"] == "", "there are no models"
    shown, _ = resolve(PAGE, BETWEEN, {}, Desk(MODELS=[["Model A"], ["a"]]))
    assert shown[1]["options"] == [{"text": "Model A", "value": "a"}]


def test_a_step_is_the_one_that_grafana_chooses() -> None:
    for hours, least, expected_s in ((1, None, 5), (24, None, 120), (24, "1h", 3600), (24 * 180, "1m", 21_600)):
        desk = Desk()
        panel = {"targets": [{"rawSql": "A $__interval_s"}, {"rawSql": "B", "hide": True}]}
        panel_answers(panel | ({"interval": least} if least else {}), TimeRange(0, hours * HOUR_MS), {}, desk)
        assert desk.queries == [f"A {expected_s}"]


def test_panels_in_closed_rows_are_found_and_others_are_named() -> None:
    assert panel_of(PAGE, 3) == {"id": 3}
    with pytest.raises(PageError, match="The dashboard Page has no panel 9"):
        panel_of(PAGE, 9)


def test_annotations_have_a_kind_and_a_colour() -> None:
    at = datetime(2026, 11, 3, tzinfo=UTC)
    matches = annotations_of(PAGE, BETWEEN, {}, Desk(NOTES=[[at], ["version 4"]]))
    assert matches == [{"name": "deployments", "color": "blue", "time": at, "text": "version 4"}]


def test_types() -> None:
    kinds = {
        "time": ("DateTime('UTC')", "Nullable(DateTime64(3, 'UTC'))", "Date"),
        "string": ("LowCardinality(Nullable(String))", "Array(UInt64)"),
        "boolean": ("Bool",),
        "number": ("Nullable(Float64)", "UInt8", "Decimal(9, 2)"),
    }
    assert {kind: tuple(name for name in names if kind_of(name) == kind) for kind, names in kinds.items()} == kinds


def test_values_are_those_of_json() -> None:
    at = datetime(2026, 11, 3, 14, tzinfo=UTC)
    answer = QueryResult(
        ("at", "day", "x", "d", "name", "many"),
        ("DateTime('UTC')", "Date", "Nullable(Float64)", "Decimal(9, 2)", "String", "Array(UInt8)"),
        [
            [at, at.replace(tzinfo=None), None],
            [date(2026, 11, 3)] * 3,
            [float("nan"), float("-inf"), 1.5],
            [Decimal("1.25")] * 3,
            ["</script>", "", None],
            [[1, 2], [], [3]],
        ],
    )
    matches = json.loads(json.dumps(frame_of(answer), allow_nan=False))["columns"]
    at_ms, day_ms = 1_793_714_400_000, 1_793_664_000_000
    assert [column["values"] for column in matches] == [
        [at_ms, at_ms, None],
        [day_ms] * 3,
        ["NaN", "-Infinity", 1.5],
        [1.25] * 3,
        ["</script>", "", None],
        ["[1, 2]", "[]", "[3]"],
    ]


NOW = datetime(2026, 11, 25, 10, 30, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)


def test_one_end() -> None:
    for text, expected in (
        ("now", NOW),
        ("now-90m", datetime(2026, 11, 25, 9, 0, tzinfo=UTC)),
        ("now-7d", datetime(2026, 11, 18, 10, 30, tzinfo=UTC)),
        ("now-1d/d", datetime(2026, 11, 24, tzinfo=UTC)),
        ("2026-11-03 14:00", datetime(2026, 11, 3, 14, tzinfo=UTC)),
        ("2026-11-03T14:00:00+02:00", datetime(2026, 11, 3, 12, tzinfo=UTC)),
        (str(NOW_MS), NOW),
    ):
        assert moment_ms(text, NOW_MS, is_end=False) == round(expected.timestamp() * 1000), text
    start, end = read_range("now/d", "now/d", NOW_MS)
    assert end - start == 86_400_000, "a rounded end is the end of its day"
    assert start <= NOW_MS < end


def test_what_is_no_range_of_times_is_named() -> None:
    ranges: list[tuple[str | int, str | int]] = [(0, 10**30), (0, 4_300_000_000_000)]
    for start, end in ranges:
        with pytest.raises(RangeError, match="is not within the years 1970 to 2105"):
            read_range(start, end, NOW_MS)
    for text in ("", "yesterday", "now-", "now-3y", "now+1h", "2026-13-01"):
        with pytest.raises(RangeError, match="is not a time: write now, now-6h"):
            moment_ms(text, NOW_MS, is_end=False)
    with pytest.raises(RangeError, match="from now to now-1h is empty"):
        read_range("now", "now-1h", NOW_MS)
