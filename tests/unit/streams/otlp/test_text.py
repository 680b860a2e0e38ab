import json
from collections.abc import Sequence
from typing import Any

import pytest
from barograph import Contract
from barograph.contract import Arms, Field, LabelSpec, Slice, Text
from barograph.values import QuickPrediction

from barograph_server.streams.otlp.contract_privacy import ContractPrivacy
from barograph_server.streams.otlp.conventions import load_conventions
from barograph_server.streams.otlp.model_call import ModelCall
from barograph_server.streams.otlp.nesting import NestedCalls
from barograph_server.streams.otlp.rejection import ExportError
from barograph_server.streams.otlp.run import ContractText, FeedbackClass
from barograph_server.streams.otlp.settings import OtlpSettings
from barograph_server.streams.registry.registry import Registry, build_registry
from tests.support import otlp

WITH_CONTENT = ("genai-openai-content", "v2-latest", "openllmetry", "openinference", "openlit", "litellm")


class RecordedTexts:
    def __init__(self) -> None:
        self.texts: list[tuple[str | None, str | None]] = []

    def reads(self, model: str) -> bool:
        return True

    def observe(self, model: str, calls: Sequence[ModelCall]) -> None:
        self.texts += [(call.text.prompt, call.text.answer) for call in calls if call.text is not None]


def texts_of(bodies: list[dict[str, Any]], encode: Any = otlp.as_json) -> list[tuple[str | None, str | None]]:
    recorded = RecordedTexts()
    otlp.predictions(bodies, encode, otlp.make_ingest(text=recorded))
    return recorded.texts


@pytest.mark.parametrize("encode", [otlp.as_json, otlp.as_protobuf])
@pytest.mark.parametrize("name", WITH_CONTENT)
def test_texts_of_all_instrumentations(name: str, encode: Any) -> None:
    texts = texts_of(otlp.exports(name), encode)
    prompts = {prompt for prompt, _ in texts}
    assert any(prompt is not None and "France" in prompt for prompt in prompts)
    assert not any(prompt is not None and prompt.startswith(("[", "{")) for prompt in prompts)
    assert any(answer for _, answer in texts)


def of_attributes(**attributes: Any) -> tuple[str | None, str | None] | None:
    named = {name.replace("__", "."): value for name, value in attributes.items()}
    texts = texts_of([otlp.export_of(otlp.span(attributes=otlp.CALL | named))])
    return texts[0] if texts else None


def test_the_last_message_of_the_user() -> None:
    for messages, prompt in (
        ("a plain question", "a plain question"),
        ([{"role": "user", "content": "one"}, {"role": "USER", "content": "two"}], "two"),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "text": "no"}]}], "a"),
        ([{"role": "user", "parts": [{"type": "text", "content": "a"}, {"type": "text", "content": "b"}]}], "a\nb"),
        ([{"content": "no role"}], "no role"),
        ({"messages": [{"role": "user", "content": "nested"}]}, "nested"),
        ([{"role": "user", "parts": [{"type": "tool_call", "arguments": {"text": "no"}}]}], None),
        ("[broken", "[broken"),
        (["one", 1, "two", None], "two"),
        ([1, None, []], None),
    ):
        value = messages if isinstance(messages, str) else json.dumps(messages)
        texts = of_attributes(gen_ai__input__messages=value)
        assert (None if texts is None else texts[0]) == prompt


def test_numbered_messages_are_read_by_role_and_other_content_is_not() -> None:
    named = {"gen_ai__completion__0__content": "answer"}
    for i, role, content in ((0, "user", "first"), (10, "user", "last"), (11, "model", "no")):
        named |= {f"gen_ai__prompt__{i}__role": role, f"gen_ai__prompt__{i}__content": content}
    assert of_attributes(**named) == ("last", "answer")
    assert of_attributes(gen_ai__system_instructions="no", gen_ai__tool__call__arguments="no", note="no") is None


def registry(**text: Any) -> Registry:
    fields = (Field(name="language", type="category", source="features.language", pii=text.pop("pii", "keep")),)
    return build_registry([(Contract(model="support-bot", fields=fields, text=Text(**text)), 0)], [])


def ingest_of(current: Registry) -> Any:
    return otlp.make_ingest(text=ContractText(lambda: current), steps=[ContractPrivacy(lambda: current).protect])


QUESTION = {"gen_ai.input.messages": json.dumps([{"role": "user", "content": "How do I reset my password?"}])}


ASKED = otlp.export_of(otlp.span(attributes=otlp.CALL | QUESTION))


def features_of(current: Registry) -> dict[str, Any]:
    (event,) = otlp.predictions([ASKED], ingest=ingest_of(current))
    return event


def test_features_are_what_the_contract_says(monkeypatch: pytest.MonkeyPatch) -> None:
    event = features_of(registry())
    assert event["features"] == {"language": "en", "code_share": 0.0}
    assert event["metrics"]["input_chars"] == 27
    assert "prompt_text" not in event["context"]
    assert b"password" not in json.dumps(event).encode()
    assert features_of(registry(pii="drop"))["features"] == {"code_share": 0.0}
    # A missing codebook costs topics only, and hashes without a key are left out.
    assert features_of(registry(codebook="0123456789abcdef"))["features"] == {"language": "en", "code_share": 0.0}
    monkeypatch.delenv("BAROGRAPH_PII_KEY", raising=False)
    event = features_of(registry(content="hash"))
    assert event["features"]["language"] == "en"
    assert "prompt_hash" not in event["context"]
    current = build_registry([(Contract(model="support-bot"), 0)], [])
    assert "features" not in features_of(current)
    (decoded,) = ingest_of(current).json.decode(otlp.as_json(ASKED)).spans
    assert decoded.text is None


def nested(outer: dict[str, Any], inner: dict[str, Any], **text: Any) -> dict[str, Any]:
    spans = otlp.span("02", "01", attributes=otlp.CALL | inner), otlp.span("01", attributes=otlp.CALL | outer)
    (event,) = otlp.predictions([otlp.export_of(*spans)], ingest=ingest_of(registry(**text)))
    return event


def test_features_of_an_inner_call_are_taken_over_and_its_sampled_text_is_not() -> None:
    event = nested({}, QUESTION, content="keep", sample=1.0)
    assert event["features"]["language"] == "en"
    assert "prompt_text" not in event["context"]
    assert nested(QUESTION, {}, content="keep", sample=1.0)["context"]["prompt_text"] == "How do I reset my password?"


@pytest.mark.parametrize("n_inner", [0, 6])
def test_text_that_waits_is_counted_and_released_and_calls_inside_of_it_hold_none(n_inner: int) -> None:
    current = registry(content="keep", sample=1.0)
    waiting = NestedCalls(OtlpSettings())
    ingest = otlp.make_ingest(text=ContractText(lambda: current), nested=waiting)
    inner = [otlp.span(f"{i:02x}", "02", attributes=otlp.CALL | QUESTION) for i in range(3, 3 + n_inner)]
    body = otlp.as_json(otlp.export_of(otlp.span("02", "01", attributes=otlp.CALL | QUESTION), *inner))
    assert ingest.add(ingest.json.decode(body), otlp.RECEIVED_MS)[0] == []
    assert waiting.waiting_chars == len("How do I reset my password?") + len("1")
    assert len(ingest.release()) == 1
    assert waiting.waiting_chars == 0


def test_text_of_a_span_that_arrives_again_is_not_read_again() -> None:
    recorded = RecordedTexts()
    ingest = otlp.make_ingest(text=recorded)
    spans = [otlp.span(f"{i:02x}", trace_id=f"{i:x}", attributes=otlp.CALL | QUESTION) for i in (1, 2, 3)]
    body = otlp.as_json(otlp.export_of(*spans))
    counted = [len(ingest.add(ingest.json.decode(body), otlp.RECEIVED_MS)[0]) for _ in range(3)]
    assert (counted, recorded.texts) == ([3, 0, 0], [("How do I reset my password?", None)] * 3)


@pytest.mark.parametrize(("label", "expected"), [("bool", "true"), ("float", None), (None, None)])
def test_a_generation_claims_that_the_user_is_content(label: Any, expected: str | None) -> None:
    contract = Contract(model="support-bot", label=None if label is None else LabelSpec(type=label))
    feedback = FeedbackClass(lambda: build_registry([(contract, 0)], []))
    failed = otlp.span("02", status={"code": 2})
    ingest = otlp.make_ingest(steps=[feedback.set_class])
    first, second = otlp.predictions([otlp.export_of(otlp.span(), failed)], ingest=ingest)
    assert (first.get("class"), second["error"], "class" in second) == (expected, "unknown", False)


USER = Field(name="customer", type="category", source="context.user", pii="hash")


def protected(contract: Contract | None) -> Any:
    registry = Registry() if contract is None else Registry(contracts={contract.model: contract})
    prediction = QuickPrediction("bot", "1", "a", 0, context={"user": "ana", "session": "s", "prompt": "answer@1"})
    ContractPrivacy(lambda: registry).protect(prediction)
    return prediction.context


def test_ids_of_people_are_published_only_if_the_contract_names_them() -> None:
    for contract, names in (
        (None, set()),
        (Contract(model="bot"), set()),
        (Contract(model="bot", slices=(Slice(name="session", source="context.session"),)), {"session"}),
        (Contract(model="bot", user="context.user"), {"user"}),
        (Contract(model="bot", arms=Arms(shares={"a": 0.5, "b": 0.5}, unit="context.user")), {"user"}),
    ):
        assert protected(contract).keys() == {"prompt", *names}


def test_ids_of_people_are_hashed_or_left_out_as_the_contract_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAROGRAPH_PII_KEY", "0123456789abcdef")
    context = protected(Contract(model="bot", fields=(USER,)))
    assert "ana" not in context["user"]
    assert len(context["user"]) > 30
    monkeypatch.delenv("BAROGRAPH_PII_KEY")
    assert protected(Contract(model="bot", fields=(USER,))) == {"prompt": "answer@1"}
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

    for exported in otlp.spans_of(export):
        plant_in(exported.get("attributes", []))
        exported["name"] = f"{exported['name']} {SECRET}"
        exported.setdefault("status", {})["message"] = SECRET
        for event in exported.setdefault("events", []):
            plant_in(event.get("attributes", []))
        extra = [{"key": name, "value": {"stringValue": SECRET}} for name in ("gen_ai.novel", "llm.novel.7", "note")]
        exported["attributes"] = exported.get("attributes", []) + extra
        parts = ("message", "stacktrace", "type")
        began_ns = exported["startTimeUnixNano"]
        stack = [{"key": f"exception.{part}", "value": {"stringValue": SECRET}} for part in parts]
        exported["events"].append({"name": "exception", "timeUnixNano": began_ns, "attributes": stack})
        exported["events"].append({"name": SECRET, "timeUnixNano": began_ns})
        planted += 8
    return planted


@pytest.mark.parametrize("encode", [otlp.as_json, otlp.as_protobuf])
@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("name", otlp.INSTRUMENTATIONS)
def test_a_planted_secret_is_nowhere(name: str, everywhere: bool, encode: Any) -> None:
    bodies = otlp.exports(name)
    assert sum(plant(body, everywhere=everywhere) for body in bodies) > 50
    ingest = otlp.make_ingest()
    events = otlp.predictions(bodies, encode, ingest)
    counts = [ingest.not_observed, ingest.unknown, ingest.unlisted, ingest.rejected, ingest.nested.outcomes]
    for word in (SECRET, "4556 7375", "8689 9855"):
        assert word not in repr(events)
        assert word not in repr(counts)
    assert ingest.unknown["gen_ai.novel"] > 0
    if not everywhere:
        assert len(events) == len(otlp.predictions(otlp.exports(name)))
        decoded = [each for body in bodies for each in otlp.make_ingest().json.decode(otlp.as_json(body)).spans]
        assert "4556 7375" not in repr([(each.attributes, each.chars, each.scope) for each in decoded])


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9])
def test_errors_about_broken_requests_do_not_quote_them(cut: float) -> None:
    body = otlp.exports("openinference")[0]
    plant(body, everywhere=True)
    ingest = otlp.make_ingest()
    for decoder, data in ((ingest.json, otlp.as_json(body)), (ingest.protobuf, otlp.as_protobuf(body))):
        with pytest.raises(ExportError) as caught:
            decoder.decode(data[: int(len(data) * cut)])
        assert "4556 7375" not in str(caught.value)
