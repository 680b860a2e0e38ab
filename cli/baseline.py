"""The command lines of `barograph baseline`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from barograph.contract import parse_duration

from barograph_server.cli.options import ConfigOption, JsonOption, help_text
from barograph_server.phi_text import PHI_LEGEND, format_phi
from barograph_server.profiling.baseline.lookup import BaselineEntry
from barograph_server.provisioning.accepted_baselines import AcceptedBaseline
from barograph_server.provisioning.catalogue import ALWAYS_S
from barograph_server.sketches.baseline.baseline import ALL, Baseline, FieldBaseline
from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.baseline.layout import Layout
from barograph_server.sketches.drift.overdispersion import FINDING
from barograph_server.terminal import AlignedTable, SafeText, Terminal, escaped, percentage, significant, utc_second

SKETCHED_BINS = (
    "shares of bins come from sketches, so φ is rough, and slices without sketches are insufficient. Accept a later "
    "range that was counted on these bins to replace them by exact counts."
)
CHANGED_PSI = 0.1
"""PSI against the previous baseline from which a field counts as changed."""


def list_json(entries: Sequence[BaselineEntry]) -> list[dict[str, Any]]:
    """Convert the list to JSON values, times in ISO 8601; `effective_from` is null for a version's first baseline."""
    return [
        {
            "model": entry.row.model,
            "version": entry.row.version,
            "id": entry.row.baseline_id,
            "effective_from": _effective_text(entry, None),
            "effective_until": None if entry.until_s is None else utc_second(entry.until_s),
            "rows": None if entry.baseline is None else entry.baseline.rows,
            "season": None if entry.baseline is None else "hour_of_week" if entry.baseline.timezone else "none",
            "source": None if entry.baseline is None else entry.baseline.source,
            "reason": entry.row.reason,
            "accepted_at": utc_second(entry.row.accepted_at),
        }
        for entry in entries
    ]


def print_baselines(terminal: Terminal, entries: Sequence[BaselineEntry]) -> None:
    """Print the list as a table, with the current baselines in bold."""
    table = AlignedTable(
        "model", "version", "id", "effective from", "rows", "accepted", "source", "reason", numbers=("rows",)
    )
    now_s = time.time()
    for entry in entries:
        from_s = entry.row.effective_from.timestamp()
        is_current = from_s <= now_s and (entry.until_s is None or now_s < entry.until_s)
        baseline = entry.baseline
        cells = (
            entry.row.model,
            entry.row.version,
            entry.row.baseline_id,
            _effective_text(entry, "always") or "",
            "" if baseline is None else f"{baseline.rows:,}",
            utc_second(entry.row.accepted_at),
            "not readable by this release" if baseline is None else baseline.source,
            entry.row.reason,
        )
        table.row(*cells, style="bold" if is_current else "dim")
    terminal.table(table)


def print_baseline(terminal: Terminal, entry: BaselineEntry, baseline: Baseline, field: str | None = None) -> None:
    """Print a baseline: its fields with φ, its slices, and the bins with their rows in the slice `all`.

    Args:
        field: the only field to show; None for all.
    """
    hours = f", seasonal by hour of the week in {baseline.timezone}" if baseline.timezone else ""
    lines = [
        f"baseline {entry.row.baseline_id} of {baseline.model} version {baseline.version}: {baseline.rows:,} rows, "
        f"{len(baseline.fields)} fields{hours}",
        f"effective from {_effective_text(entry, 'always')}"
        + (f" until {utc_second(entry.until_s)}" if entry.until_s is not None else "")
        + f", accepted {utc_second(entry.row.accepted_at)}"
        + (f": {entry.row.reason}" if entry.row.reason else ""),
        f"source: {baseline.source or 'unknown'}",
    ]
    terminal.lines(lines)
    shown = [result for result in baseline.fields if field in (None, result.name)]
    terminal.line()
    terminal.table(_fields_table(shown))
    terminal.line(f"φ: {PHI_LEGEND}.", "dim")
    sketched = [result.name for result in shown if result.has_sketched_bins]
    if sketched:
        terminal.line(f"{', '.join(sketched)}: {SKETCHED_BINS}")
    if len(baseline.slice_rows) > 1:
        slices = AlignedTable("slice", "rows", "share", numbers=("rows", "share"))
        for name, rows in baseline.slice_rows.items():
            slices.row(name, f"{rows:,}", _share(rows, baseline.rows))
        terminal.line()
        terminal.table(slices)
    terminal.line()
    terminal.table(_bins_table(baseline, {result.name for result in shown}))


def accepted_lines(accepted: AcceptedBaseline, *, dry_run: bool) -> list[str]:
    """Describe the accepted baseline, below the table of fields: `~` marks a change, `!` a warning."""
    learned, baseline = accepted.learned, accepted.learned.baseline
    lines = []
    if accepted.completeness < 1:
        lines.append(f"! {accepted.completeness:.2%} complete: some predictions of the range were lost.")
    lines += [f"! {warning}" for warning in accepted.warnings]
    moved = [name for name, psi in learned.psi.items() if psi > CHANGED_PSI]
    if moved:
        lines.append(
            f"! PSI above {CHANGED_PSI:g} against the previous baseline: {', '.join(moved)}. The new baseline expects "
            "the changed values."
        )
    lines += [
        f"~ {old.field}: new bins, because {old.label} has {old.now:.0%} of the values ({old.before:.0%} before)"
        for old in learned.new_bins
    ]
    if learned.new_bins:
        lines.append(f"! {', '.join(old.field for old in learned.new_bins)}: {SKETCHED_BINS}")
    lines += [
        f"! {heavy.field}: the bin {heavy.label} has {heavy.now:.0%} of the rows ({heavy.before:.0%} before), which "
        "hides changes within it. No new bins were found in the sketches; `barograph infer` on a table of raw rows may."
        for heavy in learned.heavy_bins
    ]
    for name, values in learned.unseen.items():
        top = ", ".join(f"{escaped(value.value)} (about {value.estimate:,})" for value in values)
        lines.append(
            f"! {name}: unseen values stay unseen, the most frequent {top}. To count them separately, run "
            "`barograph infer` on a table of raw rows."
        )
    repeated = [
        f"{field.name} {phi.value:.3g} ({name})"
        for field in baseline.fields
        for name, phi in field.slices[ALL].phi.items()
        if phi.value > FINDING
    ]
    if repeated:
        lines.append(
            f"! φ above {FINDING:g}: {', '.join(repeated)}. Their windows have far fewer independent observations than "
            "predictions, or the range itself contains drift."
        )
    lines += [f"! {note}" for note in learned.notes]
    if accepted.change is None:
        return [*lines, "Nothing to do: the version's latest baseline is the same."]
    when = utc_second(accepted.change.effective_from_s)
    # The id depends on quantiles, and those differ between runs, because merging of sketches is randomized.
    id_text = "" if dry_run else f" {accepted.change.baseline_id}"
    what = f"baseline{id_text} of {baseline.model} version {baseline.version}"
    lines.append(f"~ {what}: {baseline.rows:,} rows; replaces {accepted.change.replaces} from event time {when}")
    if dry_run:
        return [*lines, "Nothing was written. Run the command without --dry-run to accept the baseline."]
    return [
        *lines,
        "Accepted. Running processors load it within 10 seconds. Windows that span the change are insufficient; past "
        "verdicts do not change.",
    ]


def print_accepted_baseline(terminal: Terminal, accepted: AcceptedBaseline) -> None:
    """Print the fields of an accepted baseline next to those of the previous one."""
    baseline, old = accepted.learned.baseline, accepted.old
    names = _window_names(baseline.fields)
    terminal.line(f"{baseline.model} version {baseline.version}: {baseline.rows:,} predictions, {baseline.source}")
    numbers = ("PSI", "null", "mean", *_phi_columns(names))
    table = AlignedTable("field", *numbers, numbers=numbers)
    for field, before in zip(baseline.fields, old.fields, strict=True):
        psi = accepted.learned.psi.get(field.name)
        table.row(
            field.name,
            SafeText(
                "" if psi is None else f"{psi:.4f}", style="yellow" if psi is not None and psi > CHANGED_PSI else ""
            ),
            _change(_null_share(before, old.rows), _null_share(field, baseline.rows)),
            _change(_mean(before), _mean(field)),
            *(_change(_phi(before, name), _phi(field, name)) for name in names),
        )
    terminal.table(table)
    terminal.line(f"Previous → new. φ: {PHI_LEGEND}.", "dim")


def _fields_table(fields: Sequence[FieldBaseline]) -> AlignedTable:
    names = _window_names(fields)
    numbers = ("bins", "rows", "null", "mean", "std", *_phi_columns(names))
    table = AlignedTable("field", "kind", *numbers, numbers=numbers)
    for field in fields:
        counts = field.slices[ALL]
        rows = sum(counts.cells) + counts.invalid
        table.row(
            field.name,
            field.kind,
            f"{field.bin_of_cell()[-1] + 1:,}",
            f"{rows:,}",
            _null_share(field, rows),
            _mean(field),
            significant(field.std) if field.kind == "numeric" else "",
            *(_phi(field, name) for name in names),
        )
    return table


def _bins_table(baseline: Baseline, fields: set[str]) -> AlignedTable:
    table = AlignedTable("field", "bin", "rows", "share", numbers=("rows", "share"))
    bins = PsiBins(Layout(baseline))
    for group, (row, index) in enumerate(zip(bins.slice_index.tolist(), bins.field_index.tolist(), strict=True)):
        name = baseline.fields[index].name
        if row != 0 or name not in fields:
            continue
        start, size = int(bins.starts[group]), int(bins.sizes[group])
        rows = bins.base_bins[start : start + size].tolist()
        for i, (label, n) in enumerate(zip(bins.group_labels(group), rows, strict=True)):
            table.row(name if i == 0 else "", label, f"{n:,}", _share(n, sum(rows)))
    return table


def _effective_text(entry: BaselineEntry, first: str | None) -> str | None:
    from_s = int(entry.row.effective_from.timestamp())
    return first if from_s == ALWAYS_S else utc_second(from_s)


def _phi_columns(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"φ {name}" for name in names)


def _window_names(fields: Sequence[FieldBaseline]) -> list[str]:
    """List the windows that have a φ, shortest first."""
    return sorted({name for field in fields for name in field.slices[ALL].phi}, key=parse_duration)


def _phi(field: FieldBaseline, window: str) -> str:
    return format_phi(field.slices[ALL].phi.get(window))


def _null_share(field: FieldBaseline, rows: int) -> str:
    return _share(field.slices[ALL].cells[-1], rows)


def _mean(field: FieldBaseline) -> str:
    return significant(field.mean) if field.kind == "numeric" else ""


def _change(before: str, now: str) -> str:
    return now if before == now else f"{before or '–'} → {now}"


def _share(part: int, whole: int) -> str:
    return percentage(part / whole) if whole else ""


baseline_app = typer.Typer(add_completion=False, no_args_is_help=True)


@baseline_app.callback()
def baseline_group() -> None:
    """Show baselines, and create new ones from production data."""


def list_command(
    model: Annotated[str | None, typer.Option(help="Only this model. Default: all models.", show_default=False)] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List the baselines of each version: id, effective time, source and reason.

    Examples:
        barograph baseline list --model flight-delay
        barograph baseline list --json | jq '.[].id'
    """
    from barograph_server.profiling.baseline.lookup import list_baselines
    from barograph_server.settings import load_settings
    from barograph_server.warehouse.client import connect

    settings = load_settings(config, needs=("clickhouse",))
    with connect(settings.warehouse) as client:
        result = list_baselines(client, model)
    if as_json:
        Terminal().json(list_json(result))
    else:
        print_baselines(Terminal(), result)


def show_command(
    baseline_id: Annotated[
        str, typer.Argument(metavar="ID", help="Baseline id, or the start of it.", show_default=False)
    ],
    field: Annotated[str | None, typer.Option(help="Only this field.", show_default=False)] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show the contents of a baseline: fields, φ, slices, and the rows of each bin.

    The JSON output is a file for `barograph apply --baseline`.

    Examples:
        barograph baseline show 9f2c --field temp
        barograph baseline show 9f2c --json > flight-delay.3.baseline.json
    """
    from barograph_server.errors import CommandError
    from barograph_server.profiling.baseline.lookup import find_baseline
    from barograph_server.settings import load_settings
    from barograph_server.warehouse.client import connect

    settings = load_settings(config, needs=("clickhouse",))
    with connect(settings.warehouse) as client:
        result = find_baseline(client, baseline_id)
    assert result.baseline is not None
    names = [each.name for each in result.baseline.fields]
    if field is not None and field not in names:
        raise CommandError(f"Baseline {result.row.baseline_id} has no field {field}; its fields: {', '.join(names)}.")
    if as_json:
        print(result.row.body, end="")
    else:
        print_baseline(Terminal(), result, result.baseline, field)


def accept_command(
    model: Annotated[str, typer.Option(help="Name of the model.", show_default=False)],
    version: Annotated[str, typer.Option(help="Version of the model.", show_default=False)],
    from_: Annotated[
        str, typer.Option("--from", metavar="TIME", help="Start of the first pane (event time).", show_default=False)
    ],
    to: Annotated[str, typer.Option(metavar="TIME", help="End of the last pane (event time).", show_default=False)],
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why this production data is the new normal.", show_default=False)
    ],
    effective: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Event time at which the baseline takes effect: the start of a pane at least a minute ahead. Default: "
            "the first such pane.",
            show_default=False,
        ),
    ] = None,
    incomplete: Annotated[bool, typer.Option("--incomplete", help="Accept a range with lost predictions.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the result without writing it.")] = False,
    config: ConfigOption = None,
) -> None:
    """Accept production data as the new normal: create a baseline from sealed panes.

    Counts are exact, on the bins and slices of the baseline that the panes were counted on. A numeric field with over a
    fifth of the rows in one bin gets new bins, from sketches. φ comes from the windows in the range: use a range that
    is known to be good and contains 20 windows of each length. Past verdicts do not change.

    Examples:
        barograph baseline accept --model churn --version 4 --from 2026-03-02T00:00Z --to 2026-03-30T00:00Z
            --reason "after the new tariff" --dry-run
    """
    from barograph_server.errors import CommandError
    from barograph_server.provisioning.accepted_baselines import AcceptRequest, accept
    from barograph_server.settings import load_settings
    from barograph_server.times import parse_effective, parse_exact_time

    if not reason.strip():
        raise CommandError("--reason is empty: state the reason for later readers of the baseline.")
    request = AcceptRequest(
        model=model,
        version=version,
        from_s=parse_exact_time("--from", from_),
        to_s=parse_exact_time("--to", to),
        reason=reason,
        effective_s=parse_effective(effective),
        incomplete=incomplete,
        dry_run=dry_run,
    )
    settings = load_settings(config, needs=("clickhouse",))
    terminal, errors = Terminal(), Terminal(stderr=True)
    with errors.status("reading") as status:
        accepted = accept(settings.warehouse, request, on_step=lambda step: status.update(SafeText(step)))
    print_accepted_baseline(terminal, accepted)
    terminal.changes(accepted_lines(accepted, dry_run=dry_run))


for _name, _function in (("list", list_command), ("show", show_command), ("accept", accept_command)):
    baseline_app.command(_name, help=help_text(_function))(_function)
