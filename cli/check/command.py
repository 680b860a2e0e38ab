"""The command line of `barograph check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from barograph.validation.tables import TableViolation

    from cli.check.rows import Checked

VIOLATIONS = 1
"""The exit code where something does not keep the contract."""
UNREADABLE = 2
"""The exit code where data or contract cannot be read."""
_PIPE_WIDTH = 10_000
"""Characters of a line where no screen bounds it."""


def check_command(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="Features: a Parquet, CSV or Arrow file.", show_default=False)
    ],
    contract: Annotated[Path, typer.Option(metavar="FILE", help="The model's contract.", show_default=False)],
    time: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Event times, from which timestamps have their age; else `at`.", show_default=False
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="A column that is no feature, such as an id; repeatable."),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Look at N rows alone, spread evenly over the file.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write an object for programs.")] = False,
) -> None:
    """Hold training or serving data against the contract.

    A field is read from the column of its source, such as `features.temp`, or of its bare name. Kinds of violations:
    missing, null, type, not-finite, below, above, unknown (a column that the contract neither watches nor ignores;
    `id`, `at`, `label` and other members of an event are none). Rows are counted from 0; personal data is not shown.

    Exits with 0 where the contract is kept, 1 where it is not, 2 where data or contract cannot be read.

    Examples:
        barograph check train.parquet --contract flight-delay.yaml
        barograph check served.csv --contract flight-delay.yaml --sample 100000 --json
    """
    from barograph.contract.file import load_contract
    from barograph.contract.problems import ContractError

    from cli.check.rows import check_file
    from cli.errors import CommandError

    try:
        checked = check_file(data, load_contract(contract), at=time, without=without or (), sample=sample)
    except (CommandError, ContractError, OSError) as error:
        from cli.main import sentence

        typer.echo(sentence(error), err=True)
        raise typer.Exit(UNREADABLE) from None
    if as_json:
        print(json.dumps(_record(checked), indent=2, ensure_ascii=False))
    else:
        _print(checked)
    if checked.violations:
        raise typer.Exit(VIOLATIONS)


def _record(checked: Checked) -> dict[str, object]:
    from cli.check.rows import as_records

    return {
        "data": str(checked.path),
        "rows": checked.rows,
        "checked": checked.looked_at,
        "columns": checked.columns,
        "violations": list(as_records(checked)),
    }


def _print(checked: Checked) -> None:
    from rich.console import Console
    from rich.table import Table

    from cli.terminal import Text

    console = Console()
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    if checked.violations:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for name in ("field", "kind", "n", "of", "share", "first rows"):
            table.add_column(name, justify="right" if name in ("n", "of", "share") else "left", overflow="fold")
        for found in checked.violations:
            limit = "" if found.limit is None else f" {found.limit:g}"
            kind = f"no {found.expected_type}" if found.expected_type else f"{found.kind}{limit}"
            # Values are data: nothing in them is markup.
            cells = (
                found.field,
                kind,
                f"{found.n:,}",
                f"{found.n_checked:,}",
                share(found.n, found.n_checked),
                _first(found),
            )
            table.add_row(*map(Text, cells))
        console.print(table)
    looked_at = f"{checked.looked_at:,} rows"
    if checked.looked_at < checked.rows:
        looked_at += f" of {checked.rows:,}"
    count = len(checked.violations)
    verdict = "the contract is kept" if not count else f"{count} kind{'s' if count > 1 else ''} of violation"
    console.print(Text(f"{checked.path}: {looked_at}, {checked.columns} columns: {verdict}."), soft_wrap=True)


def share(n: int, of: int) -> str:
    """Write a share so that neither a rare row nor a rare exception is rounded away."""
    if n in (0, of):
        return "100 %" if n else "0 %"
    percent = 100 * n / of
    if percent < 0.01:
        return "< 0.01 %"
    return "> 99.99 %" if percent > 99.99 else f"{percent:.2f} %"


def _first(found: TableViolation) -> str:
    if not found.examples:
        return ", ".join(f"{row:,}" for row in found.rows)
    return ", ".join(f"{row:,}: {value}" for row, value in zip(found.rows, found.examples, strict=True))
