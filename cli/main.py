"""The `barograph` command: assembles the commands, each loaded when it is called, and turns errors into sentences."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from cli.errors import EXIT_FAILED, EXIT_INTERRUPTED
from cli.options import help_text
from cli.terminal import visible

DEBUG = "--debug"


class _Entry(NamedTuple):
    """Where a command lives, and the first line of its help, so that listing it loads nothing."""

    module: str
    function: str
    summary: str


COMMANDS: dict[str, _Entry] = {
    "infer": _Entry(
        "cli.infer.command",
        "infer_command",
        "Infer contract and baseline from training data, and say what was decided and why.",
    ),
    "load": _Entry(
        "cli.load.command", "load_command", "Load history and nightly labels from files, through the publisher."
    ),
    "check": _Entry("cli.check.command", "check_command", "Hold training or serving data against the contract."),
    "skew": _Entry(
        "cli.skew.command",
        "skew_command",
        "Compare what was served with what training computes, and name how they differ.",
    ),
    "plan": _Entry("cli.apply.command", "plan_command", "Show what `apply` would change, and change nothing."),
    "apply": _Entry(
        "cli.apply.command",
        "apply_command",
        "Create or change tables, topics, contracts and baselines; a second run has nothing to do.",
    ),
    "baseline": _Entry("cli.baseline.command", "baseline_app", "Show baselines, and make new ones from production."),
    "run": _Entry("cli.run", "run_command", "Run one processor until SIGTERM or Ctrl-C."),
    "dev": _Entry(
        "cli.dev.command",
        "dev_command",
        "Run Apache Kafka, the ClickHouse engine and all processors on this machine until Ctrl-C.",
    ),
    "status": _Entry(
        "cli.status.command",
        "status_command",
        "Show how the models and the pipeline are, from ClickHouse alone.",
    ),
    "doctor": _Entry(
        "cli.doctor.command",
        "doctor_command",
        "Look at Kafka, topics, ClickHouse, contracts, clocks and Grafana, and say what to do.",
    ),
    "demo": _Entry(
        "cli.demo.command",
        "demo_command",
        "Replay five months of real flights on this machine, and show what changed in them.",
    ),
    "simulate": _Entry(
        "cli.simulate.command",
        "simulate_command",
        "Replay recorded history through the alert rules, or evaluate them now and send webhooks.",
    ),
    "backtest": _Entry(
        "cli.backtest.command", "backtest_command", "Compare an alert rule with a changed one over recorded history."
    ),
    "distribution": _Entry(
        "cli.distribution.command",
        "distribution_command",
        "Show what a field held in any window of the past: quantiles, shares, and PSI against training.",
    ),
    "dead-letters": _Entry(
        "cli.dead_letters.command",
        "dead_letters_app",
        "Show events that were put aside, send them again, or say that they are done with.",
    ),
    "rebuild": _Entry(
        "cli.rebuild.command",
        "rebuild_command",
        "Count panes and verdicts of the past anew, replace them, and show what that changed.",
    ),
    "query": _Entry("cli.query", "query_command", "Ask ClickHouse; nothing can be changed."),
}


class LazyGroup(TyperGroup):
    """Commands that are imported when they are called; the help lists them from the table."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name, entry in COMMANDS.items():
            self.add_command(TyperCommand(name, help=entry.summary), name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Load the command that is called."""
        if args and args[0] in self.commands:
            entry = COMMANDS[args[0]]
            function = getattr(importlib.import_module(entry.module), entry.function)
            if isinstance(function, typer.Typer):
                alone = function
            else:
                alone = typer.Typer(add_completion=False)
                alone.command(args[0], help=help_text(function))(function)
            self.add_command(typer.main.get_command(alone), args[0])
        return super().resolve_command(ctx, args)


app = typer.Typer(cls=LazyGroup, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def barograph(
    debug: Annotated[bool, typer.Option(DEBUG, help="Show the traceback of an error; works anywhere.")] = False,
) -> None:
    """Watch machine-learning models in production: drift with honest statistics, from Kafka to ClickHouse."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; always ends with SystemExit.

    Exit codes: 0 done, 1 failed with a sentence, 2 a wrong command line, 3 `plan` found changes, 130 Ctrl-C.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = DEBUG in words
    try:
        app(args=[word for word in words if word != DEBUG], prog_name="barograph")
    except KeyboardInterrupt as error:
        for note in getattr(error, "__notes__", ()):
            print(note, file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except Exception as error:
        if debug:
            raise
        print(visible(sentence(error)), file=sys.stderr)
        sys.exit(EXIT_FAILED)


def sentence(error: Exception) -> str:
    """Say an error in words: our own errors are sentences already, those of the system become one."""
    own = ("barograph", "alerts", "cli", "dashboards", "local", "sketches", "streams", "warehouse", "examples")
    if type(error).__module__.partition(".")[0] in own:
        return str(error)
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{reason[:1].lower() + reason[1:] if where else reason}."
    if type(error).__module__.partition(".")[0] == "confluent_kafka" or type(error).__name__ == "KafkaException":
        from streams.broker.client import explain

        return str(explain(error, "do what was asked"))
    text = " ".join(str(error).split())
    return (
        f"This is a mistake in Barograph, not of yours: {type(error).__name__}: {text}. "
        "Run the same again with --debug and report what it shows."
    )


if __name__ == "__main__":
    main()
