"""The command line of `barograph detectability`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from barograph_server.alerts.prediction.detectability_text import invisible_change, invisible_reason, size_text
from barograph_server.alerts.prediction.model_detectability import HORIZONS, ModelDetectability
from barograph_server.alerts.prediction.smallest_change import Detectability
from barograph_server.cli.options import ConfigOption, JsonOption
from barograph_server.terminal import AlignedTable, Terminal

BLIND_SPOTS = 5
"""Blind spots that are described by sentences, the largest first."""
_CHANGES = {"shift": "shift of the mean", "moved": "move between categories", "nulls": "more nulls"}


def detectability_json(result: ModelDetectability) -> dict[str, Any]:
    """Convert what is detected to JSON values; a change that is never detected is null.

    Sizes of shifts are standard deviations of training; other sizes are shares of the events.
    """
    return {
        "model": result.model,
        "version": result.version,
        "baseline_id": result.baseline_id,
        "rules": [_row_json(row, {"rule": row.rule}) for row in result.rules],
        "windows": [_row_json(row, {"window": row.window, "slice": row.slice_name}) for row in result.windows],
    }


def print_detectability(terminal: Terminal, result: ModelDetectability) -> None:
    """Print blind spots, then the smallest change of each field, then that of each window and slice."""
    terminal.line(f"{result.model}: version {result.version}, traffic of the last week", "bold")
    terminal.lines(
        f"{row.field}: {invisible_change(row, result.std)} is invisible in a day: {invisible_reason(row)}"
        for row in result.rules[:BLIND_SPOTS]
    )
    terminal.line()
    terminal.line("Smallest change that fires a rule, with a probability of 80 %:")
    table = AlignedTable("field", "change", "rule", *HORIZONS, numbers=tuple(HORIZONS))
    for row in result.rules:
        table.row(row.field, _CHANGES[row.change], row.rule, *_sizes(row, result.std))
    terminal.table(table)
    terminal.line()
    terminal.line("Smallest change that makes a window `major`, with a probability of 80 %:")
    table = AlignedTable(
        *("field", "slice", "change", "window", "events", "φ"), *HORIZONS, numbers=("events", "φ", *HORIZONS)
    )
    for row in result.windows:
        assert row.traffic is not None
        counts = f"{row.traffic.events:,.0f}", f"{row.traffic.phi:.3g}"
        table.row(row.field, row.slice_name, _CHANGES[row.change], row.window, *counts, *_sizes(row, result.std))
    terminal.table(table)


def _sizes(row: Detectability, std: dict[str, float]) -> Iterator[str]:
    return (size_text(row, size, std) for size in row.smallest)


def _row_json(row: Detectability, where: dict[str, str]) -> dict[str, Any]:
    traffic = row.traffic
    return {
        "field": row.field,
        "change": row.change,
        **where,
        "unit": "sd" if row.change == "shift" else "share",
        "n": None if traffic is None else traffic.events,
        "phi": None if traffic is None else traffic.phi,
        "smallest": {
            name: size if math.isfinite(size) else None for name, size in zip(HORIZONS, row.smallest, strict=True)
        },
    }


def detectability_command(
    model: Annotated[str, typer.Option("--model", help="Name of the model.", show_default=False)],
    field: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only this field; by default the critical ones.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show the smallest changes of each field that page within an hour, a day and a week, blind spots first.

    A change that is shown is detected with a probability of 80 %, at the traffic and the overdispersion φ of the last
    week. Rules read the slice `all`; changes of single slices are shown as the level `major` of their windows.

    Examples:
        barograph detectability --model flight-delay
        barograph detectability --model flight-delay --field temp --json
    """
    from barograph_server.alerts.prediction.model_detectability import compute_detectability
    from barograph_server.contracts import hint, read_contract
    from barograph_server.errors import CommandError
    from barograph_server.settings import load_settings
    from barograph_server.warehouse.client import connect

    settings = load_settings(config, needs=("clickhouse",))
    with connect(settings.warehouse) as client:
        contract = read_contract(client, model)
        names = [each.name for each in contract.fields]
        if field is not None and field not in names:
            raise CommandError(f"The contract of {model} has no field {field!r}{hint(field, names)}")
        result = compute_detectability(client, contract, settings.alerts, [field] if field is not None else ())
    if as_json:
        Terminal().json(detectability_json(result))
    else:
        print_detectability(Terminal(), result)
