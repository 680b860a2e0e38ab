"""Text output of `barograph infer`: the decision on each column with its reason, φ, and warnings."""

from __future__ import annotations

import re
from collections.abc import Sequence

from barograph_server.phi_text import PHI_LEGEND, format_phi
from barograph_server.profiling.infer.files import WrittenFiles
from barograph_server.profiling.infer.infer import Decision, InferResult
from barograph_server.sketches.baseline.baseline import ALL, Baseline
from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.baseline.layout import Layout
from barograph_server.sketches.drift.season import Season
from barograph_server.terminal import AlignedTable, SafeText, Terminal, cut, escaped, percentage, utc_minute

MAX_COLUMNS = 60
"""Columns that are listed one by one; of a wider table similar ones are summarized."""
MAX_EXAMPLES = 3
"""Names of similar columns that a summary lists."""
NAME_CHARS = 40
"""Maximum length of a displayed name."""


def print_report(terminal: Terminal, result: InferResult, written: WrittenFiles) -> None:
    """Print the decisions, one line per column, the warnings, and the paths of the files."""
    baseline = result.baseline
    heading = SafeText(f"{baseline.source}: {baseline.rows:,} rows{_period(result)} → model ")
    terminal.line(heading.append(baseline.model, "bold").append(f", version {baseline.version}"))
    terminal.table(_columns_table(result))
    if result.windows_reason:
        terminal.line(result.windows_reason)
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


def shorten_name(name: str) -> str:
    """Truncate a name to fit a table column, with control characters escaped."""
    return cut(escaped(name), NAME_CHARS)
