"""The command line of `barograph judges`."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import typer

from barograph_server.cli.options import ConfigOption, JsonOption, help_text
from barograph_server.evaluation.judges.anchor_state import AnchorState
from barograph_server.sketches.judges.anchors import LEAST_BANK, TICKET_E_VALUE
from barograph_server.terminal import AlignedTable, Terminal, plural, utc_minute
from barograph_server.warehouse.evaluation.anchor_runs import BANK, AnchorRun, DriftOutcome

SHOWN_RUNS = 20
"""Runs in the table, the newest ones."""
SHOWN_ANCHORS = 10
"""Changed anchors in a line."""


def state_json(state: AnchorState) -> dict[str, Any]:
    """Convert a state for `Terminal.json`, with all runs."""
    drift = state.drift
    numbers = {run.run_id: i for i, run in enumerate(drift.runs)}
    return {
        "model": state.series.model,
        "evaluator": state.series.evaluator,
        "version": state.series.evaluator_version,
        "anchors_hash": state.series.anchors_hash,
        "outcome": drift.outcome.value,
        "drifted_at": drift.drifted_at,
        "is_deterministic": drift.is_deterministic,
        "bank": drift.bank,
        "runs_left": drift.runs_left,
        "log_e": drift.log_e[-1] if drift.log_e else None,
        "left_out": {"no_result": drift.incomplete, "bank_used_up": drift.unpaired},
        "other_series": state.earlier,
        "files": state.unreadable or "read",
        "runs": [_run_json(state, run, numbers.get(run.run_id)) for run in state.runs],
    }


def _run_json(state: AnchorState, run: AnchorRun, number: int | None) -> dict[str, Any]:
    drift = state.drift
    return {
        "run_id": run.run_id,
        "at": run.at,
        "kind": run.kind,
        "anchors": run.anchors,
        "right": run.right,
        "no_result": run.no_result,
        "log_e": None if number is None else drift.log_e[number],
        "changed": list(drift.changed[number]) if number is not None and drift.changed else [],
    }


def print_state(terminal: Terminal, state: AnchorState) -> None:
    """Print the outcome, what to do, and the newest runs."""
    series, drift = state.series, state.drift
    title = f"{series.model}.{series.evaluator}, version {series.evaluator_version}, anchors {series.anchors_hash}"
    terminal.line(f"{title}: {drift.outcome.value}", "bold")
    if state.unreadable:
        terminal.line(
            f"The series with the newest run is shown, because this machine cannot build the judge: {state.unreadable}"
        )
    terminal.lines(_lines(state))
    later = [run for run in state.runs if run.kind != BANK]
    if not later:
        return
    numbers = {run.run_id: i for i, run in enumerate(drift.runs)}
    table = AlignedTable("run", "right", "no result", "log E", "note", numbers=("right", "no result", "log E"))
    for run in later[-SHOWN_RUNS:]:
        number = numbers.get(run.run_id)
        has_e = number is not None and not drift.is_deterministic
        log_e = f"{drift.log_e[number]:.2f}" if has_e and number is not None else "-"
        table.row(
            utc_minute(run.at), f"{run.right} of {run.anchors}", str(run.no_result), log_e, _note(state, run, number)
        )
    terminal.table(table)


def _lines(state: AnchorState) -> list[str]:
    series, drift = state.series, state.drift
    make_bank = f"`barograph judges anchors {series.model} {series.evaluator} --bank 60`"
    lines = []
    bank = [run for run in state.runs if run.kind == BANK and not run.no_result]
    if drift.bank < LEAST_BANK:
        why = "The judge or its anchors changed, and earlier runs are not compared with it: a" if state.earlier else "A"
        lines.append(
            f"{why} bank of at least {LEAST_BANK} runs is needed, and there are {drift.bank}: {make_bank} makes it."
        )
    else:
        right = [run.right for run in bank]
        lines.append(
            f"Bank: {plural(drift.bank, 'run')}, {np.mean(right):.1f} of {bank[0].anchors} verdicts right "
            f"({min(right)} to {max(right)}); {_bank_left(state)}."
        )
    if drift.outcome is DriftOutcome.DRIFTED and drift.drifted_at is not None:
        why = "a verdict that never varied changed" if drift.is_deterministic else f"E reached {TICKET_E_VALUE:g}"
        lines.append(f"Drift since {utc_minute(drift.drifted_at)} UTC, when {why}.")
    elif drift.outcome is DriftOutcome.USED_UP:
        lines.append(f"Later runs cannot be compared: {make_bank} makes further runs of the bank.")
    elif drift.outcome is DriftOutcome.NO_RUN:
        lines.append("No later run yet: the evaluator makes them, or --run makes one.")
    if drift.incomplete:
        lines.append(f"{plural(drift.incomplete, 'run')} left out, because anchors have no verdict.")
    if drift.unpaired and drift.bank >= LEAST_BANK:
        lines.append(f"{plural(drift.unpaired, 'later run')} left out, because the bank was used up.")
    return lines


def _bank_left(state: AnchorState) -> str:
    if state.drift.is_deterministic:
        return "all runs have the same verdicts, so a changed verdict is drift, and the bank is not used up"
    return f"{state.drift.runs_left} left"


def _note(state: AnchorState, run: AnchorRun, number: int | None) -> str:
    if run.no_result:
        return "left out: anchors without a verdict"
    if number is None:
        return "left out: no run of the bank is left" if state.drift.bank >= LEAST_BANK else "left out: no bank"
    changed = state.drift.changed[number] if state.drift.changed else ()
    more = f" and {len(changed) - SHOWN_ANCHORS} more" if len(changed) > SHOWN_ANCHORS else ""
    return f"changed: {', '.join(changed[:SHOWN_ANCHORS])}{more}" if changed else ""


judges_app = typer.Typer(add_completion=False, no_args_is_help=True)
MAX_RUNS = 1_000


@judges_app.callback()
def judges_group() -> None:
    """Judge anchors, which are answers with known classes, and see whether a judge has drifted."""


def anchors_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The answering model.", show_default=False)],
    evaluator: Annotated[
        str, typer.Argument(metavar="EVALUATOR", help="Its judge, as the contract names it.", show_default=False)
    ],
    bank: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=MAX_RUNS,
            help="Judge all anchors N times for the bank, at the release of the judge.",
        ),
    ] = None,
    run: Annotated[bool, typer.Option("--run", help="Judge all anchors once now, and compare.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show whether a judge has drifted since its release, by its verdicts on frozen anchors.

    Each later run is compared with one run of the bank, which is then used up. A changed judge or a changed file of
    anchors needs a new bank: its runs are never compared with earlier ones. Calls of --bank and --run are not limited
    by the budget of the contract.

    Exits with 0 (no drift; with --bank: the bank is complete), 1 (drift), 2 (insufficient: no bank, no later run, or
    the bank is used up) or 3 (error).

    Examples:
        barograph judges anchors support-bot faithful --bank 60
        barograph judges anchors support-bot faithful
    """
    from barograph_server.errors import CommandError
    from barograph_server.evaluation.judges.anchor_state import exit_code, find_judge, read_state
    from barograph_server.evaluation.judges.judging import collect_reasons, make_runs
    from barograph_server.settings import load_settings
    from barograph_server.warehouse.client import connect
    from barograph_server.warehouse.evaluation.anchor_runs import RUN

    if bank is not None and run:
        raise CommandError("--bank and --run are two kinds of runs: write one of them.")
    settings = load_settings(config, needs=("clickhouse",))
    terminal = Terminal()
    with connect(settings.warehouse) as client:
        contract = find_judge(client, model, evaluator)
        if bank is not None or run:
            make_runs(client, contract, evaluator, settings.evaluator, BANK if bank else RUN, bank or 1)
        with collect_reasons():
            state = read_state(client, contract, evaluator, settings.evaluator)
    if as_json:
        terminal.json(state_json(state))
    else:
        print_state(terminal, state)
    raise typer.Exit(exit_code(state, is_release=bank is not None))


judges_app.command("anchors", help=help_text(anchors_command))(anchors_command)
