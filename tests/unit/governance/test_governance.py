import json
import math
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest
from barograph.contract import DeclaredConsumer, DeclaredSource, Field

from barograph_server.governance.debt.jungles import number_relation, text_relation
from barograph_server.governance.debt.run_checks import FieldDay, one_value_days, values_of_day
from barograph_server.governance.debt.unused import last_used
from barograph_server.governance.lineage.events import event_line, openlineage_events
from barograph_server.governance.lineage.picture import draw_lineage
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
    for member, value, message in (
        ("owner", 7, "owner is not a text"),
        ("kind", "Prompt\u00a0label ", "kind Prompt.*label  is one that Barograph records itself"),
        ("changed_at", 1_777_900_800, "changed_at is not a time; write it as 2026-05-04T13:20:00Z"),
        ("changed_at", "yesterday", "changed_at is not a time"),
        ("changed_at", f"{FIRST_YEAR - 1}-12-31T00:00:00Z", f"changed_at is before {FIRST_YEAR}; correct it"),
    ):
        with pytest.raises(ChangeError, match=message):
            reported_change({**DEPLOY, member: value}, NOW)


CONTRACT = simple_contract(
    fields=(*simple_contract().fields, Field(name="score", type="float", source="score")),
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


def test_every_node_and_its_edges() -> None:
    graph = build_lineage(CONTRACT)
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
    assert {end for edge in graph.edges for end in edge} == {node.id for node in graph.nodes}


X = np.arange(200.0)
TEXTS = np.array(["a", "b", "c", "d"] * 50)


def test_an_arm_is_used_on_days_with_a_tenth_of_its_promise() -> None:
    units = {date(2026, 3, 1): {"a": 95, "b": 5}, date(2026, 3, 2): {"a": 96, "b": 4}, date(2026, 3, 3): {"a": 9}}
    used = last_used(units, {"a": 0.5, "b": 0.5})
    assert used == {"a": datetime(2026, 3, 4, tzinfo=UTC), "b": datetime(2026, 3, 2, tzinfo=UTC)}
    assert last_used({date(2026, 3, 1): {"a": 9, "b": 0}}, {"a": 0.5, "b": 0.5}).keys() == {"a"}


def test_the_newest_days_with_one_value_are_a_range() -> None:
    """A star is a day with two values."""
    for values, n in (("112", 1), ("121", 1), ("122", 2), ("222", 3), ("22*", 0), ("*22", 2), ("", 0)):
        days: list[FieldDay] = [
            (datetime(2026, 3, i + 1, tzinfo=UTC), 1, frozenset("12" if value == "*" else value))
            for i, value in enumerate(values)
        ]
        assert list(one_value_days(days)) == days[len(days) - n :], values


def test_a_day_has_one_value_or_several() -> None:
    def values(kind: Any, *counts: int, low: float = math.nan, high: float = math.nan) -> set[str]:
        field = Field(name="f", type=kind, source="features.f")
        return set(values_of_day(field, [("b1", counts)] if counts else [], low, high))

    assert len(values("float", 4, 0, 0, low=2.0, high=2.0)) == 1
    assert len(values("float", 4, 0, 0, low=2.0, high=3.0)) == 2
    assert len(values("bool", 0, 4)) == 1
    assert len(values("bool", 1, 4)) == 2
    assert len(values("category", 0, 4, 0)) == 1
    assert len(values("category", 0, 0, 4)) == 2, "unseen categories can be many"
    assert values("int") == {"not tracked"}


def test_equal_and_linear_numbers_are_one_feature() -> None:
    missing = np.where(X % 3 == 0, np.nan, X)
    assert number_relation(X, missing).startswith("equal in 133 ")
    assert number_relation(X, 32.0 - 1.8 * X) == "correlation -1.0000000 in 200 sampled events"
    assert number_relation(X, X + np.sin(X)) == ""
    assert number_relation(X, np.ones(200)) == ""
    assert number_relation(X[:50], X[:50]) == ""


def test_categories_that_map_one_to_one_are_one_feature() -> None:
    assert text_relation(TEXTS, np.char.add("country ", TEXTS)) == "4 values map one to one in 200 sampled events"
    assert text_relation(TEXTS, np.where(TEXTS == "a", "b", TEXTS)) == ""
    assert text_relation(X.astype(str), X.astype(str)) == ""
    assert text_relation(TEXTS, np.full(200, "one")) == ""


SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = 'a<script>"&\x1b[31m\x00\uffff' + "x" * 40


def test_the_picture_has_every_node_and_edge() -> None:
    graph = build_lineage(CONTRACT)
    drawing = ElementTree.fromstring(draw_lineage(graph))
    titles = [title.text for title in drawing.iterfind(f"{SVG}g/{SVG}title")]
    assert titles[:2] == ["fleet\nairflow\nowner: ana", "weather"]
    assert len(drawing.findall(f"{SVG}g")) == len(graph.nodes)
    assert len(drawing.findall(f"{SVG}path")) == len(graph.edges)
    height = float(drawing.attrib["height"])
    assert all(0 < float(box.attrib["y"]) < height for box in drawing.iterfind(f"{SVG}g/{SVG}rect"))


def test_names_cannot_leave_their_place_in_the_picture() -> None:
    hostile = msgspec.structs.replace(CONTRACT, model=HOSTILE)
    drawing = ElementTree.fromstring(draw_lineage(build_lineage(hostile)))
    assert drawing.find(f".//{SVG}script") is None
    texts = [text.text or "" for text in drawing.iterfind(f"{SVG}g/{SVG}text")]
    (shown,) = (text for text in texts if text.startswith("a<script>"))
    assert shown.endswith("…")
    assert "\\x1b[31m" in shown


def test_the_model_is_a_job_between_its_sources_and_its_topic() -> None:
    built = openlineage_events(CONTRACT, datetime(2026, 3, 1, tzinfo=UTC), "b1:9092,b2:9092", "predictions")
    model, *consumers = (json.loads(event_line(event)) for event in built)
    assert model["eventTime"] == "2026-03-01T00:00:00+00:00"
    assert model["schemaURL"].endswith("JobEvent")
    assert (model["job"]["namespace"], model["job"]["name"]) == ("barograph", "toy")
    assert model["job"]["facets"]["ownership"]["owners"] == [{"name": "ml"}]
    fleet, weather = model["inputs"]
    assert (fleet["namespace"], fleet["name"], weather["namespace"]) == ("airflow", "fleet", "barograph")
    assert fleet["facets"]["ownership"]["owners"] == [{"name": "ana"}]
    assert [field["name"] for field in weather["facets"]["schema"]["fields"]] == ["x", "flag"]
    (topic,) = model["outputs"]
    assert (topic["namespace"], topic["name"]) == ("kafka://b1:9092", "predictions/toy")
    columns = {
        name: [(origin["name"], origin["field"]) for origin in column["inputFields"]]
        for name, column in topic["facets"]["columnLineage"]["fields"].items()
    }
    # Of k and colour no source is known.
    flag = [("fleet", "flag"), ("weather", "flag")]
    assert columns == {"x": [("weather", "x")], "flag": flag, "score": [("weather", "x"), *flag]}
    assert [each["job"]["name"] for each in consumers] == ["toy.gates", "toy.audit"]
    for consumer in consumers:
        (read,) = consumer["inputs"]
        assert (read["namespace"], read["name"]) == (topic["namespace"], topic["name"])
