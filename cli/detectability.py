"""The command line of `barograph detectability`."""

from collections.abc import Iterator
from functools import partial
from typing import Annotated

from barograph_server.alerts.prediction.detectability_text import invisible_change, invisible_reason, size_text
from barograph_server.alerts.prediction.model_detectability import HORIZONS, ModelDetectability, compute_detectability
from barograph_server.alerts.prediction.smallest_change import Detectability
from barograph_server.cli.options import Connection, Model, Opt, Output
from barograph_server.contracts import hint, read_contract
from barograph_server.errors import CommandError
from barograph_server.terminal import TableColumn, Terminal
from barograph_server.warehouse.client import connect

BLIND_SPOTS = 5
"""Blind spots that are described by sentences, the largest first."""
_CHANGES = {"shift": "shift of the mean", "moved": "move between categories", "nulls": "more nulls"}


def print_detectability(terminal: Terminal, result: ModelDetectability) -> None:
    """Print blind spots, then the smallest change of each field, then that of each window and slice."""
    terminal.line(f"{result.model}: version {result.version}, traffic of the last week", "bold")
    terminal.lines(
        f"{row.field}: {invisible_change(row, result.std)} is invisible in a day: {invisible_reason(row)}"
        for row in result.rules[:BLIND_SPOTS]
    )
    terminal.line()
    terminal.line("Smallest change that fires a rule, with a probability of 80 %:")
    terminal.rows(
        result.rules,
        (
            TableColumn("field"),
            TableColumn("change", format=_CHANGES.__getitem__),
            TableColumn("rule"),
            *_sizes(result.std),
        ),
    )
    terminal.line()
    terminal.line("Smallest change that makes a window `major`, with a probability of 80 %:")
    columns = (
        TableColumn("field"),
        TableColumn("slice_name", "slice"),
        TableColumn("change", format=_CHANGES.__getitem__),
        TableColumn("window"),
        TableColumn("traffic.events", format=",.0f"),
        TableColumn("traffic.phi", "φ", ".3g"),
        *_sizes(result.std),
    )
    terminal.rows(result.windows, columns)


def _sizes(std: dict[str, float]) -> Iterator[TableColumn]:
    def size(row: Detectability, index: int) -> str:
        return size_text(row, row.smallest[index], std)

    return (TableColumn(partial(size, index=i), name, is_number=True) for i, name in enumerate(HORIZONS))


def detectability_command(
    output: Output,
    connection: Connection,
    model: Model,
    field: Annotated[str | None, Opt("Only this field; by default the critical ones.", "NAME")] = None,
) -> None:
    """Show the smallest changes of each field that page within an hour, a day and a week, blind spots first.

    A change that is shown is detected with a probability of 80 %, at the traffic and the overdispersion φ of the last
    week. Rules read the slice `all`; changes of single slices are shown as the level `major` of their windows.

    Examples:
        barograph detectability --model flight-delay
        barograph detectability --model flight-delay --field temp --format json
    """
    settings = connection.settings("clickhouse")
    with connect(settings.warehouse) as client:
        contract = read_contract(client, model)
        names = [each.name for each in contract.fields]
        if field is not None and field not in names:
            raise CommandError(f"The contract of {model} has no field {field!r}{hint(field, names)}")
        result = compute_detectability(client, contract, settings.alerts, [field] if field is not None else ())
    output.show(result, print_detectability)
