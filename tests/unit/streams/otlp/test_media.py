"""Images and sound in messages, and texts in events of spans."""

import json
import time
from typing import Any

import pytest
from barograph import Contract
from barograph.contract import Text

from barograph_server.streams.otlp.media import replace_media
from barograph_server.streams.otlp.run import ContractText
from barograph_server.streams.registry.registry import build_registry
from tests.support.otlp import CALL, as_json, as_protobuf, export_of, make_ingest, otlp_value, predictions, span

DATA = "iVBORw0KGgo" * 4_000
SIZE = len(DATA) * 3 // 4
PNG, WAV = f"<image/png {SIZE} bytes>", f"<wav {SIZE} bytes>"
URL = f"data:image/png;base64,{DATA}"
QUESTION = "What is on it?"
TEXT = {"type": "text", "text": QUESTION}


KEPT = build_registry([(Contract(model="support-bot", text=Text(content="keep", sample=1.0)), 0)], [])


def event_of(encode: Any = as_json, reads_text: bool = True, **members: Any) -> dict[str, Any]:
    attributes = CALL | members.pop("attributes", {})
    exported = [export_of(span(attributes=attributes, **members))]
    (event,) = predictions(exported, encode, make_ingest(text=ContractText(lambda: KEPT)) if reads_text else None)
    return event


def user(*parts: Any, name: str = "content") -> list[dict[str, Any]]:
    return [{"role": "user", name: [*parts]}]


FORMS = (
    (user(TEXT, {"type": "image_url", "image_url": {"url": URL}}), PNG),
    (user(TEXT, {"type": "input_image", "image_url": URL}), PNG),
    (user(TEXT, {"type": "input_audio", "input_audio": {"data": DATA, "format": "wav"}}), WAV),
    (user(TEXT, {"type": "file", "file": {"filename": "a.png", "file_data": URL}}), PNG),
    (user(TEXT, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}}), PNG),
    (user({"text": QUESTION}, {"inline_data": {"mime_type": "image/png", "data": DATA}}, name="parts"), PNG),
    (user({"text": QUESTION}, {"inlineData": {"mimeType": "image/png", "data": DATA}}, name="parts"), PNG),
    (user({"text": QUESTION}, {"image": {"format": "wav", "source": {"bytes": DATA}}}), WAV),
    (user(TEXT, {"type": "blob", "modality": "image", "mime_type": "image/png", "content": DATA}, name="parts"), PNG),
    (user(TEXT, {"type": "blob", "mime_type": "text/plain", "content": DATA}), f"<text/plain {SIZE} bytes>"),
    (user(TEXT, {"type": "binary", "media_type": "image/png", "content": DATA}), PNG),
    (user(TEXT, {"type": "image", "mimeType": "my secret type", "data": DATA}), f"<media {SIZE} bytes>"),
    (user(TEXT, {"type": "uri", "mime_type": "image/png", "uri": "https://host/a.png"}), None),
)


@pytest.mark.parametrize("encode", [as_json, as_protobuf])
def test_media_do_not_count_as_characters_and_leave_a_mark_in_the_text(encode: Any) -> None:
    for messages, mark in FORMS:
        expected = QUESTION if mark is None else f"{QUESTION}\n{mark}"
        for name, value in (
            ("gen_ai.input.messages", json.dumps(messages)),
            ("gen_ai.input.messages", otlp_tree(messages)),
            ("gen_ai.prompt.0.content", json.dumps(next(v for k, v in messages[0].items() if k != "role"))),
        ):
            event = event_of(encode, attributes={name: value})
            assert event["metrics"]["input_chars"] == len(QUESTION), messages
            assert event["context"]["prompt_text"] == expected, messages
            dropped = event_of(encode, reads_text=False, attributes={name: value})
            assert dropped["metrics"]["input_chars"] == len(QUESTION)


def otlp_tree(value: Any) -> Any:
    if isinstance(value, list):
        return {"arrayValue": {"values": [otlp_tree(each) for each in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": [{"key": key, "value": otlp_tree(each)} for key, each in value.items()]}}
    return otlp_value(value)


CUT = '[{"inline_data": {"data": "'


def test_media_in_texts_and_in_json_that_was_cut_off() -> None:
    answer = [{"role": "assistant", "parts": [{"type": "blob", "mime_type": "image/png", "content": DATA}]}]
    for attributes, chars, member, text in (
        ({"gen_ai.prompt": f"See {URL} here"}, {"input_chars": 9}, "prompt_text", f"See {PNG} here"),
        ({"gen_ai.input.messages": json.dumps(user(URL))}, {"input_chars": 0}, "prompt_text", PNG),
        ({"gen_ai.output.messages": json.dumps(answer)}, {"output_chars": 0}, "answer_text", PNG),
        ({"gen_ai.input.messages": CUT + DATA}, {"input_chars": 27}, "prompt_text", f"{CUT}<media {SIZE} bytes>"),
        ({"gen_ai.prompt": "a" * 2_000}, {"input_chars": 2_000}, "prompt_text", "a" * 2_000),
    ):
        event = event_of(attributes=attributes)
        assert {name: n for name, n in event["metrics"].items() if name.endswith("chars")} == chars
        assert event["context"][member] == text
        assert DATA[:100] not in str(event)


def test_hostile_texts_take_time_in_proportion() -> None:
    for hostile in ("data:a/b;" + "a;" * 500_000 + "base64,", "data:a/b;base64," * 100_000, "[" + "A" * 999 + "!"):
        began_s = time.process_time()
        replace_media(hostile * (1_000_000 // len(hostile) + 1))
        assert time.process_time() - began_s < 20


def events_of(*events: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"name": name, "attributes": [{"key": key, "value": otlp_value(each)} for key, each in attributes.items()]}
        for name, attributes in events
    ]


MESSAGES = json.dumps(user(TEXT))
ANSWER = json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": "A cat."}]}])
DETAILS = {"gen_ai.input.messages": MESSAGES, "gen_ai.output.messages": ANSWER, "gen_ai.request.model": "m"}
EVENTS: tuple[tuple[Any, ...], ...] = (
    (
        "",
        ("gen_ai.content.prompt", {"gen_ai.prompt": MESSAGES}),
        ("gen_ai.content.completion", {"gen_ai.completion": '[{"role": "assistant", "content": "A cat."}]'}),
    ),
    ("", ("gen_ai.content.prompt", {"content": QUESTION}), ("gen_ai.content.completion", {"content": "A cat."})),
    (
        "Be kind.earlierYes?7",
        ("gen_ai.system.message", {"content": "Be kind.", "gen_ai.system": "openai"}),
        ("gen_ai.user.message", {"content": "earlier", "role": "user"}),
        ("gen_ai.assistant.message", {"content": "Yes?"}),
        ("gen_ai.user.message", {"content": f'[{{"text": "{QUESTION}"}}]'}),
        ("gen_ai.tool.message", {"content": "7", "id": "call-1"}),
        ("gen_ai.choice", {"message": '[{"text": "A cat."}]', "finish_reason": "end_turn", "index": 0}),
    ),
    (
        "",
        ("gen_ai.user.message", {"gen_ai.event.content": json.dumps({"role": "user", "content": QUESTION})}),
        ("gen_ai.choice", {"gen_ai.event.content": '{"message": {"content": "A cat."}, "finish_reason": "stop"}'}),
    ),
    ("", ("gen_ai.client.inference.operation.details", DETAILS)),
)
"""The texts of other messages, and the events."""


@pytest.mark.parametrize("encode", [as_json, as_protobuf])
def test_texts_of_events_are_read_as_those_of_attributes(encode: Any) -> None:
    for further, *named in EVENTS:
        events = events_of(*named)
        event = event_of(encode, events=events)
        lengths = event["metrics"]["input_chars"], event["metrics"]["output_chars"]
        assert lengths == (len(QUESTION) + len(further), len("A cat.")), events
        assert (event["context"]["prompt_text"], event["context"]["answer_text"]) == (QUESTION, "A cat.")
        dropped = event_of(encode, reads_text=False, events=events)
        assert "A cat." not in str(dropped)
        assert dropped["metrics"]["output_chars"] == len("A cat.")
        # What attributes and events repeat counts once, and other events are not read.
        repeated = event_of(encode, events=events, attributes={"gen_ai.input.messages": MESSAGES})
        assert repeated["metrics"]["input_chars"] == len(QUESTION)
    assert "prompt_text" not in event_of(events=events_of(("other", {"content": "no"})))["context"]
