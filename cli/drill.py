"""The command lines of `barograph drill`."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from barograph.contract import parse_duration

from barograph_server.cli.options import Arg, CommandGroup, Connection, Opt, Options, Output
from barograph_server.errors import EXIT_FAILED, CommandError
from barograph_server.terminal import Terminal

if TYPE_CHECKING:
    from barograph_server.drills.run.plan import DrillMode, DrillRequest

drill_app = CommandGroup()

_Suite = Annotated[Path, Arg("Suite in YAML.", "FILE")]


class Running(Options, frozen=True):
    files: Annotated[
        tuple[Path, ...],
        Opt(
            "Events of a file, of predictions or labels; repeatable. By default the raw rows in ClickHouse.",
            "FILE",
            name="--from",
        ),
    ] = ()
    webhook: Annotated[
        str | None, Opt("Gets the notifications; by default a receiver of the drill on this machine.", "URL")
    ] = None
    timeout_s: Annotated[
        float, Opt("Longest wait for the processors; live: the longest drill.", "SECONDS", name="--timeout", min=1.0)
    ] = 600.0
    live: Annotated[
        bool,
        Opt("On the wall clock in production's processors, or replayed in topics of its own.", name="--live/--fast"),
    ] = False
    junit: Annotated[Path | None, Opt("Also write JUnit's XML.", "FILE")] = None

    def run(
        self,
        model: str,
        requests: Sequence[DrillRequest],
        output: Output,
        connection: Connection,
        *,
        version: str | None,
        history_s: int | None,
        until: str | None,
        is_suite: bool,
    ) -> None:
        """Run drills, print their results, and exit with 1 if anything differs."""
        from barograph_server.drills.run.session import DrillSession, SessionOptions
        from barograph_server.drills.run.text import write_junit

        mode: DrillMode = "live" if self.live else "fast"
        options = SessionOptions(self.files, version, history_s, until, self.webhook, self.timeout_s, mode)
        for number in _SIGNALS:
            signal.signal(number, _interrupt)
        session = DrillSession(connection.config, model, options, quiet=output.is_json)
        drilled = session.run(requests, is_suite=is_suite)
        if output.is_json:
            Terminal().json(drilled)
        if self.junit is not None:
            write_junit(self.junit, drilled.model, drilled.results)
        if not drilled.passed:
            raise typer.Exit(EXIT_FAILED)


class SuiteRunning(Running, frozen=True):
    """How the drills of a suite run, side by side."""

    timeout_s: Annotated[
        float,
        Opt(
            "Longest wait for the processors; of live drills, their longest duration.",
            "SECONDS",
            name="--timeout",
            min=1.0,
        ),
    ] = 1800.0


class Injecting(Options, frozen=True):
    field: Annotated[str | None, Opt("Affected field; by default the first critical field that fits.")] = None
    other: Annotated[str | None, Opt("Second field of swapped-columns.")] = None
    magnitude: Annotated[float | None, Opt("Size of the fault, in the unit of its kind.")] = None
    rate: Annotated[float | None, Opt("Share of affected rows.")] = None
    start: Annotated[str | None, Opt("Time before the fault; by default half of the range.", "DURATION")] = None
    duration: Annotated[str | None, Opt("Length of the fault; by default half of the rest.", "DURATION")] = None
    route: Annotated[str | None, Opt("Route of the notifications; by default that of the contract.")] = None

    def request(self, fault: str) -> DrillRequest:
        from barograph_server.drills.faults import InjectionRequest, find_fault
        from barograph_server.drills.run.plan import DrillRequest

        injection = InjectionRequest(find_fault(fault), self.field, self.other, self.magnitude, self.rate)
        duration_s, start_s = _seconds("--duration", self.duration), _seconds("--start", self.start)
        return DrillRequest(injection, duration_s, start_s, self.route)


def _seconds(option: str, text: str | None) -> int | None:
    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise CommandError(f"{option}: {error}.") from None


@drill_app.add("run")
def run_command(
    injecting: Injecting,
    running: Running,
    output: Output,
    connection: Connection,
    fault: Annotated[str, Arg("Fault, such as mean-shift; see `list`.")],
    model: Annotated[str, Opt("Model whose events are used.", "NAME")],
    version: Annotated[str | None, Opt("Its version; by default the one with the most predictions.")] = None,
    history: Annotated[str | None, Opt("Replayed range; by default six times the longest window.", "DURATION")] = None,
    until: Annotated[
        str | None, Opt("Its end: a time, or an age at the newest event such as 30d; by default that event.", "TIME")
    ] = None,
) -> None:
    """Inject one fault into the recent events of a model, and check what happens.

    The events are published as model `drill.MODEL.ID`, in topics and a database that are removed at the end; the same
    events without the fault are the control. Notifications go to a webhook of the drill, and nobody is paged. With
    --live the processors of production count the events, and the drill takes as long as its events.

    Prints what must happen before it runs. Exits with 1 if anything differs.

    Examples:
        barograph drill run mean-shift --model flight-delay --field temp
        barograph drill run null-rise --model flight-delay --field dewp --rate 0.5 --duration 5d
        barograph drill run silence --model flight-delay --from predictions.parquet --from labels.parquet
        barograph drill run mean-shift --model flight-delay --live --history 6h --timeout 25000
    """
    running.run(
        model,
        [injecting.request(fault)],
        output,
        connection,
        version=version,
        history_s=_seconds("--history", history),
        until=until,
        is_suite=False,
    )


@drill_app.add("suite")
def suite_command(running: SuiteRunning, output: Output, connection: Connection, suite: _Suite) -> None:
    """Run the drills of a file side by side, with one control.

    The file names the model and lists drills, each with the options of `drill run`. Exits with 1 if anything differs in
    one of them.

    Examples:
        barograph drill suite examples/flights/drills.yaml
        barograph drill suite drills.yaml --junit drills.xml
    """
    from barograph_server.drills.run.suite import read_suite

    drills = read_suite(suite)
    running.run(
        drills.model,
        drills.requests,
        output,
        connection,
        version=drills.version,
        history_s=drills.history_s,
        until=drills.until,
        is_suite=True,
    )


@drill_app.add("list")
def list_command(output: Output) -> None:
    """List the faults, with their parameters and the incident that each stands for.

    Examples:
        barograph drill list
    """
    from barograph_server.drills.run.text import fault_rows, print_faults

    output.show(fault_rows(), lambda terminal, _: print_faults(terminal))


@drill_app.add("clean")
def clean_command(
    connection: Connection, running: Annotated[bool, Opt("Also remove those of running drills, which end.")] = False
) -> None:
    """Remove the topics, databases and models that interrupted drills left. Drills that are running keep theirs.

    Of a live drill, the contracts, baselines, rows and states of its models are removed; its result stays.

    Examples:
        barograph drill clean
    """
    from barograph_server.drills.run.clean import clean

    Terminal().lines(clean(connection.settings(), running=running))


@drill_app.add("schedule")
def schedule_command(
    suite: _Suite,
    kind: Annotated[str, Opt("cron, systemd or kubernetes.", name="--for")] = "cron",
    image: Annotated[str, Opt("Container image, for kubernetes.")] = "barograph:latest",
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


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt
