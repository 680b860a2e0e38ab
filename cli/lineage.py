"""The command line of `barograph lineage`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

import typer

from barograph_server.cli.options import ConfigOption
from barograph_server.terminal import AlignedTable, Terminal
from barograph_server.warehouse.governance.lineage import LineageGraph


def lineage_json(graph: LineageGraph) -> dict[str, Any]:
    """Convert a graph for `Terminal.json`: `model`, `nodes`, and `edges` as pairs of ids."""
    return {**asdict(graph), "edges": [list(edge) for edge in graph.edges]}


def print_lineage(terminal: Terminal, graph: LineageGraph) -> None:
    """Print a line per node, from upstream to downstream."""
    titles = {node.id: node.title for node in graph.nodes}
    table = AlignedTable("kind", "name", "details", "owner", "upstream")
    for node in graph.nodes:
        upstream = "all fields" if node.kind == "model" else ", ".join(titles[each] for each in node.upstream)
        table.row(node.kind, node.title, node.detail or "-", node.owner or "-", upstream or "-")
    terminal.table(table)


def lineage_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.", show_default=False)],
    format: Annotated[  # the name of the option
        Literal["table", "json", "svg", "openlineage"], typer.Option("--format", help="Output format.")
    ] = "table",
    send: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Post the OpenLineage events to the catalogue at this URL instead of printing.",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Show which sources feed the fields of a model, and who consumes what it produces.

    The graph is what the contract in effect declares in `sources` and `consumers`. `svg` is a picture, `openlineage`
    one JSON event per line: one of the model, and one of each consumer. `--send` needs the extra `lineage`, as
    `openlineage` does; the environment variable OPENLINEAGE_API_KEY holds the token of the catalogue, if it has one.

    Examples:
        barograph lineage flight-delay
        barograph lineage flight-delay --format svg > lineage.svg
        barograph lineage flight-delay --send http://localhost:5000
    """
    from barograph_server.contracts import read_contract
    from barograph_server.errors import CommandError
    from barograph_server.governance.lineage.picture import draw_lineage
    from barograph_server.settings import load_settings
    from barograph_server.terminal import plural
    from barograph_server.warehouse.client import connect
    from barograph_server.warehouse.governance.lineage import build_lineage
    from barograph_server.warehouse.queries import contract_history

    if send is not None and format in ("json", "svg"):
        raise CommandError(f"--send posts OpenLineage events: leave out --format {format}.")
    needs_events = send is not None or format == "openlineage"
    settings = load_settings(config, needs=("kafka", "clickhouse") if needs_events else ("clickhouse",))
    with connect(settings.warehouse) as client:
        contract = read_contract(client, model)
        applied_at = contract_history(client, model)[-1].applied_at
    if needs_events:
        from barograph_server.governance.lineage.events import event_line, openlineage_events, post_events

        events = openlineage_events(contract, applied_at, settings.bootstrap_servers, settings.topics.predictions)
        if send is None:
            print("\n".join(map(event_line, events)))
        else:
            post_events(events, send)
            Terminal().line(f"Sent {plural(len(events), 'event')} to {send}.")
        return
    graph = build_lineage(contract)
    if format == "svg":
        print(draw_lineage(graph))
    elif format == "json":
        Terminal().json(lineage_json(graph))
    else:
        print_lineage(Terminal(), graph)
