"""What the receiver publishes of people: ids as the contract says, and no text of prompts and answers."""

from __future__ import annotations

from typing import Any

import pytest
from barograph import Contract
from barograph.contract import Arms, Field, Slice
from barograph.values import QuickPrediction

from barograph_server.streams.otlp.contract_privacy import ContractPrivacy
from barograph_server.streams.otlp.conventions import load_conventions
from barograph_server.streams.otlp.rejection import ExportError
from barograph_server.streams.registry.registry import Registry
from tests.support.otlp import INSTRUMENTATIONS, as_json, as_protobuf, exports, make_ingest, predictions, spans_of

USER = Field(name="customer", type="category", source="context.user", pii="hash")


def protected(contract: Contract | None, model: str = "bot") -> dict[str, str] | None:
    registry = Registry() if contract is None else Registry(contracts={contract.model: contract})
    prediction = QuickPrediction(model, "1", "a", 0, context={"user": "ana", "session": "s", "prompt": "answer@1"})
    ContractPrivacy(lambda: registry).protect(prediction)
    context: dict[str, str] | None = prediction.context
    return context


@pytest.mark.parametrize(
    ("contract", "names"),
    [
        (None, set()),
        (Contract(model="bot"), set()),
        (Contract(model="bot", slices=(Slice(name="session", source="context.session"),)), {"session"}),
        (Contract(model="bot", user="context.user"), {"user"}),
        (Contract(model="bot", arms=Arms(shares={"a": 0.5, "b": 0.5}, unit="context.user")), {"user"}),
    ],
)
def test_ids_of_people_are_published_only_if_the_contract_names_them(
    contract: Contract | None, names: set[str]
) -> None:
    context = protected(contract)
    assert context is not None
    assert context.keys() == {"prompt", *names}


def test_ids_of_people_are_hashed_or_left_out_as_the_contract_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAROGRAPH_PII_KEY", "0123456789abcdef")
    context = protected(Contract(model="bot", fields=(USER,)))
    assert context is not None
    assert "ana" not in context["user"]
    assert len(context["user"]) > 30
    monkeypatch.delenv("BAROGRAPH_PII_KEY")
    context = protected(Contract(model="bot", fields=(USER,)))
    assert context == {"prompt": "answer@1"}
    prediction = QuickPrediction("bot", "1", "a", 0, context={"user": "ana"})
    ContractPrivacy(Registry).protect(prediction)
    assert prediction.context is None


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
        parts = ("message", "stacktrace", "type")
        stack = [{"key": f"exception.{part}", "value": {"stringValue": SECRET}} for part in parts]
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
        decoded = [each for body in bodies for each in make_ingest().json.decode(as_json(body)).spans]
        assert "4556 7375" not in repr([(each.attributes, each.chars, each.scope) for each in decoded])


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9])
def test_errors_about_broken_requests_do_not_quote_them(cut: float) -> None:
    body = exports("openinference")[0]
    plant(body, everywhere=True)
    ingest = make_ingest()
    for decoder, data in ((ingest.json, as_json(body)), (ingest.protobuf, as_protobuf(body))):
        with pytest.raises(ExportError) as caught:
            decoder.decode(data[: int(len(data) * cut)])
        assert "4556 7375" not in str(caught.value)
