"""The queries of the dashboards on a history: every panel, variable and annotation, expanded as by Grafana."""

from __future__ import annotations

from barograph_server.dashboards.durations import go_duration_s, interval_ms
from barograph_server.dashboards.macros import ALL, TimeRange, Value, expand
from barograph_server.dashboards.pages import dashboards
from barograph_server.dashboards.parse import queries_in
from benchmarks.history import MODEL, History
from benchmarks.history.series import DAY_S
from benchmarks.history_queries import HistoryQuery

POINTS = 600
"""Points of a panel that is half a screen wide."""
CHOSEN: dict[str, Value] = {"version": "1", "slice": "all", "field": "amount", "window": "1d"}
"""Values of variables. The model is `MODEL`, or all models on pages whose variable includes all."""


def page_queries(history: History) -> list[HistoryQuery]:
    """Every query of every page, over the last day and over the whole history."""
    result = []
    for dashboard in dashboards().values():
        variables = dashboard["templating"]["list"]
        has_all = any(each["name"] == "model" and each["includeAll"] for each in variables)
        chosen = CHOSEN | {"datasource": "barograph", "model": ALL if has_all else MODEL}
        for days in (1, history.size.days):
            between = TimeRange(1000 * (history.end_s - days * DAY_S), 1000 * history.end_s)
            for query in queries_in(dashboard):
                least_s = go_duration_s((query.panel or {}).get("interval", "")) or 1
                step_ms = interval_ms(between.to_ms - between.from_ms, POINTS, 1000 * least_s)
                sql = expand(query.sql, between, chosen, interval_ms=step_ms)
                result.append(HistoryQuery(f"{query.where.removeprefix('Barograph / ')}, {days} d", sql))
    return result
