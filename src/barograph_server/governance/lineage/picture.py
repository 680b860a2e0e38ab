"""The lineage of a model as a picture: an SVG document that needs nothing else."""

from barograph_server.html.page import render
from barograph_server.warehouse.governance.lineage import LINEAGE_KINDS, LineageGraph

COLUMN, BOX, ROW, GAP, MARGIN = 190, 24, 32, 90, 16
"""Widths of a column and of the gap between two, and heights of a node and of a row, in pixels."""
MAX_CHARS = 28
"""Longest text of a node; a longer one is cut, and complete in the tooltip."""
_HEADINGS = {"source": "sources", "field": "fields", "model": "model", "output": "outputs", "consumer": "consumers"}


def draw_lineage(graph: LineageGraph) -> str:
    """Draw a graph: a column for each kind of node, and a curve for each edge."""
    columns = [nodes for kind in LINEAGE_KINDS if (nodes := [node for node in graph.nodes if node.kind == kind])]
    height = ROW * max(map(len, columns))
    positions = {
        node.id: (MARGIN + across * (COLUMN + GAP), MARGIN + ROW + height / 2 + (down - len(nodes) / 2) * ROW)
        for across, nodes in enumerate(columns)
        for down, node in enumerate(nodes)
    }
    ends = [(positions[source], positions[target]) for source, target in graph.edges]
    picture = render(
        "lineage.svg",
        model=graph.model,
        width=2 * MARGIN + len(columns) * (COLUMN + GAP) - GAP,
        height=height + ROW + 2 * MARGIN,
        box_width=COLUMN,
        box_height=BOX,
        most_chars=MAX_CHARS,
        headings=[(positions[nodes[0].id][0], MARGIN + 12, _HEADINGS[nodes[0].kind]) for nodes in columns],
        edges=[(x + COLUMN, y + BOX / 2, end_x, end_y + BOX / 2) for (x, y), (end_x, end_y) in ends],
        nodes=[(*positions[node.id], node) for node in graph.nodes],
    )
    return str(picture)
