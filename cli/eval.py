"""The command lines of `barograph eval`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from barograph_server.cli.options import ConfigOption, JsonOption, help_text
from barograph_server.evaluation.suites.gate import SHOWN_ITEMS, GateDecision
from barograph_server.sketches.comparison.paired_items import PairedDifference, SuiteOutcome
from barograph_server.terminal import AlignedTable, Terminal, iso_utc, plural, utc_minute
from barograph_server.warehouse.evaluation.eval_runs import EvalRun, StoredRun

if TYPE_CHECKING:
    from barograph_server.warehouse.client import Address

STYLES = {SuiteOutcome.ACCEPT: "green", SuiteOutcome.HOLD: "red", SuiteOutcome.INSUFFICIENT: "yellow"}


def gate_json(decision: GateDecision) -> dict[str, Any]:
    """Convert a decision to JSON values; an unknown number is null."""
    return {
        "model": decision.model,
        "candidate": decision.candidate,
        "outcome": decision.outcome.value,
        "suites": [
            {
                "suite": each.suite,
                "outcome": each.outcome.value,
                "obstacle": each.obstacle,
                "margin": each.rules.margin,
                "least_items": each.rules.items,
                "candidate_run": each.candidate and each.candidate.run_id,
                "candidate_unscored": each.candidate and each.candidate.unscored,
                "candidate_mean": each.candidate and each.candidate.mean,
                "accepted_run": each.accepted and each.accepted.run_id,
                "accepted_mean": each.accepted and each.accepted.mean,
                **_difference_json(each.difference),
                "only_accepted": list(each.only_accepted),
                "only_candidate": list(each.only_candidate),
            }
            for each in decision.suites
        ],
    }


def _difference_json(difference: PairedDifference | None) -> dict[str, Any]:
    if difference is None:
        return dict.fromkeys(("items", "better", "worse", "difference", "low", "high"))
    value = difference.value if math.isfinite(difference.value) else None
    counts = {"items": difference.items, "better": difference.better, "worse": difference.worse}
    return {**counts, "difference": value, "low": difference.low, "high": difference.high}


def print_gate(terminal: Terminal, decision: GateDecision) -> None:
    """Print a line for each suite, the items that only one run has, and the decision."""
    terminal.line(f"{decision.model}: candidate {decision.candidate}", "bold")
    table = AlignedTable(
        *("suite", "accepted", "score", "candidate score", "difference", "95 % interval", "margin", "items"),
        *("better", "worse", "outcome"),
        numbers=("score", "candidate score", "difference", "margin", "items", "better", "worse"),
    )
    for each in decision.suites:
        difference = each.difference
        known = difference is not None and difference.items > 0
        table.row(
            each.suite,
            "–" if each.accepted is None else each.accepted.prompt or each.accepted.version,
            "–" if each.accepted is None else f"{100 * each.accepted.mean:.1f} %",
            "–" if each.candidate is None else f"{100 * each.candidate.mean:.1f} %",
            f"{100 * difference.value:+.1f}" if difference is not None and known else "–",
            f"{100 * difference.low:+.1f} to {100 * difference.high:+.1f}" if difference is not None and known else "–",
            f"-{100 * each.rules.margin:g}",
            "–" if difference is None else str(difference.items),
            "–" if difference is None else str(difference.better),
            "–" if difference is None else str(difference.worse),
            each.outcome.value,
            style=STYLES[each.outcome],
        )
    terminal.table(table)
    terminal.line("Differences, in points, are candidate minus accepted run, of the items that both have.")
    for each in decision.suites:
        terminal.line(f"{each.suite}: candidate {_run_text(each.candidate)}; accepted {_run_text(each.accepted)}")
        for side, items in (("accepted run", each.only_accepted), ("candidate", each.only_candidate)):
            if items:
                terminal.line(f"{each.suite}: only the {side} has {_listed(items)}", "yellow")
        if each.obstacle:
            terminal.line(f"{each.suite}: {each.obstacle}", "yellow")
    terminal.line(f"decision: {decision.outcome.value}", "bold")


def _run_text(run: StoredRun | None) -> str:
    if run is None:
        return "no run"
    unscored = f", {run.unscored:,} without a score" if run.unscored else ""
    return f"run {run.run_id} ({plural(run.samples + run.unscored, 'answer')}{unscored})"


def _listed(items: Sequence[str]) -> str:
    more = f" and {len(items) - SHOWN_ITEMS} more" if len(items) > SHOWN_ITEMS else ""
    return f"{plural(len(items), 'item')}: {', '.join(items[:SHOWN_ITEMS])}{more}"


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


eval_app = typer.Typer(add_completion=False, no_args_is_help=True)

_Model = Annotated[str, typer.Argument(metavar="MODEL", help="The application.", show_default=False)]
_ScorerOption = Annotated[
    str | None,
    typer.Option("--scorer", metavar="NAME", help="Score to read. Default: the log's first.", show_default=False),
]
_By = Annotated[
    str | None,
    typer.Option("--by", metavar="NAME", help="Who accepts. Default: the user of this machine.", show_default=False),
]


@eval_app.callback()
def eval_group() -> None:
    """Run evaluation suites on versions of models and prompts, and hold back those that are worse."""


def import_command(
    paths: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Logs.", show_default=False)],
    model: Annotated[
        str | None,
        typer.Option("--model", help="The application. Default: as the log says.", show_default=False),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", metavar="NAME@VERSION", help="Default: as the log says.", show_default=False),
    ] = None,
    scorer: _ScorerOption = None,
    config: ConfigOption = None,
) -> None:
    """Import logs of evaluation runs. A log whose totals differ from its scores is an error.

    All logs are read before one is stored. A run that is stored already changes nothing.

    Examples:
        barograph eval import logs/2026-11-29_answers.eval
        barograph eval import logs/*.json --model support-bot --prompt answer@8
    """
    from barograph_server.evaluation.suites.logs.read import read_logs
    from barograph_server.settings import load_settings

    runs = read_logs(paths, model=model, prompt=prompt, scorer=scorer)
    _store(load_settings(config, needs=("clickhouse",)).warehouse, runs)


def _store(warehouse: Address, runs: Iterable[EvalRun]) -> None:
    """Store runs, and print a line for each."""
    import time

    from barograph_server.warehouse.client import connect
    from barograph_server.warehouse.evaluation.eval_runs import store_run

    with connect(warehouse) as client:
        for run in runs:
            is_new = store_run(client, run, int(time.time() * 1000))
            Terminal().changes([import_line(run, is_new=is_new)])


def run_command(
    path: Annotated[Path, typer.Argument(metavar="SUITE", help="The suite (YAML).", show_default=False)],
    model: Annotated[str, typer.Option("--model", help="The application.", show_default=False)],
    prompt: Annotated[
        str,
        typer.Option("--prompt", metavar="NAME@VERSION", help="A registered version of a prompt.", show_default=False),
    ],
    endpoint: Annotated[
        str | None,
        typer.Option("--endpoint", metavar="URL", help="The model, instead of the suite's.", show_default=False),
    ] = None,
    log_dir: Annotated[Path, typer.Option("--log-dir", metavar="FOLDER", help="Where logs are kept.")] = Path(
        "eval-logs"
    ),
    config: ConfigOption = None,
) -> None:
    """Run a suite with inspect-ai on a version of a prompt, and import its log.

    inspect-ai runs as a program of its own; the first run installs it.

    Examples:
        barograph eval run evals/answers.yaml --model support-bot --prompt answer@8
        barograph eval run evals/answers.yaml --model support-bot --prompt answer@8 --endpoint http://127.0.0.1:8080/v1
    """
    from dataclasses import replace

    from barograph.prompts.prompt import parse_prompt_id

    from barograph_server.errors import CommandError
    from barograph_server.evaluation.suites.inspect_program import install_inspect, require_endpoint, run_inspect
    from barograph_server.evaluation.suites.logs.read import read_logs
    from barograph_server.evaluation.suites.suite import read_suite_file
    from barograph_server.settings import load_settings
    from barograph_server.warehouse.client import connect
    from barograph_server.warehouse.rollouts.prompts import read_prompt

    suite = read_suite_file(path)
    if endpoint is not None:
        suite = replace(suite, endpoint=endpoint)
    name, version = parse_prompt_id(prompt)
    if version is None:
        raise CommandError(f"--prompt {prompt} names no version: write it as {prompt}@8.")
    if suite.endpoint is not None:
        require_endpoint(suite.endpoint)
    warehouse = load_settings(config, needs=("clickhouse",)).warehouse
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


def show_command(model: _Model, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show the runs of a model by suite and start, with intervals.

    Examples:
        barograph eval show support-bot
        barograph eval show support-bot --json | jq '.[] | select(.accepted)'
    """
    from barograph_server.settings import load_settings
    from barograph_server.warehouse.client import connect
    from barograph_server.warehouse.evaluation.eval_runs import accepted_runs, read_runs

    with connect(load_settings(config, needs=("clickhouse",)).warehouse) as client:
        runs, accepted = read_runs(client, model), accepted_runs(client, model)
    if as_json:
        Terminal().json(runs_json(runs, accepted))
    else:
        print_runs(Terminal(), model, runs, accepted)


def gate_command(
    model: _Model,
    candidate: Annotated[
        list[str],
        typer.Option(
            "--candidate",
            metavar="VERSION",
            help="A prompt such as answer@8, a served model, or a run id. Repeat it to name a run of each suite.",
            show_default=False,
        ),
    ],
    policy: Annotated[
        Path,
        typer.Option(
            "--policy",
            metavar="FILE",
            help="Margin and items of each suite (YAML); a margin of 0.1 needs 26 items or more, 0.05 needs 54.",
            show_default=False,
        ),
    ],
    accept: Annotated[
        bool, typer.Option("--accept", help="If the decision is accept, compare later candidates with this one.")
    ] = False,
    by: _By = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Decide whether a candidate is at most a margin worse than the accepted run of each suite, item by item.

    --accept records the runs of an accepted candidate. If a suite has no accepted run, or changed since, it
    accepts the candidate's as the first; after a change only that of the accepted prompt and model.

    Exits with 0 (accept), 1 (hold), 2 (insufficient: not known, or too few items) or 3 (error).

    Examples:
        barograph eval gate support-bot --candidate answer@8 --policy policy.yaml
        barograph eval gate support-bot --candidate answer@8 --policy policy.yaml --accept --by ana
    """
    from barograph_server.errors import EXIT_HOLD, EXIT_INSUFFICIENT, EXIT_OK
    from barograph_server.evaluation.suites.evaluate import evaluate

    decision = evaluate(model, candidate, policy, accept=accept, by=by, settings=config)
    if as_json:
        Terminal().json(gate_json(decision) | {"accepted": decision.is_accepted})
    else:
        print_gate(Terminal(), decision)
        if decision.is_accepted:
            Terminal().changes([f"+ {decision.candidate} is accepted: later candidates are compared with it"])
    codes = {SuiteOutcome.ACCEPT: EXIT_OK, SuiteOutcome.HOLD: EXIT_HOLD, SuiteOutcome.INSUFFICIENT: EXIT_INSUFFICIENT}
    raise typer.Exit(EXIT_OK if decision.is_accepted else codes[decision.outcome])


for _command, _function in (
    ("import", import_command),
    ("run", run_command),
    ("show", show_command),
    ("gate", gate_command),
):
    eval_app.command(_command, help=help_text(_function))(_function)
