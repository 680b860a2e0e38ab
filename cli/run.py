"""`barograph run`: runs one processor in this process, under a supervisor."""

from typing import Annotated, Literal

import typer

from barograph_server.cli.options import Arg, Connection, Opt
from barograph_server.errors import CommandError

ProcessorKind = Literal["sketcher", "recorder", "monitor", "scorer", "guard", "otlp", "scrape", "evaluator"]
ClockName = Literal["live", "replay"]


def run_command(
    connection: Connection,
    kind: Annotated[ProcessorKind, Arg("Kind of processor.")],
    instance: Annotated[
        str | None,
        Opt("Its stable name, unique in its kind. By default the setting `instance`, else the host's name.", "NAME"),
    ] = None,
    clock: Annotated[
        ClockName | None, Opt("`replay`: only events and end markers advance time. By default the setting `clock`.")
    ] = None,
    send: Annotated[bool, Opt("Guard: send notifications to the contact points of the settings.")] = False,
) -> None:
    """Run one processor until SIGTERM or Ctrl-C.

    Sketcher: events to partials. Recorder: events to raw tables. Monitor: partials to panes and verdicts. Scorer:
    labels and predictions to performance. Guard: verdicts to the state of each model. Otlp: spans of language models to
    events. Scrape: metrics of inference servers. Evaluator: answers of language models to evaluations. Exits with 0
    when stopped by a signal and with 1 after an unrecoverable error; let your supervisor restart it.

    Examples:
        barograph run sketcher --instance sketcher-1
        barograph run monitor --clock replay
    """
    loaded = connection.settings("clickhouse") if kind in ("scorer", "scrape") else connection.settings()
    settings = loaded.processor(instance=instance, clock=clock)
    if kind == "guard":
        from barograph_server.alerts.guard.run import run_guard

        raise typer.Exit(run_guard(settings, loaded.alerts, sends=send))
    if kind == "otlp":
        from barograph_server.streams.otlp.run import run_otlp

        raise typer.Exit(run_otlp(settings, loaded.otlp))
    if kind == "evaluator":
        from barograph_server.streams.evaluator.run import run_evaluator

        raise typer.Exit(run_evaluator(settings, loaded.evaluator))
    if kind == "scrape":
        from barograph_server.streams.scrape.run import run_scrape

        raise typer.Exit(run_scrape(settings, loaded.scrape))
    if send:
        raise CommandError("--send is an option of the guard; remove it.")
    from barograph_server.streams import run

    code: int = getattr(run, f"run_{kind}")(settings)
    raise typer.Exit(code)
