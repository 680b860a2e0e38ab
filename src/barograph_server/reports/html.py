"""The report of a week as HTML: one page without scripts and without references to other files."""

from __future__ import annotations

import math
from collections.abc import Iterator

from barograph_server.html.charts import ChartLine, ChartPoint, metric_chart
from barograph_server.html.page import html_fragment, html_page, html_table, html_text
from barograph_server.reports.sections import LEVEL, ReportSection, local_minute, report_head, report_sections
from barograph_server.reports.weekly_report import DayVolume, MetricWindow, WeeklyReport

CHARTED_METRICS = ("accuracy", "auc", "mae")
_LEVELS = {"healthy": "stable", "unhealthy": "major", "uncertain": "insufficient"}
_BAR, _GAP, _HEIGHT = 64, 14, 120
"""Width of a bar, distance of two bars and height of the highest bar, in pixels of the drawing."""


def render_html(report: WeeklyReport) -> str:
    """Render the whole page."""
    title = f"{report.model}, week {report.week.name}"
    badge = f'<span class="badge b-{_LEVELS[report.answer]}">{report.answer}</span>'
    header = (
        f'<header><h1>{html_text(title)}</h1><p class="faint">{html_text(report_head(report))}</p>'
        f'<p class="worst">{badge} {html_text(report.sentence)}</p></header>'
    )
    sections = "".join(_section(report, each) for each in report_sections(report))
    return html_page(title, html_fragment(header + sections + _queries(report)))


def _section(report: WeeklyReport, section: ReportSection) -> str:
    lines = "".join(f"<p>{html_text(line)}</p>" for line in section.lines)
    chart = {"Volume": _day_bars, "Performance": _metric_charts}.get(section.title, lambda _: "")(report)
    table = ""
    if section.rows:
        levels = [i for i, column in enumerate(section.columns) if column == LEVEL]
        rows = [
            [f'<span class="badge b-{cell}">{cell}</span>' if i in levels else cell for i, cell in enumerate(row)]
            for row in section.rows
        ]
        table = html_table(section.columns, rows, numbers=section.numbers, html=levels)
    return f"<section><h2>{html_text(section.title)}</h2>{lines}{chart}{table}</section>"


def _day_bars(report: WeeklyReport) -> str:
    days = report.facts.days
    if not days:
        return ""
    largest = max(day.predictions for day in days) or 1

    def bar(i: int, day: DayVolume) -> Iterator[str]:
        height = _HEIGHT * day.predictions / largest
        x, y = _GAP + i * (_BAR + _GAP), 18 + _HEIGHT - height
        tooltip = f"{day.day}: {day.predictions:,} predictions, {day.errors:,} failed"
        yield f'<g><rect fill="var(--production)" x="{x}" y="{y:.1f}" width="{_BAR}" height="{height:.1f}"/>'
        for top, text in ((y - 4, f"{day.predictions:,}"), (_HEIGHT + 34, day.day)):
            yield f'<text class="tick" x="{x + _BAR / 2}" y="{top:.1f}" text-anchor="middle">{html_text(text)}</text>'
        yield f"<title>{html_text(tooltip)}</title></g>"

    bars = "".join(part for i, day in enumerate(days) for part in bar(i, day))
    width = _GAP + len(days) * (_BAR + _GAP)
    return (
        f'<svg class="chart" style="max-width:{width}px" viewBox="0 0 {width} {_HEIGHT + 42}" role="img" '
        f'aria-label="Predictions per day">{bars}</svg>'
    )


def _metric_charts(report: WeeklyReport) -> str:
    series: dict[tuple[str, str, str], list[MetricWindow]] = {}
    for each in report.facts.metrics:
        if each.metric in CHARTED_METRICS and math.isfinite(each.value):
            series.setdefault((each.metric, each.version, each.window), []).append(each)
    charts = []
    for (metric, version, window), windows in series.items():
        points = [
            ChartPoint(local_minute(report, each.window_end)[4:14], each.value, each.low, each.high, each.level)
            for each in windows
        ]
        promise = windows[-1].promise
        lines = [ChartLine("objective", promise, "training-line")] if math.isfinite(promise) else []
        title = f"{metric} of version {version}, windows of {window}"
        if len(points) > 1:
            chart = metric_chart(points, lines, title)
            charts.append(f"<figure><figcaption>{html_text(title)}</figcaption>{chart}</figure>")
    return f'<div class="charts">{"".join(charts)}</div>' if charts else ""


def _queries(report: WeeklyReport) -> str:
    items = "".join(
        f"<h3>{html_text(name)}</h3><pre class='scroll'>{_lines(sql)}</pre>" for name, sql in report.queries.items()
    )
    return (
        "<section><details><summary>The queries behind the figures</summary><p>Each is one for <code>barograph query"
        f"</code>. Incidents: <code>barograph simulate --model {html_text(report.model)}</code>.</p>{items}"
        "</details></section>"
    )


def _lines(sql: str) -> str:
    return "\n".join(html_text(line) for line in sql.splitlines())
