"""The lineage of the selected model as a graph: nodes with the levels of their fields, and edges."""

from __future__ import annotations

from barograph_server.warehouse.panels.drift import LAST_VERDICTS
from barograph_server.warehouse.panels.fragments import LEVELS, MODEL, is_selected
from barograph_server.warehouse.panels.query import table

ARC = "arc__"
"""Prefix of the columns from which a node graph draws the ring of a node: shares of the ring, one column per colour."""

NODES = table(
    "lineage.nodes",
    f"""
    SELECT
        graph.node AS id,
        graph.title AS title,
        graph.detail AS subtitle,
        verdict.level AS mainstat,
        {", ".join(f"verdict.level = '{level}' AS {ARC}{level}" for level in LEVELS)},
        graph.kind AS detail__kind,
        graph.owner AS detail__owner
    FROM latest_lineage AS graph
    LEFT JOIN (SELECT field, toString(last.2) AS level FROM ({LAST_VERDICTS})) AS verdict
        ON verdict.field = if(graph.kind IN ('field', 'output'), graph.title, '')
    WHERE {is_selected("model", "graph.model")}
    ORDER BY graph.position
    LIMIT 1000
    """,
    f"id:text | title:text | subtitle:text | mainstat:text | {' | '.join(ARC + level for level in LEVELS)}"
    " | detail__kind:text | detail__owner:text",
)

EDGES = table(
    "lineage.edges",
    f"""
    /* no range: the contract in effect */
    SELECT concat(source, ' → ', target) AS id, source, target
    FROM (
        SELECT arrayJoin(upstream) AS source, node AS target, position
        FROM latest_lineage
        WHERE {MODEL}
        ORDER BY position
    )
    LIMIT 4000
    """,
    "id:text | source:text | target:text",
)
