"""The command line of `barograph skew`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import ConfigOption

if TYPE_CHECKING:
    from barograph import Contract

    from cli.skew.compare import Comparison, Options
    from cli.skew.sources import Production

SKEW = 1
"""The exit code where something differs."""
UNREADABLE = 2
"""The exit code where the two sides cannot be read or compared."""
_PIPE_WIDTH = 10_000
"""Characters of a line where no screen bounds it."""


def skew_command(
    served: Annotated[
        str,
        typer.Option(
            metavar="FILE", help="What was served: a file, or clickhouse:MODEL[@VERSION].", show_default=False
        ),
    ],
    recomputed: Annotated[
        Path, typer.Option(metavar="FILE", help="What training computes for the same ids.", show_default=False)
    ],
    contract: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The model's contract: types, and what is personal data.", show_default=False
        ),
    ] = None,
    on: Annotated[str, typer.Option(metavar="COLUMN", help="The column of prediction ids.")] = "id",
    fields: Annotated[
        list[str] | None, typer.Option("--field", metavar="NAME", help="Compare this field alone; repeatable.")
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ENTITY", help="Column of the entity, for lags and windows; repeatable.", show_default=False
        ),
    ] = None,
    time: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column of the time, for lags and windows.", show_default=False)
    ] = None,
    underlying: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=COLUMN", help="The column that a field is an aggregate of; repeatable.", show_default=False
        ),
    ] = None,
    begin: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="First event time, of clickhouse:.", show_default=False)
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Event time after the last.", show_default=False)
    ] = None,
    tolerance: Annotated[float, typer.Option(help="Relative difference up to which numbers are equal.")] = 1e-6,
    as_json: Annotated[bool, typer.Option("--json", help="Write an object for programs.")] = False,
    config: ConfigOption = None,
) -> None:
    """Compare what was served with what training computes, and name how they differ.

    Both sides are joined by the prediction's id and compared field by field. Where they differ the kind of mistake is
    looked for: null handling, a constant offset or factor (units), rounding, other spelling or codes, and with --by
    and --time a lag or another window. A kind is named only where it explains nearly all differences.

    Exits with 0 where nothing differs, 1 where something does, 2 where the sides cannot be compared.

    Examples:
        barograph skew --served served.parquet --recomputed train.parquet --contract flight-delay.yaml
        barograph skew --served clickhouse:flight-delay@3 --from 2026-03-01 --to 2026-03-02 --recomputed train.parquet
    """
    from barograph.contract.problems import ContractError
    from rich.console import Console

    from cli.errors import CommandError
    from cli.infer.errors import InferError
    from cli.main import sentence
    from cli.skew.show import as_record, print_comparison
    from warehouse.errors import WarehouseBusy, WarehouseError

    errors = Console(stderr=True)
    try:
        with errors.status("reading") as status:
            found = _compare(
                served,
                recomputed,
                contract,
                _options(on, fields, by, time, underlying, tolerance),
                (begin, end),
                config,
                lambda name: status.update(f"comparing {name}"),
            )
    except (CommandError, ContractError, InferError, OSError, WarehouseBusy, WarehouseError) as error:
        typer.echo(sentence(error), err=True)
        raise typer.Exit(UNREADABLE) from None
    if as_json:
        print(json.dumps(as_record(found), indent=2, ensure_ascii=False))
    else:
        console = Console()
        if not console.is_terminal:
            console.width = _PIPE_WIDTH
        print_comparison(found, console)
    if found.skewed:
        raise typer.Exit(SKEW)


def _options(
    on: str,
    fields: Sequence[str] | None,
    by: Sequence[str] | None,
    time: str | None,
    underlying: Sequence[str] | None,
    tolerance: float,
) -> Options:
    from cli.skew.compare import Options
    from cli.skew.sources import SkewError

    columns = {}
    for text in underlying or ():
        field, sign, column = text.partition("=")
        if not (field and sign and column):
            raise SkewError(f"--underlying {text}: write FIELD=COLUMN.")
        columns[field] = column
    if not 0.0 <= tolerance < 1.0:
        raise SkewError(f"--tolerance {tolerance:g}: write a number from 0 to under 1, such as 1e-6.")
    return Options(
        on=on, by=tuple(by or ()), time=time, underlying=columns, only=tuple(fields or ()), tolerance=tolerance
    )


def _compare(
    served: str,
    recomputed: Path,
    contract_file: Path | None,
    options: Options,
    span: tuple[str | None, str | None],
    config: Path | None,
    progress: Callable[[str], None],
) -> Comparison:
    from barograph.contract.file import load_contract

    from cli.skew.compare import compare
    from cli.skew.sources import CLICKHOUSE, Production, SkewError, open_file
    from cli.times import parse_range

    contract = load_contract(contract_file) if contract_file is not None else None
    begin, end = span
    if not served.startswith(CLICKHOUSE):
        if begin is not None or end is not None:
            raise SkewError(f"--from and --to are for {CLICKHOUSE}MODEL; a file is compared whole.")
        with (
            open_file(Path(served), options.on, contract) as left,
            open_file(recomputed, options.on, contract) as right,
        ):
            return compare(left, right, contract, options, progress)
    if begin is None or end is None:
        raise SkewError(f"--served {served} needs --from and --to: the range of event times to compare.")
    production = Production.parse(served, *parse_range(begin, end))
    return _compare_production(production, recomputed, contract, options, config, progress)


def _compare_production(
    production: Production,
    recomputed: Path,
    contract: Contract | None,
    options: Options,
    config: Path | None,
    progress: Callable[[str], None],
) -> Comparison:
    from dataclasses import replace

    from cli.settings import load_settings
    from cli.skew.compare import compare
    from cli.skew.sources import contract_in_force, open_file, open_production
    from warehouse.client import connect

    settings = load_settings(config, needs=("clickhouse",))
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(connect(settings.warehouse))
        agreed = contract or contract_in_force(client, production.model)
        right = stack.enter_context(open_file(recomputed, options.on, agreed))
        left = stack.enter_context(open_production(client, production, agreed, right))
        return compare(left, right, agreed, replace(options, is_production=True), progress)
