"""The command lines of `barograph eval`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from barograph_server.cli.options import ConfigOption, JsonOption, help_text

if TYPE_CHECKING:
    from barograph_server.warehouse.client import Address
    from barograph_server.warehouse.evaluation.eval_runs import EvalRun

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

    from barograph_server.cli.eval_text import import_line
    from barograph_server.terminal import Terminal
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
    from barograph_server.terminal import Terminal
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
    from barograph_server.cli.eval_text import print_runs, runs_json
    from barograph_server.settings import load_settings
    from barograph_server.terminal import Terminal
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
    import time

    from barograph_server.cli.eval_gate import gate_json, print_gate
    from barograph_server.errors import EXIT_HOLD, EXIT_INSUFFICIENT, EXIT_OK
    from barograph_server.evaluation.suites.gate import decide_gate
    from barograph_server.evaluation.suites.policy import load_gate_policy
    from barograph_server.rollouts.prompts.registry import author_name
    from barograph_server.settings import load_settings
    from barograph_server.sketches.comparison.paired_items import SuiteOutcome
    from barograph_server.terminal import Terminal
    from barograph_server.warehouse.client import connect
    from barograph_server.warehouse.evaluation.eval_runs import store_acceptances

    rules, author = load_gate_policy(policy), author_name(by)
    with connect(load_settings(config, needs=("clickhouse",)).warehouse) as client:
        decision = decide_gate(client, model, candidate, rules)
        is_decided = decision.outcome is SuiteOutcome.ACCEPT or decision.can_begin
        accepts = accept and is_decided and bool(decision.new_runs)
        if accepts:
            store_acceptances(client, decision.new_runs, author, int(time.time() * 1000))
    if as_json:
        Terminal().json(gate_json(decision) | {"accepted": accepts})
    else:
        print_gate(Terminal(), decision)
        if accepts:
            Terminal().changes([f"+ {decision.candidate} is accepted: later candidates are compared with it"])
    codes = {SuiteOutcome.ACCEPT: EXIT_OK, SuiteOutcome.HOLD: EXIT_HOLD, SuiteOutcome.INSUFFICIENT: EXIT_INSUFFICIENT}
    raise typer.Exit(EXIT_OK if accepts else codes[decision.outcome])


for _command, _function in (
    ("import", import_command),
    ("run", run_command),
    ("show", show_command),
    ("gate", gate_command),
):
    eval_app.command(_command, help=help_text(_function))(_function)
