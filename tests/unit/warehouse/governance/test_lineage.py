"""The lineage graph of a contract."""

from __future__ import annotations

from typing import Any

import msgspec
from barograph.contract import Contract, DeclaredConsumer, DeclaredSource, Field

from barograph_server.warehouse.governance.lineage import UNDECLARED, build_lineage
from tests.support.pipeline import simple_contract

SCORE = Field(name="score", type="float", source="score")


def contract(**changes: Any) -> Contract:
    described = simple_contract(
        fields=(*simple_contract().fields, SCORE),
        team="ml",
        serving="3",
        declared_sources={
            "fleet": DeclaredSource(owner="ana", system="airflow", fields=("flag",)),
            "weather": DeclaredSource(fields=("x", "flag")),
        },
        consumers={
            "gates": DeclaredConsumer(owner="bo", group="gates", fields=("score", "x")),
            "audit": DeclaredConsumer(owner="cy", user="audit"),
        },
    )
    return msgspec.structs.replace(described, **changes)


def test_every_node_and_its_edges() -> None:
    graph = build_lineage(contract())
    assert [(node.id, node.detail, node.owner, node.upstream) for node in graph.nodes] == [
        ("source:fleet", "airflow", "ana", ()),
        ("source:weather", "", "", ()),
        ("source", "", "", ()),
        # Fields of one source are neighbours; k and colour have no declared source.
        ("field:flag", "bool", "", ("source:fleet", "source:weather")),
        ("field:x", "float", "", ("source:weather",)),
        ("field:k", "int", "", ("source",)),
        ("field:colour", "category", "", ("source",)),
        ("model:toy", "version 3", "ml", ("field:flag", "field:x", "field:k", "field:colour")),
        ("output:score", "float", "", ("model:toy",)),
        ("consumer:gates", "group gates", "bo", ("output:score", "field:x")),
        ("consumer:audit", "user audit", "cy", ("model:toy",)),
    ]
    assert graph.nodes[2].title == UNDECLARED
    ids = {node.id for node in graph.nodes}
    assert len(ids) == len(graph.nodes)
    assert {end for edge in graph.edges for end in edge} == ids
