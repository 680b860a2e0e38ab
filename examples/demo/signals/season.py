"""The season: weeks of late autumn compared with June and July, and with the accepted autumn baseline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
from barograph.contract import Thresholds

from barograph_server.examples.demo import queries
from barograph_server.examples.demo.expectation import DemoExpectation
from barograph_server.examples.demo.flights import ACCEPTED_AT, AUTUMN, DAY_S, MODEL, VERSION, WEEK, Calendar
from barograph_server.examples.demo.queries import DemoQuery
from barograph_server.examples.demo.report import DemoReport, day_of, days_of
from barograph_server.examples.demo.timeline import make_timeline
from barograph_server.profiling.baseline.counts import RangeCounts
from barograph_server.sketches.baseline.baseline import ALL, load_baseline
from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.baseline.layout import IntArray, Layout
from barograph_server.sketches.baseline.levels import LEVEL_NAMES
from barograph_server.sketches.comparison.rebin import rebin, split_counts
from barograph_server.sketches.drift.psi import psi_verdicts
from barograph_server.sketches.sketch.envelope import unseal
from barograph_server.sketches.sketch.numeric import NumericSketch
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.history import pane_sums
from barograph_server.warehouse.history.pane_sums import PaneRange
from barograph_server.warehouse.queries import BaselineRow, baselines

CHARTED = ("temp", "dewp")
EXAMPLE = "dewp"
"""Field whose means the printed SQL compares."""
TRAINED, ACCEPTED = "summer", "autumn"
"""Names of the two baselines in the chart."""

Verdict = tuple[str, float]
"""A level and its PSI."""


@dataclass(frozen=True, slots=True)
class Week:
    """One week of one field, entirely after the acceptance."""

    field: str
    day: date
    """End date in 2013 (exclusive)."""
    accepted: Verdict
    """Verdict against autumn, from the monitor."""
    again: Verdict
    """The same verdict, recomputed from panes."""
    trained: Verdict
    """Verdict against June and July, recomputed from the same panes."""


@dataclass(frozen=True, slots=True)
class SeasonFindings:
    """Findings about the weeks after the acceptance."""

    weeks: Sequence[Week]
    """Ordered by field and day."""
    example: DemoQuery
    """(end in 2013, mean, mean in training, mean in autumn) of one field in disjoint weeks."""

    def of(self, field: str) -> list[Week]:
        """Weeks of a field, ascending."""
        return [week for week in self.weeks if week.field == field]

    def majors(self) -> dict[str, tuple[int, int]]:
        """Number of major weeks per field, against June and July and against autumn."""
        findings: dict[str, tuple[int, int]] = {}
        for week in self.weeks:
            before, after = findings.get(week.field, (0, 0))
            findings[week.field] = before + (week.trained[0] == "major"), after + (week.accepted[0] == "major")
        return findings


def read_season(client: Client, calendar: Calendar, record_end: datetime) -> SeasonFindings:
    """Read the findings; arguments as for `read_volume`."""
    history = [row for row in baselines(client, MODEL) if row.version == VERSION]
    if len(history) < 2:
        return SeasonFindings((), DemoQuery("", ()))
    first, second = history
    begin = calendar.replayed(ACCEPTED_AT)
    end = datetime.fromtimestamp(record_end.timestamp() // DAY_S * DAY_S, UTC)
    trained, again = (_judge(client, row, second, begin, end) for row in (first, second))
    weeks = [
        Week(field, calendar.end_date(at), (level, psi), again[field, at], trained[field, at])
        for field, at, level, psi in queries.judged_weeks(client, second.baseline_id, begin, end)
    ]
    return SeasonFindings(weeks, queries.week_means(client, calendar, EXAMPLE, begin, end))


def _judge(
    client: Client, by: BaselineRow, counted_with: BaselineRow, begin: datetime, end: datetime
) -> dict[tuple[str, datetime], Verdict]:
    """Judge the weeks of each field in the slice `all` against a baseline, from panes counted with another one.

    Counts are exact on bins that both baselines have; a field with other bins is recounted from sketches.
    """
    layout, counted = (
        Layout(load_baseline(row.body.encode(), f"baseline {row.baseline_id}")) for row in (by, counted_with)
    )
    panes = PaneRange(MODEL, VERSION, counted_with.baseline_id, int(begin.timestamp()), int(end.timestamp()))
    days = np.concatenate(list(RangeCounts(client, panes, counted).windows(DAY_S)))
    length = WEEK.length_s // DAY_S
    weeks = np.stack([days[i : i + length].sum(axis=0) for i in range(len(days) - length + 1)])
    bins, lines = PsiBins(layout), Thresholds()
    noise = bins.noise.copy()
    others = [new.name for new, old in zip(layout.fields, counted.fields, strict=True) if new.edges != old.edges]
    groups = bins.groups_in(layout.slices.index(ALL))
    if others:
        sketches = _week_sketches(client, panes, others, len(weeks))
        weeks = _recount(weeks, counted, layout, sketches)
        for name in others:
            index = layout.field_index[name]
            noise[groups[index]] += rebin(sketches[name][0], layout.fields[index].edges).noise
    findings = psi_verdicts(
        bins.base_bins,
        bins.window_bins(weeks),
        bins.starts,
        phi=bins.phi(WEEK.name),
        minor=lines.minor,
        major=lines.major,
        noise=noise,
    )
    return {
        (field.name, begin + timedelta(days=i + length)): (
            LEVEL_NAMES[int(findings.level[i, group])],
            float(findings.psi[i, group]),
        )
        for index, field in enumerate(layout.fields)
        if (group := groups.get(index)) is not None
        for i in range(len(weeks))
    }


def _week_sketches(
    client: Client, panes: PaneRange, names: Sequence[str], n_weeks: int
) -> dict[str, list[NumericSketch]]:
    """Merge the sketches of some fields in each week, which begin a day apart."""
    length = WEEK.length_s // DAY_S
    weeks: dict[str, list[NumericSketch]] = {}
    for name, part, at_s, data in pane_sums.field_sketches(client, panes, names, panes.start_s, panes.end_s):
        if part != ALL:
            continue
        sketch = NumericSketch.from_bytes(unseal(data)[0], data)
        of_field = weeks.setdefault(name, [NumericSketch(sketch.sketch_type) for _ in range(n_weeks)])
        day = (at_s - panes.start_s) // DAY_S
        for week in of_field[max(0, day - length + 1) : day + 1]:
            week.merge(sketch)
    return weeks


def _recount(
    weeks: IntArray, counted: Layout, layout: Layout, sketches: Mapping[str, Sequence[NumericSketch]]
) -> IntArray:
    """Convert counts of weeks to another layout; fields with sketches are converted in the slice `all` only."""
    result = np.zeros((len(weeks), layout.n_slices, layout.width), np.int64)
    for index, (old, new) in enumerate(zip(counted.fields, layout.fields, strict=True)):
        source, target = weeks[:, :, counted.span(index, index + 1)], layout.span(index, index + 1)
        if new.name not in sketches:
            result[:, :, target] = source
            continue
        n_bins = old.n_cells - 1
        for week, sketch in enumerate(sketches[new.name]):
            bins = split_counts(sketch, old.edges, source[week, 0, :n_bins], new.edges)
            result[week, 0, target] = np.concatenate((bins, source[week, 0, n_bins:]))
    return result


def report_season(report: DemoReport, findings: SeasonFindings) -> None:
    """Print the findings."""
    if not findings.weeks:
        return
    report.signal("The season", "weeks compared with the accepted autumn and with June and July")
    report.paragraph(
        f"From {day_of(ACCEPTED_AT)} on, version 1 is compared with {days_of(*AUTUMN)}, which was accepted as good. "
        "This command also judged the same weeks against June and July, with sketches for fields that got new bins."
    )
    lines: dict[str, list[tuple[date, str]]] = {}
    ends: dict[str, str] = {}
    for field in CHARTED:
        weeks = findings.of(field)
        for name, verdicts in (
            (TRAINED, [week.trained for week in weeks]),
            (ACCEPTED, [week.accepted for week in weeks]),
        ):
            key = f"{field}, {name}"
            lines[key] = [(week.day, level) for week, (level, _) in zip(weeks, verdicts, strict=True)]
            major = sum(level == "major" for level, _ in verdicts)
            ends[key] = f"{major} of {len(verdicts)}, PSI {np.median([psi for _, psi in verdicts]):.2f}"
    timeline = make_timeline(lines, report.cells(lines), sort=False)
    if timeline is not None:
        report.chart(timeline, ends=ends, head="major, median")
    changed = [
        f"{field} {before} → {after}"
        for field, (before, after) in findings.majors().items()
        if field not in CHARTED and before + after
    ]
    report.paragraph(
        f"Major weeks of other fields, summer → autumn: {', '.join(changed) or 'none'}. Autumn explains part of the "
        "drift. Winter is colder than both baselines and still shows, as it should: an accepted baseline describes the "
        "past, not the future."
    )
    report.query(findings.example.sql)


def expect_season(findings: SeasonFindings) -> Iterator[DemoExpectation]:
    """Check consistency, and compare the findings with known facts about these flights."""
    same = sum(week.accepted == week.again for week in findings.weeks)
    yield DemoExpectation(
        "verdicts recomputed from panes after the acceptance equal the monitor's verdicts to the bit",
        0 < len(findings.weeks) == same,
        f"{same:,} of {len(findings.weeks):,}",
    )
    for field in CHARTED:
        weeks = findings.of(field)
        nearer = sum(week.accepted[1] < week.trained[1] for week in weeks)
        yield DemoExpectation(
            f"{field} is closer to the accepted autumn than to June and July in three quarters of the weeks",
            len(weeks) > 0 and nearer >= 0.75 * len(weeks),
            f"{nearer} of {len(weeks)} weeks",
        )
    majors = findings.majors()
    before, after = (sum(majors.get(field, (0, 0))[i] for field in CHARTED) for i in range(2))
    yield DemoExpectation(
        f"{' and '.join(CHARTED)} are less often major against autumn",
        after < before,
        f"{after} instead of {before} weeks",
    )
