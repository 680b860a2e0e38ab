"""The command line of `barograph load`."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from barograph import PublishError

from barograph_server.batch.backfill.account import Account, account_lines
from barograph_server.batch.backfill.backfill import BackfillProgress, BackfillReport, backfill
from barograph_server.cli.options import Arg, Connection, ContractColumns, Opt, Options
from barograph_server.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, RefusedLoad
from barograph_server.terminal import Terminal, plural, ratio


class Loading(Options, frozen=True):
    version: Annotated[str | None, Opt("Version that made the predictions; required without a column `version`.")] = (
        None
    )
    end: Annotated[
        bool, Opt("Finally write end markers, which processors on the replay clock need to seal everything.")
    ] = False
    wait: Annotated[
        bool, Opt("Wait until the processors have taken the events, and account for them.", name="--wait/--no-wait")
    ] = True
    timeout_s: Annotated[float, Opt("Longest wait for the processors.", "SECONDS", name="--timeout", min=0.0)] = 180.0
    max_rejected: Annotated[
        float,
        Opt("Exit with 1 if more of the events, labels or values of a field are rejected.", "SHARE", min=0.0, max=1.0),
    ] = 0.01
    label_time: Annotated[
        str | None,
        Opt("Column of the times at which labels became known; by default `at`, or those of predictions.", "COLUMN"),
    ] = None
    label_delay: Annotated[
        str | None, Opt("How long after their prediction labels in a table of predictions became known.", "DURATION")
    ] = None
    shift_to_now: Annotated[
        bool, Opt("Move all times by the same number of weeks, so that the newest is in the last week.")
    ] = False


def load_command(
    loading: Loading,
    columns: ContractColumns,
    connection: Connection,
    files: Annotated[
        tuple[Path, ...], Arg("Parquet, CSV or Arrow files of predictions or labels, published in this order.", "FILE")
    ],
    contract: Annotated[Path, Opt("The model's contract.", "FILE")],
) -> None:
    """Load history and labels from files, through the publisher.

    A file with the columns `id` and `label` and no column of a prediction has labels. Columns have the names of events,
    those in the contract's `columns`, or those in options.

    Waits while Kafka is slow and drops nothing. Loading a file twice counts its events twice.

    Ends with an account of the events. Exits with 1 if rows were left out, a share exceeds --max-rejected, or not
    everything is known after --timeout; with 2, and sends nothing, if processors would reject the times (see
    --shift-to-now). --no-wait needs no ClickHouse.

    Examples:
        barograph load predictions.parquet labels.parquet --contract flight-delay.yaml --version 3 --end
        barograph load labels-2026-03-01.csv --contract flight-delay.yaml
        barograph load scored.csv --contract churn.yaml --version 1 --label churned --label-delay 30d
    """
    terminal = Terminal(stderr=True)
    try:
        with terminal.steps("Checking the files") as step:
            report = backfill(
                files,
                contract,
                **loading.values(),
                **columns.values(),
                settings=connection.config,
                progress=_Progress(terminal, step),
            )
    except RefusedLoad as error:
        terminal.line(str(error), "red")
        raise typer.Exit(EXIT_USAGE) from error
    except KeyboardInterrupt as error:
        terminal.lines(getattr(error, "__notes__", ()))
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except PublishError as error:
        terminal.lines(getattr(error, "__notes__", ()))
        raise
    if report.is_interrupted:
        terminal.line("Interrupted after everything was sent; the account as of now:")
    if report.account is None:
        terminal.line(
            "Sent and not waited for: what became of the events is not known. Check with `barograph status` and "
            "`barograph doctor`."
        )
    else:
        check = f"barograph check {files[0]} --contract {contract}"
        _print_account(terminal, report, report.account, check, loading.max_rejected)
    if report.is_interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if report.n_skipped:
        terminal.line(f"Skipped {plural(report.n_skipped, 'row')} without id, time or label.", "red")
    if not report.is_good:
        raise typer.Exit(EXIT_FAILED)


def _print_account(
    terminal: Terminal, report: BackfillReport, account: Account, check: str, max_rejected: float
) -> None:
    terminal.lines(account_lines(account))
    for problem in report.problems:
        terminal.line(f"{ratio(problem.n, problem.of)}: {problem.n:,} {problem.text}. See:", "red")
        terminal.line(f"    {problem.command(report.model, check)}")
    if report.problems:
        terminal.line(f"Exit code 1: more than {max_rejected:.6g} of the events (--max-rejected).", "red")
    if account.unknown:
        silent = ", ".join(report.silent)
        terminal.line(
            f"The account is not complete: no {silent} reports. Start it with `barograph run` or `barograph dev`."
            if silent
            else "The account is not complete: raise --timeout, or look again with `barograph status`.",
            "red",
        )


class _Progress(BackfillProgress):
    """Prints notes and warnings, and how far the backfill is."""

    def __init__(self, terminal: Terminal, step: Callable[[str], None]) -> None:
        self._terminal, self._step = terminal, step

    def note(self, text: str) -> None:
        self._terminal.line(text)

    def warn(self, text: str) -> None:
        self._terminal.line(text, "yellow")

    def step(self, text: str) -> None:
        self._step(text)
