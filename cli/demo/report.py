"""How the demo speaks: headings, paragraphs, tables, charts and the SQL that shows what was just said."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from textwrap import fill, wrap
from typing import TYPE_CHECKING

from cli.demo.expectation import Expectation
from cli.demo.flights import ACCEPTED_AT, AUTUMN, CANDIDATE_AT, CRITICAL, MODEL
from cli.demo.fresh_start import DATABASE
from cli.demo.timeline import SIGNS, Timeline
from cli.infer import InferResult
from cli.terminal import LEVEL_STYLES, SafeText, Terminal
from sketches.baseline.baseline import ALL, FieldBaseline

if TYPE_CHECKING:
    from cli.apply import Plan
    from cli.baseline.accept import Accepted
    from cli.settings import Settings
    from examples.flights.replay import FlightsTables
    from local.stack import StackAddresses

COMMAND = ".venv/bin/barograph"
ON_DEMO = f"BAROGRAPH_CLICKHOUSE_DATABASE={DATABASE} {COMMAND}"
"""A command that looks at the demo's database and not at that of `barograph dev`."""
MARGIN = 2
END_COLUMNS = 17
"""Room for what stands right of a chart that is as wide as there is room."""
NAME_COLUMNS, LEVEL_COLUMNS = 14, 8
"""Of the four signals at a glance."""
WIDEST = 110
"""Longer lines are hard to read."""


class Reporter:
    """Prints plain text with a little colour; nothing is said by colour alone."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    # ------------------------------------------------------------------------------------------ forms

    def line(self, text: str | SafeText = "", style: str = "") -> None:
        """Print a line as it is, however long: it may be copied."""
        self._terminal.line(text, style)

    def heading(self, text: str) -> None:
        """Begin a section."""
        self.line()
        self.line(text, "bold")

    def signal(self, name: str, asks: str) -> None:
        """Begin one of the four signals."""
        self.line()
        self.line(SafeText(name, "bold reverse").append(f"  {asks}", "not bold not reverse"))

    def paragraph(self, text: str) -> None:
        """Print text in lines that fit."""
        indent = " " * MARGIN
        self.line(fill(text, self._width, initial_indent=indent, subsequent_indent=indent, break_long_words=False))

    def finding(self, title: str, text: str) -> None:
        """Print something that was found: what it is, then what there is to say."""
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
        """Print a command that shows what was just said."""
        lines = "\n".join(f"{'':{2 * MARGIN}}{line}" for line in sql.splitlines())
        self.line(f'{"":{MARGIN}}{ON_DEMO} query "\n{lines}"', "cyan")

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
        """Print how fields were judged over time.

        Args:
            timeline: the lines.
            stars: fields that get a star.
            ends: what stands right of each line; by default the first week that is major.
            head: what stands above that.
            mark: a day and what happened on it, over the scale.
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
        per_cell = "one window" if timeline.per_cell == 1 else f"{timeline.per_cell} windows, the gravest shown"
        self.line(f"{'':{MARGIN}}{legend}   (a sign is {per_cell}{'; * critical' if stars else ''})", "dim")

    @property
    def _width(self) -> int:
        return max(40, min(self._terminal.width, WIDEST))

    # ------------------------------------------------------------------------------------------ before and meanwhile

    def model(self, tables: FlightsTables, record_end: datetime) -> None:
        """Say what was trained, and where in time it is replayed."""
        self.paragraph(
            f"A classifier of late arrivals learned from June and July 2013: AUC {tables.out_of_fold.auc:.3f} on weeks "
            f"that it had not seen, {tables.held_out.auc:.3f} on August to December. These are replayed "
            f"{tables.shift_weeks} weeks later, so that the last flight left on {day_of(record_end)} {record_end.year}."
        )

    def decisions(self, result: InferResult) -> None:
        """Say in a few lines what `infer` decided."""
        baseline = result.baseline
        slices = sum(len(dimension.values) for dimension in baseline.dimensions)
        self.paragraph(
            f"{baseline.rows:,} flights of June and July → {len(baseline.fields)} fields, {slices} slices by "
            f"{joined(dimension.name for dimension in baseline.dimensions)}, "
            f"{sum(field.critical for field in result.contract.fields)} critical fields (*)."
        )
        self.paragraph(
            "bins; nulls where there are some; φ of a day and a week, the number of events that count as one "
            "independent reading:"
        )
        cells = [_decided(field) for field in baseline.fields]
        width = max(map(len, cells)) + 3
        n_columns = max(1, (min(self._terminal.width, 130) - MARGIN + 3) // width)
        n_rows = -(-len(cells) // n_columns)
        for row in range(n_rows):
            self.line(" " * MARGIN + "".join(cell.ljust(width) for cell in cells[row::n_rows]).rstrip())

    def applied(self, plan: Plan, settings: Settings) -> None:
        """Say what was made."""
        self.paragraph(
            f"Database {settings.warehouse.database} with {len(plan.migrations)} migrations, {len(plan.topics)} topics "
            f"{settings.topic_prefix}…, the contract of {MODEL} with a promise of latency, baseline "
            f"{joined(change.baseline_id for change in plan.baselines)}."
        )

    def test_begins(self, plan: Plan) -> None:
        """Say that a test began."""
        self.finding(
            f"{day_of(CANDIDATE_AT)}: barograph apply, a test begins",
            "Version 2, which knows no weather, answers a tenth of the flights as arm b, version 1 the others as arm "
            f"a. Its answers in training are baseline {joined(each.baseline_id for each in plan.baselines)}.",
        )

    def accepted(self, done: Accepted) -> None:
        """Say that autumn was accepted."""
        assert done.change is not None
        moved = sorted(done.learned.psi.items(), key=lambda pair: -pair[1])[:3]
        heavy = joined(f"{each.label} holds {each.now:.0%} of {each.field}" for each in done.learned.heavy)
        bins = f" Bins stay: {heavy}, and what moves within a bin is not seen." if heavy else ""
        self.finding(
            f"{day_of(ACCEPTED_AT)}: barograph baseline accept, autumn is expected from now on",
            f"{done.learned.baseline.rows:,} flights of version 1, {days_of(*AUTUMN)}, make baseline "
            f"{done.change.baseline_id}; furthest from June and July are "
            f"{joined(f'{name} (PSI {psi:.2f})' for name, psi in moved)}. Verdicts that were given stay. A baseline "
            f"holds from a minute ahead of now, which is here the clock of the replay.{bins}",
        )

    # ------------------------------------------------------------------------------------------ after

    def expectations(self, found: Sequence[Expectation]) -> None:
        """Say what had to hold, and whether it did."""
        self.heading("What these flights must show")
        for each in found:
            mark, style = ("ok    ", "green") if each.held else ("FAILED", "bold red")
            self.line(SafeText(" " * MARGIN).append(mark, style).append(f"  {each.what}: {each.found}"))

    def times(self, times_s: Mapping[str, float]) -> None:
        """Say how long each stage took."""
        self.heading("Time")
        self.paragraph(", ".join(f"{name} {seconds:.1f} s" for name, seconds in times_s.items()))

    def ended(self) -> None:
        """Say how to come back to what was found."""
        self.heading("All of it ends now. `make demo` keeps it up, so that the queries above can be run and changed.")

    def next_steps(self, folder: Path, addresses: StackAddresses, log_dir: Path, page: str) -> None:
        """Say what can be done with everything up."""
        self.heading("The dashboards that Grafana is given, in a browser, with the alerts that were raised")
        self.line(f"  {page}")
        self.heading("Next, in another terminal")
        self.line(f"  {ON_DEMO} status")
        self.line(f"  {ON_DEMO} simulate --since 150d    # what the alert rules would have done")
        self.line(f'  {ON_DEMO} query "SHOW TABLES"')
        self.line(f"  {ON_DEMO} baseline list")
        self.line(f"  {COMMAND} infer YOUR.parquet --model NAME --version 1 --time COLUMN    # of a table of your own")
        self.line(f"  cat {_shown(folder / MODEL)}.yaml    # the contract, yours to edit and `apply`")
        self.heading(
            f"Everything stays up: Kafka on {addresses.bootstrap_servers}, ClickHouse on {addresses.clickhouse_url}, "
            f"logs in {_shown(log_dir)}. Ctrl-C ends it; the data stay."
        )


# ---------------------------------------------------------------------------------------------------- words and numbers


def day_of(at: date) -> str:
    """A date without its year: `20 September`."""
    return f"{at.day} {at:%B}"


def days_of(start: datetime, end: datetime) -> str:
    """The days from a midnight to another: `22 September to 2 November`."""
    return f"{day_of(start)} to {day_of(end - timedelta(days=1))}"


def percent(share: float | None) -> str:
    """A share in percent, with the digits that are worth showing; `–` where there is none."""
    if share is None or math.isnan(share):
        return "–"
    return f"{share * 100:.1f} %"


def number(value: float) -> str:
    """A number to three digits after the point; `–` where there is none."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def hours_of(seconds: float) -> str:
    """A span in hours."""
    return f"{seconds / 3600:.1f} h"


def joined(names: Iterable[str]) -> str:
    """`a, b and c`."""
    *before, last = [*names] or [""]
    return f"{', '.join(before)} and {last}" if before else last


def _decided(field: FieldBaseline) -> str:
    counts = field.slices[ALL]
    bins = field.n_cells - (1 if field.kind == "numeric" else 2)
    nulls = counts.cells[-1] / max(sum(counts.cells), 1)
    phi = " / ".join(f"{found.value:,.0f}" for found in counts.phi.values())
    name = field.name + ("*" if field.name in CRITICAL else "")
    return f"{name} {bins}" + (f", {nulls:.0%} null" if nulls >= 0.005 else "") + f", φ {phi}"


def _shown(path: Path) -> Path:
    """The path as it can be typed here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
