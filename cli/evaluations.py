"""The command line of `barograph evaluations`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from barograph_server.cli.options import ConfigOption, JsonOption


def evaluations_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The answering model.", show_default=False)],
    by: Annotated[
        Literal["prompt", "version", "arm", "day"],
        typer.Option(help="What divides answers into groups, besides the evaluator and its version."),
    ] = "prompt",
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Start of the answers' event time: a time, or how long ago.")
    ] = "30d",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show how many answers are faulty, by checks and judges, corrected by the labels of people.

    A judge errs in a share of cases that only labels show. So each rate has two lines of evidence: what the evaluator
    says (`flagged`), and the rate with its 95 % interval, which weighs the evaluator's verdicts by how often people
    agree with them. Versions of an evaluator are never joined.

    A second table shows AUROC of each evaluator against the labels: an evaluator is `not trusted` until its 95 %
    interval is above 0.5.

    Examples:
        barograph evaluations support-bot
        barograph evaluations support-bot --by day --since 7d --json
    """
    from datetime import UTC, datetime

    from barograph_server.cli.evaluations_text import print_rates, rates_json, require_evaluators
    from barograph_server.contracts import read_contract
    from barograph_server.settings import load_settings
    from barograph_server.terminal import Terminal
    from barograph_server.times import parse_since
    from barograph_server.warehouse.client import connect
    from barograph_server.warehouse.evaluation.evaluation_rates import read_evaluation_rates
    from barograph_server.warehouse.evaluation.evaluator_trust import read_evaluator_trust

    now = datetime.now(UTC)
    start = parse_since("--since", since, now)
    settings = load_settings(config, needs=("clickhouse",))
    with connect(settings.warehouse) as client:
        models = require_evaluators(read_contract(client, model))
        rates = read_evaluation_rates(client, models, start, now, by)
        trusts = read_evaluator_trust(client, models, start, now)
    if as_json:
        Terminal().json(rates_json(model, rates, trusts))
    else:
        print_rates(Terminal(), model, by, start, rates, trusts)
