"""The command line of `barograph dev`."""

import dataclasses
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

from barograph.contract import Contract
from barograph.text.codebook import Codebook

from barograph_server.alerts.text import duration
from barograph_server.cli.options import Arg, Connection, Opt
from barograph_server.cli.run import ClockName
from barograph_server.errors import CommandError
from barograph_server.local.child_process import port_is_free
from barograph_server.local.stack import LocalStack
from barograph_server.operations.dev.page import PAGE_PORT, open_page
from barograph_server.operations.dev.processors import KINDS, Processor, write_settings
from barograph_server.operations.dev.supervisor import Supervisor
from barograph_server.provisioning import Plan, apply_all
from barograph_server.provisioning.files import read_inputs
from barograph_server.settings import Settings, load_settings
from barograph_server.signal_wait import set_on_signal
from barograph_server.sketches.baseline.baseline import Baseline
from barograph_server.terminal import Terminal

CONTRACTS_FOLDER = Path("contracts")
POLL_S = 0.25
"""Pause between checks of the processes, in seconds."""
STOP_S = 30.0
"""Time limit of a processor's shutdown, in seconds. A flush and a write to ClickHouse take seconds."""


def dev_command(
    connection: Connection,
    contracts: Annotated[
        tuple[Path, ...], Arg("Contracts to apply first; by default those in the folder contracts.", "CONTRACT")
    ] = (),
    reset: Annotated[bool, Opt("First delete the data of earlier runs.")] = False,
    clock: Annotated[ClockName | None, Opt("As for `barograph run`: replay for history, else live.")] = None,
    page_port: Annotated[int | None, Opt(f"Port of the dashboards; by default {PAGE_PORT}, or a free port.")] = None,
) -> None:
    """Run Apache Kafka, the ClickHouse engine and all processors on this machine until Ctrl-C.

    For development: everything listens on loopback only. Data, logs and passwords are in the folder .barograph (or
    BAROGRAPH_HOME) and persist between runs. Other commands in the same folder find the stack automatically.

    Examples:
        barograph dev
        barograph dev contracts/flight-delay.yaml --clock replay --reset
    """
    # Whatever can be wrong is found before data is deleted and servers are started.
    inputs = _read_checked_inputs(connection.config, contracts, page_port)
    terminal = Terminal()
    stack = LocalStack()
    stop = threading.Event()
    if reset:
        stack.reset()
        terminal.line(f"The data in {stack.root} was deleted.")
    terminal.line("Starting Apache Kafka and the ClickHouse engine; the first start downloads them.")
    with stack, ExitStack() as exit_stack:
        settings = _local_settings(connection.config, clock, stack)
        plan = apply_all(settings, *inputs)
        processors = _make_processors(settings, stack)
        reader = stack.addresses.clickhouse_reader(settings.warehouse.database)
        page = exit_stack.enter_context(open_page(settings, reader, page_port))
        _print_overview(terminal, settings, stack, plan, processors, page.url)
        # Until here Ctrl-C interrupts the startup; from here it requests an orderly shutdown.
        set_on_signal(stop)
        alerts = _start_alerts(settings, stop)
        try:
            _supervise(terminal, stack, processors, stop)
        finally:
            stop.set()
            if alerts is not None:
                alerts.join(STOP_S)
            terminal.line("Stopping Kafka and ClickHouse.")
    terminal.line("Everything has stopped; the data persists for the next run.")


def _local_settings(config: Path | None, clock: ClockName | None, stack: LocalStack) -> Settings:
    """Load the settings, and replace their servers by those of the stack."""
    settings = load_settings(config, needs=(), find=lambda: None)
    servers = stack.addresses
    return dataclasses.replace(
        settings,
        bootstrap_servers=servers.bootstrap_servers,
        kafka={},
        warehouse=servers.clickhouse(settings.warehouse.database),
        clock=clock or settings.clock,
    )


def _read_checked_inputs(
    config: Path | None, contracts: Sequence[Path], page_port: int | None
) -> tuple[list[tuple[Contract, str]], list[Baseline], list[Codebook]]:
    """Read the settings, contracts, baselines and codebooks, and check that the page's port is free."""
    load_settings(config, needs=(), find=lambda: None)
    if page_port and not port_is_free(page_port):
        raise CommandError(
            f"Port {page_port} of the dashboards is taken: stop the program that uses it, or leave out --page-port for "
            "a free port."
        )
    return read_inputs(contracts or sorted([*CONTRACTS_FOLDER.glob("*.yaml"), *CONTRACTS_FOLDER.glob("*.yml")]))


def _make_processors(settings: Settings, stack: LocalStack) -> list[Processor]:

    run_dir = stack.root / "run"
    run_dir.mkdir(parents=True, exist_ok=True)
    settings_path = run_dir / "processors.toml"
    write_settings(settings_path, settings)
    password = settings.warehouse.password
    return [Processor(kind, settings_path, password, run_dir=run_dir, log_dir=stack.log_dir) for kind in KINDS]


def _start_alerts(settings: Settings, stop: threading.Event) -> threading.Thread | None:
    """Run the guard in a thread, except for replayed history, which needs no notifications."""
    if settings.clock == "replay":
        return None
    from barograph_server.operations.dev.guard import run_beside

    thread = threading.Thread(target=run_beside, args=(settings, stop), name="guard", daemon=True)
    thread.start()
    return thread


def _print_overview(
    terminal: Terminal,
    settings: Settings,
    stack: LocalStack,
    plan: Plan,
    processors: Sequence[Processor],
    page_url: str,
) -> None:
    models = [change.contract.model for change in plan.contracts]
    if models:
        terminal.line(f"Applied: {', '.join(models)}.")
    terminal.lines(plan.notes)
    is_live = settings.clock == "live"
    terminal.pairs(
        {
            "Kafka": settings.bootstrap_servers,
            "ClickHouse": f"{stack.addresses.clickhouse_url}  database {settings.warehouse.database}",
            "Processors": f"{', '.join(processor.name for processor in processors)}, clock {settings.clock}",
            "Guard": "evaluates alerts here, changes below" if is_live else "not evaluated on the replay clock",
            "Logs": str(stack.log_dir),
            "Dashboards": page_url,
        }
    )
    for change in plan.contracts:
        terminal.line(first_verdict(change.contract))
    terminal.line("Ready: `barograph` commands in this folder use this stack. Ctrl-C stops everything.")


def first_verdict(contract: Contract) -> str:
    """Say when a model gets its first verdict, and what decides it. Windows that begin before its events get none."""
    shortest_s = min(window.length_s for window in contract.windows)
    sealed_s = contract.out_of_order_s + contract.lateness_s
    return (
        f"First verdict of {contract.model}: about {duration(shortest_s + sealed_s)} after its first event. Its "
        f"shortest window is {duration(shortest_s)} long, and panes are sealed {duration(sealed_s)} after their end."
    )


def _supervise(terminal: Terminal, stack: LocalStack, processors: Sequence[Processor], stop: threading.Event) -> None:
    """Keep the processors running until `stop`, then stop them."""
    supervisor = Supervisor(processors, terminal.line)
    supervisor.start()
    try:
        while not stop.wait(POLL_S):
            for server in (stack.kafka, stack.clickhouse):
                if not server.is_running:
                    raise CommandError(
                        f"{server.log_path.stem} ended unexpectedly; see {server.log_path}, then run `barograph dev` "
                        "again: stored data is kept."
                    )
            supervisor.poll()
    finally:
        terminal.line("Stopping the processors.")
        supervisor.stop(STOP_S)
