"""Text of prompts and answers is dropped: a secret planted everywhere in spans is found nowhere afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from streams.otlp.conventions import load_conventions
from streams.otlp.rejection import ExportError
from tests.support.otlp import INSTRUMENTATIONS, as_json, as_protobuf, exports, make_ingest, predictions, spans_of

SECRET = "my card number is 4556 7375 8689 9855"
TABLE = load_conventions()
IDENTIFIERS = frozenset(alias.name for each in TABLE.meanings.values() for alias in each.names)
"""Attributes that Barograph reads: names of models, operations, prompts. A text that is no name is dropped, too."""


def plant(export: dict[str, Any], *, everywhere: bool) -> int:
    """Put the secret into all text of a request: attributes, events, names, status; return into how many places."""
    planted = 0

    def plant_in(pairs: list[dict[str, Any]]) -> None:
        nonlocal planted
        for pair in pairs:
            if not everywhere and pair["key"] in IDENTIFIERS:
                continue
            value = pair["value"]
            if "stringValue" in value:
                value["stringValue"] = f"{SECRET} {value['stringValue']}"
                planted += 1
            elif "arrayValue" in value:
                value["arrayValue"] = {"values": [{"stringValue": SECRET}]}
                planted += 1

    for span in spans_of(export):
        plant_in(span.get("attributes", []))
        span["name"] = f"{span['name']} {SECRET}"
        span.setdefault("status", {})["message"] = SECRET
        for event in span.setdefault("events", []):
            plant_in(event.get("attributes", []))
        extra = [{"key": name, "value": {"stringValue": SECRET}} for name in ("gen_ai.novel", "llm.novel.7", "note")]
        span["attributes"] = span.get("attributes", []) + extra
        stack = [
            {"key": "exception.message", "value": {"stringValue": SECRET}},
            {"key": "exception.stacktrace", "value": {"stringValue": SECRET}},
            {"key": "exception.type", "value": {"stringValue": SECRET}},
        ]
        span["events"].append({"name": "exception", "timeUnixNano": span["startTimeUnixNano"], "attributes": stack})
        span["events"].append({"name": SECRET, "timeUnixNano": span["startTimeUnixNano"]})
        planted += 8
    return planted


@pytest.mark.parametrize("encode", [as_json, as_protobuf])
@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("name", INSTRUMENTATIONS)
def test_a_planted_secret_is_nowhere(name: str, everywhere: bool, encode: Any) -> None:
    bodies = exports(name)
    assert sum(plant(body, everywhere=everywhere) for body in bodies) > 50
    ingest = make_ingest()
    events = predictions(bodies, encode, ingest)
    counts = [ingest.not_observed, ingest.unknown, ingest.unlisted, ingest.rejected, ingest.nested.outcomes]
    for word in (SECRET, "4556 7375", "8689 9855"):
        assert word not in repr(events)
        assert word not in repr(counts)
    assert ingest.unknown["gen_ai.novel"] > 0
    if not everywhere:
        assert len(events) == len(predictions(exports(name)))


@pytest.mark.parametrize("name", INSTRUMENTATIONS)
def test_decoded_spans_hold_no_text_of_prompts(name: str) -> None:
    bodies = exports(name)
    for body in bodies:
        plant(body, everywhere=False)
        for span in make_ingest().json.decode(as_json(body)).spans:
            assert "4556 7375" not in repr((span.attributes, span.chars, span.scope))


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9])
def test_errors_about_broken_requests_do_not_quote_them(cut: float) -> None:
    body = exports("openinference")[0]
    plant(body, everywhere=True)
    ingest = make_ingest()
    for decoder, data in ((ingest.json, as_json(body)), (ingest.protobuf, as_protobuf(body))):
        with pytest.raises(ExportError) as caught:
            decoder.decode(data[: int(len(data) * cut)])
        assert "4556 7375" not in str(caught.value)
