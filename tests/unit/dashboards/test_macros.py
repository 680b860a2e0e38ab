"""Every row of the table of macros, and the handling of names, quotes and comments by frontend and backend."""

from datetime import UTC, datetime

import pytest

from barograph_server.dashboards.durations import format_interval, go_duration_s, interval_ms
from barograph_server.dashboards.macros import (
    ALL,
    MacroError,
    TimeRange,
    Value,
    expand,
    expand_backend,
    expand_frontend,
    macros_of,
)

RANGE = TimeRange(1_762_000_000_500, 1_762_003_600_999)
"""2025-11-01 12:26:40.5 to 13:26:40.999 UTC."""

BACKEND = [
    ("$__timeFilter(c)", "c >= toDateTime(1762000000) AND c <= toDateTime(1762003600)"),
    (
        "$__timeFilter_ms(c)",
        "c >= fromUnixTimestamp64Milli(1762000000500) AND c <= fromUnixTimestamp64Milli(1762003600999)",
    ),
    ("$__dateFilter(c)", "c >= toDate('2025-11-01') AND c <= toDate('2025-11-01')"),
    (
        "$__dateTimeFilter(d, t)",
        "(d >= toDate('2025-11-01') AND d <= toDate('2025-11-01')) "
        "AND (t >= toDateTime(1762000000) AND t <= toDateTime(1762003600))",
    ),
    (
        "$__dt(d,t)",
        "(d >= toDate('2025-11-01') AND d <= toDate('2025-11-01')) "
        "AND (t >= toDateTime(1762000000) AND t <= toDateTime(1762003600))",
    ),
    ("$__timeFrom(c)", "c >= toDateTime(1762000000)"),
    ("$__timeTo(c)", "c <= toDateTime(1762003600)"),
    ("$__fromTime", "toDateTime(1762000000)"),
    ("$__toTime", "toDateTime(1762003600)"),
    ("$__fromTime_ms", "fromUnixTimestamp64Milli(1762000000500)"),
    ("$__toTime_ms", "fromUnixTimestamp64Milli(1762003600999)"),
    ("$__timeInterval(c)", "toStartOfInterval(toDateTime(c), INTERVAL 300 second)"),
    ("$__timeInterval_ms(c)", "toStartOfInterval(toDateTime64(c, 3), INTERVAL 300000 millisecond)"),
    ("$__timeGroup(c, 5m)", "toStartOfInterval(toDateTime(c), INTERVAL 300 second)"),
    ("$__timeGroup(c, '1h30m')", "toStartOfInterval(toDateTime(c), INTERVAL 5400 second)"),
    ("$__interval_s", "300"),
    ("$__interval_ms", "300000"),
    ("$__interval", "5m"),
]


def test_the_backend_writes_each_macro_out() -> None:
    for macro, written in BACKEND:
        sql = f"SELECT 1 WHERE {macro} AND 2"
        assert expand_backend(sql, RANGE, 300_000) == f"SELECT 1 WHERE {written} AND 2", macro
    assert expand_backend("$__interval_s", RANGE, 20) == "1", "the least interval"
    assert expand_backend("$__timeInterval(c)", RANGE, 20).endswith("INTERVAL 1 second)")


def test_arguments_are_split_outside_parentheses_only() -> None:
    assert expand_backend("$__timeFilter(if(a, b, c))", RANGE) == (
        "if(a, b, c) >= toDateTime(1762000000) AND if(a, b, c) <= toDateTime(1762003600)"
    )
    assert expand_backend("$__timeInterval(greatest(a, $__fromTime))", RANGE) == (
        "toStartOfInterval(toDateTime(greatest(a, toDateTime(1762000000))), INTERVAL 60 second)"
    )
    nested = expand_backend("$__timeInterval($__timeInterval(a))", RANGE)
    assert nested.count("toStartOfInterval(toDateTime(") == 2
    assert "$" not in nested


def test_comments_are_blanked_and_quotes_are_not() -> None:
    sql = "SELECT '-- $__timeFilter(' AS a -- $__nothing\n, `b /* c` /* $x */ FROM t"
    assert expand_backend(sql, RANGE) == (
        "SELECT '-- $__timeFilter(' AS a " + " " * len("-- $__nothing") + "\n, `b /* c` " + " " * 8 + " FROM t"
    )
    # An escaped quote does not end a text.
    assert expand_backend(r"SELECT 'O\'-- B' , 'x''-- y', $__interval_s", RANGE) == r"SELECT 'O\'-- B' , 'x''-- y', 60"
    assert macros_of("$__timeFilter(a) -- $__b\n'$__c' $__interval") == ["timeFilter", "interval"]


def test_macros_unknown_to_the_plugin_are_rejected() -> None:
    for sql, message in (
        ("$__columns(a, b)", r"\$__columns is not a macro of ClickHouse plugin 4.20"),
        ("$__conditionalAll(a, $b)", r"\$__conditionalAll is not a macro"),
        ("SELECT $model", r"\$model is a dashboard variable"),
        ("SELECT ${model:singlequote}", r"\$model is a dashboard variable"),
        ("$__timeFilter()", r"\$__timeFilter takes 1 arguments, but got 0"),
        ("$__timeFilter(a, b)", r"\$__timeFilter takes 1 arguments, but got 2"),
        ("$__timeFilter(if(a", r"the parenthesis after \$__timeFilter is not closed"),
        ("$__timeGroup(c, 1d)", r"takes a duration such as 30s, 5m or 24h, but got 1d"),
    ):
        with pytest.raises(MacroError, match=message):
            expand_backend(sql, RANGE)


NAMES: dict[str, Value] = {
    "model": "it's \\ a ${model} $__interval {{x}} модель",
    "version": ALL,
    "slice": "",
    "field": ("a'b", "c"),
}


def test_the_frontend_writes_variables() -> None:
    for sql, written in (
        ("$__from $__to", "1762000000500 1762003600999"),
        ("${__from} [[__to]]", "1762000000500 1762003600999"),
        ("$__interval $__interval_ms", "5m 300000"),
        ("$__interval_s $__timeFilter(c)", "$__interval_s $__timeFilter(c)"),
        ("$model", NAMES["model"]),
        ("${model:raw} [[model]]", f"{NAMES['model']} {NAMES['model']}"),
        ("${model:singlequote}", "'it\\'s \\ a ${model} $__interval {{x}} модель'"),
        (
            "'${model:percentencode}'",
            "'it%27s%20%5C%20a%20%24%7Bmodel%7D%20%24__interval%20%7B%7Bx%7D%7D"
            "%20%D0%BC%D0%BE%D0%B4%D0%B5%D0%BB%D1%8C'",
        ),
        ("${field:queryparam}", "var-field=a%27b&var-field=c"),
        ("$field", "'a'b','c'"),
        ("${field:singlequote}", "'a\\'b','c'"),
        ("${field:percentencode}", "%7Ba%27b%2Cc%7D"),
        ("${field:raw}", "a'b,c"),
        ("$__conditionalAll(v = ${version:singlequote}, $version)", "1=1"),
        ("$__conditionalAll(s = ${slice:singlequote}, ${slice})", "1=1"),
        ("$__conditionalAll(f IN (${field:singlequote}), $field) AND b", "f IN ('a\\'b','c') AND b"),
        ("$__conditionalAll(a OR $__conditionalAll(b, $field), $field)", "a OR b"),
    ):
        assert expand_frontend(sql, RANGE, NAMES, 300_000) == written, sql


def test_the_frontend_rejects_unknown_macros() -> None:
    for sql, message in (
        ("$mdoel", r"\$mdoel is not a variable of this dashboard; it has field, model, slice, version"),
        ("${model:sql}", r"\$\{model:sql\} has an unsupported format; use percentencode, queryparam"),
        ("$__conditionalAll(a)", r"\$__conditionalAll takes a condition and a variable, but got 1"),
        ("$__conditionalAll(a, $mdoel)", r"\$mdoel is not a variable of this dashboard"),
    ):
        with pytest.raises(MacroError, match=message):
            expand_frontend(sql, RANGE, NAMES, 60_000)


def test_both_halves_and_a_name_that_looks_like_a_macro() -> None:
    variables: dict[str, Value] = {"model": "$__timeFilter(x) -- $y"}
    assert expand("m = ${model:singlequote} AND $__timeFilter(t)", RANGE, variables) == (
        "m = '$__timeFilter(x) -- $y' AND t >= toDateTime(1762000000) AND t <= toDateTime(1762003600)"
    )
    assert expand("decodeURLComponent('${model:percentencode}')", RANGE, variables) == (
        "decodeURLComponent('%24__timeFilter%28x%29%20--%20%24y')"
    )


def test_times_intervals_and_durations_are_grafanas_and_gos() -> None:
    start, end = datetime(2025, 11, 1, tzinfo=UTC), datetime(2025, 11, 1, 0, 0, 0, 1000, tzinfo=UTC)
    assert TimeRange.between(start, end) == TimeRange(1_761_955_200_000, 1_761_955_200_001)
    written = {0: "1ms", 20: "20ms", 1500: "1s", 90_000: "1m", 300_000: "5m", 90_000_000: "1d", 31_536_000_000: "1y"}
    assert {milliseconds: format_interval(milliseconds) for milliseconds in written} == written
    read = {"5m": 300, "1h30m": 5400, "1.5s": 2, "500ms": 1, **dict.fromkeys(("499ms", "1d", "", "5", "5 m"))}
    assert {text: go_duration_s(text) for text in read} == read
    for hours, points, least_ms, step_ms in (
        (1, 1000, 1000, 5_000),  # 3.6 s
        (6, 1000, 1000, 20_000),  # 21.6 s
        (24, 1000, 60_000, 60_000),  # 86.4 s
        (24 * 30, 1000, 60_000, 1_800_000),  # 2,592 s
        (1, 1000, 60_000, 60_000),
        (24 * 365 * 100, 100, 1, 31_536_000_000),
    ):
        assert interval_ms(hours * 3_600_000, points, least_ms) == step_ms, hours
