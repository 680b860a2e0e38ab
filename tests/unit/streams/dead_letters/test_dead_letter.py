"""Dead letters as they are read and shown: what is masked, what a letter says of itself."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from barograph.contract import Contract, Field
from barograph.events import ARROW_CONTENT_TYPE, CONTENT_TYPE_HEADER, Reason, encode_predictions

from cli.dead_letters.decoded import readable
from cli.dead_letters.show import grouped
from streams.dead_letters.dead_letter import (
    DeadLetter,
    DeadLetterPosition,
    Resolution,
    open_dead_letter,
    resolution_key,
)
from streams.dead_letters.message import dead_message
from streams.dead_letters.reader import DeadLetterFilter
from streams.dead_letters.replay import original
from streams.events.batch import COUNTED_HEADER, DEAD_LETTER_HEADER, RejectedEvent, sort_messages
from tests.support.pipeline import simple_contract

SECRET = "Jane Doe 4711"


class Message:
    """A message as the consumer gives it."""

    def __init__(self, value: bytes | None, headers: list[tuple[str, bytes]] | None, offset: int = 7) -> None:
        self._value, self._headers, self._offset = value, headers, offset

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> list[tuple[str, bytes]] | None:
        return self._headers

    def topic(self) -> str:
        return "predictions.dead"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_700_000_000_000


def letter(value: bytes, reason: Reason = Reason.WRONG_TYPE, model: str = "toy", replay_of: str = "") -> DeadLetter:
    told = dead_message(RejectedEvent(reason, 3, 41, 2, value, "a detail", model), "predictions", replay_of)
    return open_dead_letter(Message(told["value"], told["headers"]), "id", {})


def contract() -> Contract:
    personal = Field(name="name", type="category", source="features.name", pii="hash")
    return simple_contract(fields=(*simple_contract().fields, personal))


def event(**changes: Any) -> bytes:
    plain = {"model": "toy", "version": "1", "id": SECRET, "at": 1, "features": {"name": SECRET, "x": 12.5, "on": True}}
    return json.dumps(plain | changes).encode()


def show(found: DeadLetter, told: Contract | None, **how: bool) -> str:
    return readable(found, told, partials_topic="partials", **how)


def test_what_the_contract_marks_as_personal_is_masked_and_the_rest_is_shown() -> None:
    shown = json.loads(show(letter(event()), contract()))
    assert shown["features"] == {"name": f"‹text of {len(SECRET)}›", "x": 12.5, "on": True}
    assert shown["id"] == SECRET
    assert json.loads(show(letter(event()), contract(), unmasked=True)) == json.loads(event())


@pytest.mark.parametrize(
    "value", [event(), event()[:-20], SECRET.encode(), b'["Jane Doe 4711"]', b"\xff\xff\xff\xffJane Doe 4711"]
)
def test_without_a_contract_no_value_is_shown(value: bytes) -> None:
    for reason in (Reason.UNKNOWN_MODEL, Reason.NOT_JSON, Reason.NOT_ARROW):
        shown = show(letter(value, reason), None)
        assert "Jane" not in shown
        assert "4711" not in shown
        assert "12.5" not in shown
    assert "Jane" in show(letter(value, Reason.NOT_JSON), None, unmasked=True)


def test_rows_of_arrow_are_masked_by_column() -> None:
    table = pa.table({"model": ["toy"], "id": ["e"], "features.name": [SECRET], "features.x": [12.5]})
    found = letter(encode_predictions(table))
    assert found.is_arrow
    assert SECRET not in show(found, contract())
    assert "12.5" in show(found, contract())
    assert SECRET in show(found, contract(), unmasked=True)
    assert "12.5" not in show(found, None)


def test_bytes_never_steer_a_terminal() -> None:
    for value in (b"\x1b[31mred\x07", event(status="\x1b[31mred\x07")):
        shown = show(letter(value), None, unmasked=True)
        assert all(character.isprintable() or character == "\n" for character in shown)


def test_a_letter_says_where_it_came_from_and_what_it_was_before() -> None:
    found = letter(event(), replay_of="predictions.dead/0/3")
    assert (found.source_topic, found.source_partition, found.source_offset, found.index) == ("predictions", 3, 41, 2)
    assert (found.reason, found.detail, found.model) == ("wrong-type", "a detail", "toy")
    assert found.replay_of == "predictions.dead/0/3"
    assert found.state == "waiting"
    assert letter(event(), model="").model == "toy"
    foreign = open_dead_letter(Message(None, None), "id", {})
    assert (foreign.reason, foreign.model, foreign.source_partition) == ("?", "", -1)


def test_a_mark_is_of_one_incarnation_of_the_topic() -> None:
    place = DeadLetterPosition("predictions.dead", 0, 7)
    marks = {resolution_key("old", place): Resolution(state="replayed", at_ms=1)}
    assert open_dead_letter(Message(b"", []), "old", marks).state == "replayed"
    assert open_dead_letter(Message(b"", []), "new", marks).state == "waiting"


def test_names_of_letters_are_read_as_they_are_written() -> None:
    place = DeadLetterPosition("eu-predictions.dead", 0, 17)
    assert DeadLetterPosition.parse(str(place)) == place
    for text in ("", "predictions.dead", "predictions.dead/0", "predictions.dead/0/x", "/0/1", "a/-1/2", "a/0/1/2"):
        assert DeadLetterPosition.parse(text) is None


def test_the_original_message_says_again_that_it_is_arrow_and_whether_its_number_was_counted() -> None:
    arrow = encode_predictions(pa.table({"model": ["toy"]}))
    cases = [
        (letter(event()), False, True),
        (letter(event(), Reason.UNKNOWN_MODEL, model=""), False, False),
        (letter(arrow), True, True),
        (letter(b"cut off", Reason.NOT_ARROW, model=""), True, False),
        # Its producer forgot the header: it is sent as it was.
        (letter(arrow, Reason.NOT_JSON, model=""), False, False),
    ]
    for found, is_arrow, counted in cases:
        message = original(found)
        headers = dict(message["headers"])
        assert headers[DEAD_LETTER_HEADER] == b"predictions.dead/0/7"
        assert (headers.get(CONTENT_TYPE_HEADER) == ARROW_CONTENT_TYPE) == is_arrow
        assert (COUNTED_HEADER in headers) == counted
        assert (message["value"], message["partition"]) == (found.value, 3)


def test_letters_of_before_the_model_was_written_down_tell_by_their_reason_what_was_counted() -> None:
    for reason, counted in (("bad-time", True), ("unknown-model", False)):
        assert open_dead_letter(Message(event(), [("reason", reason.encode())]), "id", {}).counted == counted


def test_replayed_messages_are_kept_apart_where_their_numbers_were_counted() -> None:
    messages = [
        Message(b"a", None, 1),
        Message(b"b", [(DEAD_LETTER_HEADER, b"predictions.dead/0/3")], 2),
        Message(b"c", [(DEAD_LETTER_HEADER, b"predictions.dead/0/4"), (COUNTED_HEADER, b"1")], 3),
        Message(b"d", [(COUNTED_HEADER, b"1"), (CONTENT_TYPE_HEADER, ARROW_CONTENT_TYPE)], 4),
    ]
    apart = sort_messages(messages, counted_apart=True)
    assert (apart.json.values, apart.counted_json.values, apart.counted_arrow.values) == ([b"a", b"b"], [b"c"], [b"d"])
    assert apart.replay_of == {(0, 2): "predictions.dead/0/3", (0, 3): "predictions.dead/0/4"}
    together = sort_messages(messages)
    assert (together.json.values, together.arrow.values) == ([b"a", b"b", b"c"], [b"d"])
    assert len(together.counted_json) == len(together.counted_arrow) == 0


def test_groups_and_choices() -> None:
    letters = [
        letter(event()),
        letter(event(), replay_of="predictions.dead/0/1"),
        letter(event(), Reason.UNKNOWN_MODEL, model="other"),
    ]
    (first, second) = grouped(letters)
    assert (first.model, first.reason, first.waiting, first.came_back) == ("toy", "wrong-type", 2, 1)
    assert (second.model, second.waiting) == ("other", 1)
    one = letters[0]
    assert DeadLetterFilter(model="toy", reason="wrong-type", partition=3, since_ms=one.at_ms).matches(one)
    for wanted in (
        DeadLetterFilter(model="other"),
        DeadLetterFilter(reason="bad-time"),
        DeadLetterFilter(partition=0),
        DeadLetterFilter(since_ms=one.at_ms + 1),
        DeadLetterFilter(until_ms=one.at_ms),
        DeadLetterFilter(positions=frozenset({DeadLetterPosition("predictions.dead", 0, 8)})),
        DeadLetterFilter(states=frozenset({"dropped"})),
    ):
        assert not wanted.matches(one)
