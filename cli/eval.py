"""The command lines of `barograph eval`."""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

import typer
from barograph.prompts.prompt import parse_prompt_id

from barograph_server.cli.options import Arg, Author, CommandGroup, Connection, ListOutput, Opt, Output
from barograph_server.errors import EXIT_HOLD, EXIT_INSUFFICIENT, EXIT_OK, CommandError
from barograph_server.evaluation.suites.evaluate import evaluate
from barograph_server.evaluation.suites.gate import SHOWN_ITEMS, GateDecision, SuiteComparison
from barograph_server.evaluation.suites.inspect_program import install_inspect, require_endpoint, run_inspect
from barograph_server.evaluation.suites.logs.read import read_logs
from barograph_server.evaluation.suites.suite import read_suite_file
from barograph_server.plain_values import plain
from barograph_server.sketches.comparison.paired_items import PairedDifference, SuiteOutcome
from barograph_server.terminal import TableColumn, Terminal, listed, plural, utc_minute
from barograph_server.warehouse.client import Address, connect
from barograph_server.warehouse.evaluation.eval_runs import EvalRun, StoredRun, accepted_runs, read_runs, store_run
from barograph_server.warehouse.rollouts.prompts import read_prompt

STYLES = {SuiteOutcome.ACCEPT: "green", SuiteOutcome.HOLD: "red", SuiteOutcome.INSUFFICIENT: "yellow"}


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"


def _mean(run: StoredRun | None) -> str:
    return "–" if run is None else f"{100 * run.mean:.1f} %"


def _of_difference(text: Callable[[PairedDifference], object], *, needs_items: bool = True) -> Callable[[Any], str]:
    """Make the function of a cell about the difference; `–` without one."""

    def cell(suite: SuiteComparison) -> str:
        difference = suite.difference
        return "–" if difference is None or (needs_items and not difference.items) else str(text(difference))

    return cell


_COUNTS = ("items", "better", "worse")
_SUITES = (
    TableColumn("suite"),
    TableColumn(
        lambda each: "–" if each.accepted is None else each.accepted.prompt or each.accepted.version, "accepted"
    ),
    TableColumn(lambda each: _mean(each.accepted), "score", is_number=True),
    TableColumn(lambda each: _mean(each.candidate), "candidate score", is_number=True),
    TableColumn(_of_difference(lambda each: _points(each.value)), "difference", is_number=True),
    TableColumn(_of_difference(lambda each: f"{_points(each.low)} to {_points(each.high)}"), "95 % interval"),
    TableColumn("rules.margin", format=lambda margin: f"-{100 * margin:g}", is_number=True),
    *(TableColumn(_of_difference(attrgetter(name), needs_items=False), name, is_number=True) for name in _COUNTS),
    TableColumn("outcome.value", "outcome"),
)


def print_gate(terminal: Terminal, decision: GateDecision) -> None:
    """Print a line for each suite, the items that only one run has, and the decision."""
    terminal.line(f"{decision.model}: candidate {decision.candidate}", "bold")
    terminal.rows(decision.suites, _SUITES, lambda each: STYLES[each.outcome])
    terminal.line("Differences, in points, are candidate minus accepted run, of the items that both have.")
    for each in decision.suites:
        terminal.line(f"{each.suite}: candidate {_run_text(each.candidate)}; accepted {_run_text(each.accepted)}")
        for side, items in (("accepted run", each.only_accepted), ("candidate", each.only_candidate)):
            if items:
                terminal.line(
                    f"{each.suite}: only the {side} has {plural(len(items), 'item')}: {listed(items, SHOWN_ITEMS)}",
                    "yellow",
                )
        if each.obstacle:
            terminal.line(f"{each.suite}: {each.obstacle}", "yellow")
    terminal.line(f"decision: {decision.outcome.value}", "bold")
    if decision.is_accepted:
        terminal.changes([f"+ {decision.candidate} is accepted: later candidates are compared with it"])


def _run_text(run: StoredRun | None) -> str:
    if run is None:
        return "no run"
    unscored = f", {run.unscored:,} without a score" if run.unscored else ""
    return f"run {run.run_id} ({plural(run.samples + run.unscored, 'answer')}{unscored})"


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


RUNS = (
    TableColumn("suite"),
    TableColumn("suite_version", "version"),
    TableColumn("started_at", "started", utc_minute),
    TableColumn("prompt", format=lambda prompt: prompt or "–"),
    TableColumn("version", "served model"),
    TableColumn("mean", "score", lambda mean: f"{100 * mean:.1f} %", is_number=True),
    TableColumn(lambda run: f"{100 * run.low:.1f} to {100 * run.high:.1f}", "95 % interval"),
    TableColumn("items", format=","),
    TableColumn("samples", "answers", ","),
    TableColumn("unscored", format=","),
    TableColumn("run_id", "run"),
)


eval_app = CommandGroup()

_Application = Annotated[str, Opt("The application.", "NAME")]


@eval_app.add("import")
def import_command(
    connection: Connection,
    paths: Annotated[tuple[Path, ...], Arg("Logs of inspect-ai, lm-eval or promptfoo.", "FILE")],
    model: Annotated[str | None, Opt("The application. Default: as the log says.", "NAME")] = None,
    prompt: Annotated[str | None, Opt("Default: as the log says.", "NAME@VERSION")] = None,
    scorer: Annotated[str | None, Opt("Score to read. Default: the log's first.", "NAME")] = None,
) -> None:
    """Import logs of evaluation runs. A log whose totals differ from its scores is an error.

    All logs are read before one is stored. A run that is stored already changes nothing.

    Examples:
        barograph eval import logs/2026-11-29_answers.eval
        barograph eval import logs/*.json --model support-bot --prompt answer@8
    """
    runs = read_logs(paths, model=model, prompt=prompt, scorer=scorer)
    _store(connection.settings("clickhouse").warehouse, runs)


def _store(warehouse: Address, runs: Iterable[EvalRun]) -> None:
    """Store runs, and print a line for each."""
    with connect(warehouse) as client:
        for run in runs:
            is_new = store_run(client, run, int(time.time() * 1000))
            Terminal().changes([import_line(run, is_new=is_new)])


@eval_app.add("run")
def run_command(
    connection: Connection,
    path: Annotated[Path, Arg("The suite (YAML).", "SUITE")],
    model: _Application,
    prompt: Annotated[str, Opt("A registered version of a prompt.", "NAME@VERSION")],
    endpoint: Annotated[str | None, Opt("The model, instead of the suite's.", "URL")] = None,
    log_dir: Annotated[Path, Opt("Where logs are kept.", "FOLDER")] = Path("eval-logs"),
) -> None:
    """Run a suite with inspect-ai on a version of a prompt, and import its log.

    inspect-ai runs as a program of its own; the first run installs it.

    Examples:
        barograph eval run evals/answers.yaml --model support-bot --prompt answer@8
        barograph eval run evals/answers.yaml --model support-bot --prompt answer@8 --endpoint http://127.0.0.1:8080/v1
    """
    suite = read_suite_file(path)
    if endpoint is not None:
        suite = replace(suite, endpoint=endpoint)
    name, version = parse_prompt_id(prompt)
    if version is None:
        raise CommandError(f"--prompt {prompt} names no version: write it as {prompt}@8.")
    if suite.endpoint is not None:
        require_endpoint(suite.endpoint)
    warehouse = connection.settings("clickhouse").warehouse
    with connect(warehouse) as client:
        content = read_prompt(client, name, version)
    if content is None:
        raise CommandError(f"The prompt {prompt} is not registered: `barograph prompts list` shows what is.")
    with Terminal(stderr=True).status("Installing and running inspect-ai"):
        log = run_inspect(install_inspect(), suite, content, model, log_dir)
    runs = read_logs([log], model=model, prompt=prompt)
    # With a new connection: the run may have taken hours.
    _store(warehouse, runs)
    Terminal().line(f"  log: {log}")


@eval_app.add("show")
def show_command(output: ListOutput, connection: Connection, model: _Application) -> None:
    """Show the runs of a model by suite and start, with intervals.

    Intervals are clustered by item: answers to one item in several epochs resemble each other.

    Examples:
        barograph eval show --model support-bot
        barograph eval show --model support-bot --format json | jq '.[] | select(.state == "accepted")'
    """
    with connection.warehouse() as client:
        runs, accepted = read_runs(client, model), accepted_runs(client, model)

    def state(run: StoredRun) -> str:
        return "accepted" if accepted.get(run.suite) == run.run_id else ""

    output.show(
        runs,
        (*RUNS, TableColumn(state, "state")),
        style=lambda run: "green" if state(run) else "",
        empty=f"{model} has no evaluation run: `barograph eval import FILE` adds one.",
        result=[{**plain(run), "state": state(run)} for run in runs],
    )


@eval_app.add("gate")
def gate_command(
    output: Output,
    connection: Connection,
    model: _Application,
    candidate: Annotated[
        tuple[str, ...],
        Opt("A prompt such as answer@8, a served model or a run id; repeatable for runs of several suites.", "VERSION"),
    ],
    policy: Annotated[
        Path,
        Opt("Margin and items of each suite (YAML); a margin of 0.1 needs 26 items or more, 0.05 needs 54.", "FILE"),
    ],
    accept: Annotated[bool, Opt("If the decision is accept, compare later candidates with this one.")] = False,
    author: Author = None,
) -> None:
    """Decide whether a candidate is at most a margin worse than the accepted run of each suite, item by item.

    --accept records the runs of an accepted candidate. If a suite has no accepted run, or changed since, it
    accepts the candidate's as the first; after a change only that of the accepted prompt and model.

    Exits with 0 (accept), 1 (hold), 2 (insufficient: not known, or too few items) or 3 (error).

    Examples:
        barograph eval gate --model support-bot --candidate answer@8 --policy policy.yaml
        barograph eval gate --model support-bot --candidate answer@8 --policy policy.yaml --accept --author ana
    """
    decision = evaluate(model, candidate, policy, accept=accept, by=author, settings=connection.config)
    output.show(decision, print_gate, values=lambda decision: {**plain(decision), "outcome": decision.outcome})
    codes = {SuiteOutcome.ACCEPT: EXIT_OK, SuiteOutcome.HOLD: EXIT_HOLD, SuiteOutcome.INSUFFICIENT: EXIT_INSUFFICIENT}
    raise typer.Exit(EXIT_OK if decision.is_accepted else codes[decision.outcome])
