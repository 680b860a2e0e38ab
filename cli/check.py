"""The command line of `barograph check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from barograph_server.cli.options import Arg, ContractColumns, Opt, Output
from barograph_server.errors import EXIT_VIOLATIONS
from barograph_server.terminal import TableColumn, Terminal, plural, ratio

if TYPE_CHECKING:
    from barograph.validation.tables import TableViolation

    from barograph_server.batch.check import CheckReport


def check_command(
    columns: ContractColumns,
    output: Output,
    data: Annotated[Path, Arg("A Parquet, CSV or Arrow file of features.", "DATA")],
    contract: Annotated[Path, Opt("The model's contract.", "FILE")],
    without: Annotated[
        tuple[str, ...], Opt("A column that is not a feature, such as an id; repeatable.", "COLUMN")
    ] = (),
    sample: Annotated[int | None, Opt("Check only N rows, evenly spread over the file.", "N", min=1)] = None,
) -> None:
    """Check training or serving data against the contract.

    Kinds of violations: missing, null, type, not-finite, below, above, unknown (a column that the contract neither
    watches nor ignores). Row numbers start at 0. Personal data is not shown.

    Exits with 0 if the data conforms to the contract, 1 if it does not, 2 if the data or the contract cannot be read.

    Examples:
        barograph check train.parquet --contract flight-delay.yaml
        barograph check served.csv --contract flight-delay.yaml --sample 100000 --format json
    """
    from barograph_server.batch.check import check

    report = check(data, contract, without=without, sample=sample, **columns.values())
    output.show(report, _print_report)
    if report.violations:
        raise typer.Exit(EXIT_VIOLATIONS)


def _kind(violation: TableViolation) -> str:
    limit = "" if violation.limit is None else f" {violation.limit:g}"
    return f"no {violation.expected_type}" if violation.expected_type else f"{violation.kind}{limit}"


def _first_rows(violation: TableViolation) -> str:
    if not violation.examples:
        return ", ".join(f"{row:,}" for row in violation.rows)
    return ", ".join(f"{row:,}: {value}" for row, value in zip(violation.rows, violation.examples, strict=True))


_VIOLATIONS = (
    TableColumn("field"),
    TableColumn(_kind, "kind"),
    TableColumn("n", format=","),
    TableColumn("n_checked", "of", ","),
    TableColumn(lambda violation: ratio(violation.n, violation.n_checked), "share", is_number=True),
    TableColumn(_first_rows, "first rows"),
)


def _print_report(terminal: Terminal, report: CheckReport) -> None:
    if report.violations:
        terminal.rows(report.violations, _VIOLATIONS)
    rows = plural(report.n_checked, "row")
    if report.n_checked < report.n_rows:
        rows += f" of {report.n_rows:,}"
    kinds = plural(len(report.violations), "kind of violation", "kinds of violations")
    verdict = kinds if report.violations else "conforms to the contract"
    terminal.line(f"{report.path}: {rows}, {plural(report.n_columns, 'column')}: {verdict}.")
