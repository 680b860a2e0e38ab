"""All findings of the demo: read from the views that analysts use, printed, and compared with the source data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from barograph_server.examples.demo.expectation import DemoExpectation
from barograph_server.examples.demo.flights import SLO, Calendar
from barograph_server.examples.demo.report import DemoReport, day_of, joined, number, percent
from barograph_server.examples.demo.signals.inputs import Inputs, expect_inputs, read_inputs, report_inputs
from barograph_server.examples.demo.signals.outputs import Outputs, expect_outputs, read_outputs, report_outputs
from barograph_server.examples.demo.signals.pager import Pages, expect_pages, read_pages, report_pager
from barograph_server.examples.demo.signals.season import SeasonFindings, expect_season, read_season, report_season
from barograph_server.examples.demo.signals.truth import Truth, expect_truth, read_truth, report_truth
from barograph_server.examples.demo.signals.volume import Volume, expect_volume, read_volume, report_volume
from barograph_server.examples.demo.source_data import SourceData
from barograph_server.warehouse.client import Client


@dataclass(frozen=True, slots=True)
class Findings:
    """Findings about the four signals, the season, and pages."""

    volume: Volume
    inputs: Inputs
    outputs: Outputs
    truth: Truth
    season: SeasonFindings
    pager: Pages


def read_findings(client: Client, calendar: Calendar, source: SourceData, published: tuple[int, int]) -> Findings:
    """Read all findings from ClickHouse.

    Args:
        client: connected to the demo's database.
        calendar: calendar of the replay.
        source: the replayed data.
        published: predictions and labels acknowledged by Kafka.
    """
    end = source.record_end
    return Findings(
        read_volume(client, calendar, end, published),
        read_inputs(client, calendar, end),
        read_outputs(client, calendar, end),
        read_truth(client, calendar),
        read_season(client, calendar, end),
        read_pages(client, calendar, end),
    )


def report_findings(report: DemoReport, findings: Findings, calendar: Calendar) -> None:
    """Print a summary of the four signals, then each in detail."""
    report.heading("Summary: August to December")
    for name, level, text in _glance(findings, calendar):
        report.verdict(name, level, text)
    report_volume(report, findings.volume, calendar)
    report_inputs(report, findings.inputs, calendar)
    report_outputs(report, findings.outputs, calendar)
    report_truth(report, findings.truth, calendar)
    report_season(report, findings.season)
    report_pager(report, findings.pager)


def expectations(findings: Findings, source: SourceData) -> list[DemoExpectation]:
    """Compare the findings with known facts about these flights."""
    return [
        *expect_volume(findings.volume, source),
        *expect_inputs(findings.inputs, source),
        *expect_outputs(findings.outputs, source),
        *expect_truth(findings.truth, source),
        *expect_season(findings.season),
        *expect_pages(findings.pager),
    ]


def _glance(findings: Findings, calendar: Calendar) -> list[tuple[str, str, str]]:
    volume, inputs, truth = findings.volume, findings.inputs, findings.truth
    is_healthy = volume.in_time >= (SLO.latency_share or 0.0) and not volume.lost and not volume.failed
    critical = inputs.first_critical
    drifted = joined(f"{row.field} since {day_of(calendar.original(row.window_end))}" for row in critical)
    scores = Counter(level for _, level in inputs.weeks.get("score", ()))
    auc = Counter(week.level for week in truth.of("auc"))
    worst = min(truth.matured("auc"), key=lambda week: week.value, default=None)
    return [
        (
            "Volume",
            "stable" if is_healthy else "major",
            f"{volume.flights:,} flights, {volume.failed:,} failed, {percent(volume.in_time)} in time, {volume.lost:,} "
            "lost or duplicated",
        ),
        (
            "Inputs",
            "major" if critical or inputs.missing else "stable",
            f"{drifted or 'no drift'}; {len(inputs.missing)} fields missing at the end; {len(inputs.unseen)} new "
            "destinations",
        ),
        (
            "Outputs",
            "major" if scores["major"] else "stable",
            f"scores major in {scores['major']} of {scores.total()} weeks",
        ),
        (
            "Ground truth",
            "major" if auc["major"] else "stable",
            f"AUC major in {auc['major']} of {auc.total()} weeks"
            + ("" if worst is None else f"; worst {number(worst.value)}, reference {number(worst.reference)}"),
        ),
    ]
