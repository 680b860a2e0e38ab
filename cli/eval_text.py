"""The output of `eval import` and `eval show`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from barograph_server.terminal import AlignedTable, Terminal, iso_utc, plural, utc_minute
from barograph_server.warehouse.evaluation.eval_runs import EvalRun, StoredRun


def import_line(run: EvalRun, *, is_new: bool) -> str:
    """Describe an imported run in one line, marked as a change if it is new."""
    items = len({answer.item for answer in run.answers})
    estimate = run.estimate()
    unscored = f", {run.unscored:,} without a score" if run.unscored else ""
    text = (
        f"{run.model}, {run.suite} version {run.suite_version}, {run.prompt or run.version}: {100 * run.mean:.1f} % "
        f"[{100 * float(estimate.low):.1f}, {100 * float(estimate.high):.1f}] of {plural(len(run.answers), 'answer')} "
        f"to {plural(items, 'item')}{unscored}; run {run.run_id}"
    )
    return f"+ {text}" if is_new else f"  {text} is stored already"


def runs_json(runs: Sequence[StoredRun], accepted: Mapping[str, str]) -> list[dict[str, Any]]:
    """Convert runs to JSON values."""
    return [
        asdict(run) | {"started_at": iso_utc(run.started_at), "accepted": accepted.get(run.suite) == run.run_id}
        for run in runs
    ]


def print_runs(terminal: Terminal, model: str, runs: Sequence[StoredRun], accepted: Mapping[str, str]) -> None:
    """Print a line for each run, by suite and start."""
    if not runs:
        terminal.line(f"{model} has no evaluation run: `barograph eval import FILE` adds one.")
        return
    table = AlignedTable(
        *("suite", "version", "started", "prompt", "served model", "score", "95 % interval", "items", "answers"),
        *("unscored", "run", "state"),
        numbers=("score", "items", "answers", "unscored"),
    )
    for run in runs:
        is_accepted = accepted.get(run.suite) == run.run_id
        table.row(
            run.suite,
            run.suite_version,
            utc_minute(run.started_at),
            run.prompt or "–",
            run.version,
            f"{100 * run.mean:.1f} %",
            f"{100 * run.low:.1f} to {100 * run.high:.1f}",
            f"{run.items:,}",
            f"{run.samples:,}",
            f"{run.unscored:,}",
            run.run_id,
            "accepted" if is_accepted else "",
            style="green" if is_accepted else "",
        )
    terminal.table(table)
    terminal.line("Intervals are clustered by item: answers to one item in several epochs resemble each other.")
