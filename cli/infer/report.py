"""Text output of `barograph infer`: the decision on each column with its reason, φ, and warnings."""

from __future__ import annotations

from cli.infer.files import WrittenFiles
from cli.infer.infer import Decision, InferResult
from cli.phi_text import PHI_LEGEND, format_phi
from cli.terminal import AlignedTable, SafeText, Terminal, escaped, percentage, utc_minute
from sketches.baseline.baseline import ALL, Baseline
from sketches.baseline.bins import PsiBins
from sketches.baseline.layout import Layout
from sketches.drift.season import Season

NAME_CHARS = 40
"""Maximum length of a displayed name."""


def print_report(terminal: Terminal, result: InferResult, written: WrittenFiles) -> None:
    """Print the decisions, one line per column, the warnings, and the paths of the files."""
    baseline = result.baseline
    heading = SafeText(f"{baseline.source}: {baseline.rows:,} rows{_period(result)} → model ")
    terminal.line(heading.append(baseline.model, "bold").append(f", version {baseline.version}"))
    terminal.table(_columns_table(result))
    if result.windows:
        lengths = ", ".join(f"{count:,} of {name}" for name, count in result.windows.items())
        terminal.line(f"φ from windows: {lengths}; {PHI_LEGEND}.", "dim")
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
    for warning in result.warnings:
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
    for decision in result.decisions:
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
    return table


def _field(decision: Decision) -> str:
    if not decision.field:
        return "—"
    return "same" if decision.field == decision.column else shorten_name(decision.field)


def shorten_name(name: str) -> str:
    """Truncate a name to fit a table column, with control characters escaped."""
    name = escaped(name)
    return name if len(name) <= NAME_CHARS else f"{name[: NAME_CHARS - 1]}…"
