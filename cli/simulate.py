"""The command line of `barograph simulate`."""

from __future__ import annotations

import signal
import threading
from typing import Annotated

import typer

from barograph_server.cli.options import ConfigOption, FormatOption
from barograph_server.errors import CommandError
from barograph_server.operations.simulation.read import KnownOption


def simulate_command(
    model: Annotated[str | None, typer.Option(help="Only this model.", show_default=False)] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Start: a time, or an age such as 30d.", show_default=False)
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="End; by default the end of the history.", show_default=False)
    ] = None,
    rule: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only rules of this name; repeatable.", show_default=False)
    ] = None,
    known: Annotated[
        KnownOption,
        typer.Option(
            help="When a verdict takes effect: `judged` at its own time, `ended` at the end of its window (replayed "
            "history); `auto` detects which."
        ),
    ] = "auto",
    live: Annotated[
        bool, typer.Option("--live", help="Evaluate the rules continuously and send to contact points.")
    ] = False,
    form: FormatOption = "table",
    config: ConfigOption = None,
) -> None:
    """Replay recorded history through the alert rules, or evaluate them continuously.

    Evaluates the rules of the contracts in force with their own SQL at every interval, as Grafana does: thresholds with
    hysteresis, `for`, `keep_firing_for`, missing rows. Groups, repeats and mutes notifications as Alertmanager does.
    Shows every change of state and every notification.

    With --live it evaluates the rules on the wall clock until Ctrl-C and sends to the contact points, so a laptop
    without Grafana can page. In production Grafana does this.

    Examples:
        barograph simulate --model flight-delay --since 90d
        barograph simulate --rule silence --since 2026-03-01 --until 2026-03-08 --format json
        barograph simulate --live
    """
    from barograph_server.contracts import contracts_in_force
    from barograph_server.operations.simulation.read import resolve_history, select_rules
    from barograph_server.settings import load_settings
    from barograph_server.warehouse.client import connect

    settings = load_settings(config, needs=("clickhouse",))
    if live:
        if since or until or form == "json":
            raise CommandError("--live evaluates the present: leave out --since, --until and --format.")
        from barograph_server.operations.simulation.live import run_live

        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        run_live(settings, model, rule or [], stop)
        return
    from barograph_server.alerts.simulator import simulate
    from barograph_server.cli.simulate_text import print_simulation, simulation_json
    from barograph_server.terminal import Terminal

    with connect(settings.warehouse) as client:
        contracts = contracts_in_force(client, model)
        rules = select_rules(contracts, settings.alerts, rule or [])
        history = resolve_history(client, [contract.model for contract in contracts], since, until, known)
        simulation = simulate(client, rules, settings.alerts, history.since, history.until, history.known)
    if form == "json":
        Terminal().json(simulation_json(simulation, history.known))
    else:
        print_simulation(Terminal(), simulation, history)
