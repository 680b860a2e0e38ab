"""The `barograph` command: imports each command when it is called, and prints errors as messages."""

import importlib
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from barograph_server.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_UNDECIDED, EXIT_UNREADABLE
from barograph_server.local import MODULES
from barograph_server.terminal import visible

DEBUG = "--debug"


class _Command(NamedTuple):
    """A command of the list; the list imports no command."""

    task: str
    """The heading under which the list has it."""
    summary: str
    """The first line of its help."""
    exit_failed: int | None = None
    """The exit code of errors, a wrong command line included; None: 1, and 2 for a wrong command line."""


COMMANDS: dict[str, _Command] = {
    "infer": _Command("Start", "Infer a contract and a baseline from training data, and explain each decision."),
    "check": _Command("Start", "Check training or serving data against the contract.", EXIT_UNREADABLE),
    "plan": _Command("Start", "Show what `apply` would change, and change nothing."),
    "apply": _Command(
        "Start", "Create or change tables, topics, contracts and baselines; a second run changes nothing."
    ),
    "load": _Command("Start", "Load history and labels from files, through the publisher."),
    "dev": _Command(
        "Start", "Run Apache Kafka, the ClickHouse engine and all processors on this machine until Ctrl-C."
    ),
    "demo": _Command("Start", "Replay five months of real flights on this machine and report what changed."),
    "status": _Command("Watch", "Show the state of models and processors, and open incidents."),
    "report": _Command(
        "Watch", "Write one week of a model as one page: its health, the four signals, incidents, changes and drills."
    ),
    "simulate": _Command("Watch", "Replay recorded history through the alert rules, or evaluate them continuously."),
    "backtest": _Command("Watch", "Compare an alert rule with a changed version over history."),
    "detectability": _Command(
        "Watch",
        "Show the smallest changes of each field that page within an hour, a day and a week, blind spots first.",
    ),
    "drill": _Command(
        "Watch", "Inject faults into recorded events, and check that alerts fire and serving falls back."
    ),
    "compare": _Command(
        "Decide",
        "Compare production data with training data on this machine, without Kafka and ClickHouse.",
        EXIT_UNREADABLE,
    ),
    "baseline": _Command("Decide", "Show baselines, and create new ones from production data."),
    "reference": _Command("Decide", "List the periods that performance can be compared with, and choose one."),
    "shadow": _Command(
        "Decide", "Show the state of a candidate, write a report, and export or verify evidence for its promotion."
    ),
    "promote": _Command(
        "Decide", "Decide whether a candidate may replace the primary, from all pairs so far.", EXIT_UNDECIDED
    ),
    "distribution": _Command(
        "Investigate",
        "Show the distribution of a field in any range of the past: quantiles, shares, and PSI against training.",
    ),
    "skew": _Command(
        "Investigate",
        "Compare served features with those that training computes, and explain differences.",
        EXIT_UNREADABLE,
    ),
    "changes": _Command("Investigate", "Report changes, list them, and rank them as causes of major verdicts."),
    "lineage": _Command(
        "Investigate", "Show which sources feed the fields of a model, and who consumes what it produces."
    ),
    "loops": _Command(
        "Investigate",
        "Show whether a model's outputs change its later inputs, from predictions with randomised outputs.",
        EXIT_UNDECIDED,
    ),
    "query": _Command("Investigate", "Run a read-only query in ClickHouse."),
    "prompts": _Command("Language models", "Register prompts of language models, and decide which version serves."),
    "codebook": _Command("Language models", "Train, show and name codebooks, which assign topics to prompts."),
    "evaluations": _Command(
        "Language models", "Show how many answers are faulty, by checks and judges, and evaluate recorded answers."
    ),
    "calls": _Command(
        "Language models", "List single calls of a model: the newest, slowest, failed, most expensive or faulty ones."
    ),
    "judges": _Command(
        "Language models",
        "Judge anchors, which are answers with known classes, and see whether a judge has drifted.",
        EXIT_UNDECIDED,
    ),
    "review": _Command(
        "Language models",
        "Label answers of a language model on a local page or in files, and see how far reviewers agree.",
    ),
    "eval": _Command(
        "Language models",
        "Run evaluation suites on versions of models and prompts, and hold back those that are worse.",
        EXIT_UNDECIDED,
    ),
    "run": _Command("Operate", "Run one processor until SIGTERM or Ctrl-C."),
    "doctor": _Command(
        "Operate",
        "Check Kafka, topics, ClickHouse, contracts, events, clocks and Grafana, and say how to fix problems.",
    ),
    "dead-letters": _Command("Operate", "Show, replay or drop dead-lettered events."),
    "rebuild": _Command("Operate", "Recount panes and verdicts of the past, replace them, and show the changes."),
    "consumers": _Command(
        "Operate", "Show who reads topics, tables and dashboards, and who of them no contract declares."
    ),
    "debt": _Command("Operate", "Show versions, arms, slices and fields to delete, and features with unclear origin."),
}
_MODULES = {"plan": "apply"}
"""The modules of commands whose module has another name."""


class LazyGroup(TyperGroup):
    """A group that imports a command when it is called; its help lists `COMMANDS`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name, entry in COMMANDS.items():
            self.add_command(TyperCommand(name, help=entry.summary, rich_help_panel=entry.task), name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Import the command that is called."""
        if args and args[0] in self.commands:
            self.add_command(import_command(args[0]), args[0])
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that is called; a wrong command line ends with its exit code."""
        try:
            return super().invoke(ctx)
        except TyperException as error:
            entry = COMMANDS.get(ctx.invoked_subcommand)
            if entry is not None and entry.exit_failed is not None:
                error.exit_code = entry.exit_failed
            raise


def import_command(name: str) -> Any:
    """Return a command of the list, or the group of its subcommands."""
    from barograph_server.cli.options import CommandGroup, expand, help_text

    identifier = name.replace("-", "_")
    module = importlib.import_module(f"barograph_server.cli.{_MODULES.get(name, identifier)}")
    group = getattr(module, f"{identifier}_app", None)
    if not isinstance(group, CommandGroup):
        function = getattr(module, f"{identifier}_command")
        group = typer.Typer(add_completion=False)
        group.command(name, help=help_text(function))(expand(function))
    command = typer.main.get_command(group)
    command.help = command.help or COMMANDS[name].summary
    return command


def _print_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        print(f"barograph {version('barograph-server')}")
        raise typer.Exit


app = typer.Typer(cls=LazyGroup, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def barograph(
    debug: Annotated[bool, typer.Option(DEBUG, help="Show the traceback of an error; any position.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Monitor machine-learning models in production: drift with confidence intervals, from Kafka to ClickHouse."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; always raises SystemExit.

    Exit codes: 0 done, 1 failed with a message, 2 a wrong command line, 3 `plan` found changes, or `promote` or `eval`
    failed, 130 Ctrl-C.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = DEBUG in arguments
    try:
        app(args=[argument for argument in arguments if argument != DEBUG], prog_name="barograph")
    except KeyboardInterrupt as error:
        for note in getattr(error, "__notes__", ()):
            print(note, file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except Exception as error:
        if debug:
            raise
        print(visible(describe_error(error)), file=sys.stderr)
        entry = next((COMMANDS[each] for each in arguments if each in COMMANDS), None)
        sys.exit(EXIT_FAILED if entry is None or entry.exit_failed is None else entry.exit_failed)


def describe_error(error: Exception) -> str:
    """Describe an error: Barograph's own errors are messages already, errors of libraries become one."""
    if type(error).__module__.partition(".")[0] in ("barograph", "barograph_server"):
        return str(error)
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        return f"{error.filename}: {reason[:1].lower() + reason[1:]}." if error.filename else f"{reason}."
    if type(error).__module__.partition(".")[0] == "confluent_kafka" or type(error).__name__ == "KafkaException":
        from barograph_server.streams.broker.client import explain

        return str(explain(error, "run the command"))
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("barograph"):
        extra = "'barograph[local]'" if error.name in MODULES else "'barograph[server]', or [local] for `dev`"
        return f"This command needs {error.name}, which is not installed: pip install {extra}."
    text = " ".join(str(error).split())
    return (
        f"This is a bug in Barograph: {type(error).__name__}: {text}. "
        "Run the command again with --debug and report the traceback."
    )


if __name__ == "__main__":
    main()
