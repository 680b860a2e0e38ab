"""Baselines for people and for programs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from barograph.contract import parse_duration

from cli.apply.catalogue import ALWAYS_S
from cli.baseline.accept import Accepted
from cli.baseline.lookup import Listed
from cli.terminal import AlignedTable, SafeText, Terminal, percentage, significant, utc_second
from sketches.baseline.baseline import ALL, Baseline, FieldBaseline, Phi
from sketches.baseline.bins import PsiBins
from sketches.baseline.layout import Layout
from sketches.drift.overdispersion import FINDING

CHANGED_PSI = 0.1
_FLAGS = {"ok": "", "rough": " rough", "shorter": " ←", "unknown": " ?"}
_PHI_NOTE = "φ: rough is of 5 to 19 windows, ← that of the next shorter length, ? not known."


def list_json(entries: Sequence[Listed]) -> list[dict[str, Any]]:
    """The list as values of JSON, times in ISO 8601; `effective_from` is null for a version's first."""
    return [
        {
            "model": entry.row.model,
            "version": entry.row.version,
            "id": entry.row.baseline_id,
            "effective_from": _effective(entry, None),
            "effective_until": None if entry.until_s is None else utc_second(entry.until_s),
            "rows": None if entry.baseline is None else entry.baseline.rows,
            "season": None if entry.baseline is None else "hour_of_week" if entry.baseline.timezone else "none",
            "source": None if entry.baseline is None else entry.baseline.source,
            "reason": entry.row.reason,
            "accepted_at": utc_second(entry.row.accepted_at),
        }
        for entry in entries
    ]


def print_list(terminal: Terminal, entries: Sequence[Listed]) -> None:
    """Print the list as a table; those that hold now are bold."""
    table = AlignedTable(
        "model", "version", "id", "effective from", "rows", "accepted", "source", "reason", numbers=("rows",)
    )
    now_s = time.time()
    for entry in entries:
        from_s = entry.row.effective_from.timestamp()
        holds = from_s <= now_s and (entry.until_s is None or now_s < entry.until_s)
        baseline = entry.baseline
        cells = (
            entry.row.model,
            entry.row.version,
            entry.row.baseline_id,
            _effective(entry, "always") or "",
            "" if baseline is None else f"{baseline.rows:,}",
            utc_second(entry.row.accepted_at),
            "cannot be read by this program" if baseline is None else baseline.source,
            entry.row.reason,
        )
        table.row(*cells, style="bold" if holds else "dim")
    terminal.table(table)


def print_baseline(terminal: Terminal, entry: Listed, baseline: Baseline, field: str | None = None) -> None:
    """Print a baseline: its fields with φ, its slices, and the bins with their rows in the slice `all`.

    Args:
        terminal: the output.
        entry: its row.
        baseline: what it holds.
        field: the one field whose bins are shown, or all.
    """
    hours = f", hours of the week in {baseline.timezone}" if baseline.timezone else ""
    lines = [
        f"baseline {entry.row.baseline_id} of {baseline.model} version {baseline.version}: {baseline.rows:,} rows, "
        f"{len(baseline.fields)} fields{hours}",
        f"effective from {_effective(entry, 'always')}"
        + (f" until {utc_second(entry.until_s)}" if entry.until_s is not None else "")
        + f", accepted {utc_second(entry.row.accepted_at)}"
        + (f": {entry.row.reason}" if entry.row.reason else ""),
        f"source: {baseline.source or 'not said'}",
    ]
    terminal.lines(lines)
    shown = [result for result in baseline.fields if field in (None, result.name)]
    terminal.line()
    terminal.table(_fields(shown))
    terminal.line(_PHI_NOTE, "dim")
    if len(baseline.slice_rows) > 1:
        slices = AlignedTable("slice", "rows", "share", numbers=("rows", "share"))
        for name, rows in baseline.slice_rows.items():
            slices.row(name, f"{rows:,}", _share(rows, baseline.rows))
        terminal.line()
        terminal.table(slices)
    terminal.line()
    terminal.table(_bins(baseline, {result.name for result in shown}))


def accepted_lines(done: Accepted, *, dry_run: bool) -> list[str]:
    """What was decided, below the table of fields; `~` is changed, `!` is worth knowing."""
    learned, baseline = done.learned, done.learned.baseline
    lines = []
    if done.completeness < 1:
        lines.append(f"! {done.completeness:.2%} complete: some of the range's predictions are lost.")
    lines += [f"! {doubt}" for doubt in done.doubts]
    moved = [name for name, psi in learned.psi.items() if psi > CHANGED_PSI]
    if moved:
        lines.append(
            f"! PSI over {CHANGED_PSI:g} against the baseline before: {', '.join(moved)}. From then on such values are "
            "what is expected."
        )
    lines += [
        f"! {heavy.field}: the bin {heavy.label} holds {heavy.now:.0%} of the rows ({heavy.before:.0%} before), and "
        "what moves within it is not seen. New bins take raw rows: `barograph infer` on a table of them."
        for heavy in learned.heavy
    ]
    for name, values in learned.unseen.items():
        top = ", ".join(f"{_quoted(value.value)} (about {value.estimate:,})" for value in values)
        lines.append(
            f"! {name}: values that are not kept stay unseen, the most frequent {top}. To count them one by one takes "
            "raw rows: `barograph infer`."
        )
    repeated = [
        f"{field.name} {phi.value:.3g} ({name})"
        for field in baseline.fields
        for name, phi in field.slices[ALL].phi.items()
        if phi.value > FINDING
    ]
    if repeated:
        lines.append(
            f"! φ over {FINDING:g}: {', '.join(repeated)}. Their windows hold far fewer independent readings than "
            "predictions, or the range holds drift of its own."
        )
    lines += [f"! {note}" for note in learned.notes]
    if done.change is None:
        return [*lines, "Nothing to do: it is the version's last baseline already."]
    from_s = done.change.effective_from_s
    when = f"from event time {utc_second(from_s)} on"
    # Another run merges sketches by other coins, and quantiles are part of the id.
    named = "" if dry_run else f" {done.change.baseline_id}"
    what = f"baseline{named} of {baseline.model} version {baseline.version}"
    lines.append(f"~ {what}: {baseline.rows:,} rows; holds {when}, until then {done.change.replaces}")
    if dry_run:
        return [*lines, "Nothing was written. The same without --dry-run accepts it."]
    return [
        *lines,
        "Accepted. Running processors take it up within 10 seconds. Windows that reach over the change are "
        "insufficient; verdicts that were given stay with the baseline that they were given by.",
    ]


def print_accepted(terminal: Terminal, done: Accepted) -> None:
    """Print the fields of an accepted baseline beside those of the one before."""
    baseline, old = done.learned.baseline, done.old
    names = sorted({name for field in baseline.fields for name in field.slices[ALL].phi}, key=_length)
    terminal.line(f"{baseline.model} version {baseline.version}: {baseline.rows:,} predictions, {baseline.source}")
    table = AlignedTable(
        "field", "PSI", "null", "mean", *(f"φ {name}" for name in names), numbers=("PSI", "null", "mean", *_phis(names))
    )
    for field, before in zip(baseline.fields, old.fields, strict=True):
        psi = done.learned.psi.get(field.name)
        table.row(
            field.name,
            SafeText(
                "" if psi is None else f"{psi:.4f}", style="yellow" if psi is not None and psi > CHANGED_PSI else ""
            ),
            _both(_nulls(before, old.rows), _nulls(field, baseline.rows)),
            _both(_mean(before), _mean(field)),
            *(_both(_phi(before, name), _phi(field, name)) for name in names),
        )
    terminal.table(table)
    terminal.line(f"Before → now. {_PHI_NOTE}", "dim")


def _fields(fields: Sequence[FieldBaseline]) -> AlignedTable:
    names = sorted({name for field in fields for name in field.slices[ALL].phi}, key=_length)
    numbers = ("bins", "rows", "null", "mean", "std", *_phis(names))
    table = AlignedTable("field", "kind", *numbers, numbers=numbers)
    for field in fields:
        counts = field.slices[ALL]
        rows = sum(counts.cells) + counts.invalid
        table.row(
            field.name,
            field.kind,
            f"{field.bin_of_cell()[-1] + 1:,}",
            f"{rows:,}",
            _nulls(field, rows),
            _mean(field),
            significant(field.std) if field.kind == "numeric" else "",
            *(_phi(field, name) for name in names),
        )
    return table


def _bins(baseline: Baseline, fields: set[str]) -> AlignedTable:
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


def _effective(entry: Listed, first: str | None) -> str | None:
    from_s = int(entry.row.effective_from.timestamp())
    return first if from_s == ALWAYS_S else utc_second(from_s)


def _phis(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"φ {name}" for name in names)


def _length(name: str) -> int:
    return parse_duration(name)


def _phi(field: FieldBaseline, window: str) -> str:
    phi: Phi | None = field.slices[ALL].phi.get(window)
    return "" if phi is None else f"{phi.value:.3g}{_FLAGS[phi.flag]}"


def _nulls(field: FieldBaseline, rows: int) -> str:
    return _share(field.slices[ALL].cells[-1], rows)


def _mean(field: FieldBaseline) -> str:
    return significant(field.mean) if field.kind == "numeric" else ""


def _both(before: str, now: str) -> str:
    return now if before == now else f"{before or '–'} → {now}"


def _share(part: int, whole: int) -> str:
    return percentage(part / whole) if whole else ""


def _quoted(value: str) -> str:
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in value)
