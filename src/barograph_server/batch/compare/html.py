"""The report as HTML: one page without scripts and without references to other files, for light and dark screens."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from barograph_server.batch.compare.performance import PeriodMetric
from barograph_server.batch.compare.report import Comparison, FieldVerdicts, PeriodShares, worst_level
from barograph_server.batch.compare.wording import (
    changed_rates,
    changed_slices,
    headline,
    headline_metrics,
    interval,
    moved_bin,
    number,
    rate_numbers,
)
from barograph_server.html.charts import ChartLine, ChartPoint, level_strip, metric_chart, psi_chart
from barograph_server.html.page import html_fragment, html_page, html_table, html_text
from barograph_server.terminal import percentage, plural, visible

MAX_BINS = 14
"""Bins of a distribution that are shown; the smallest others are summed."""
MAX_METRIC_ROWS = 1_000
"""Values of metrics that are listed; charts show all."""
MAX_ROWS = 40
"""Rows of the tables of rates and slices."""
_SYMBOLS = {"major": "▲", "minor": "△", "stable": "●", "insufficient": "–"}
_LEVEL_TEXTS = {
    "major": "PSI, a rate or a metric changed by more than the major threshold.",
    "minor": "A change beyond the minor threshold.",
    "stable": "No change beyond a threshold.",
    "insufficient": "Too few independent rows for a verdict.",
}


class CompareReport(Comparison):
    """Production compared with training. In a notebook it shows itself."""

    def to_html(self) -> str:
        """Return the report as one HTML page without references to other files."""
        return render_page(self)

    def _repr_html_(self) -> str:
        return render_fragment(self)


def render_page(report: Comparison) -> str:
    """Render the whole page."""
    title = f"{report.production.name} compared with {report.training.name}"
    return html_page(title, render_fragment(report))


def render_fragment(report: Comparison) -> str:
    """Render the report for a page that exists, such as a notebook; its styles apply only to itself."""
    sections = [
        _header(report),
        _hints(report),
        _fields(report),
        _performance(report),
        _rates(report),
        _slices(report),
        _notes(report),
        _explanation(report),
    ]
    return html_fragment("".join(sections))


def _badge(level: str) -> str:
    return f'<span class="badge b-{level}"><span aria-hidden="true">{_SYMBOLS[level]}</span> {level}</span>'


def _header(report: Comparison) -> str:
    tiles = [
        f'<li class="tile"><b class="t-{level}">{report.count(level)}</b><span>'
        f'<span aria-hidden="true">{_SYMBOLS[level]}</span> {level}</span></li>'
        for level in ("major", "minor", "stable", "insufficient")
    ]
    if report.multivariate is not None:
        result = report.multivariate
        tiles.append(
            f'<li class="tile"><b>{result.auc:.3f}</b><span>AUC of a classifier, production or training<br>'
            f"95% interval {interval(result.low, result.high)}</span></li>"
        )
    for metric in _latest_metrics(report)[:2]:
        training = f", training {number(metric.training)}" if math.isfinite(metric.training) else ""
        where = f"{html_text(metric.metric)} in {html_text(metric.period)}"
        tiles.append(
            f'<li class="tile"><b>{number(metric.value)}</b><span>{where}'
            f"{training}<br>{_badge(metric.level)}</span></li>"
        )
    versus = '<span class="versus">compared with</span>'
    name = f"{html_text(report.production.name)} {versus} {html_text(report.training.name)}"
    return (
        f'<header><h1>{name}</h1><p class="faint">{html_text(headline(report))}</p>'
        f'<p class="worst">Worst level of {plural(len(report.fields), "field")} and of performance: '
        f"{_badge(report.level)} {html_text(report.cause)}</p>"
        f'<ul class="tiles">{"".join(tiles)}</ul></header>'
    )


def _latest_metrics(report: Comparison) -> list[PeriodMetric]:
    """Return the last value of each headline metric: of a whole period if one is sufficient, else a sufficient one."""
    whole = {period.label for period in report.periods if period.is_whole}
    latest: dict[str, tuple[tuple[bool, bool], PeriodMetric]] = {}
    for each in headline_metrics(report):
        rank = each.level != "insufficient", each.period in whole
        if each.n and (each.metric not in latest or rank >= latest[each.metric][0]):
            latest[each.metric] = rank, each
    order = {"auc": 0, "auc_macro": 0, "mae": 0, "accuracy": 1, "rmse": 1}
    return sorted((metric for _, metric in latest.values()), key=lambda metric: order.get(metric.metric, 2))


def _hints(report: Comparison) -> str:
    if not report.hints:
        return ""
    items = "".join(
        f'<li><b>{html_text(hint.field)}</b> <span class="kind">{html_text(hint.kind)}</span> '
        f"{html_text(hint.text)}</li>"
        for hint in report.hints
    )
    return (
        '<section class="hints"><h2>Likely causes</h2><p class="faint">Differences between training and serving that '
        f"the distributions suggest.</p><ul>{items}</ul></section>"
    )


# --- fields -----------------------------------------------------------------------------------------------------------


def _fields(report: Comparison) -> str:
    labels = [period.label for period in report.periods]
    several = len(labels) > 1
    ends = f"{html_text(labels[0])} – {html_text(labels[-1])}" if several else html_text(labels[0])
    head = (
        '<div class="row head" aria-hidden="true"><span>level</span><span>field</span>'
        f'<span>{ends}</span><span class="n">worst PSI</span><span class="n">95% interval</span>'
        "<span>largest change</span></div>"
    )
    rows = "".join(
        _field(report, line, is_open=i == 0 and line.level == "major") for i, line in enumerate(report.fields)
    )
    return f'<section class="fields"><h2>Fields, the worst first</h2>{head}{rows}</section>'


def _field(report: Comparison, line: FieldVerdicts, *, is_open: bool) -> str:
    row = line.worst
    name = html_text(line.name) + (' <span class="kind">critical</span>' if line.critical else "")
    levels = list(_levels(report, line))
    strip = level_strip(levels, f"Levels of {visible(line.name)} by period: {_counts(levels)}")
    psi = "" if row is None else number(row["psi"])
    ends = "" if row is None else interval(row["psi_low"], row["psi_high"])
    change = html_text(moved_bin(line)) if row is not None else "no verdict: training has no values"
    if line.worst_rate is not None and line.worst_rate["level"] in ("minor", "major"):
        rate = line.worst_rate
        shares = f"{percentage(rate['baseline_rate'])} → {percentage(rate['rate'])}"
        change += f'<br><span class="faint">{html_text(rate["kind"])} {shares}</span>'
    summary = (
        f'<summary><div class="row"><span>{_badge(line.level)}</span><span class="name">{name}</span>'
        f'<span>{strip}</span><span class="n">{psi}</span><span class="n">{ends}</span>'
        f"<span>{change}</span></div></summary>"
    )
    return f'<details{" open" if is_open else ""}>{summary}<div class="detail">{_detail(report, line)}</div></details>'


def _counts(levels: Sequence[tuple[str, str, str]]) -> str:
    names = [level for _, level, _ in levels]
    return ", ".join(f"{names.count(level)} {level}" for level in _SYMBOLS if names.count(level))


def _levels(report: Comparison, line: FieldVerdicts) -> Iterator[tuple[str, str, str]]:
    """Yield the label of each period, the worst level of drift and rates in it (empty without rows), and a tooltip."""
    drift = {row["period"]: row for row in line.drift}
    changed: dict[str, list[dict[str, Any]]] = {}
    for rate in line.rates:
        if rate["level"] in ("minor", "major"):
            changed.setdefault(rate["period"], []).append(rate)
    for period in report.periods:
        label = period.label
        row, rates = drift.get(label), changed.get(label, [])
        if row is None and not rates:
            yield label, "", f"{label}: no rows"
            continue
        texts = [f"{each['kind']} {percentage(each['rate'])}" for each in rates]
        if row is not None:
            psi = f"PSI {number(row['psi'])} [{interval(row['psi_low'], row['psi_high'])}]"
            why = f" ({row['reason']})" if row["reason"] else ""
            texts = [f"{row['level']}{why}, {psi}, n {row['n']:,}", *texts]
        level = worst_level([each["level"] for each in (row, *rates) if each is not None])
        yield label, level, f"{label}: {'; '.join(texts)}"


def _detail(report: Comparison, line: FieldVerdicts) -> str:
    parts = []
    if line.shares is not None:
        parts.append(_distribution(line.shares))
    if len(report.periods) > 1 and line.drift:
        thresholds = report.contract.thresholds
        lines = [
            ChartLine(f"minor {thresholds.minor:g}", thresholds.minor, "minor-line", 12),
            ChartLine(f"major {thresholds.major:g}", thresholds.major, "major-line"),
        ]
        chart = psi_chart(
            [
                ChartPoint(row["period"], row["psi"], row["psi_low"], row["psi_high"], row["level"])
                for row in line.drift
            ],
            lines,
            f"PSI of {visible(line.name)} by period",
        )
        parts.append(f"<figure><figcaption>PSI by period, with 95% intervals</figcaption>{chart}</figure>")
    return "".join(parts) + _field_rates(line)


def _distribution(shares: PeriodShares) -> str:
    rows = list(zip(shares.labels, shares.training, shares.production, strict=True))
    if len(rows) > MAX_BINS:
        smallest = sorted(range(len(rows)), key=lambda i: max(rows[i][1:]))[: len(rows) - MAX_BINS + 1]
        rest = [rows[i] for i in smallest]
        rows = [row for i, row in enumerate(rows) if i not in set(smallest)]
        rows.append((f"{len(rest)} more", sum(row[1] for row in rest), sum(row[2] for row in rest)))
    largest = max((max(training, production) for _, training, production in rows), default=0.0) or 1.0
    body = "".join(
        f'<tr><th scope="row">{html_text(label)}</th><td class="bars">'
        f'<i class="t" style="width:{100 * training / largest:.1f}%"></i>'
        f'<i class="p" style="width:{100 * production / largest:.1f}%"></i></td>'
        f'<td class="n">{percentage(training)}</td><td class="n">{percentage(production)}</td></tr>'
        for label, training, production in rows
    )
    return (
        f"<figure><figcaption>Shares in {html_text(shares.period)}</figcaption>"
        '<table class="shares"><thead><tr><th scope="col">bin</th><td></td>'
        '<th scope="col" class="n key-t">training</th><th scope="col" class="n key-p">production</th></tr></thead>'
        f"<tbody>{body}</tbody></table></figure>"
    )


def _field_rates(line: FieldVerdicts) -> str:
    rows = [row for row in line.rates if row["level"] in ("minor", "major")][:12]
    if not rows:
        return ""
    cells = [
        (
            row["kind"],
            row["period"],
            _badge(row["level"]),
            percentage(row["baseline_rate"], 2),
            percentage(row["rate"], 2),
        )
        for row in rows
    ]
    return html_table(("rate", "period", "level", "training", "production"), cells, numbers=(3, 4), html=(2,))


# --- other sections ---------------------------------------------------------------------------------------------------


def _performance(report: Comparison) -> str:
    metrics = headline_metrics(report)
    if not metrics:
        return ""
    by_name: dict[str, list[PeriodMetric]] = {}
    for metric in metrics:
        by_name.setdefault(metric.metric, []).append(metric)
    equal: dict[tuple[Any, ...], list[str]] = {}
    for name, of_name in by_name.items():
        # With one label per row, accuracy and all micro averages are one number.
        drawn = [value for m in of_name for value in (m.value, m.training)]
        equal.setdefault((*(m.period for m in of_name), *(f"{value:.9g}" for value in drawn)), []).append(name)
    charts = []
    if len(report.periods) > 1:
        for names in equal.values():
            of_name, name = by_name[names[0]], " = ".join(names)
            training = of_name[0].training
            lines = [ChartLine("training", training, "training-line")] if math.isfinite(training) else []
            chart = metric_chart(
                [ChartPoint(m.period, m.value, m.low, m.high, m.level) for m in of_name],
                lines,
                name,
                [ChartPoint(m.period, m.estimate, m.estimate_low, m.estimate_high, m.level) for m in of_name],
            )
            charts.append(f"<figure><figcaption>{html_text(name)}</figcaption>{chart}</figure>")
    rows = [
        (
            m.metric,
            m.period,
            _badge(m.level),
            f"{m.n:,}",
            number(m.value),
            interval(m.low, m.high),
            number(m.training),
            (m.estimate_reason or number(m.estimate))
            + (f" [{interval(m.estimate_low, m.estimate_high)}]" if math.isfinite(m.estimate_low) else ""),
        )
        for m in metrics[:MAX_METRIC_ROWS]
    ]
    columns = ("metric", "period", "level", "labels", "value", "95% interval", "training", "estimate without labels")
    table = html_table(columns, rows, numbers=(3, 4, 5, 6, 7), html=(2,))
    table = f"<details><summary>All values</summary>{table}</details>" if charts else table
    legend = (
        '<p class="faint">Dots: measured from labels, with 95% intervals. Dashed line: estimate without labels, from '
        "what outputs mean in training (CBPE), for numbers from features (DLE).</p>"
        if charts
        else ""
    )
    return f'<section><h2>Performance</h2>{legend}<div class="charts">{"".join(charts)}</div>{table}</section>'


def _rates(report: Comparison) -> str:
    rows = changed_rates(report)
    if not rows:
        return ""
    cells = [
        (
            row["field"],
            row["kind"],
            _badge(row["level"]),
            row["period"],
            *rate_numbers(row),
        )
        for row in rows[:MAX_ROWS]
    ]
    columns = (
        "field",
        "rate",
        "level",
        "worst period",
        "training",
        "production",
        "change, points",
        "95% interval",
        "periods",
    )
    return (
        "<section><h2>Rates that changed</h2>"
        '<p class="faint">Null, unseen, invalid (wrong type, NaN) and out-of-range values.</p>'
        f"{html_table(columns, cells, numbers=(4, 5, 6, 7, 8), html=(2,))}{_more(len(rows))}</section>"
    )


def _slices(report: Comparison) -> str:
    rows = changed_slices(report)
    if not rows:
        return ""
    cells = [
        (
            row["slice"],
            row["field"],
            _badge(row["level"]),
            row["period"],
            number(row["psi"]),
            interval(row["psi_low"], row["psi_high"]),
            f"{row['n']:,}",
            str(row["periods"]),
        )
        for row in rows[:MAX_ROWS]
    ]
    columns = ("slice", "field", "level", "worst period", "PSI", "95% interval", "n", "periods")
    table = html_table(columns, cells, numbers=(4, 5, 6, 7), html=(2,))
    return f"<section><h2>Slices that changed</h2>{table}{_more(len(rows))}</section>"


def _more(n: int) -> str:
    return "" if n <= MAX_ROWS else f'<p class="faint">… and {n - MAX_ROWS} more, which the JSON file has.</p>'


def _notes(report: Comparison) -> str:
    if not report.notes:
        return ""
    items = "".join(f"<li>{html_text(note)}</li>" for note in report.notes)
    return f'<section><h2>Limits of this comparison</h2><ul class="notes">{items}</ul></section>'


def _explanation(report: Comparison) -> str:
    levels = "".join(f"<dt>{_badge(level)}</dt><dd>{text}</dd>" for level, text in _LEVEL_TEXTS.items())
    phi = (
        f"Intervals use the overdispersion φ of windows of {report.phi_window}, learned from training."
        if report.phi_window
        else "φ is unknown, so intervals assume independent rows."
    )
    thresholds, rates = report.contract.thresholds, report.contract.rate_thresholds
    return (
        f"<section><h2>How to read this</h2><dl>{levels}</dl>"
        f'<p class="faint">PSI thresholds {thresholds.minor:g} and {thresholds.major:g}; thresholds of rates and '
        f"metrics {100 * rates.minor:g} and {100 * rates.major:g} points. {phi} Periods are in UTC. Contract "
        f"{html_text(report.contract.id)}, baseline {html_text(report.baseline.id)}.</p></section>"
    )
