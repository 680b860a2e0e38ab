"""Both encodings of OTLP decode to the same spans, and requests that are not OTLP are rejected with a reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from barograph_server.streams.otlp.conventions import load_conventions
from barograph_server.streams.otlp.json_decoder import JsonExportDecoder
from barograph_server.streams.otlp.protobuf_decoder import ProtobufExportDecoder
from barograph_server.streams.otlp.rejection import ExportError, RequestReason, SpanReason
from barograph_server.streams.otlp.span import MAX_ATTRIBUTES, MAX_REQUEST_BYTES, MAX_SPANS, DecodedRequest
from tests.support.otlp import INSTRUMENTATIONS, as_json, as_protobuf, export_of, exports, span

RESOURCE = frozenset(("service.name",))
JSON, PROTOBUF = JsonExportDecoder(load_conventions(), RESOURCE), ProtobufExportDecoder(load_conventions(), RESOURCE)


def plain(request: DecodedRequest) -> list[dict[str, Any]]:
    return [msgspec.structs.asdict(each) for each in request.spans]


@pytest.mark.parametrize("name", INSTRUMENTATIONS)
def test_both_encodings_give_the_same_spans(name: str) -> None:
    for export in exports(name):
        from_json, from_protobuf = JSON.decode(as_json(export)), PROTOBUF.decode(as_protobuf(export))
        assert len(from_json.spans) > 0
        assert plain(from_json) == plain(from_protobuf)
        assert from_json.rejected == from_protobuf.rejected == {}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", RequestReason.NOT_JSON),
        (b"[]", RequestReason.NOT_JSON),
        (b'{"resourceSpans": [', RequestReason.NOT_JSON),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "\xff"}]}]}]}', RequestReason.NOT_JSON),
        (b"\x0a\x03abc", RequestReason.NOT_JSON),
        (b" " * (MAX_REQUEST_BYTES + 1), RequestReason.TOO_LARGE),
    ],
)
def test_bytes_that_are_not_json_exports(data: bytes, reason: RequestReason) -> None:
    with pytest.raises(ExportError) as caught:
        JSON.decode(data)
    assert caught.value.reason == reason


def test_json_at_any_depth_is_decoded_or_rejected() -> None:
    text = json.dumps(export_of(span(attributes={"gen_ai.input.messages": {"stringValue": "HERE"}})))
    outcomes = set()
    for depth in (*range(10, 1_000, 60), 1_000, 100_000):
        value = '{"arrayValue": {"values": [' * depth + "]}}" * depth
        try:
            JSON.decode(text.replace('{"stringValue": "HERE"}', value).encode())
            outcomes.add("decoded")
            assert depth < 1_000
        except ExportError as error:
            outcomes.add(error.reason)
    assert outcomes == {"decoded", RequestReason.TOO_DEEP}


def test_bytes_that_are_not_protobuf_exports() -> None:
    for data in (b"\x0a\x03abc", b"{}", b"\xff" * 20, as_json(export_of(span())), b"\x0a\xff\xff\xff"):
        with pytest.raises(ExportError) as caught:
            PROTOBUF.decode(data)
        assert caught.value.reason == RequestReason.NOT_PROTOBUF
    assert PROTOBUF.decode(b"").spans == JSON.decode(b"{}").spans == [], "an empty request has no spans"
    # The place of an error is named, and no value.
    with pytest.raises(ExportError, match=r"resourceSpans.*attributes") as caught:
        JSON.decode(b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"attributes": "SECRET"}]}]}]}')
    assert "SECRET" not in str(caught.value)


BOTH = pytest.mark.parametrize(
    "decode", [lambda export: JSON.decode(as_json(export)), lambda export: PROTOBUF.decode(as_protobuf(export))]
)
Decode = Callable[[dict[str, Any]], DecodedRequest]


@BOTH
def test_too_many_spans(decode: Decode) -> None:
    with pytest.raises(ExportError, match="10,001 spans") as caught:
        decode(export_of(*[span(f"{i + 1:x}", attributes={}) for i in range(MAX_SPANS + 1)]))
    assert caught.value.reason == RequestReason.TOO_MANY_SPANS


@BOTH
def test_unknown_attributes_are_left_out_and_too_many_reject_one_span(decode: Decode) -> None:
    known = span(attributes={"http.url": "x", "gen_ai.response.model": "m"})
    assert decode(export_of(known)).spans[0].attributes == {"gen_ai.response.model": "m"}, "others are left out"
    crowded = span("02", attributes={f"a{i}": 1 for i in range(MAX_ATTRIBUTES + 1)})
    request = decode(export_of(span("01"), crowded))
    assert len(request.spans) == 1
    assert request.rejected == {SpanReason.TOO_MANY_ATTRIBUTES: 1}


@pytest.mark.parametrize(
    "ids",
    [
        {"traceId": ""},
        {"spanId": "0" * 16},
        {"spanId": "abc"},
        {"parentSpanId": "12"},
        {"traceId": "57i3RNZkMrazB/lAsxHBxA=="},
    ],
)
def test_ids_that_are_none(ids: dict[str, str]) -> None:
    request = JSON.decode(as_json(export_of(span() | ids)))
    assert (request.spans, request.rejected) == ([], {SpanReason.BAD_ID: 1})
    if ids == {"spanId": "0" * 16}:
        request = PROTOBUF.decode(as_protobuf(export_of(span() | ids, span("02"))))
        assert (len(request.spans), request.rejected) == (1, {SpanReason.BAD_ID: 1})


def test_integers_are_numbers_or_text_and_doubles_too() -> None:
    values: dict[str, Any] = {
        "gen_ai.usage.input_tokens": {"intValue": 5},
        "gen_ai.usage.output_tokens": {"intValue": "6"},
        "gen_ai.usage.cost": {"doubleValue": "NaN"},
        "gen_ai.response.time_to_first_chunk": {"doubleValue": 1},
        "llm.token_count.prompt": {"intValue": "six"},
        "llm.token_count.completion": {"bytesValue": "YQ=="},
    }
    built = JSON.decode(as_json(export_of(span(attributes=values) | {"startTimeUnixNano": 5, "endTimeUnixNano": "x"})))
    attributes = built.spans[0].attributes
    assert attributes["gen_ai.usage.input_tokens"] == 5
    assert attributes["gen_ai.usage.output_tokens"] == 6
    assert attributes["gen_ai.usage.cost"] != attributes["gen_ai.usage.cost"]
    assert attributes["gen_ai.response.time_to_first_chunk"] == 1.0
    assert attributes["llm.token_count.prompt"] is attributes["llm.token_count.completion"] is None
    assert (built.spans[0].start_ns, built.spans[0].end_ns) == (5, 0)


@BOTH
def test_text_becomes_its_length(decode: Decode) -> None:
    parts = [{"role": "user", "parts": [{"type": "text", "content": "abc"}, {"type": "text", "content": "de"}]}]
    structured = [{"kvlistValue": {"values": [{"key": "content", "value": {"stringValue": "abcd"}}]}}]
    for attributes, chars in (
        ({"gen_ai.input.messages": json.dumps(parts)}, {"input_chars": 5}),
        ({"gen_ai.output.messages": "not JSON"}, {"output_chars": 8}),
        ({"gen_ai.output.messages": '["ab", 7, ["c"]]'}, {"output_chars": 3}),
        ({"gen_ai.output.messages": {"arrayValue": {"values": structured}}}, {"output_chars": 4}),
        (
            {"llm.input_messages.0.message.content": "ab", "llm.input_messages.1.message.content": "é"},
            {"input_chars": 3},
        ),
        ({"gen_ai.system_instructions": "abc", "gen_ai.input.messages": ""}, {"input_chars": 0}),
        ({"gen_ai.input.messages": 7}, {}),
    ):
        request = decode(export_of(span(attributes=attributes)))
        assert (request.spans[0].attributes, request.spans[0].chars) == ({}, chars)
