"""What the demo prints: decisions of `infer`, the timeline, the first findings with their SQL, what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from cli.demo.expectations import Expectation
from cli.demo.findings import Findings
from cli.demo.flights import CRITICAL, MODEL, WEEK, Calendar
from cli.demo.fresh import DATABASE
from cli.demo.sql import drift_sql, outage_sql
from cli.demo.timeline import SIGNS, STYLES, Timeline, make_timeline
from cli.infer import InferResult
from sketches.baseline import ALL, FieldBaseline
from warehouse.status import DriftRow, RateRow

if TYPE_CHECKING:
    from cli.apply import Plan
    from cli.settings import Settings
    from examples.flights.replay import FlightsTables
    from local.stack import StackAddresses

COMMAND = ".venv/bin/barograph"
ON_DEMO = f"BAROGRAPH_CLICKHOUSE_DATABASE={DATABASE} {COMMAND}"
"""A command that looks at the demo's database and not at that of `barograph dev`."""
MARGIN = 2
END_COLUMNS = 17
"""Room for what stands right of the chart."""


class Reporter:
    """Prints plain text with a little colour; nothing is said by colour alone."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def line(self, text: str = "", style: str = "") -> None:
        """Print a line as it is, however long: it may be copied."""
        self._console.print(Text(text, style=style), soft_wrap=True, highlight=False)

    def heading(self, text: str) -> None:
        """Begin a section."""
        self.line()
        self.line(text, "bold")

    def paragraph(self, text: str) -> None:
        """Print text in lines that fit."""
        indent = " " * MARGIN
        width = max(40, min(self._console.width, 110))
        self.line(fill(text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False))

    # ------------------------------------------------------------------------------------------ before

    def model(self, tables: FlightsTables, record_end: datetime) -> None:
        """Say what was trained, and where in time it is replayed."""
        self.paragraph(
            f"A classifier of late arrivals learned from June and July 2013: AUC {tables.out_of_fold.auc:.3f} on weeks "
            f"that it had not seen, {tables.held_out.auc:.3f} on August to December. These are replayed "
            f"{tables.shift_weeks} weeks later, so that the last flight left on {_date(record_end)} {record_end.year}. "
            "From October on a candidate that knows no weather, version 2, answers a tenth of the flights as arm b."
        )

    def decisions(self, result: InferResult) -> None:
        """Say in a few lines what `infer` decided."""
        baseline = result.baseline
        slices = sum(len(dimension.values) for dimension in baseline.dimensions)
        dimensions = " and ".join(dimension.name for dimension in baseline.dimensions)
        self.paragraph(
            f"{baseline.rows:,} flights of June and July → {len(baseline.fields)} fields, {slices} slices by "
            f"{dimensions}, {sum(field.critical for field in result.contract.fields)} critical fields (*)."
        )
        self.paragraph(
            "bins; nulls where there are some; φ of a day and a week, the number of events that count as one "
            "independent reading:"
        )
        cells = [_decided(field) for field in baseline.fields]
        width = max(map(len, cells)) + 3
        n_columns = max(1, (min(self._console.width, 130) - MARGIN + 3) // width)
        n_rows = -(-len(cells) // n_columns)
        for row in range(n_rows):
            self.line(" " * MARGIN + "".join(cell.ljust(width) for cell in cells[row::n_rows]).rstrip())

    def applied(self, plan: Plan, settings: Settings) -> None:
        """Say what was made."""
        baselines = " and ".join(change.baseline_id for change in plan.baselines)
        self.paragraph(
            f"Database {settings.warehouse.database} with {len(plan.migrations)} migrations, {len(plan.topics)} topics "
            f"{settings.topic_prefix}…, the contract of {MODEL}, its baselines {baselines}."
        )

    # ------------------------------------------------------------------------------------------ after

    def findings(self, findings: Findings, calendar: Calendar) -> None:
        """Tell what was found."""
        counts = findings.counts
        self.heading("In and out")
        self.paragraph(
            f"{counts.published:,} predictions published, {counts.counted:,} counted in panes, {counts.recorded:,} "
            f"raw rows; {counts.labels_published:,} labels published, {counts.labels_recorded:,} recorded; "
            f"{counts.dead:,} dead letters, {counts.lost_offsets:,} offsets lost. {counts.verdicts:,} verdicts on "
            f"distributions, {counts.rate_verdicts:,} on rates."
        )
        width = self._console.width - max(map(len, findings.weeks), default=0) - MARGIN - 2 - END_COLUMNS
        timeline = make_timeline(findings.weeks, max(20, min(width, 160)))
        if timeline is not None:
            self._timeline(timeline)
        critical = findings.first_critical
        if critical:
            self._first_major(critical[0], calendar)
        if len(critical) > 1:
            others = ", ".join(
                f"{row.field} (week to {_date(calendar.original(row.window_end))})" for row in critical[1:]
            )
            self.paragraph(f"Critical fields that followed: {others}.")
        self._outage(findings.outage, calendar)

    def _timeline(self, timeline: Timeline) -> None:
        self.heading(f"Every week ({WEEK.name}, slice all) against June and July, in the dates of 2013")
        names = max(len(line.field) for line in timeline.lines) + 1
        self.line(" " * (MARGIN + names + 1) + f"{timeline.months():<{timeline.n_cells}}  first major week")
        for line in timeline.lines:
            star = "*" if line.field in CRITICAL else ""
            text = Text(f"{'':{MARGIN}}{line.field + star:<{names}} ")
            for level in line.levels:
                text.append(" " if level is None else SIGNS[level], "" if level is None else STYLES[level])
            ends = "never" if line.first_major is None else f"ends {line.first_major.day} {line.first_major:%b}"
            text.append(f"  {ends}")
            self._console.print(text, soft_wrap=True, highlight=False)
        legend = "   ".join(f"{sign} {level}" for level, sign in reversed(SIGNS.items()))
        days = timeline.days_per_cell
        per_cell = "one window" if days == 1 else f"{days} windows, the gravest shown"
        self.line(" " * MARGIN + f"{legend}   (a sign is {per_cell}; * critical)")
        self.paragraph(
            "insufficient: the week holds too few independent readings to tell drift from chance. Without φ every "
            "weather field would be major on the first day."
        )

    def _first_major(self, row: DriftRow, calendar: Calendar) -> None:
        start, end = (calendar.original(at) for at in (row.window_start, row.window_end))
        self.heading(f"First major: {row.field}, the week from {_date(start)} to {_date(end)} 2013, both at 0:00 UTC")
        self.paragraph(
            f"PSI {row.psi:.2f}, 95 % interval {row.psi_low:.2f} to {row.psi_high:.2f}, over the line of "
            f"{row.line_major:g}; {row.n:,} flights, of which φ = {row.phi:,.0f} count as one reading. Most of it "
            f"comes from {row.top_bin}: {row.expected_share:.1%} in training, {row.actual_share:.1%} in this week."
        )
        self.query(drift_sql(row, calendar))

    def _outage(self, outage: Sequence[RateRow], calendar: Calendar) -> None:
        major = [row for row in outage if row.level == "major"]
        if not major:
            return
        row = major[0]
        end = calendar.original(row.window_end)
        self.heading(
            f"An outage upstream: the day that ends on {_date(end)} {end.year} at {end:%H:%M} UTC has no weather"
        )
        self.paragraph(
            f"{', '.join(r.field for r in major)}: major as null rates. {row.field} is null in {row.rate:.0%} of "
            f"{row.n:,} flights, in training in {row.baseline_rate:.1%}: {row.delta * 100:+.0f} points, 95 % interval "
            f"{row.delta_low * 100:+.0f} to {row.delta_high * 100:+.0f}. The weather data end on 30 December."
        )
        self.query(outage_sql(row))

    def query(self, sql: str) -> None:
        """Print a command that shows what was just said."""
        self.line(f'{"":{MARGIN}}{ON_DEMO} query "{sql}"', "cyan")

    def expectations(self, found: Sequence[Expectation]) -> None:
        """Say what had to hold, and whether it did."""
        self.heading("What these flights must show")
        for each in found:
            mark, style = ("ok    ", "green") if each.held else ("FAILED", "bold red")
            self._console.print(
                Text(" " * MARGIN).append(mark, style).append(f"  {each.what}: {each.found}"),
                soft_wrap=True,
                highlight=False,
            )

    def times(self, times_s: Mapping[str, float]) -> None:
        """Say how long each stage took."""
        self.heading("Time")
        self.paragraph(", ".join(f"{name} {seconds:.1f} s" for name, seconds in times_s.items()))

    def ended(self) -> None:
        """Say how to come back to what was found."""
        self.heading("All of it ends now. `make demo` keeps it up, so that the queries above can be run and changed.")

    def next_steps(self, folder: Path, addresses: StackAddresses, log_dir: Path) -> None:
        """Say what can be done with everything up."""
        self.heading("Next, in another terminal")
        self.line(f"  {ON_DEMO} status")
        self.line(f'  {ON_DEMO} query "SHOW TABLES"')
        self.line(f"  {COMMAND} infer YOUR.parquet --model NAME --version 1 --time COLUMN    # of a table of your own")
        self.line(f"  cat {_shown(folder / MODEL)}.yaml    # the contract, yours to edit and `apply`")
        self.heading(
            f"Everything stays up: Kafka on {addresses.bootstrap_servers}, ClickHouse on {addresses.clickhouse_url}, "
            f"logs in {_shown(log_dir)}. Ctrl-C ends it; the data stay."
        )


def _decided(field: FieldBaseline) -> str:
    counts = field.slices[ALL]
    bins = field.n_cells - (1 if field.kind == "numeric" else 2)
    nulls = counts.cells[-1] / max(sum(counts.cells), 1)
    phi = " / ".join(f"{found.value:,.0f}" for found in counts.phi.values())
    name = field.name + ("*" if field.name in CRITICAL else "")
    return f"{name} {bins}" + (f", {nulls:.0%} null" if nulls >= 0.005 else "") + f", φ {phi}"


def _date(at: datetime) -> str:
    return f"{at.day} {at:%B}"


def _shown(path: Path) -> Path:
    """The path as it can be typed here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
