"""Dead letters do not hold text of prompts and answers."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from barograph.events import encode_arrow

from streams.dead_letters.text_removal import without_text
from streams.events.arrow_message import open_table

EVENT = {"model": "m", "id": "1", "context": {"provider": "p", "prompt_text": "my secret", "answer_text": "my secret"}}


@pytest.mark.parametrize("escape", [False, True])
def test_json(escape: bool) -> None:
    value = json.dumps(EVENT).encode()
    if escape:
        value = value.replace(b"prompt_text", b"\\u0070rompt_text").replace(b"answer_text", b"answer\\u005ftext")
    assert json.loads(without_text(value)) == {"model": "m", "id": "1", "context": {"provider": "p"}}


@pytest.mark.parametrize(
    "value",
    [
        b'{"context": {"provider": "p"}, "note": "caf\\u00e9"}',
        b"not json \\u0041",
        b'{"model": "m"',
        b"",
        b"\xff\xff\xff\xff not arrow",
        b'[1, "\\u0041"]',
        b'{"context": 7, "x": "\\u0041"}',
    ],
)
def test_other_bytes_stay(value: bytes) -> None:
    assert without_text(value) == value


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("escape", [False, True])
def test_json_in_other_encodings(encoding: str, escape: bool) -> None:
    text = json.dumps(EVENT).replace("prompt_text", "\\u0070rompt_text" if escape else "prompt_text")
    value = text.encode(encoding)
    assert json.loads(without_text(value)) == {"model": "m", "id": "1", "context": {"provider": "p"}}
    assert without_text(value[: -len(value) // 8]) == b"" or escape


def test_a_feature_of_that_name_stays() -> None:
    value = json.dumps({"features": {"prompt_text": "x"}, "context": {"provider": "p"}}).encode()
    assert json.loads(without_text(value)) == json.loads(value)


def test_a_repeated_member_does_not_hide_text() -> None:
    assert b"secret" not in without_text(b'{"context": {"prompt_text": "secret"}, "context": {"provider": "p"}}')


@pytest.mark.parametrize(
    "value",
    [
        json.dumps(EVENT).encode()[:-4],
        json.dumps([EVENT]).encode(),
        json.dumps({"context": [EVENT["context"]]}).encode(),
        b"\xff\xff\xff\xff damaged context.prompt_text my secret",
        b'{"a":' * 100_000 + b'"prompt_text my secret"',
    ],
)
def test_bytes_that_cannot_be_read_are_not_kept(value: bytes) -> None:
    assert without_text(value) == b""


def test_arrow() -> None:
    columns = {"model": ["m"], "context.prompt_text": ["my secret"], "context.provider": ["p"]}
    stripped = without_text(encode_arrow(pa.table(columns)))
    assert b"secret" not in stripped
    assert open_table(stripped).to_pylist() == [{"model": "m", "context.provider": "p"}]
