"""The lineage of a model as a picture: an SVG document that needs nothing else."""

from __future__ import annotations

from html import escape

from barograph_server.terminal import cut, escaped
from barograph_server.warehouse.governance.lineage import LINEAGE_KINDS, LineageGraph, LineageNode

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
    width = 2 * MARGIN + len(columns) * (COLUMN + GAP) - GAP
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height + ROW + 2 * MARGIN}" '
        'font-family="sans-serif" font-size="12">',
        f"<title>{_text(f'Lineage of {graph.model}')}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for nodes in columns:
        x, _ = positions[nodes[0].id]
        lines.append(f'<text x="{x}" y="{MARGIN + 12}" fill="#5d6779">{_HEADINGS[nodes[0].kind]}</text>')
    for source, target in graph.edges:
        (x, y), (end_x, end_y) = positions[source], positions[target]
        x, y, end_y, middle = x + COLUMN, y + BOX / 2, end_y + BOX / 2, (x + COLUMN + end_x) / 2
        path = f"M{x} {y}C{middle} {y} {middle} {end_y} {end_x} {end_y}"
        lines.append(f'<path d="{path}" fill="none" stroke="#b9c1cd"/>')
    lines += [_draw_node(node, *positions[node.id]) for node in graph.nodes]
    return "\n".join([*lines, "</svg>"])


def _draw_node(node: LineageNode, x: float, y: float) -> str:
    facts = (node.title, node.detail, f"owner: {node.owner}" if node.owner else "")
    tooltip = "\n".join(map(_text, filter(None, facts)))
    fill = "#e8f0fe" if node.kind == "model" else "#f7f8fa"
    box = f'<rect x="{x}" y="{y}" width="{COLUMN}" height="{BOX}" rx="4" fill="{fill}" stroke="#5d6779"/>'
    return (
        f'<g><title>{tooltip}</title>{box}<text x="{x + 8}" y="{y + 16}">{_text(cut(node.title, MAX_CHARS))}</text></g>'
    )


def _text(text: str) -> str:
    """Escape text for XML, which has no way to write most control characters."""
    return escape(escaped(text))
