"""What the demo found, all of it: read from the views that analysts use, told at its end, and held to the source."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from cli.demo.expectation import Expectation
from cli.demo.flights import SLO, Calendar
from cli.demo.report import Reporter, day_of, joined, number, percent
from cli.demo.signals.inputs import Inputs, expect_inputs, read_inputs, tell_inputs
from cli.demo.signals.outputs import Outputs, expect_outputs, read_outputs, tell_outputs
from cli.demo.signals.pager import Pager, expect_pager, read_pager, tell_pager
from cli.demo.signals.season import Season, expect_season, read_season, tell_season
from cli.demo.signals.truth import Truth, expect_truth, read_truth, tell_truth
from cli.demo.signals.volume import Volume, expect_volume, read_volume, tell_volume
from cli.demo.source_data import Source
from warehouse.client import Client


@dataclass(frozen=True, slots=True)
class Findings:
    """The four signals, the season, and the pager."""

    volume: Volume
    inputs: Inputs
    outputs: Outputs
    truth: Truth
    season: Season
    pager: Pager


def read_findings(client: Client, calendar: Calendar, source: Source, published: tuple[int, int]) -> Findings:
    """Ask the warehouse.

    Args:
        client: of the demo's database.
        calendar: of the replay.
        source: what was replayed.
        published: predictions and labels that Kafka has acknowledged.
    """
    end = source.record_end
    return Findings(
        read_volume(client, calendar, end, published),
        read_inputs(client, calendar, end),
        read_outputs(client, calendar, end),
        read_truth(client, calendar),
        read_season(client, calendar, end),
        read_pager(client, calendar, end),
    )


def tell(say: Reporter, found: Findings, calendar: Calendar) -> None:
    """Print the four signals at a glance, then each with what shows it."""
    say.heading("August to December at a glance")
    for name, level, text in _glance(found, calendar):
        say.verdict(name, level, text)
    tell_volume(say, found.volume, calendar)
    tell_inputs(say, found.inputs, calendar)
    tell_outputs(say, found.outputs, calendar)
    tell_truth(say, found.truth, calendar)
    tell_season(say, found.season)
    tell_pager(say, found.pager)


def expectations(found: Findings, source: Source) -> list[Expectation]:
    """Hold findings to what is known of these flights."""
    return [
        *expect_volume(found.volume, source),
        *expect_inputs(found.inputs, source),
        *expect_outputs(found.outputs, source),
        *expect_truth(found.truth, source),
        *expect_season(found.season),
        *expect_pager(found.pager),
    ]


def _glance(found: Findings, calendar: Calendar) -> list[tuple[str, str, str]]:
    volume, inputs, truth = found.volume, found.inputs, found.truth
    kept = volume.in_time >= (SLO.latency_share or 0.0) and not volume.lost and not volume.failed
    critical = inputs.first_critical
    drifted = joined(f"{row.field} since {day_of(calendar.original(row.window_end))}" for row in critical)
    scores = Counter(level for _, level in inputs.weeks.get("score", ()))
    auc = Counter(week.level for week in truth.of("auc"))
    worst = min(truth.matured("auc"), key=lambda week: week.value, default=None)
    return [
        (
            "Volume",
            "stable" if kept else "major",
            f"{volume.flights:,} flights, {volume.failed:,} failed, {percent(volume.in_time)} in time, {volume.lost:,} "
            "lost or doubled",
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
            + ("" if worst is None else f"; {number(worst.value)} at worst, {number(worst.reference)} at first"),
        ),
    ]
