"""The report as HTML: one page without scripts and without references to other files, for light and dark screens."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from barograph_server.batch.compare.performance import PeriodMetric
from barograph_server.batch.compare.report import ATTENTION, Comparison, FieldVerdicts, PeriodShares, worst_level
from barograph_server.batch.compare.wording import (
    changed_rates,
    changed_slices,
    conclusion,
    headline,
    headline_metrics,
    interval,
    moved_bin,
    number,
    psi_notes,
    rate_numbers,
)
from barograph_server.html.charts import ChartLine, ChartPoint, level_strip, metric_chart, psi_chart
from barograph_server.html.page import html_page, level_badge, render
from barograph_server.sketches.drift.rates import RATE_NOUNS
from barograph_server.terminal import percentage

MAX_BINS = 14
"""Bins of a distribution that are shown; the smallest others are summed."""
MAX_METRIC_ROWS = 1_000
"""Values of metrics that are listed; charts show all."""
MAX_FIELD_RATES = 12
"""Rates that are listed with a field."""
MAX_ROWS = 40
"""Rows of the tables of rates and slices."""
_BOTH_RATES = ("baseline_rate", "rate")


class CompareReport(Comparison):
    """Production compared with training. In a notebook it shows itself."""

    def to_html(self) -> str:
        """Return the report as one HTML page without references to other files."""
        return html_page(f"{self.production.name} compared with {self.training.name}", self._fragment())

    def __str__(self) -> str:
        return f"{headline(self)}\n{conclusion(self)}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {conclusion(self)}>"

    def _repr_html_(self) -> str:
        return str(self._fragment())

    def _fragment(self) -> Markup:
        """Render the report for a page that exists; its styles apply only to itself."""
        labels = [period.label for period in self.periods]
        metrics = headline_metrics(self)
        return render(
            "compare.html",
            report=self,
            headline=headline(self),
            levels=ATTENTION,
            latest=_latest_metrics(self)[:2],
            period_range=f"{labels[0]} – {labels[-1]}" if len(labels) > 1 else labels[0],
            fields=[_shown_field(self, line) for line in self.fields],
            charts=_metric_charts(metrics) if len(labels) > 1 else (),
            metrics=[_metric_cells(metric) for metric in metrics[:MAX_METRIC_ROWS]],
            rates=[
                (row["field"], row["kind"], level_badge(row["level"]), row["period"], *rate_numbers(row))
                for row in changed_rates(self)
            ],
            slices=[_slice_cells(row) for row in changed_slices(self)],
            most_rows=MAX_ROWS,
            bins=_bins,
            largest=_largest_share,
            interval=interval,
            isfinite=math.isfinite,
            moved_bin=moved_bin,
            number=number,
            psi_notes=psi_notes(self),
            rate_nouns=RATE_NOUNS,
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


@dataclass(frozen=True, slots=True)
class _ShownField:
    verdicts: FieldVerdicts
    strip: Markup
    chart: Markup | None
    rates: Sequence[tuple[str, ...]]


def _shown_field(report: Comparison, line: FieldVerdicts) -> _ShownField:
    levels = list(_levels(report, line))
    names = [level for _, level, _ in levels]
    counts = ", ".join(f"{names.count(level)} {level}" for level in ATTENTION if names.count(level))
    chart = None
    if len(report.periods) > 1 and line.drift:
        thresholds = report.contract.thresholds
        lines = [
            ChartLine(f"minor {thresholds.minor:g}", thresholds.minor, "minor-line", 12),
            ChartLine(f"major {thresholds.major:g}", thresholds.major, "major-line"),
        ]
        points = [
            ChartPoint(row["period"], row["psi"], row["psi_low"], row["psi_high"], row["level"]) for row in line.drift
        ]
        chart = psi_chart(points, lines, f"PSI of {line.name} by period")
    rates = [
        (row["kind"], row["period"], level_badge(row["level"]), *(percentage(row[name], 2) for name in _BOTH_RATES))
        for row in line.rates
        if row["level"] in ("minor", "major")
    ]
    strip = level_strip(levels, f"Levels of {line.name} by period: {counts}")
    return _ShownField(line, strip, chart, rates[:MAX_FIELD_RATES])


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
        texts = [f"{RATE_NOUNS[each['kind']]} {percentage(each['rate'])}" for each in rates]
        if row is not None:
            psi = f"PSI {number(row['psi'])} [{interval(row['psi_low'], row['psi_high'])}]"
            why = f" ({row['reason']})" if row["reason"] else ""
            texts = [f"{row['level']}{why}, {psi}, n {row['n']:,}", *texts]
        level = worst_level([each["level"] for each in (row, *rates) if each is not None])
        yield label, level, f"{label}: {'; '.join(texts)}"


def _bins(shares: PeriodShares) -> list[tuple[str, float, float]]:
    """Return label and shares of each bin; of many, the smallest are summed."""
    rows = list(zip(shares.labels, shares.training, shares.production, strict=True))
    if len(rows) > MAX_BINS:
        smallest = sorted(range(len(rows)), key=lambda i: max(rows[i][1:]))[: len(rows) - MAX_BINS + 1]
        rest = [rows[i] for i in smallest]
        rows = [row for i, row in enumerate(rows) if i not in set(smallest)]
        rows.append((f"{len(rest)} more", sum(row[1] for row in rest), sum(row[2] for row in rest)))
    return rows


def _largest_share(bins: Sequence[tuple[str, float, float]]) -> float:
    return max((max(row[1:]) for row in bins), default=0.0) or 1.0


def _metric_charts(metrics: Sequence[PeriodMetric]) -> list[tuple[str, Markup]]:
    """Draw each metric over time, equal ones as one; return captions and charts."""
    by_name: dict[str, list[PeriodMetric]] = {}
    for metric in metrics:
        by_name.setdefault(metric.metric, []).append(metric)
    equal: dict[tuple[Any, ...], list[str]] = {}
    for name, of_name in by_name.items():
        # With one label per row, accuracy and all micro averages are one number.
        drawn = [value for m in of_name for value in (m.value, m.training)]
        equal.setdefault((*(m.period for m in of_name), *(f"{value:.9g}" for value in drawn)), []).append(name)
    charts = []
    for names in equal.values():
        of_name, name = by_name[names[0]], " = ".join(names)
        training = of_name[0].training
        lines = [ChartLine("training", training, "training-line")] if math.isfinite(training) else []
        measured = [ChartPoint(m.period, m.value, m.low, m.high, m.level) for m in of_name]
        estimates = [ChartPoint(m.period, m.estimate, m.estimate_low, m.estimate_high, m.level) for m in of_name]
        charts.append((name, metric_chart(measured, lines, name, estimates)))
    return charts


def _metric_cells(m: PeriodMetric) -> tuple[str, ...]:
    ends = f" [{interval(m.estimate_low, m.estimate_high)}]" if math.isfinite(m.estimate_low) else ""
    return (
        m.metric,
        m.period,
        level_badge(m.level),
        f"{m.n:,}",
        number(m.value),
        interval(m.low, m.high),
        number(m.training),
        (m.estimate_reason or number(m.estimate)) + ends,
    )


def _slice_cells(row: dict[str, Any]) -> tuple[str, ...]:
    psi = number(row["psi"]), interval(row["psi_low"], row["psi_high"])
    return (
        row["slice"],
        row["field"],
        level_badge(row["level"]),
        row["period"],
        *psi,
        f"{row['n']:,}",
        str(row["periods"]),
    )
