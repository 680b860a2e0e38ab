"""The command lines of `barograph baseline`."""

import time
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from operator import itemgetter
from typing import Annotated

from barograph.contract import parse_duration

from barograph_server.cli.options import (
    Arg,
    CommandGroup,
    Connection,
    DryRun,
    ListOutput,
    Model,
    OnlyModel,
    Opt,
    Output,
    require_reason,
)
from barograph_server.errors import CommandError
from barograph_server.phi_text import PHI_LEGEND, format_phi
from barograph_server.profiling.baseline.lookup import BaselineEntry, find_baseline, list_baselines
from barograph_server.provisioning.accepted_baselines import AcceptedBaseline, AcceptRequest, accept
from barograph_server.provisioning.catalogue import ALWAYS_S
from barograph_server.sketches.baseline.baseline import ALL, Baseline, FieldBaseline
from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.baseline.layout import Layout
from barograph_server.sketches.drift.overdispersion import FINDING
from barograph_server.terminal import (
    AlignedTable,
    SafeText,
    TableColumn,
    Terminal,
    escaped,
    make_table,
    percentage,
    significant,
    utc_second,
)
from barograph_server.times import parse_effective, parse_exact_time

SKETCHED_BINS = (
    "shares of bins come from sketches, so φ is rough, and slices without sketches are insufficient. Accept a later "
    "range that was counted on these bins to replace them by exact counts."
)
CHANGED_PSI = 0.1
"""PSI against the previous baseline from which a field counts as changed."""


BASELINES = (
    TableColumn("row.model"),
    TableColumn("row.version"),
    TableColumn("row.baseline_id", "id"),
    TableColumn("row.effective_from", format=lambda at: _effective_text(at)),
    TableColumn("until_s", "until", utc_second),
    TableColumn(lambda entry: entry.baseline and entry.baseline.rows, "rows", ","),
    TableColumn(lambda entry: entry.baseline and (entry.baseline.timezone or "none"), "season"),
    TableColumn("row.accepted_at", "accepted", utc_second),
    TableColumn(lambda entry: entry.baseline.source if entry.baseline else "not readable by this release", "source"),
    TableColumn("row.reason"),
)


def print_baseline(terminal: Terminal, entry: BaselineEntry, baseline: Baseline, field: str | None = None) -> None:
    """Print a baseline: its fields with φ (or one), its slices, and the bins with their rows in the slice `all`."""
    hours = f", seasonal by hour of the week in {baseline.timezone}" if baseline.timezone else ""
    lines = [
        f"baseline {entry.row.baseline_id} of {baseline.model} version {baseline.version}: {baseline.rows:,} rows, "
        f"{len(baseline.fields)} fields{hours}",
        f"effective from {_effective_text(entry.row.effective_from)}"
        + (f" until {utc_second(entry.until_s)}" if entry.until_s is not None else "")
        + f", accepted {utc_second(entry.row.accepted_at)}"
        + (f": {entry.row.reason}" if entry.row.reason else ""),
        f"source: {baseline.source or 'unknown'}",
    ]
    terminal.lines(lines)
    shown = [result for result in baseline.fields if field in (None, result.name)]
    terminal.line()
    terminal.table(_fields_table(shown))
    terminal.line(f"{PHI_LEGEND}.", "dim")
    sketched = [result.name for result in shown if result.has_sketched_bins]
    if sketched:
        terminal.line(f"{', '.join(sketched)}: {SKETCHED_BINS}")
    if len(baseline.slice_rows) > 1:
        share = TableColumn(
            lambda item: item[1] / baseline.rows if baseline.rows else None, "share", percentage, is_number=True
        )
        columns = (TableColumn(itemgetter(0), "slice"), TableColumn(itemgetter(1), "rows", ","), share)
        terminal.line()
        terminal.rows(baseline.slice_rows.items(), columns)
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
    numbers = ("PSI", "null", "mean", *(f"φ {name}" for name in names))
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
    terminal.line(f"Previous → new. {PHI_LEGEND}.", "dim")


def _fields_table(fields: Sequence[FieldBaseline]) -> AlignedTable:
    return make_table(
        fields,
        (
            TableColumn("name", "field"),
            TableColumn("kind"),
            TableColumn(lambda field: field.bin_of_cell()[-1] + 1, "bins", ","),
            TableColumn(_rows, "rows", ","),
            TableColumn(lambda field: _null_share(field, _rows(field)), "null", is_number=True),
            TableColumn(_mean, "mean", is_number=True),
            TableColumn(lambda field: significant(field.std) if field.kind == "numeric" else "", "std", is_number=True),
            *(TableColumn(partial(_phi, window=name), f"φ {name}", is_number=True) for name in _window_names(fields)),
        ),
    )


def _rows(field: FieldBaseline) -> int:
    return sum(field.slices[ALL].cells) + field.slices[ALL].invalid


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


def _effective_text(at: datetime) -> str:
    return "always" if int(at.timestamp()) == ALWAYS_S else utc_second(at)


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


baseline_app = CommandGroup()


@baseline_app.add("list")
def list_command(output: ListOutput, connection: Connection, model: OnlyModel = None) -> None:
    """List the baselines of each version: id, effective time, source and reason.

    Examples:
        barograph baseline list --model flight-delay
        barograph baseline list --format json | jq '.[].baseline_id'
    """
    with connection.warehouse() as client:
        entries = list_baselines(client, model)
    now_s = time.time()

    def style(entry: BaselineEntry) -> str:
        is_past = entry.until_s is not None and entry.until_s <= now_s
        return "dim" if is_past or entry.row.effective_from.timestamp() > now_s else "bold"

    output.show(entries, BASELINES, style=style)


@baseline_app.add("show")
def show_command(
    output: Output,
    connection: Connection,
    baseline_id: Annotated[str, Arg("Baseline id, or the start of it.", "ID")],
    field: Annotated[str | None, Opt("Only this field.")] = None,
) -> None:
    """Show the contents of a baseline: fields, φ, slices, and the rows of each bin.

    The JSON output is a file for `barograph apply --baseline`.

    Examples:
        barograph baseline show 9f2c --field temp
        barograph baseline show 9f2c --format json > flight-delay.3.baseline.json
    """
    with connection.warehouse() as client:
        result = find_baseline(client, baseline_id)
    assert result.baseline is not None
    names = [each.name for each in result.baseline.fields]
    if field is not None and field not in names:
        raise CommandError(f"Baseline {result.row.baseline_id} has no field {field}; its fields: {', '.join(names)}.")
    if output.is_json:
        print(result.row.body, end="")
    else:
        print_baseline(Terminal(), result, result.baseline, field)


@baseline_app.add("accept")
def accept_command(
    connection: Connection,
    model: Model,
    version: Annotated[str, Opt("Version of the model.")],
    from_: Annotated[str, Opt("Start of the first pane (event time).", "TIME")],
    to: Annotated[str, Opt("End of the last pane (event time).", "TIME")],
    reason: Annotated[str, Opt("Why this production data is the new normal.", "TEXT")],
    effective: Annotated[
        str | None,
        Opt(
            "Event time from which it applies: the start of a pane; by default the first in a minute or later.", "TIME"
        ),
    ] = None,
    incomplete: Annotated[bool, Opt("Accept a range with lost predictions.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Accept production data as the new normal: create a baseline from sealed panes.

    Use a range that is known to be good and contains 20 windows of each length, from which φ is learned. Past verdicts
    do not change.

    Examples:
        barograph baseline accept --model shop --version 4 --from 2026-03-02T00:00Z --to 2026-03-30T00:00Z --reason sale
    """
    request = AcceptRequest(
        model=model,
        version=version,
        from_s=parse_exact_time("--from", from_),
        to_s=parse_exact_time("--to", to),
        reason=require_reason(reason, "the baseline"),
        effective_s=parse_effective(effective),
        incomplete=incomplete,
        dry_run=dry_run,
    )
    warehouse = connection.settings("clickhouse").warehouse
    terminal = Terminal()
    with Terminal(stderr=True).steps() as on_step:
        accepted = accept(warehouse, request, on_step=on_step)
    print_accepted_baseline(terminal, accepted)
    terminal.changes(accepted_lines(accepted, dry_run=dry_run))
