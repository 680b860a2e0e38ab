"""Printed report of the demo: headings, paragraphs, tables, charts, and the SQL behind each finding."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from textwrap import fill, wrap
from typing import TYPE_CHECKING

from barograph_server.examples.demo.expectation import DemoExpectation
from barograph_server.examples.demo.flights import ACCEPTED_AT, AUTUMN, CANDIDATE_AT, MODEL
from barograph_server.examples.demo.fresh_start import DRIFT_DEMO, DemoNames
from barograph_server.examples.demo.timeline import SIGNS, Timeline
from barograph_server.profiling.infer import InferResult
from barograph_server.sketches.baseline.baseline import ALL, FieldBaseline
from barograph_server.terminal import LEVEL_STYLES, SafeText, Terminal, plural

if TYPE_CHECKING:
    from barograph_server.examples.flights.replay import FlightsTables
    from barograph_server.examples.flights.shadow import ShadowFlights
    from barograph_server.local.stack import StackAddresses
    from barograph_server.provisioning import Plan
    from barograph_server.provisioning.accepted_baselines import AcceptedBaseline
    from barograph_server.settings import Settings

COMMAND = ".venv/bin/barograph"
MARGIN = 2
END_COLUMNS = 17
"""Columns reserved to the right of a full-width chart."""
NAME_COLUMNS, LEVEL_COLUMNS = 14, 8
"""Column widths of the summary."""
WIDEST = 110
"""Longer lines are hard to read."""


class DemoReport:
    """Prints plain text with a little color; color alone never carries information."""

    def __init__(self, terminal: Terminal, names: DemoNames = DRIFT_DEMO) -> None:
        self._terminal = terminal
        self.command = f"BAROGRAPH_CLICKHOUSE_DATABASE={names.database} {COMMAND}"
        """Start of commands that use the demo's database instead of the database of `barograph dev`."""

    # ------------------------------------------------------------------------------------------ forms

    def line(self, text: str | SafeText = "", style: str = "") -> None:
        """Print a line as it is, however long: it may be copied."""
        self._terminal.line(text, style)

    def heading(self, text: str) -> None:
        """Print a section heading."""
        self.line()
        self.line(text, "bold")

    def signal(self, name: str, asks: str) -> None:
        """Print the heading of one signal."""
        self.line()
        self.line(SafeText(name, "bold reverse").append(f"  {asks}", "not bold not reverse"))

    def paragraph(self, text: str) -> None:
        """Print text in lines that fit."""
        indent = " " * MARGIN
        self.line(fill(text, self._width, initial_indent=indent, subsequent_indent=indent, break_long_words=False))

    def finding(self, title: str, text: str) -> None:
        """Print a finding: title and text."""
        self.line()
        self.line(f"{'':{MARGIN}}{title}", "bold")
        self.paragraph(text)

    def verdict(self, name: str, level: str, text: str) -> None:
        """Print a signal's level and why, in lines that fit."""
        first, *rest = wrap(text, self._width - MARGIN - NAME_COLUMNS - LEVEL_COLUMNS)
        shown = SafeText(f"{'':{MARGIN}}{name:<{NAME_COLUMNS}}").append(
            f"{level:<{LEVEL_COLUMNS}}", LEVEL_STYLES[level]
        )
        self.line(shown.append(first))
        for line in rest:
            self.line(f"{'':{MARGIN + NAME_COLUMNS + LEVEL_COLUMNS}}{line}")

    def query(self, sql: str) -> None:
        """Print a command that shows the data behind a finding."""
        lines = "\n".join(f"{'':{2 * MARGIN}}{line}" for line in sql.splitlines())
        self.line(f'{"":{MARGIN}}{self.command} query "\n{lines}"', "cyan")

    def table(
        self, header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Collection[int] | None = None
    ) -> None:
        """Print rows in columns; all but the first are numbers unless `numbers` names which are."""
        right = range(1, len(header)) if numbers is None else numbers
        widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
        for row in (header, *rows):
            cells = (f"{cell:{'>' if i in right else '<'}{widths[i]}}" for i, cell in enumerate(row))
            text = SafeText(" " * MARGIN, "dim" if row is header else "")
            for cell in cells:
                text.append(cell, LEVEL_STYLES.get(cell.strip(), "")).append("  ")
            text.rstrip()
            self.line(text)

    def cells(self, names: Iterable[str]) -> int:
        """How many cells of a chart with such lines fit."""
        return max(20, min(self._terminal.width - max(map(len, names), default=0) - MARGIN - 2 - END_COLUMNS, 160))

    def chart(
        self,
        timeline: Timeline,
        stars: Collection[str] = (),
        *,
        ends: Mapping[str, str] | None = None,
        head: str = "first major week",
        mark: tuple[date, str] | None = None,
    ) -> None:
        """Print the levels of fields over time.

        Args:
            timeline: the chart.
            stars: fields to mark with a star.
            ends: text to the right of each line; by default the first major week.
            head: heading above these texts.
            mark: a day and a label to show above the scale.
        """
        names = max(len(line.field) + (line.field in stars) for line in timeline.lines)
        indent = " " * (MARGIN + names + 1)
        if mark is not None:
            self.line(indent + " " * timeline.cell_of(mark[0]) + mark[1])
        self.line(f"{indent}{timeline.months():<{timeline.n_cells}}  {head}")
        for line in timeline.lines:
            star = "*" if line.field in stars else ""
            text = SafeText(f"{'':{MARGIN}}{line.field + star:<{names}} ")
            for level in line.levels:
                text.append(" " if level is None else SIGNS[level], "" if level is None else LEVEL_STYLES[level])
            first = "never" if line.first_major is None else f"ends {line.first_major.day} {line.first_major:%b}"
            self.line(text.append(f"  {first if ends is None else ends[line.field]}"))
        legend = "   ".join(f"{sign} {level}" for level, sign in reversed(SIGNS.items()))
        per_cell = "one window" if timeline.per_cell == 1 else f"{timeline.per_cell} windows, worst level shown"
        self.line(f"{'':{MARGIN}}{legend}   (one character = {per_cell}{'; * critical' if stars else ''})", "dim")

    @property
    def _width(self) -> int:
        return max(40, min(self._terminal.width, WIDEST))

    # ------------------------------------------------------------------------------------------ before and meanwhile

    def model(self, tables: FlightsTables | ShadowFlights, record_end: datetime) -> None:
        """Report the trained model and the dates of the replay."""
        self.paragraph(
            f"Trained a classifier of late arrivals on June and July 2013: AUC {tables.out_of_fold.auc:.3f} on "
            f"held-out weeks, {tables.held_out.auc:.3f} on August to December. The replay shifts these months by "
            f"{tables.shift_weeks} weeks; the last flight departs on {day_of(record_end)} {record_end.year}."
        )

    def decisions(self, result: InferResult, rows: str = "flights of June and July") -> None:
        """Summarize the decisions of `infer`.

        Args:
            result: what it inferred.
            rows: what the rows of the training table are.
        """
        baseline = result.baseline
        slices = sum(len(dimension.values) for dimension in baseline.dimensions)
        self.paragraph(
            f"{baseline.rows:,} {rows} → {len(baseline.fields)} fields, {slices} slices by "
            f"{joined(dimension.name for dimension in baseline.dimensions)}, "
            f"{sum(field.critical for field in result.contract.fields)} critical fields (*)."
        )
        lengths = joined(window.name for window in result.contract.windows)
        self.paragraph(
            f"Bins; share of nulls, if any; overdispersion φ in windows of {lengths} (φ events carry the information "
            "of one independent event):"
        )
        critical = {field.name for field in result.contract.fields if field.critical}
        cells = [_decided(field, is_critical=field.name in critical) for field in baseline.fields]
        width = max(map(len, cells)) + 3
        n_columns = max(1, (min(self._terminal.width, 130) - MARGIN + 3) // width)
        n_rows = -(-len(cells) // n_columns)
        for row in range(n_rows):
            self.line(" " * MARGIN + "".join(cell.ljust(width) for cell in cells[row::n_rows]).rstrip())

    def applied(self, plan: Plan, settings: Settings) -> None:
        """Report what `apply` created."""
        self.paragraph(
            f"Database {settings.warehouse.database} with {plural(len(plan.migrations), 'migration')}, "
            f"{len(plan.topics)} topics {settings.topic_prefix}…, the contract of {MODEL} with a latency SLO, baseline "
            f"{joined(change.baseline_id for change in plan.baselines)}."
        )

    def test_started(self, plan: Plan) -> None:
        """Report the start of the A/B test."""
        self.finding(
            f"{day_of(CANDIDATE_AT)}: barograph apply starts an A/B test",
            "Version 2, which does not use weather, serves a tenth of the flights as arm b; version 1 serves the "
            f"others as arm a. Baseline of version 2: {joined(each.baseline_id for each in plan.baselines)}.",
        )

    def accepted(self, done: AcceptedBaseline) -> None:
        """Report the acceptance of autumn as a baseline."""
        assert done.change is not None
        moved = sorted(done.learned.psi.items(), key=lambda pair: -pair[1])[:3]
        heavy = joined(f"{each.field} ({each.now:.0%} at {each.label})" for each in done.learned.new_bins)
        bins = f" Fields with many values in one bin get new bins: {heavy}." if heavy else ""
        self.finding(
            f"{day_of(ACCEPTED_AT)}: barograph baseline accept makes autumn the new baseline",
            f"{done.learned.baseline.rows:,} flights of version 1, {days_of(*AUTUMN)}, become baseline "
            f"{done.change.baseline_id}. The largest shifts against June and July are "
            f"{joined(f'{name} (PSI {psi:.2f})' for name, psi in moved)}. Existing verdicts do not change. A new "
            f"baseline takes effect one minute after now, here on the clock of the replay.{bins}",
        )

    # ------------------------------------------------------------------------------------------ after

    def expectations(self, outcomes: Sequence[DemoExpectation]) -> None:
        """Print the expectations and their outcomes."""
        self.heading("Expectations")
        for each in outcomes:
            mark, style = ("ok    ", "green") if each.is_met else ("FAILED", "bold red")
            self.line(SafeText(" " * MARGIN).append(mark, style).append(f"  {each.what}: {each.observed}"))

    def times(self, times_s: Mapping[str, float]) -> None:
        """Print the duration of each stage."""
        self.heading("Time")
        self.paragraph(", ".join(f"{name} {seconds:.1f} s" for name, seconds in times_s.items()))

    def ended(self) -> None:
        """Explain how to keep the demo running."""
        self.heading(
            "Everything stops now. Leave out EXIT=1 or --exit to keep it running and to run the queries above."
        )

    def next_steps(self, folder: Path, addresses: StackAddresses, log_dir: Path, page: str) -> None:
        """Print next steps while everything is running."""
        self.heading("Dashboards and alerts in your browser")
        self.line(f"  {page}")
        self.heading("Next, in another terminal")
        self.line(f"  {self.command} status")
        self.line(f"  {self.command} simulate --since 150d    # replay the alert rules over this history")
        self.line(f'  {self.command} query "SHOW TABLES"')
        self.line(f"  {self.command} baseline list")
        self.line(f"  {COMMAND} infer YOUR.parquet --model NAME --version 1 --time COLUMN    # for your own table")
        self.line(f"  cat {_shown(folder / MODEL)}.yaml    # the contract: edit it, then `apply`")
        self.heading(
            f"Everything keeps running: Kafka on {addresses.bootstrap_servers}, ClickHouse on "
            f"{addresses.clickhouse_url}, logs in {_shown(log_dir)}. Ctrl-C stops it; the data stay."
        )


# ---------------------------------------------------------------------------------------------------- words and numbers


def day_of(at: date) -> str:
    """Format a date without its year: `20 September`."""
    return f"{at.day} {at:%B}"


def days_of(start: datetime, end: datetime) -> str:
    """Format the days between two midnights: `22 September to 2 November`."""
    return f"{day_of(start)} to {day_of(end - timedelta(days=1))}"


def percent(share: float | None) -> str:
    """Format a share in percent; `–` if there is none."""
    if share is None or math.isnan(share):
        return "–"
    return f"{share * 100:.1f} %"


def number(value: float) -> str:
    """Format a number with three decimals; `–` if there is none."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def hours_of(seconds: float) -> str:
    """Format a duration in hours."""
    return f"{seconds / 3600:.1f} h"


def joined(names: Iterable[str]) -> str:
    """`a, b and c`."""
    *before, last = [*names] or [""]
    return f"{', '.join(before)} and {last}" if before else last


def _decided(field: FieldBaseline, *, is_critical: bool) -> str:
    counts = field.slices[ALL]
    bins = field.n_cells - (1 if field.kind == "numeric" else 2)
    nulls = counts.cells[-1] / max(sum(counts.cells), 1)
    phi = " / ".join(f"{phi.value:,.0f}" for phi in counts.phi.values())
    name = field.name + ("*" if is_critical else "")
    return f"{name} {bins}" + (f", {nulls:.0%} null" if nulls >= 0.005 else "") + f", φ {phi}"


def _shown(path: Path) -> Path:
    """Return the path relative to the current folder, if possible."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
