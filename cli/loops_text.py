"""Output of `barograph loops`."""

from __future__ import annotations

from dataclasses import asdict

from barograph_server.governance.loops import Exposures, LoopReport
from barograph_server.sketches.loops.diversity import WeeklyTrend
from barograph_server.sketches.loops.effect import LoopEffect
from barograph_server.terminal import AlignedTable, Terminal, percentage, utc_minute
from barograph_server.warehouse.governance.explored_predictions import MAX_EXPOSURES


def print_loops(terminal: Terminal, report: LoopReport) -> None:
    """Print the verdict, what was read, the effect on each input, and the diversity of each week."""
    measurement, options = report.measurement, report.options
    verdict, effects = measurement.verdict, measurement.effects
    basis = verdict.reason or ", ".join(f"{name}: {_effect(effects[name])}" for name in verdict.fields)
    terminal.line(f"loop: {verdict.name}{f' ({basis})' if basis else ''}", "bold")
    unit = "standard deviation of the output" if report.output == "score" else "change of the output"
    terminal.line(
        f"{report.model}: effect of {report.output} on later inputs of the same {options.entity}, in standard "
        f"deviations per {unit}, since {utc_minute(options.start)} UTC"
    )
    counts = {name: value for name, value in asdict(report.population).items() if name not in _NO_COUNTS}
    counts |= {"read": report.rows_read, "explored, read": measurement.explored}
    counts |= {"explored, without later period": measurement.recent}
    counts |= {"explored, without output": measurement.without_output}
    terminal.pairs({name.replace("_", " "): f"{count:,}" for name, count in counts.items()})
    if report.share_read < 1.0:
        terminal.line(f"Sampled: {percentage(report.share_read)} of the entities with explored predictions were read.")
    if measurement.explored:
        table = AlignedTable("input", "effect", "p", "pairs", "entities", "note", numbers=("p", "pairs", "entities"))
        for name, effect in effects.items():
            numbers = ("-", "-") if effect.reason else (_effect(effect), f"{effect.p_value:.2g}")
            table.row(name, *numbers, f"{effect.pairs:,}", f"{effect.entities:,}", effect.reason)
        terminal.line()
        terminal.table(table)
    terminal.line()
    items = options.items or "class"
    if report.exposures is None:
        terminal.line(f"No diversity: {items} has no values, or more than {MAX_EXPOSURES:,} in all weeks together.")
    else:
        _print_exposures(terminal, items, report.exposures)


_NO_COUNTS = ("last_at_ms", "frequent_class")


def _print_exposures(terminal: Terminal, items: str, exposures: Exposures) -> None:
    columns = ("exposures", "entropy", "Gini")
    table = AlignedTable(f"week of {items}", *columns, numbers=columns)
    values = exposures.diversity
    for week, *row in zip(exposures.weeks, exposures.exposures, values.entropy, values.gini, strict=True):
        numbers = (f"{row[0]:,}", *(f"{value:.3f}" if value == value else "-" for value in row[1:]))
        table.row(f"{week:%Y-%m-%d}", *numbers)
    terminal.table(table)
    for name, trend in (("entropy", values.entropy_trend), ("Gini", values.gini_trend)):
        terminal.line(f"Trend of {name} per week, without the first and last: {_trend(trend)}")


def _effect(effect: LoopEffect) -> str:
    return f"{effect.value:+.2f} [{effect.low:.2f}, {effect.high:.2f}]"


def _trend(trend: WeeklyTrend) -> str:
    return "too few weeks" if trend.slope != trend.slope else f"{trend.slope:+.4f} [{trend.low:.4f}, {trend.high:.4f}]"
