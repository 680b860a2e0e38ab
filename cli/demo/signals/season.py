"""The season: late autumn's weeks held against June and July, and against the autumn that was accepted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
from barograph.contract import Thresholds

from cli.baseline.counts import RangeCounts
from cli.demo.answer import OF_MODEL, Answer, ask, moment
from cli.demo.expectation import Expectation
from cli.demo.flights import ACCEPTED_AT, AUTUMN, DAY_S, MODEL, VERSION, WEEK, Calendar
from cli.demo.report import Reporter, day_of, days_of
from cli.demo.timeline import make_timeline
from sketches.baseline.baseline import ALL, load_baseline
from sketches.baseline.bins import PsiBins
from sketches.baseline.layout import Layout
from sketches.baseline.levels import LEVEL_NAMES
from sketches.drift.psi import psi_verdicts
from warehouse.client import Client
from warehouse.pane_sums import PaneRange
from warehouse.queries import BaselineRow, baselines

CHARTED = ("temp", "dewp")
EXAMPLE = "dewp"
"""The field whose means the printed SQL compares."""
TRAINED, ACCEPTED = "summer", "autumn"
"""The two baselines, as the chart calls them."""

Verdict = tuple[str, float]
"""A level and the PSI that it was given for."""


@dataclass(frozen=True, slots=True)
class Week:
    """One week of one field that lies wholly after the acceptance."""

    field: str
    day: date
    """Of 2013, at whose first moment it ends."""
    accepted: Verdict
    """Against autumn, as the monitor gave it."""
    again: Verdict
    """The same, judged anew from the panes."""
    trained: Verdict
    """Against June and July, judged anew from the same panes."""


@dataclass(frozen=True, slots=True)
class Season:
    """The weeks after the acceptance."""

    weeks: Sequence[Week]
    """In order of field and day."""
    example: Answer
    """(end of 2013, mean, mean in training, mean in autumn) of one field's disjoint weeks."""

    def of(self, field: str) -> list[Week]:
        """The weeks of a field, ascending."""
        return [week for week in self.weeks if week.field == field]

    def majors(self) -> dict[str, tuple[int, int]]:
        """Per field how many weeks are major against June and July, and how many against autumn."""
        found: dict[str, tuple[int, int]] = {}
        for week in self.weeks:
            before, after = found.get(week.field, (0, 0))
            found[week.field] = before + (week.trained[0] == "major"), after + (week.accepted[0] == "major")
        return found


def read_season(client: Client, calendar: Calendar, record_end: datetime) -> Season:
    """Ask for it; arguments as `read_volume` has them."""
    history = [row for row in baselines(client, MODEL) if row.version == VERSION]
    if len(history) < 2:
        return Season((), Answer("", ()))
    first, second = history
    begin = calendar.replayed(ACCEPTED_AT)
    end = datetime.fromtimestamp(record_end.timestamp() // DAY_S * DAY_S, UTC)
    judged = client.rows(
        "SELECT field, window_end, level, psi FROM latest_drift WHERE model = {model:String} "
        "AND version = {version:String} AND slice = 'all' AND window = {window:String} "
        "AND baseline_id = {baseline:String} AND window_start >= {begin:DateTime} "
        "AND window_end <= {end:DateTime} ORDER BY field, window_end",
        {"model": MODEL, "version": VERSION, "window": WEEK.name, "baseline": second.baseline_id}
        | {"begin": begin, "end": end},
    )
    trained, again = (_judge(client, row, second.baseline_id, begin, end) for row in (first, second))
    weeks = [
        Week(field, calendar.end_date(at), (level, psi), again[field, at], trained[field, at])
        for field, at, level, psi in judged
    ]
    return Season(weeks, _example(client, calendar, begin, end))


def _judge(
    client: Client, by: BaselineRow, counted_on: str, begin: datetime, end: datetime
) -> dict[tuple[str, datetime], Verdict]:
    """Judge each field's weeks by a baseline, from panes that were counted on one of the same cells.

    An accepted baseline keeps the cells of the one before, so that its panes can be held against either, exactly.
    """
    layout = Layout(load_baseline(by.body.encode(), f"baseline {by.baseline_id}"))
    panes = PaneRange(MODEL, VERSION, counted_on, int(begin.timestamp()), int(end.timestamp()))
    days = np.concatenate(list(RangeCounts(client, panes, layout).windows(DAY_S)))
    length = WEEK.length_s // DAY_S
    weeks = np.stack([days[i : i + length].sum(axis=0) for i in range(len(days) - length + 1)])
    bins, lines = PsiBins(layout), Thresholds()
    found = psi_verdicts(
        bins.base_bins,
        bins.window_bins(weeks),
        bins.starts,
        phi=bins.phi(WEEK.name),
        minor=lines.minor,
        major=lines.major,
    )
    groups = bins.groups_in(layout.slices.index(ALL))
    return {
        (field.name, begin + timedelta(days=i + length)): (
            LEVEL_NAMES[int(found.level[i, group])],
            float(found.psi[i, group]),
        )
        for index, field in enumerate(layout.fields)
        if (group := groups.get(index)) is not None
        for i in range(len(weeks))
    }


def _example(client: Client, calendar: Calendar, begin: datetime, end: datetime) -> Answer:
    """The mean of one field in disjoint weeks, and in both baselines."""
    mean = f"SELECT round(means['{EXAMPLE}'], 1) FROM baselines FINAL WHERE {OF_MODEL} AND version = '{VERSION}'"
    start = f"toDateTime({moment(begin)})"
    return ask(
        client,
        f"SELECT toDate({calendar.sql('max(pane_end)')}) AS ends_2013, round(sum(mean * n) / sum(n), 1) AS {EXAMPLE},",
        f"  ({mean} AND effective_from = 0) AS in_training,",
        f"  ({mean} AND effective_from > 0) AS in_autumn",
        f"FROM days WHERE {OF_MODEL} AND version = '{VERSION}' AND slice = 'all' AND field = '{EXAMPLE}'",
        f"  AND pane_start >= {start} AND pane_end <= {moment(end)} AND n > nulls",
        f"GROUP BY intDiv(dateDiff('day', {start}, pane_start), 7) ORDER BY ends_2013",
    )


def tell_season(say: Reporter, found: Season) -> None:
    """Print it."""
    if not found.weeks:
        return
    say.signal("The season", "weeks held against the accepted autumn, and against June and July")
    say.paragraph(
        f"From {day_of(ACCEPTED_AT)} on version 1 is judged against {days_of(*AUTUMN)}, which was declared good. An "
        "accepted baseline keeps its bins: to compare, this command judged the same panes against June and July too."
    )
    lines: dict[str, list[tuple[date, str]]] = {}
    ends: dict[str, str] = {}
    for field in CHARTED:
        weeks = found.of(field)
        for name, verdicts in (
            (TRAINED, [week.trained for week in weeks]),
            (ACCEPTED, [week.accepted for week in weeks]),
        ):
            key = f"{field}, {name}"
            lines[key] = [(week.day, level) for week, (level, _) in zip(weeks, verdicts, strict=True)]
            major = sum(level == "major" for level, _ in verdicts)
            ends[key] = f"{major} of {len(verdicts)}, PSI {np.median([psi for _, psi in verdicts]):.2f}"
    timeline = make_timeline(lines, say.cells(lines), sort=False)
    if timeline is not None:
        say.chart(timeline, ends=ends, head="major, median")
    changed = [
        f"{field} {before} → {after}"
        for field, (before, after) in found.majors().items()
        if field not in CHARTED and before + after
    ]
    say.paragraph(
        f"Weeks that are major of other fields, summer → autumn: {', '.join(changed) or 'none'}. "
        "Autumn explains a part. That winter is colder still shows against either, as it should: what was accepted is "
        "what was seen, not what comes."
    )
    say.query(found.example.sql)


def expect_season(found: Season) -> Iterator[Expectation]:
    """Hold it to itself and to what is known of these flights."""
    same = sum(week.accepted == week.again for week in found.weeks)
    yield Expectation(
        "judged again from panes, the weeks after the acceptance give the monitor's verdicts to the bit",
        0 < len(found.weeks) == same,
        f"{same:,} of {len(found.weeks):,}",
    )
    majors = found.majors()
    for field in CHARTED:
        weeks = found.of(field)
        nearer = sum(week.accepted[1] < week.trained[1] for week in weeks)
        before, after = majors.get(field, (0, 0))
        yield Expectation(
            f"{field} is nearer to the accepted autumn than to June and July in every week, and less often major",
            0 < len(weeks) == nearer and after < before,
            f"{nearer} of {len(weeks)} weeks, {after} instead of {before} major",
        )
