"""Outputs: scores and classes per month, and the candidate compared with the control."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from barograph_server.examples.demo import queries
from barograph_server.examples.demo.expectation import DemoExpectation
from barograph_server.examples.demo.flights import (
    CANDIDATE,
    CANDIDATE_ARM,
    CANDIDATE_AT,
    CONTROL_ARM,
    DAY_S,
    LATE,
    VERSION,
    Calendar,
)
from barograph_server.examples.demo.queries import DemoQuery
from barograph_server.examples.demo.report import DemoReport, day_of, joined, number, percent
from barograph_server.examples.demo.source_data import SourceData
from barograph_server.sketches.baseline.baseline import ALL, load_baseline
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.queries import baselines

MEASURES = {
    ("score", "mean", ""): "mean score",
    ("score", "p50", ""): "median score",
    ("score", "psi", ""): "PSI of scores",
    ("class", "share", LATE): "called late",
}
"""Comparison measures to print, by field, measure and category."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Findings about the outputs."""

    trained: tuple[float, float]
    """Mean score and share of `late` in training."""
    months: DemoQuery
    """(first day of the month in 2013, mean score, share of `late`) of the control."""
    shifts: DemoQuery
    """(end in 2013, mean shift in standard deviations, low, high) of its scores per week, largest first."""
    compared: DemoQuery
    """(field, measure, category, flights of a and of b, value of a and of b, difference, low, high, level)."""
    compared_end: datetime | None
    """End of the compared week; None if there is none."""
    levels: DemoQuery
    """(level, weeks) of the PSI between the scores of arms a and b."""
    arms: DemoQuery
    """(arm, configured share, units, share, p, level)."""


def read_outputs(client: Client, calendar: Calendar, record_end: datetime) -> Outputs:
    """Read the findings; arguments as for `read_volume`."""
    # The last full week before the weather outage: the day without weather data does not compare the arms.
    end = queries.last_arm_week(client, record_end)
    return Outputs(
        _trained(client),
        queries.month_outputs(client, calendar),
        queries.score_shifts(client, calendar),
        queries.arm_week(client, end),
        None if end.timestamp() < DAY_S else end,
        queries.arm_levels(client),
        queries.arm_shares(client),
    )


def _trained(client: Client) -> tuple[float, float]:
    """Outputs in the first baseline of the control."""
    body = next(row.body for row in baselines(client) if row.version == VERSION)
    fields = {field.name: field for field in load_baseline(body.encode(), "the baseline of training").fields}
    called = fields["class"]
    cells = called.slices[ALL].cells
    return fields["score"].mean, cells[called.categories.index(LATE)] / sum(cells)


def report_outputs(report: DemoReport, findings: Outputs, calendar: Calendar) -> None:
    """Print the findings."""
    report.signal("Outputs", "drift of scores and classes, and the candidate compared with the control")
    report.table(
        ("version 1", "June, July", *(f"{month:%B}" for month, _, _ in findings.months)),
        [
            ("mean score", number(findings.trained[0]), *(number(mean) for _, mean, _ in findings.months)),
            ("called late", percent(findings.trained[1]), *(percent(late) for _, _, late in findings.months)),
        ],
    )
    report.query(findings.months.sql)
    if findings.shifts:
        end, shift, low, high = findings.shifts.rows[0]
        report.paragraph(
            f"The chart above shows the verdicts on scores. The mean score moved most in the week to {day_of(end)}: "
            f"{shift:+.2f} standard deviations of training, 95 % interval {low:+.2f} to {high:+.2f}."
        )
        report.query(findings.shifts.sql)
    if findings.compared_end is not None and findings.compared:
        _report_candidate(report, findings, calendar.original(findings.compared_end))


def _report_candidate(report: DemoReport, findings: Outputs, end: datetime) -> None:
    report.finding(
        f"The candidate: version 2 without weather, as arm b since {day_of(CANDIDATE_AT)}",
        f"Difference from version 1 (arm a) in the week to {day_of(end)}:",
    )
    rows = {(field, measure, category): rest for field, measure, category, *rest in findings.compared}
    shown = []
    for key, name in MEASURES.items():
        if key in rows:
            _, _, a, b, difference, low, high, level = rows[key]
            form = percent if key[1] == "share" else number
            shown.append((name, form(a), form(b), form(difference), f"{form(low)} to {form(high)}", level or "–"))
    report.table(("", "a", "b", "b - a", "95 % interval", "level"), shown)
    n_a, n_b = next(iter(rows.values()))[:2]
    weeks = joined(f"{level} in {n}" for level, n in findings.levels)
    report.paragraph(
        f"{n_a:,} and {n_b:,} flights. A tenth of the traffic is rarely enough for a verdict: in week windows, the "
        f"PSI of the scores is {weeks}. The view version_comparison has the same data by version."
    )
    report.query(findings.compared.sql)
    if findings.arms:
        shares = "; ".join(
            f"arm {arm} {units:,} flights, {percent(share)} (configured {percent(promised)})"
            for arm, promised, units, share, _, _ in findings.arms
        )
        *_, p, level = findings.arms.rows[0]
        report.finding(
            f"Sample ratio of the arms: {level}",
            f"{shares}; p = {p:g}, valid at any number of looks.",
        )
        report.query(findings.arms.sql)


def expect_outputs(findings: Outputs, source: SourceData) -> Iterator[DemoExpectation]:
    """Compare the findings with the source data."""
    on_b = source.answered(CANDIDATE)
    units = {arm: n for arm, _, n, *_ in findings.arms}
    levels = {row[-1] for row in findings.arms}
    yield DemoExpectation(
        f"version 2 serves {on_b:,} flights as arm b, a tenth of the flights since 1 October, as configured",
        units.get(CANDIDATE_ARM) == on_b and levels == {"stable"},
        f"{units.get(CONTROL_ARM, 0):,} to {units.get(CANDIDATE_ARM, 0):,}, {joined(sorted(levels))}",
    )
    mean = {(field, measure): values for field, measure, _, _, _, *values in findings.compared}.get(("score", "mean"))
    known = None if findings.compared_end is None else source.mean_scores(findings.compared_end)
    current = (
        mean is not None and known is not None and all(abs(a - b) < 1e-9 for a, b in zip(mean[:2], known, strict=True))
    )
    yield DemoExpectation(
        "the mean scores of both arms equal those of the source",
        current,
        "not compared" if mean is None else f"{mean[0]:.3f} and {mean[1]:.3f}",
    )
