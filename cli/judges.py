"""The command line of `barograph judges`."""

from typing import Annotated, Any

import numpy as np
import typer

from barograph_server.cli.options import CommandGroup, Connection, Model, Opt, Output
from barograph_server.errors import CommandError
from barograph_server.evaluation.judges.judging import (
    AnchorState,
    collect_reasons,
    exit_code,
    find_judge,
    make_runs,
    read_state,
)
from barograph_server.plain_values import plain
from barograph_server.sketches.judges.anchors import LEAST_BANK, TICKET_E_VALUE
from barograph_server.terminal import TableColumn, Terminal, listed, picked, plural, utc_minute
from barograph_server.warehouse.client import connect
from barograph_server.warehouse.evaluation.anchor_runs import BANK, RUN, AnchorRun, DriftOutcome

SHOWN_RUNS = 20
"""Runs in the table, the newest ones."""
SHOWN_ANCHORS = 10
"""Changed anchors in a line."""


def state_values(state: AnchorState) -> dict[str, Any]:
    """Return what programs read of a state, with all runs."""
    drift = state.drift
    return {
        **plain(state.series),
        **picked(state, "earlier", "unreadable"),
        **picked(drift, "outcome", "drifted_at", "is_deterministic", "bank", "runs_left", "incomplete", "unpaired"),
        "log_e": dict(zip((run.run_id for run in drift.runs), drift.log_e, strict=True)),
        "runs": [picked(run, "run_id", "at", "kind", "anchors", "right", "no_result") for run in state.runs],
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
    numbers = {run.run_id: i for i, run in enumerate(drift.runs)}

    def log_e(run: AnchorRun) -> str:
        number = numbers.get(run.run_id)
        return "-" if number is None or drift.is_deterministic else f"{drift.log_e[number]:.2f}"

    later = [run for run in state.runs if run.kind != BANK]
    if later:
        columns = (
            TableColumn("at", "run", utc_minute),
            TableColumn(lambda run: f"{run.right} of {run.anchors}", "right", is_number=True),
            TableColumn("no_result", format="d"),
            TableColumn(log_e, "log E", is_number=True),
            TableColumn(lambda run: _note(state, run, numbers.get(run.run_id)), "note"),
        )
        terminal.rows(later[-SHOWN_RUNS:], columns)


def _lines(state: AnchorState) -> list[str]:
    series, drift = state.series, state.drift
    make_bank = f"`barograph judges anchors --model {series.model} --evaluator {series.evaluator} --bank 60`"
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
            f"({min(right)} to {max(right)}; the classes of people count as truth); {_bank_left(state)}."
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
    return f"changed: {listed(changed, SHOWN_ANCHORS)}" if changed else ""


judges_app = CommandGroup()
MAX_RUNS = 1_000


@judges_app.add("anchors")
def anchors_command(
    output: Output,
    connection: Connection,
    model: Model,
    evaluator: Annotated[str, Opt("Its judge, as the contract names it.", "NAME")],
    bank: Annotated[
        int | None, Opt("Judge all anchors N times for the bank, when the judge is released.", "N", min=1, max=MAX_RUNS)
    ] = None,
    run: Annotated[bool, Opt("Judge all anchors once now, and compare.")] = False,
) -> None:
    """Show whether a judge has drifted since its release, by its verdicts on frozen anchors.

    Each later run is compared with one run of the bank, which is then used up. A changed judge or file of anchors needs
    a new bank. Calls of --bank and --run are not limited by the budget of the contract.

    Exits with 0 (no drift; with --bank: the bank is complete), 1 (drift), 2 (insufficient: no bank, no later run, or
    the bank is used up) or 3 (error).

    Examples:
        barograph judges anchors --model support-bot --evaluator faithful --bank 60
        barograph judges anchors --model support-bot --evaluator faithful
    """
    if bank is not None and run:
        raise CommandError("--bank and --run are two kinds of runs: write one of them.")
    settings = connection.settings("clickhouse")
    with connect(settings.warehouse) as client:
        contract = find_judge(client, model, evaluator)
        if bank is not None or run:
            make_runs(client, contract, evaluator, settings.evaluator, BANK if bank else RUN, bank or 1)
        with collect_reasons():
            state = read_state(client, contract, evaluator, settings.evaluator)
    output.show(state, print_state, values=state_values)
    raise typer.Exit(exit_code(state, is_release=bank is not None))
