"""The command line of `barograph lineage`."""

from typing import Annotated, Literal

from barograph_server.cli.options import Connection, Model, Opt
from barograph_server.contracts import read_contract
from barograph_server.errors import CommandError
from barograph_server.governance.lineage.picture import draw_lineage
from barograph_server.plain_values import plain
from barograph_server.settings import load_settings
from barograph_server.terminal import TableColumn, Terminal, picked, plural
from barograph_server.warehouse.client import connect
from barograph_server.warehouse.governance.lineage import LineageGraph, LineageNode, build_lineage
from barograph_server.warehouse.queries import contract_history


def print_lineage(terminal: Terminal, graph: LineageGraph) -> None:
    """Print a line per node, from upstream to downstream."""
    titles = {node.id: node.title for node in graph.nodes}

    def upstream(node: LineageNode) -> str:
        return "all fields" if node.kind == "model" else ", ".join(titles[each] for each in node.upstream) or "-"

    columns = (
        TableColumn("kind"),
        TableColumn("title", "name"),
        TableColumn("detail", "details", lambda detail: detail or "-"),
        TableColumn("owner", format=lambda owner: owner or "-"),
        TableColumn(upstream, "upstream"),
    )
    terminal.rows(graph.nodes, columns)


def lineage_command(
    connection: Connection,
    model: Model,
    format: Annotated[  # the name of the option
        Literal["table", "json", "svg", "openlineage"], Opt("Output format.")
    ] = "table",
    send: Annotated[
        str | None, Opt("Post the OpenLineage events to the catalogue at this URL instead of printing.", "URL")
    ] = None,
) -> None:
    """Show which sources feed the fields of a model, and who consumes what it produces.

    The graph is what the contract in force declares in `sources` and `consumers`. `openlineage` prints one JSON event
    per line, of the model and of each consumer; it and `--send` need the extra `lineage`. OPENLINEAGE_API_KEY holds the
    token of the catalogue, if it has one.

    Examples:
        barograph lineage --model flight-delay
        barograph lineage --model flight-delay --format svg > lineage.svg
        barograph lineage --model flight-delay --send http://localhost:5000
    """
    if send is not None and format in ("json", "svg"):
        raise CommandError(f"--send posts OpenLineage events: leave out --format {format}.")
    needs_events = send is not None or format == "openlineage"
    settings = load_settings(connection.config, needs=("kafka", "clickhouse") if needs_events else ("clickhouse",))
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
        Terminal().json(plain(graph) | picked(graph, "edges"))
    else:
        print_lineage(Terminal(), graph)
