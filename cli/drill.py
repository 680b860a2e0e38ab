"""The command lines of `barograph drill`."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from barograph_server.cli.options import ConfigOption, JsonOption, help_text
from barograph_server.errors import EXIT_FAILED

if TYPE_CHECKING:
    from barograph_server.drills.run.plan import DrillMode
    from barograph_server.drills.run.results import DrillOutput

drill_app = typer.Typer(add_completion=False, no_args_is_help=True)

_Model = Annotated[str, typer.Option("--model", help="Model whose events are used.", show_default=False)]
_Version = Annotated[
    str | None,
    typer.Option("--version", help="Its version; by default the one with the most predictions.", show_default=False),
]
_From = Annotated[
    list[Path] | None,
    typer.Option(
        "--from",
        metavar="FILE",
        help="Use the events of a file with predictions, and optionally of one with labels; repeatable. By default the "
        "raw rows in ClickHouse.",
        show_default=False,
    ),
]
_History = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        help="Length of the range of event time that is replayed; by default six times the longest window.",
        show_default=False,
    ),
]
_Until = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="End of the range: a time such as 2026-03-01, or an age at the newest event such as 30d; by default the "
        "newest event.",
        show_default=False,
    ),
]
_Webhook = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Webhook that gets the notifications; by default a receiver of the drill on this machine.",
        show_default=False,
    ),
]
_Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        min=1.0,
        help="Longest wait for the processors; of a live drill, its longest duration.",
    ),
]
_Live = Annotated[
    bool,
    typer.Option(
        "--live/--fast",
        help="Run on the wall clock in the processors of production, or replay event time in topics and a database of "
        "its own.",
    ),
]
_Junit = Annotated[
    Path | None, typer.Option("--junit", metavar="FILE", help="Also write JUnit's XML.", show_default=False)
]


@drill_app.callback()
def drill_group() -> None:
    """Inject faults into recorded events, and check that alerts fire and serving falls back."""


def run_command(
    fault: Annotated[str, typer.Argument(help="Fault, such as mean-shift; see `list`.", show_default=False)],
    model: _Model,
    field: Annotated[
        str | None,
        typer.Option(help="Affected field; by default the first critical field that fits.", show_default=False),
    ] = None,
    other: Annotated[str | None, typer.Option(help="Second field of swapped-columns.", show_default=False)] = None,
    magnitude: Annotated[
        float | None, typer.Option(help="Size of the fault, in the unit of its kind.", show_default=False)
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Share of affected rows.", show_default=False)] = None,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Time from the first event to the fault; by default half of the range.",
            show_default=False,
        ),
    ] = None,
    duration: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Length of the fault; by default half of the rest.", show_default=False),
    ] = None,
    route: Annotated[
        str | None,
        typer.Option(help="Route of the notifications; by default that of the contract.", show_default=False),
    ] = None,
    version: _Version = None,
    source: _From = None,
    history: _History = None,
    until: _Until = None,
    webhook: _Webhook = None,
    timeout_s: _Timeout = 600.0,
    live: _Live = False,
    as_json: JsonOption = False,
    junit: _Junit = None,
    config: ConfigOption = None,
) -> None:
    """Inject one fault into the recent events of a model, and check what happens.

    The events are published as model `drill.MODEL.ID` with the fields, baseline, rules and fallback of the model, in
    topics and a database that are removed at the end. The fault starts in the middle of the range. The same events
    without the fault are the control: alerts that fire there too are not attributed to the fault. Notifications go to
    a webhook of the drill, with the routes of the settings, and nobody is paged.

    With --live the events are published at their own pace, moved to now, and counted by the processors of production.
    The drill takes as long as its events, and the models of the drill are removed at the end.

    Prints what must happen before it runs. Exits with 1 if anything differs.

    Examples:
        barograph drill run mean-shift --model flight-delay --field temp
        barograph drill run null-rise --model flight-delay --field dewp --rate 0.5 --duration 5d
        barograph drill run silence --model flight-delay --from predictions.parquet --from labels.parquet
        barograph drill run mean-shift --model flight-delay --live --history 6h --timeout 25000
    """
    from barograph.contract import parse_duration

    from barograph_server.drills.faults import InjectionRequest, find_fault
    from barograph_server.drills.run.plan import DrillRequest
    from barograph_server.drills.run.session import DrillSession, SessionOptions
    from barograph_server.errors import CommandError

    def seconds(option: str, text: str | None) -> int | None:
        try:
            return None if text is None else parse_duration(text)
        except ValueError as error:
            raise CommandError(f"{option}: {error}.") from None

    request = DrillRequest(
        InjectionRequest(find_fault(fault), field, other, magnitude, rate),
        seconds("--duration", duration),
        seconds("--start", start),
        route,
    )
    history_s = seconds("--history", history)
    options = SessionOptions(tuple(source or ()), version, history_s, until, webhook, timeout_s, _mode(live))
    _interrupt_on_signals()
    output = DrillSession(config, model, options, quiet=as_json).run([request], is_suite=False)
    _finish(output, as_json, junit)


def suite_command(
    suite: Annotated[Path, typer.Argument(metavar="FILE", help="Suite in YAML.", show_default=False)],
    source: _From = None,
    webhook: _Webhook = None,
    timeout_s: _Timeout = 1800.0,
    live: _Live = False,
    as_json: JsonOption = False,
    junit: _Junit = None,
    config: ConfigOption = None,
) -> None:
    """Run the drills of a file side by side, with one control.

    The file names the model and lists drills, each with the options of `drill run`. Exits with 1 if anything differs in
    one of them.

    Examples:
        barograph drill suite examples/flights/drills.yaml
        barograph drill suite drills.yaml --junit drills.xml
    """
    from barograph_server.drills.run.session import DrillSession, SessionOptions
    from barograph_server.drills.run.suite import read_suite

    drills = read_suite(suite)
    files = tuple(source or ())
    options = SessionOptions(files, drills.version, drills.history_s, drills.until, webhook, timeout_s, _mode(live))
    _interrupt_on_signals()
    output = DrillSession(config, drills.model, options, quiet=as_json).run(drills.requests, is_suite=True)
    _finish(output, as_json, junit)


def list_command(as_json: JsonOption = False) -> None:
    """List the faults, with their parameters and the incident that each stands for.

    Examples:
        barograph drill list
    """
    from barograph_server.drills.run.fault_list import fault_rows, print_faults
    from barograph_server.terminal import Terminal

    terminal = Terminal()
    if as_json:
        terminal.json(fault_rows())
    else:
        print_faults(terminal)


def clean_command(
    running: Annotated[bool, typer.Option("--running", help="Also remove those of running drills, which end.")] = False,
    config: ConfigOption = None,
) -> None:
    """Remove the topics, databases and models that interrupted drills left. Drills that are running keep theirs.

    Of a live drill, the contracts, baselines, rows and states of its models are removed; its result stays.

    Examples:
        barograph drill clean
    """
    from barograph_server.drills.run.clean import clean
    from barograph_server.settings import load_settings
    from barograph_server.terminal import Terminal

    Terminal().lines(clean(load_settings(config), running=running))


def schedule_command(
    suite: Annotated[Path, typer.Argument(metavar="FILE", help="Suite in YAML.", show_default=False)],
    kind: Annotated[str, typer.Option("--for", help="cron, systemd or kubernetes.")] = "cron",
    image: Annotated[str, typer.Option(help="Container image, for kubernetes.")] = "barograph:latest",
) -> None:
    """Print an entry that runs a suite every week, for cron, systemd or Kubernetes.

    Examples:
        barograph drill schedule drills.yaml
        barograph drill schedule drills.yaml --for kubernetes --image registry.example.com/barograph:1.0
    """
    from barograph_server.drills.run.schedule import schedule_text
    from barograph_server.drills.run.suite import read_suite

    drills = read_suite(suite)
    print(schedule_text(kind, suite, drills.model, image), end="")


def _finish(output: DrillOutput, as_json: bool, junit: Path | None) -> None:
    from barograph_server.drills.run.text import write_junit
    from barograph_server.plain_values import plain
    from barograph_server.terminal import Terminal

    if as_json:
        Terminal().json(plain(output))
    if junit is not None:
        write_junit(junit, output.model, output.results)
    if not output.passed:
        raise typer.Exit(EXIT_FAILED)


def _mode(live: bool) -> DrillMode:
    return "live" if live else "fast"


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _interrupt_on_signals() -> None:
    """Remove topics, databases and models before the command ends by a signal."""
    for number in _SIGNALS:
        signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


for _name, _function in (
    ("run", run_command),
    ("suite", suite_command),
    ("list", list_command),
    ("clean", clean_command),
    ("schedule", schedule_command),
):
    drill_app.command(_name, help=help_text(_function))(_function)
