"""The command line of `barograph dev`."""

from __future__ import annotations

import dataclasses
import signal
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cli.dev.page import PAGE_PORT, open_page
from cli.errors import CommandError
from cli.options import ConfigOption
from cli.run import ClockName
from cli.terminal import Text

if TYPE_CHECKING:
    from cli.apply import Plan
    from cli.dev.processors import Processor
    from cli.settings import Settings
    from local.stack import LocalStack

CONTRACTS_FOLDER = Path("contracts")
LOOK_S = 0.25
STOP_S = 30.0
"""A flush and a write to ClickHouse take seconds; a processor that needs longer hangs."""


def dev_command(
    contracts: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="CONTRACT",
            help="Contracts to apply first; by default those of the folder contracts.",
            show_default=False,
        ),
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Delete what earlier runs stored, first.")] = False,
    clock: Annotated[
        ClockName | None,
        typer.Option(help="As in `barograph run`: replay for history, live otherwise.", show_default=False),
    ] = None,
    page_port: Annotated[
        int | None,
        typer.Option(help=f"Where the dashboards are shown; else {PAGE_PORT}, or a free port.", show_default=False),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Run Apache Kafka, the ClickHouse engine and all processors on this machine until Ctrl-C.

    For development on one machine: everything listens on loopback only and asks for no password. Data and logs are in
    the folder .barograph (or BAROGRAPH_HOME) and stay between runs. Other commands in the same folder find the stack
    by themselves. A processor that ends is started again. The dashboards that Grafana is given are shown in the
    browser.

    Examples:
        barograph dev
        barograph dev contracts/flight-delay.yaml --clock replay --reset
    """
    from local.stack import LocalStack

    console = Console()
    stack = LocalStack()
    stop = threading.Event()
    if reset:
        stack.reset()
        _say(console, f"The data in {stack.root} was deleted.")
    _say(console, "Starting Apache Kafka and the ClickHouse engine; the first time their parts are fetched.")
    with stack, ExitStack() as stopping:
        settings = _settings(config, clock, stack)
        done = _apply(settings, _contracts(contracts))
        processors = _processors(settings, stack)
        page = stopping.enter_context(open_page(settings, page_port))
        _introduce(console, settings, stack, done, processors)
        _say(console, f"Dashboards  {page.url}")
        _say(console, "`barograph status` and `barograph query` in this folder find it. Ctrl-C ends everything.")
        # Before this a Ctrl-C breaks off what is being started, from now on it is noticed and obeyed in order.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        alerts = _watch_alerts(settings, stop)
        try:
            _supervise(console, stack, processors, stop)
        finally:
            stop.set()
            if alerts is not None:
                alerts.join(STOP_S)
            _say(console, "Ending Kafka and ClickHouse.")
    _say(console, "All has ended; the data stays for the next run.")


def _settings(config: Path | None, clock: ClockName | None, stack: LocalStack) -> Settings:
    """The settings with the servers of the stack, whatever servers are named."""
    from cli.settings import load_settings
    from warehouse.client import Address

    told = load_settings(config, needs=(), find=lambda: None)
    where = stack.addresses
    return dataclasses.replace(
        told,
        bootstrap_servers=where.bootstrap_servers,
        kafka={},
        warehouse=Address(host=where.clickhouse_host, port=where.clickhouse_port, database=told.warehouse.database),
        clock=clock or told.clock,
    )


def _contracts(given: list[Path] | None) -> list[Path]:
    return given or sorted([*CONTRACTS_FOLDER.glob("*.yaml"), *CONTRACTS_FOLDER.glob("*.yml")])


def _apply(settings: Settings, contracts: Sequence[Path]) -> Plan:
    from cli.apply import apply_all
    from cli.apply.files import baselines_beside, read_baselines, read_contracts

    pairs = read_contracts(contracts)
    beside = baselines_beside([(path, pair[0]) for path, pair in zip(contracts, pairs, strict=True)])
    return apply_all(settings, pairs, read_baselines(beside))


def _processors(settings: Settings, stack: LocalStack) -> list[Processor]:
    from cli.dev.processors import KINDS, Processor, write_settings

    run_dir = stack.root / "run"
    run_dir.mkdir(parents=True, exist_ok=True)
    settings_path = run_dir / "processors.toml"
    write_settings(settings_path, settings)
    return [Processor(kind, settings_path, run_dir=run_dir, log_dir=stack.log_dir) for kind in KINDS]


def _watch_alerts(settings: Settings, stop: threading.Event) -> threading.Thread | None:
    """Evaluate the alert rules beside the processors; of replayed history there is nothing to tell now."""
    if settings.clock == "replay":
        return None
    from cli.simulate.live import watch

    thread = threading.Thread(target=watch, args=(settings, stop), name="alerts", daemon=True)
    thread.start()
    return thread


def _introduce(
    console: Console, settings: Settings, stack: LocalStack, done: Plan, processors: Sequence[Processor]
) -> None:
    models = [change.contract.model for change in done.contracts]
    if models:
        _say(console, f"Applied: {', '.join(models)}.")
    for note in done.notes:
        _say(console, note)
    _say(console, f"Kafka       {settings.bootstrap_servers}")
    _say(console, f"ClickHouse  {stack.addresses.clickhouse_url}  database {settings.warehouse.database}")
    _say(console, f"Processors  {', '.join(processor.name for processor in processors)}, clock {settings.clock}")
    told = "evaluated here, states below" if settings.clock == "live" else "not evaluated on the replay clock"
    _say(console, f"Alerts      {told}")
    _say(console, f"Logs        {stack.log_dir}")


def _supervise(console: Console, stack: LocalStack, processors: Sequence[Processor], stop: threading.Event) -> None:
    """Keep the processors running until `stop`, then end them.

    Raises:
        CommandError: Kafka or ClickHouse ended by itself.
    """
    from cli.dev.supervisor import Supervisor

    supervisor = Supervisor(processors, lambda text: _say(console, text))
    supervisor.start()
    try:
        while not stop.wait(LOOK_S):
            for server in (stack.kafka, stack.clickhouse):
                if not server.is_running:
                    raise CommandError(
                        f"{server.log_path.stem} ended by itself; look at {server.log_path}, then start again with "
                        "`barograph dev`: what was stored is kept."
                    )
            supervisor.look()
    finally:
        _say(console, "Ending the processors.")
        supervisor.stop(STOP_S)


def _say(console: Console, text: str) -> None:
    console.print(Text(text), soft_wrap=True)
