"""Answers in JSON and Arrow messages: what other processors read, the evaluator reads too."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pytest

from barograph_server.streams.evaluator.answer import read_answers

AT_MS = 1_790_000_000_123
EVENT = {
    "model": "m",
    "version": "1",
    "id": "a",
    "at": AT_MS,
    "context": {"answer_text": "An answer.", "prompt_text": "A question?", "prompt": "answer@7"},
}


def event(**members: Any) -> bytes:
    return json.dumps({**EVENT, **members}).encode()


def context(**members: Any) -> dict[str, Any]:
    own: Any = EVENT["context"]
    return {**own, **members}


def test_an_answer_is_read_with_its_question_and_context_and_with_odd_members() -> None:
    (answer,) = read_answers(event(arm="b"), {"m"})
    assert (answer.model, answer.version, answer.id, answer.at_ms, answer.arm) == ("m", "1", "a", AT_MS, "b")
    assert (answer.text, answer.question, answer.context) == ("An answer.", "A question?", {"prompt": "answer@7"})
    assert not answer.is_cut
    (answer,) = read_answers(event(arm=7, score=float("nan"), context=context(session=4711, beta=True)), {"m"})
    assert answer.arm == "7"
    assert answer.context == {"prompt": "answer@7", "session": "4711", "beta": "true"}
    (answer,) = read_answers(event(context=context(answer_text="half \ud83d of a pair", user="\ud83d")), {"m"})
    assert answer.text == "half ? of a pair"
    assert answer.context["user"] == "?"


def test_what_is_no_answer_gives_none() -> None:
    no_answers: list[dict[str, Any]] = [
        *({"model": "other"}, {"role": "shadow"}, {"error": "Timeout"}, {"at": "yesterday"}, {"id": None}),
        *(
            {"context": each}
            for each in ({"prompt_text": "answer_text"}, {"answer_text": ""}, {"answer_text": 7}, None)
        ),
    ]
    for members in no_answers:
        assert read_answers(event(**members), {"m"}) == [], members
    for value in (None, b"", b"answer_text", b'{"answer_text": ', b"[" * 100_000 + b"answer_text"):
        assert read_answers(value, {"m"}) == []


def arrow(**columns: Any) -> bytes:
    plain: dict[str, Any] = {
        "model": ["m", "m", "other"],
        "version": ["1"] * 3,
        "id": ["a", "b", "c"],
        "at": pa.array([AT_MS] * 3, pa.int64()),
        "context.answer_text": ["x", None, "z"],
        "context.prompt": ["answer@7"] * 3,
    }
    table = pa.table({**plain, **columns})
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()


def test_arrow_batches_are_read_with_times_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    micros = AT_MS * 1000 + 999
    (answer,) = read_answers(arrow(at=pa.array([micros] * 3, pa.timestamp("us"))), {"m"}, is_arrow=True)
    assert (answer.id, answer.text, answer.at_ms, answer.context) == ("a", "x", AT_MS, {"prompt": "answer@7"})
    (answer,) = read_answers(arrow(at=pa.array([AT_MS] * 3, pa.int64())), {"m"}, is_arrow=True)
    assert answer.at_ms == AT_MS
    huge = pa.array([2**62] * 3, pa.timestamp("s"))
    (answer,) = read_answers(arrow(**{"at": pa.array([AT_MS] * 3), "context.time": huge}), {"m"}, is_arrow=True)
    assert answer.text == "x"
    assert read_answers(arrow(at=["text"] * 3), {"m"}, is_arrow=True) == []
    assert read_answers(b"answer_text, and no stream", {"m"}, is_arrow=True) == []
