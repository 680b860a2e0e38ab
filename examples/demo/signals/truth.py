"""Ground truth: performance from labels, label coverage and delay, and estimated performance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from barograph_server.examples.demo import queries
from barograph_server.examples.demo.expectation import DemoExpectation
from barograph_server.examples.demo.flights import (
    CANDIDATE,
    VERSION,
    Calendar,
)
from barograph_server.examples.demo.queries import DemoQuery, WeekMetric
from barograph_server.examples.demo.report import DemoReport, day_of, days_of, hours_of, joined, number, percent
from barograph_server.examples.demo.source_data import SourceData
from barograph_server.examples.demo.timeline import make_timeline
from barograph_server.sketches.performance.cbpe import TOLERANCE, Trust, cbpe_trust, realised_error
from barograph_server.sketches.performance.metric import MetricEstimate
from barograph_server.warehouse.client import Client

METRICS = ("auc", "accuracy", "brier", "calibration_error")
LARGER_IS_BETTER = ("auc", "accuracy")
ESTIMATED_METRIC = "accuracy"
"""Metric whose estimate is reported."""
AUC_ERROR = 0.002
"""Tolerance for AUC. Binning the scores costs a few percent of the standard error, which is 0.01 here."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Findings from labels."""

    weeks: Sequence[WeekMetric]
    """Ordered by metric and week."""
    weeks_sql: str
    reference: DemoQuery
    """(first day in 2013, day after the last, age of labels in seconds) of the reference week."""
    labels: DemoQuery
    """One row: flights, labelled flights, age in seconds by which half of the labels arrived, age of maturity."""
    selective: DemoQuery
    """(day in 2013, coverage, p) of days with selective labels."""
    arms: DemoQuery
    """(end in 2013, AUC of b, AUC of a, difference, low, high, sufficient) of mature weeks."""

    def of(self, metric: str) -> list[WeekMetric]:
        """Weeks of a metric, ascending."""
        return [week for week in self.weeks if week.metric == metric]

    def matured(self, metric: str) -> list[WeekMetric]:
        """Weeks with mature labels."""
        return [week for week in self.of(metric) if week.mature]

    def trust(self) -> Trust:
        """Whether CBPE estimates were accurate in the mature weeks."""
        weeks = self.matured(ESTIMATED_METRIC)
        enough = np.array([week.level != "insufficient" for week in weeks], dtype=np.bool_)

        def metric(*names: str) -> MetricEstimate:
            value, low, high = (np.array([getattr(week, name) for week in weeks]) for name in names)
            return MetricEstimate(value, low, high, enough)

        return cbpe_trust(realised_error(metric("cbpe", "cbpe_low", "cbpe_high"), metric("value", "low", "high")))


def read_truth(client: Client, calendar: Calendar) -> Truth:
    """Read the findings; arguments as for `read_volume`."""
    return Truth(
        queries.week_metrics(client, METRICS),
        queries.week_metrics_sql(calendar, ESTIMATED_METRIC),
        queries.reference_week(client, calendar),
        queries.label_delay(client),
        queries.selective_days(client, calendar),
        queries.arm_auc(client, calendar),
    )


def report_truth(report: DemoReport, findings: Truth, calendar: Calendar) -> None:
    """Print the findings."""
    report.signal("Ground truth", "performance from labels")
    if findings.reference:
        first, last, _ = findings.reference.rows[0]
        report.paragraph(
            f"Every week of version 1 compared with its first mature week, {days_of(first, last)}, at equal age of "
            "labels:"
        )
    levels = _levels(findings, calendar)
    timeline = make_timeline(levels, max((len(rows) for rows in levels.values()), default=1), sort=False)
    if timeline is not None:
        worst = {name: _worst(findings.matured(name), calendar) for name in levels}
        report.chart(timeline, ends=worst, head="worst week (reference)")
    flights, labelled, half_s, mature_s = findings.labels.rows[0]
    if labelled:
        report.paragraph(
            f"{labelled:,} of {flights:,} flights have a label ({percent(labelled / flights)}): half of them within "
            f"{hours_of(half_s)}, 95 % within {hours_of(mature_s)}; then a week is mature. The last week is not "
            "mature yet."
        )
    report.query(findings.weeks_sql)
    if findings.selective:
        _report_selective_labels(report, findings)
    _report_estimates(report, findings, calendar)
    _report_arms(report, findings)


def _report_selective_labels(report: DemoReport, findings: Truth) -> None:
    flights, labelled, *_ = findings.labels.rows[0]
    least = [f"{day_of(day)} ({percent(coverage)} labelled)" for day, coverage, _ in findings.selective.rows[:3]]
    report.finding(
        f"Selective labels on {len(findings.selective)} days",
        f"{flights - labelled:,} flights never get a label because they were cancelled or diverted. On these days "
        f"their scores differ from those of flights that landed, most on {joined(least)}: metrics describe only the "
        "flights that landed.",
    )
    report.query(findings.selective.sql)


def _levels(findings: Truth, calendar: Calendar) -> Mapping[str, Sequence[tuple[date, str]]]:
    # A week is shown at its first day.
    return {
        metric: [(calendar.end_date(week.end - timedelta(days=7)), week.level) for week in findings.of(metric)]
        for metric in METRICS
        if findings.of(metric)
    }


def _worst(weeks: Sequence[WeekMetric], calendar: Calendar) -> str:
    if not weeks:
        return ""
    better = 1 if weeks[0].metric in LARGER_IS_BETTER else -1
    worst = min(weeks, key=lambda week: better * week.value)
    return f"{number(worst.value)} to {day_of(calendar.original(worst.end))} ({number(worst.reference)})"


def _report_estimates(report: DemoReport, findings: Truth, calendar: Calendar) -> None:
    weeks = findings.matured(ESTIMATED_METRIC)
    if not weeks:
        return
    worst = max(weeks, key=lambda week: abs(week.cbpe - week.value))
    trust = findings.trust()
    young = [week for week in findings.of(ESTIMATED_METRIC) if not week.mature]
    ahead = "".join(
        f" The estimate for the week to {day_of(calendar.original(week.end))}, which has no verdict yet, is "
        f"{number(week.cbpe)} ({number(week.cbpe_low)} to {number(week.cbpe_high)})."
        for week in young
    )
    report.finding(
        f"Estimated without labels (CBPE): {'trusted' if trust.trusted else 'not trusted here'}",
        f"Estimated {ESTIMATED_METRIC} for the week to {day_of(calendar.original(worst.end))}: {number(worst.cbpe)}; "
        f"measured: {number(worst.value)}. The error exceeds {TOLERANCE:g} and chance in {percent(float(trust.off))} "
        f"of {trust.windows} mature weeks: the meaning of scores has changed, which CBPE cannot detect.{ahead} See "
        "the columns estimated and error of the query above.",
    )


def _report_arms(report: DemoReport, findings: Truth) -> None:
    rows = [row for row in findings.arms if row[-1]]
    if not rows:
        return
    worse = sum(difference < 0 for _, _, _, difference, *_ in rows)
    surely = sum(high < 0 for *_, high, _ in rows)
    better = sum(low > 0 for *_, low, _, _ in rows)
    end, b, a, difference, low, high, _ = rows[-1]
    report.finding(
        "Performance of the candidate",
        f"AUC of arm b is below that of arm a in {worse} of {len(rows)} mature weeks, significantly below in {surely}, "
        f"significantly above in {better}. Week to {day_of(end)}: {number(b)} and {number(a)}, difference "
        f"{difference:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}.",
    )
    report.query(findings.arms.sql)


def expect_truth(findings: Truth, source: SourceData) -> Iterator[DemoExpectation]:
    """Compare the findings with scikit-learn's results for the same flights."""
    known = {week.end: week for week in source.weeks(VERSION)}
    auc = {week.end: week for week in findings.of("auc")}
    accuracy = {week.end: week for week in findings.of("accuracy")}
    off = [abs(auc[end].value - week.auc) for end, week in known.items() if end in auc]
    exact = sum(
        end in accuracy and accuracy[end].n == week.n and abs(accuracy[end].value - week.accuracy) < 1e-9
        for end, week in known.items()
    )
    yield DemoExpectation(
        f"each week's AUC equals scikit-learn's within {AUC_ERROR:g}, its accuracy exactly",
        0 < len(known) == len(off) == exact == len(auc) and max(off) < AUC_ERROR,
        f"{len(off)} weeks, at most {max(off, default=float('nan')):.5f} off; {exact} accuracies equal",
    )
    flights, labelled, half_s, mature_s = findings.labels.rows[0]
    yield DemoExpectation(
        "flights without a label are the cancelled and diverted ones, and the scorer detects selective labels",
        0 < flights - labelled == source.unlabelled and len(findings.selective) > 0,
        f"{flights - labelled:,} of {source.unlabelled:,}, {len(findings.selective)} days",
    )
    half, mature = source.label_age_s(0.5), source.label_age_s(0.95)
    # The bins of the label delay curve grow by a factor of 1.25.
    yield DemoExpectation(
        "label delay equals the delay until landing",
        half <= half_s <= 1.26 * half and mature <= 1.26 * mature_s and mature_s <= 1.26 * mature,
        f"half by {hours_of(half_s)} (landed: {hours_of(half)}), 95 % by {hours_of(mature_s)} ({hours_of(mature)})",
    )
    arms = {end: (b, a) for end, b, a, *_ in findings.arms}
    yield DemoExpectation(
        f"version {CANDIDATE} (without weather) is worse than version {VERSION} in most weeks",
        sum(b < a for b, a in arms.values()) > len(arms) / 2,
        f"{sum(b < a for b, a in arms.values())} of {len(arms)} weeks",
    )
