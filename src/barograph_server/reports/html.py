"""The report of a week as HTML: one page without scripts and without references to other files."""

import math
from collections.abc import Iterator

from markupsafe import Markup

from barograph_server.html.charts import Bar, ChartLine, ChartPoint, bar_chart, metric_chart
from barograph_server.html.page import badge, html_page, render
from barograph_server.reports.sections import LEVEL, ReportSection, local_minute, report_head, report_sections
from barograph_server.reports.weekly_report import MetricWindow, WeeklyReport

CHARTED_METRICS = ("accuracy", "auc", "mae")
_LEVELS = {"healthy": "stable", "unhealthy": "major", "uncertain": "insufficient"}


def render_html(report: WeeklyReport) -> str:
    title = f"{report.model}, week {report.week.name}"
    days = report.facts.days
    bars = [
        Bar(day.day, day.predictions, f"{day.day}: {day.predictions:,} predictions, {day.errors:,} failed")
        for day in days
    ]
    fragment = render(
        "week.html",
        report=report,
        title=title,
        head=report_head(report),
        level=_LEVELS[report.answer],
        sections=report_sections(report),
        rows=_rows,
        bars=bar_chart(bars, "Predictions per day") if bars else "",
        metric_charts=list(_metric_charts(report)),
    )
    return html_page(title, fragment)


def _rows(section: ReportSection) -> list[list[str]]:
    """Return the cells of a section, with marks for levels."""
    return [
        [badge(cell) if column == LEVEL else cell for column, cell in zip(section.columns, row, strict=True)]
        for row in section.rows
    ]


def _metric_charts(report: WeeklyReport) -> Iterator[tuple[str, Markup]]:
    series: dict[tuple[str, str, str], list[MetricWindow]] = {}
    for each in report.facts.metrics:
        if each.metric in CHARTED_METRICS and math.isfinite(each.value):
            series.setdefault((each.metric, each.version, each.window), []).append(each)
    for (metric, version, window), windows in series.items():
        points = [
            ChartPoint(local_minute(report, each.window_end)[4:14], each.value, each.low, each.high, each.level)
            for each in windows
        ]
        promise = windows[-1].promise
        lines = [ChartLine("objective", promise, "training-line")] if math.isfinite(promise) else []
        title = f"{metric} of version {version}, windows of {window}"
        if len(points) > 1:
            yield title, metric_chart(points, lines, title)
