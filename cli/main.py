"""The `barograph` command: imports each command when it is called, and prints errors as messages."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from barograph_server.cli.options import help_text
from barograph_server.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_UNDECIDED, EXIT_UNREADABLE
from barograph_server.terminal import visible

DEBUG = "--debug"


class _Command(NamedTuple):
    """The function of a command, and the first line of its help, so that the list of commands imports nothing."""

    module: str
    function: str
    summary: str
    exit_failed: int | None = None
    """The exit code of errors, a wrong command line included; None: 1, and 2 for a wrong command line."""


COMMANDS: dict[str, _Command] = {
    "infer": _Command(
        "barograph_server.cli.infer",
        "infer_command",
        "Infer a contract and a baseline from training data, and explain each decision.",
    ),
    "compare": _Command(
        "barograph_server.cli.compare",
        "compare_command",
        "Compare production data with training data on this machine, without Kafka and ClickHouse.",
        exit_failed=EXIT_UNREADABLE,
    ),
    "load": _Command(
        "barograph_server.cli.load",
        "load_command",
        "Load history and labels from files, through the publisher.",
    ),
    "check": _Command(
        "barograph_server.cli.check",
        "check_command",
        "Check training or serving data against the contract.",
        exit_failed=EXIT_UNREADABLE,
    ),
    "skew": _Command(
        "barograph_server.cli.skew",
        "skew_command",
        "Compare served features with those that training computes, and explain differences.",
        exit_failed=EXIT_UNREADABLE,
    ),
    "plan": _Command(
        "barograph_server.cli.apply", "plan_command", "Show what `apply` would change, and change nothing."
    ),
    "apply": _Command(
        "barograph_server.cli.apply",
        "apply_command",
        "Create or change tables, topics, contracts and baselines; a second run changes nothing.",
    ),
    "baseline": _Command(
        "barograph_server.cli.baseline",
        "baseline_app",
        "Show baselines, and create new ones from production data.",
    ),
    "reference": _Command(
        "barograph_server.cli.reference",
        "reference_app",
        "List the periods that performance can be compared with, and choose one.",
    ),
    "shadow": _Command(
        "barograph_server.cli.shadow",
        "shadow_app",
        "Show the state of a candidate, write a report, and export or verify evidence for its promotion.",
    ),
    "promote": _Command(
        "barograph_server.cli.promote",
        "promote_command",
        "Decide whether a candidate may replace the primary, from all pairs so far.",
        exit_failed=EXIT_UNDECIDED,
    ),
    "prompts": _Command(
        "barograph_server.cli.prompts",
        "prompts_app",
        "Register prompts of language models, and decide which version serves.",
    ),
    "evaluations": _Command(
        "barograph_server.cli.evaluations",
        "evaluations_command",
        "Show how many answers are faulty, by checks and judges, corrected by the labels of people.",
    ),
    "judges": _Command(
        "barograph_server.cli.judges",
        "judges_app",
        "Judge anchors, which are answers with known classes, and see whether a judge has drifted.",
        exit_failed=EXIT_UNDECIDED,
    ),
    "review": _Command(
        "barograph_server.cli.review",
        "review_app",
        "Label answers of a language model on a local page or in files, and see how far reviewers agree.",
    ),
    "eval": _Command(
        "barograph_server.cli.eval",
        "eval_app",
        "Run evaluation suites on versions of models and prompts, and hold back those that are worse.",
        exit_failed=EXIT_UNDECIDED,
    ),
    "consumers": _Command(
        "barograph_server.cli.consumers",
        "consumers_command",
        "Show who reads topics, tables and dashboards, and who of them no contract declares.",
    ),
    "lineage": _Command(
        "barograph_server.cli.lineage",
        "lineage_command",
        "Show which sources feed the fields of a model, and who consumes what it produces.",
    ),
    "changes": _Command(
        "barograph_server.cli.changes",
        "changes_app",
        "Report changes, list them, and rank them as causes of major verdicts.",
    ),
    "debt": _Command(
        "barograph_server.cli.debt",
        "debt_command",
        "Show versions, arms, slices and fields to delete, and features with unclear origin.",
    ),
    "codebook": _Command(
        "barograph_server.cli.codebook",
        "codebook_app",
        "Train, show and name codebooks, which assign topics to prompts.",
    ),
    "run": _Command("barograph_server.cli.run", "run_command", "Run one processor until SIGTERM or Ctrl-C."),
    "dev": _Command(
        "barograph_server.cli.dev",
        "dev_command",
        "Run Apache Kafka, the ClickHouse engine and all processors on this machine until Ctrl-C.",
    ),
    "status": _Command(
        "barograph_server.cli.status",
        "status_command",
        "Show the state of models and processors, and open incidents.",
    ),
    "report": _Command(
        "barograph_server.cli.report",
        "report_command",
        "Write one week of a model as one page: its health, the four signals, incidents, changes and drills.",
    ),
    "doctor": _Command(
        "barograph_server.cli.doctor",
        "doctor_command",
        "Check Kafka, topics, ClickHouse, contracts, events, clocks and Grafana, and say how to fix problems.",
    ),
    "demo": _Command(
        "barograph_server.cli.demo",
        "demo_command",
        "Replay five months of real flights on this machine and report what changed.",
    ),
    "simulate": _Command(
        "barograph_server.cli.simulate",
        "simulate_command",
        "Replay recorded history through the alert rules, or evaluate them continuously.",
    ),
    "backtest": _Command(
        "barograph_server.cli.backtest",
        "backtest_command",
        "Compare an alert rule with a changed version over history.",
    ),
    "detectability": _Command(
        "barograph_server.cli.detectability",
        "detectability_command",
        "Show the smallest changes of each field that page within an hour, a day and a week, blind spots first.",
    ),
    "loops": _Command(
        "barograph_server.cli.loops",
        "loops_command",
        "Show whether a model's outputs change its later inputs, from predictions with randomised outputs.",
        exit_failed=EXIT_UNDECIDED,
    ),
    "drill": _Command(
        "barograph_server.cli.drill",
        "drill_app",
        "Inject faults into recorded events, and check that alerts fire and serving falls back.",
    ),
    "distribution": _Command(
        "barograph_server.cli.distribution",
        "distribution_command",
        "Show the distribution of a field in any range of the past: quantiles, shares, and PSI against training.",
    ),
    "dead-letters": _Command(
        "barograph_server.cli.dead_letters",
        "dead_letters_app",
        "Show, replay or drop dead-lettered events.",
    ),
    "rebuild": _Command(
        "barograph_server.cli.rebuild",
        "rebuild_command",
        "Recount panes and verdicts of the past, replace them, and show the changes.",
    ),
    "query": _Command("barograph_server.cli.query", "query_command", "Run a read-only query in ClickHouse."),
}


class LazyGroup(TyperGroup):
    """A group that imports a command when it is called; its help lists `COMMANDS`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name, entry in COMMANDS.items():
            self.add_command(TyperCommand(name, help=entry.summary), name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Import the command that is called."""
        if args and args[0] in self.commands:
            entry = COMMANDS[args[0]]
            function = getattr(importlib.import_module(entry.module), entry.function)
            if isinstance(function, typer.Typer):
                single = function
            else:
                single = typer.Typer(add_completion=False)
                single.command(args[0], help=help_text(function))(function)
            self.add_command(typer.main.get_command(single), args[0])
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


app = typer.Typer(cls=LazyGroup, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def barograph(
    debug: Annotated[bool, typer.Option(DEBUG, help="Show the traceback of an error; any position.")] = False,
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
    text = " ".join(str(error).split())
    return (
        f"This is a bug in Barograph: {type(error).__name__}: {text}. "
        "Run the command again with --debug and report the traceback."
    )


if __name__ == "__main__":
    main()
