"""The command line of `barograph judges`."""

from __future__ import annotations

from typing import Annotated

import typer

from barograph_server.cli.options import ConfigOption, JsonOption, help_text

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
    from barograph_server.cli.judges_text import print_state, state_json
    from barograph_server.errors import CommandError
    from barograph_server.evaluation.judges.anchor_state import exit_code, find_judge, read_state
    from barograph_server.evaluation.judges.judging import collect_reasons, make_runs
    from barograph_server.settings import load_settings
    from barograph_server.terminal import Terminal
    from barograph_server.warehouse.client import connect
    from barograph_server.warehouse.evaluation.anchor_runs import BANK, RUN

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
