"""Output of `barograph lineage` as a table and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

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
