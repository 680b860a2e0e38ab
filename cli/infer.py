"""The command line of `barograph infer`."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from barograph.contract import Arms

from barograph_server.cli.options import Arg, Connection, Opt, Options, TrainingColumns, example_of
from barograph_server.phi_text import PHI_LEGEND, format_phi
from barograph_server.profiling.infer.errors import InferError, OptionError
from barograph_server.profiling.infer.files import WrittenFiles
from barograph_server.profiling.infer.infer import DEFAULTS, Decision, InferResult, SeasonChoice
from barograph_server.profiling.infer.traffic import infer_traffic
from barograph_server.profiling.infer.training import infer, parse_window
from barograph_server.sample_tables import TRAIN
from barograph_server.sketches.baseline.baseline import ALL, Baseline
from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.baseline.layout import Layout
from barograph_server.sketches.drift.season import Season
from barograph_server.terminal import AlignedTable, SafeText, Terminal, percentage, shorten_name, utc_minute
from barograph_server.times import parse_moment, parse_since

MAX_COLUMNS = 60
"""Columns that are listed one by one; of a wider table similar ones are summarized."""
MAX_EXAMPLES = 3
"""Names of similar columns that a summary lists."""


def print_report(terminal: Terminal, result: InferResult, written: WrittenFiles) -> None:
    """Print the decisions, one line per column, the warnings, and the paths of the files."""
    baseline = result.baseline
    heading = SafeText(f"{baseline.source}: {baseline.rows:,} rows{_period(result)} → model ")
    terminal.line(heading.append(baseline.model, "bold").append(f", version {baseline.version}"))
    terminal.table(_columns_table(result))
    for reason in filter(None, (result.windows_reason, *result.critical_reasons)):
        terminal.line(reason)
    if result.windows:
        lengths = ", ".join(f"{count:,} of {name}" for name, count in result.windows.items())
        terminal.line(f"{PHI_LEGEND}. Windows: {lengths}.", "dim")
    if baseline.timezone:
        terminal.line(_season(baseline))
    for dimension in baseline.dimensions:
        values = ", ".join(dimension.values[:8]) + (", …" if len(dimension.values) > 8 else "")
        if not dimension.trained:
            terminal.line(
                f"Slices by {dimension.name}: {values}; not in the training data, so they are compared with all of it."
            )
            continue
        others = baseline.slice_rows[f"{dimension.name}=other"]
        terminal.line(f"Slices by {dimension.name}: {len(dimension.values)} ({values}) and other ({others:,} rows).")
    for warning in filter(None, (result.windows_warning, *result.warnings)):
        terminal.line(SafeText("! ", style="bold yellow").append(warning, "none"))
    for path, what in ((written.contract, "contract"), (written.baseline, f"baseline {baseline.id}")):
        state = "unchanged" if path in written.unchanged else "written"
        terminal.line(f"{what}: {path} ({state})")


def _season(baseline: Baseline) -> str:
    """Describe which fields vary by hour of the week by more than chance."""
    seasonal = {baseline.fields[index].name for index in Season(PsiBins(Layout(baseline))).fields.tolist()}
    without = [field.name for field in baseline.fields if field.name not in seasonal]
    others = f"; no season in {', '.join(map(shorten_name, without))}" if without else ""
    fields = f"{len(seasonal)} of {len(baseline.fields)} fields vary by hour"
    return f"Hours of the week in {baseline.timezone}: {fields}{others}."


def _period(result: InferResult) -> str:
    if result.period_ms is None:
        return ""
    first, last = (_moment(at_ms) for at_ms in result.period_ms)
    return f", {first} to {last} UTC"


def _moment(at_ms: int) -> str:
    try:
        return utc_minute(at_ms / 1000)
    except (OverflowError, ValueError, OSError):
        return f"{at_ms} ms"


def _columns_table(result: InferResult) -> AlignedTable:
    numbers = ("bins", "null", *(f"φ {name}" for name in result.windows))
    table = AlignedTable("column", "field", "type", *numbers, "why", numbers=numbers)
    learned = {field.name: field.slices[ALL].phi for field in result.baseline.fields}
    is_wide = len(result.decisions) > MAX_COLUMNS
    decisions, summaries = summarize_columns(result.decisions) if is_wide else ([*result.decisions], [])
    for decision in decisions:
        phis = [format_phi(learned.get(decision.field, {}).get(name)) for name in result.windows]
        cells = [
            shorten_name(decision.column),
            _field(decision),
            decision.type,
            f"{decision.bins:,}" if decision.field else "",
            "" if decision.nulls is None else percentage(decision.nulls),
            *phis,
            decision.reason,
        ]
        table.row(*cells, style="" if decision.field else "dim")
    for text, kind in summaries:
        table.row(text, "", kind, *("" for _ in numbers), "see the contract", style="dim")
    return table


def summarize_columns(decisions: Sequence[Decision]) -> tuple[list[Decision], list[tuple[str, str]]]:
    """Group the columns of a wide table by type and reason, without the numbers in the reason.

    Returns:
        The columns that are listed, those of groups of up to `MAX_EXAMPLES` columns; and for each larger group the
        number of its columns with the first names, and its type.
    """
    groups: dict[tuple[str, bool, str], list[Decision]] = {}
    for decision in decisions:
        key = decision.type, bool(decision.field), re.sub(r"[\d.,]+", "0", decision.reason)
        groups.setdefault(key, []).append(decision)
    # Groups of one remain many if each reason names its column, so they are limited too.
    small = [each for group in groups.values() if len(group) <= MAX_EXAMPLES for each in group]
    small.sort(key=lambda each: each.type not in ("time", "label"))
    listed = small[:MAX_COLUMNS]
    summaries = []
    for (kind, is_field, _), group in groups.items():
        if len(group) > MAX_EXAMPLES:
            names = ", ".join(shorten_name(each.column) for each in group[:MAX_EXAMPLES])
            what = "columns" if is_field else "columns left out"
            summaries.append((f"{len(group):,} {what}: {names}, …", kind))
    if len(small) > len(listed):
        summaries.append((f"{len(small) - len(listed):,} more columns", ""))
    return listed, summaries


def _field(decision: Decision) -> str:
    if not decision.field:
        return "—"
    return "same" if decision.field == decision.column else shorten_name(decision.field)


BAD_INPUT = 2
"""Exit code for an invalid table or option; nothing was written."""


class Inference(Options, frozen=True):
    critical: Annotated[
        tuple[str, ...],
        Opt("A field whose drift pages; repeatable. By default those that explain most of the output.", "COLUMN"),
    ] = ()
    pane: Annotated[str | None, Opt("Pane length, such as 1m or 1h. By default chosen to fit the windows.")] = None
    windows: Annotated[
        tuple[str, ...],
        Opt(
            "Such as 1d:1h, or last=500:14d:6h; repeatable. By default chosen by the traffic in TRAIN (--time).",
            "LENGTH:HOP",
            name="--window",
        ),
    ] = ()
    timezone: Annotated[str, Opt("Time zone of the model's users.")] = DEFAULTS.timezone
    season: Annotated[
        SeasonChoice, Opt("Compare windows with all training data, or with the same hours of the week.")
    ] = DEFAULTS.season


class Assignment(Options, frozen=True):
    """The arms of an A/B test."""

    arms: Annotated[
        tuple[str, ...], Opt("An arm of an A/B test and its share; repeatable.", "NAME=SHARE", name="--arm")
    ] = ()
    unit: Annotated[str | None, Opt("Unit of assignment to arms, such as context.user.", "context.NAME")] = None


class OutputFolder(Options, frozen=True):
    out: Annotated[Path, Opt("Output folder of both files.", "DIR")] = Path()
    force: Annotated[bool, Opt("Overwrite files with different content.")] = False


class RecordedTraffic(Connection, frozen=True):
    from_traffic: Annotated[
        str | None, Opt("Infer from what is recorded of this model, instead of TRAIN.", "MODEL")
    ] = None
    since: Annotated[
        str | None, Opt("With --from-traffic, the start: a time, or an age such as 30d.", "TIME", default="all")
    ] = None
    until: Annotated[str | None, Opt("With --from-traffic, the end of the event times.", "TIME", default="now")] = None
    apply: Annotated[bool, Opt("With --from-traffic, apply both files.")] = False

    def check_unused(self) -> None:
        """Check that no option is given for an inference from a table."""
        if self != RecordedTraffic():
            raise OptionError("--since, --until, --apply and --config need --from-traffic")

    def infer(self, version: str | None, windows: Sequence[str], on_step: Callable[[str], None]) -> InferResult:
        assert self.from_traffic is not None
        with self.warehouse() as client:
            return infer_traffic(
                client,
                self.from_traffic,
                version=version,
                since=None if self.since is None else parse_since("--since", self.since, datetime.now(UTC)),
                until=None if self.until is None else parse_moment("--until", self.until),
                windows=tuple(map(parse_window, windows)),
                on_column=lambda column: on_step(f"reading {column}"),
            )


FLIGHTS = "--model flight-delay --version 1"


def infer_command(
    columns: TrainingColumns,
    inference: Inference,
    traffic: RecordedTraffic,
    assignment: Assignment,
    files: OutputFolder,
    train: Annotated[Path | None, Arg("Training table: Parquet, CSV or Arrow.", "TRAIN")] = None,
    model: Annotated[str | None, Opt("Name of the model; required with TRAIN.", "NAME")] = None,
    version: Annotated[str | None, Opt("Version that the baseline is of; required with TRAIN.")] = None,
    example: Annotated[bool, example_of("infer", (TRAIN,), "TRAIN --model NAME --version 1", FLIGHTS)] = False,
) -> None:
    """Infer a contract and a baseline from training data, or from recorded predictions, and explain each decision.

    Writes DIR/MODEL.yaml and DIR/MODEL.VERSION.baseline.json. Exits with 2 if the table or an option is invalid. With
    --from-traffic the keys of the contract in force stay, and failed predictions are left out.

    Examples:
        barograph infer train.parquet --model flight-delay --version 3 --time at --score p --label late
        barograph infer train.csv --model churn --version 1 --slice country --pane 1h --window 1d:1h
        barograph infer train.csv --model churn --version 1 --slice country --slice "country * plan"
        barograph infer train.csv --model churn --version 2 --arm a=0.9 --arm b=0.1 --unit context.user
        barograph infer train.csv --model shop --version 1 --time at --timezone Europe/Berlin --season hour_of_week
        barograph infer --from-traffic support-bot --out contracts --apply
    """
    terminal, errors = Terminal(), Terminal(stderr=True)
    try:
        with errors.steps() as on_step:
            if traffic.from_traffic is not None:
                others = (train, model, parse_arms(assignment.arms, assignment.unit), *columns.values().values())
                if any(others) or msgspec.structs.replace(inference, windows=()) != Inference():
                    raise OptionError(
                        "--from-traffic keeps the contract in force: besides --version, --since, --until, --window, "
                        "--out, --force and --apply it takes no option and no table"
                    )
                result = traffic.infer(version, inference.windows, on_step)
            elif train is None or model is None or version is None:
                raise OptionError("give a table TRAIN with --model and --version, or --from-traffic MODEL")
            else:
                traffic.check_unused()
                result = infer(
                    train,
                    model=model,
                    version=version,
                    **columns.values(),
                    **inference.values(),
                    arms=parse_arms(assignment.arms, assignment.unit),
                    on_column=lambda column: on_step(f"reading {column}"),
                )
        written = result.write_contract(files.out, force=files.force)
    except InferError as error:
        errors.line(str(error), "red")
        raise typer.Exit(BAD_INPUT) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        errors.line(f"{error.filename or files.out}: {reason}", "red")
        raise typer.Exit(BAD_INPUT) from None
    print_report(terminal, result, written)
    if traffic.from_traffic is None:
        return
    if not traffic.apply:
        terminal.line(f"Next: barograph apply {written.contract}")
        return
    from barograph_server.provisioning import apply_all
    from barograph_server.provisioning.files import read_inputs

    plan = apply_all(traffic.settings(), *read_inputs([written.contract], [written.baseline]))
    terminal.lines(plan.notes)
    shortest = min(result.contract.windows).name
    terminal.line(f"Applied. The first verdicts follow when a window of {shortest} has been counted on the baseline.")


def parse_arms(texts: Sequence[str], unit: str | None) -> Arms | None:
    """Parse arms such as `a=0.9`; None if there are none. The contract checks their shares later.

    Raises:
        OptionError: a text is not NAME=SHARE, or there is a unit but no arm.
    """
    if not texts:
        if unit is not None:
            raise OptionError("--unit: there are no arms; add each with --arm NAME=SHARE")
        return None
    shares: dict[str, float] = {}
    for text in texts:
        name, _, share = text.rpartition("=")
        try:
            shares[name] = float(share)
        except ValueError:
            name = ""
        if not name:
            raise OptionError(f"--arm {text}: write the arm and its share, such as a=0.5")
    return Arms(shares=shares, unit=unit or "")
