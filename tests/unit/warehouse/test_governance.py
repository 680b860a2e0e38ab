from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from barograph.contract import Contract, DeclaredConsumer, DeclaredSource, Field

from barograph_server.warehouse.governance.changes import FIRST_YEAR, ChangeError, reported_change
from barograph_server.warehouse.governance.lineage import UNDECLARED, build_lineage
from tests.support.pipeline import simple_contract

NOW = datetime(2026, 5, 4, 13, 20, tzinfo=UTC)
DEPLOY = {"kind": "deploy", "subject": "job"}


def test_a_change_has_the_time_that_was_reported_or_that_of_the_report() -> None:
    assert reported_change(DEPLOY, NOW).changed_at == NOW
    local = NOW.astimezone(timezone(timedelta(hours=2)))
    change = reported_change({**DEPLOY, "changed_at": local.isoformat()}, NOW)
    assert (change.changed_at, change.changed_at.tzinfo) == (NOW, UTC)


def test_members_that_are_no_text_or_no_time_are_rejected() -> None:
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"owner": 7}, "owner is not a text"),
        ({"kind": "Prompt\u00a0label "}, "kind Prompt.*label  is one that Barograph records itself"),
        ({"changed_at": 1_777_900_800}, "changed_at is not a time; write it as 2026-05-04T13:20:00Z"),
        ({"changed_at": "yesterday"}, "changed_at is not a time"),
        ({"changed_at": f"{FIRST_YEAR - 1}-12-31T00:00:00Z"}, f"changed_at is before {FIRST_YEAR}; correct it"),
    )
    for changes, message in wrong:
        with pytest.raises(ChangeError, match=message):
            reported_change(DEPLOY | changes, NOW)


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
