"""The command line of `barograph detectability`."""

from __future__ import annotations

from typing import Annotated

import typer

from barograph_server.cli.options import ConfigOption, JsonOption


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
    from barograph_server.cli.detectability_text import detectability_json, print_detectability
    from barograph_server.contracts import hint, read_contract
    from barograph_server.errors import CommandError
    from barograph_server.settings import load_settings
    from barograph_server.terminal import Terminal
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
