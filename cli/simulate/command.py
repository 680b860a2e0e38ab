"""The command line of `barograph simulate`."""

from __future__ import annotations

import json
import signal
import threading
from typing import Annotated, Literal

import typer

from cli.errors import CommandError
from cli.options import ConfigOption
from cli.simulate.read import KnownOption


def simulate_command(
    model: Annotated[str | None, typer.Option(help="Of this model alone.", show_default=False)] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="From a time, or so long ago (30d).", show_default=False)
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="To a time; by default all.", show_default=False)
    ] = None,
    rule: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Rules of this name alone; repeatable.", show_default=False)
    ] = None,
    known: Annotated[
        KnownOption,
        typer.Option(
            help="From when a verdict counts: `judged` when it was given, `ended` with its window, for history that "
            "was replayed; `auto` sees which it was."
        ),
    ] = "auto",
    live: Annotated[bool, typer.Option("--live", help="Evaluate the rules now and on, and tell webhooks.")] = False,
    form: Annotated[Literal["table", "json"], typer.Option("--format", help="For people or for programs.")] = "table",
    config: ConfigOption = None,
) -> None:
    """Replay recorded history through the alert rules, or evaluate them now and send webhooks.

    The rules of the contracts in force, with their own SQL, are evaluated at every interval as Grafana does it: lines
    with hysteresis, `for`, `keep_firing_for`, rows that are missing; and told as Alertmanager does it: in groups, again
    and again, not while muted. Shows every change of state and every message.

    With --live the same is done on the clock of the wall until Ctrl-C, and contact points are told: a laptop without
    Grafana pages too. In production Grafana does it.

    Examples:
        barograph simulate --model flight-delay --since 90d
        barograph simulate --rule silence --since 2026-03-01 --until 2026-03-08 --format json
        barograph simulate --live
    """
    from cli.settings import load_settings
    from cli.simulate.read import contracts_in_force, history, rules_named
    from warehouse.client import connect

    settings = load_settings(config, needs=("clickhouse",))
    if live:
        if since or until or form == "json":
            raise CommandError("--live looks at now: leave --since, --until and --format out.")
        from cli.simulate.live import run_live

        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        run_live(settings, model, rule or [], stop)
        return
    from rich.console import Console

    from alerts.simulator import simulate
    from cli.simulate.show import print_simulation, simulation_json

    with connect(settings.warehouse) as client:
        contracts = contracts_in_force(client, model)
        rules = rules_named(contracts, settings.alerts, rule or [])
        span = history(client, [contract.model for contract in contracts], since, until, known)
        done = simulate(client, rules, settings.alerts, span.since, span.until, span.known)
    if form == "json":
        print(json.dumps(simulation_json(done, span.known), ensure_ascii=False, indent=2))
    else:
        print_simulation(Console(), done, span)
