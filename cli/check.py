"""The command line of `barograph check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from barograph_server.cli.options import (
    ClassColumnOption,
    IdColumnOption,
    JsonOption,
    LabelColumnOption,
    ScoreColumnOption,
    TimeColumnOption,
)
from barograph_server.errors import EXIT_VIOLATIONS

if TYPE_CHECKING:
    from barograph.validation.tables import TableViolation

    from barograph_server.batch.check import CheckReport
    from barograph_server.terminal import Terminal


def check_command(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="A Parquet, CSV or Arrow file of features.", show_default=False)
    ],
    contract: Annotated[Path, typer.Option(metavar="FILE", help="The model's contract.", show_default=False)],
    time: TimeColumnOption = None,
    id_: IdColumnOption = None,
    score: ScoreColumnOption = None,
    class_: ClassColumnOption = None,
    label: LabelColumnOption = None,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="A column that is not a feature, such as an id; repeatable."),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Check only N rows, evenly spread over the file.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check training or serving data against the contract.

    Reads a field from the column of its source, such as `features.temp`, or of its bare name; outputs, times and labels
    from the columns in the contract's `columns`. Kinds of violations:
    missing, null, type, not-finite, below, above, unknown (a column that the contract neither watches nor ignores;
    `id`, `at`, `label` and other members of an event do not count). Row numbers start at 0. Personal data is not shown.

    Exits with 0 if the data conforms to the contract, 1 if it does not, 2 if the data or the contract cannot be read.

    Examples:
        barograph check train.parquet --contract flight-delay.yaml
        barograph check served.csv --contract flight-delay.yaml --sample 100000 --json
    """
    from barograph_server.batch.check import check
    from barograph_server.plain_values import plain
    from barograph_server.terminal import Terminal

    report = check(
        data,
        contract,
        time=time,
        id=id_,
        score=score,
        class_=class_,
        label=label,
        without=without or (),
        sample=sample,
    )
    if as_json:
        Terminal().json(plain(report))
    else:
        _print_report(Terminal(), report)
    if report.violations:
        raise typer.Exit(EXIT_VIOLATIONS)


def _print_report(terminal: Terminal, report: CheckReport) -> None:
    from barograph_server.terminal import AlignedTable, plural, ratio

    if report.violations:
        numbers = ("n", "of", "share")
        table = AlignedTable("field", "kind", *numbers, "first rows", numbers=numbers)
        for violation in report.violations:
            limit = "" if violation.limit is None else f" {violation.limit:g}"
            table.row(
                violation.field,
                f"no {violation.expected_type}" if violation.expected_type else f"{violation.kind}{limit}",
                f"{violation.n:,}",
                f"{violation.n_checked:,}",
                ratio(violation.n, violation.n_checked),
                _first_rows(violation),
            )
        terminal.table(table)
    rows = plural(report.n_checked, "row")
    if report.n_checked < report.n_rows:
        rows += f" of {report.n_rows:,}"
    kinds = plural(len(report.violations), "kind of violation", "kinds of violations")
    verdict = kinds if report.violations else "conforms to the contract"
    terminal.line(f"{report.path}: {rows}, {plural(report.n_columns, 'column')}: {verdict}.")


def _first_rows(violation: TableViolation) -> str:
    if not violation.examples:
        return ", ".join(f"{row:,}" for row in violation.rows)
    return ", ".join(f"{row:,}: {value}" for row, value in zip(violation.rows, violation.examples, strict=True))
