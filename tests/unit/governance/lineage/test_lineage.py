"""The lineage as a picture and as OpenLineage events."""

import json
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import msgspec
from barograph.contract import Contract

from barograph_server.governance.lineage.events import event_line, openlineage_events
from barograph_server.governance.lineage.picture import draw_lineage
from barograph_server.warehouse.governance.lineage import build_lineage
from tests.unit.warehouse.test_governance import contract

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = 'a<script>"&\x1b[31m\x00\uffff' + "x" * 40


def events(described: Contract) -> list[dict[str, Any]]:
    built = openlineage_events(described, datetime(2026, 3, 1, tzinfo=UTC), "b1:9092,b2:9092", "predictions")
    return [json.loads(event_line(event)) for event in built]


def test_the_picture_has_every_node_and_edge() -> None:
    graph = build_lineage(contract())
    drawing = ElementTree.fromstring(draw_lineage(graph))
    assert [title.text for title in drawing.iterfind(f"{SVG}g/{SVG}title")][:2] == [
        "fleet\nairflow\nowner: ana",
        "weather",
    ]
    assert len(drawing.findall(f"{SVG}g")) == len(graph.nodes)
    assert len(drawing.findall(f"{SVG}path")) == len(graph.edges)
    height = float(drawing.attrib["height"])
    assert all(0 < float(box.attrib["y"]) < height for box in drawing.iterfind(f"{SVG}g/{SVG}rect"))


def test_names_cannot_leave_their_place_in_the_picture() -> None:
    hostile = msgspec.structs.replace(contract(), model=HOSTILE)
    drawing = ElementTree.fromstring(draw_lineage(build_lineage(hostile)))
    assert drawing.find(f".//{SVG}script") is None
    texts = [text.text or "" for text in drawing.iterfind(f"{SVG}g/{SVG}text")]
    (shown,) = (text for text in texts if text.startswith("a<script>"))
    assert shown.endswith("…")
    assert "\\x1b[31m" in shown


def test_the_model_is_a_job_between_its_sources_and_its_topic() -> None:
    model, *consumers = events(contract())
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
