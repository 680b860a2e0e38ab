import json
from collections.abc import Collection
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from barograph.contract import Contract, Field
from barograph.events import ARROW_CONTENT_TYPE, CONTENT_TYPE_HEADER, END_MARK, MARK_HEADER, Reason, encode_arrow
from confluent_kafka import OFFSET_BEGINNING, KafkaError

from barograph_server.cli.dead_letters import count_by_group
from barograph_server.operations.decoded_dead_letters import decode_text
from barograph_server.streams.dead_letters.dead_letter import (
    DeadLetter,
    DeadLetterPosition,
    Resolution,
    open_dead_letter,
    position_in_key,
    resolution_key,
)
from barograph_server.streams.dead_letters.message import dead_message, without_text
from barograph_server.streams.dead_letters.reader import DeadLetterFilter
from barograph_server.streams.dead_letters.replay import original_message
from barograph_server.streams.dead_letters.replay_verifier import WAIT_S, ReplayVerifier
from barograph_server.streams.events import batch
from barograph_server.streams.events.arrow_message import open_table
from tests.support.fake_consumer import FakeMessage, failure, fake_settings
from tests.support.pipeline import simple_contract

SECRET = "Jane Doe 4711"


def consumed(value: bytes | None, headers: list[tuple[str, bytes]] | None, offset: int = 7) -> FakeMessage:
    return FakeMessage(offset, value, topic_="predictions.dead", headers_=headers)


def test_positions_parse_as_they_are_written_and_a_resolution_key_names_its_dead_letter() -> None:
    position = DeadLetterPosition("eu-predictions.dead", 3, 41)
    assert DeadLetterPosition.parse(str(position)) == position
    for text in ("", "predictions.dead", "predictions.dead/0", "predictions.dead/0/x", "/0/1", "a/-1/2", "a/0/1/2"):
        assert DeadLetterPosition.parse(text) is None, text
    # The client writes topic ids in base64, in which a slash is an ordinary character.
    for topic_id in ("M4AHu7CU3E4GkrMNLv4edg", "IgOYaGetcMwFr/ANXWBT4Q", "3mo//0CA2n/3mo/0CA2nesm/"):
        assert position_in_key(resolution_key(topic_id, position)) == position, topic_id
    for key in ("", "predictions.dead", "predictions.dead@id/3", "@id/3/41", "predictions.dead@id/3/x"):
        assert position_in_key(key) is None, key


def dead_letter(
    value: bytes, reason: Reason = Reason.WRONG_TYPE, model: str = "toy", replay_of: str = ""
) -> DeadLetter:
    message = dead_message(batch.RejectedEvent(reason, 3, 41, 2, value, "a detail", model), "predictions", replay_of)
    return open_dead_letter(consumed(message["value"], message["headers"]), "id", {})


PERSONAL = Field(name="name", type="category", source="features.name", pii="hash")
CONTRACT = simple_contract(fields=(*simple_contract().fields, PERSONAL))


def event(**changes: Any) -> bytes:
    plain = {"model": "toy", "version": "1", "id": SECRET, "at": 1, "features": {"name": SECRET, "x": 12.5, "on": True}}
    return json.dumps(plain | changes).encode()


def show(item: DeadLetter, contract_: Contract | None, **options: bool) -> str:
    return decode_text(item, contract_, partials_topic="partials", **options)


def test_only_fields_marked_as_personal_are_masked() -> None:
    shown = json.loads(show(dead_letter(event()), CONTRACT))
    assert shown["features"] == {"name": f"‹text of {len(SECRET)}›", "x": 12.5, "on": True}
    assert shown["id"] == SECRET
    assert json.loads(show(dead_letter(event()), CONTRACT, unmasked=True)) == json.loads(event())


def test_all_values_are_masked_without_a_contract() -> None:
    for value in (event(), event()[:-20], SECRET.encode(), b'["Jane Doe 4711"]', b"\xff\xff\xff\xffJane Doe 4711"):
        for reason in (Reason.UNKNOWN_MODEL, Reason.NOT_JSON, Reason.NOT_ARROW):
            shown = show(dead_letter(value, reason), None)
            assert not [word for word in ("Jane", "4711", "12.5") if word in shown]
        assert "Jane" in show(dead_letter(value, Reason.NOT_JSON), None, unmasked=True)


def test_arrow_rows_are_masked_by_column_and_control_characters_never_reach_the_terminal() -> None:
    table = pa.table({"model": ["toy"], "id": ["e"], "features.name": [SECRET], "features.x": [12.5]})
    item = dead_letter(encode_arrow(table))
    assert item.is_arrow
    assert SECRET not in show(item, CONTRACT)
    assert "12.5" in show(item, CONTRACT)
    assert SECRET in show(item, CONTRACT, unmasked=True)
    assert "12.5" not in show(item, None)
    for value in (b"\x1b[31mred\x07", event(status="\x1b[31mred\x07")):
        shown = show(dead_letter(value), None, unmasked=True)
        assert all(character.isprintable() or character == "\n" for character in shown)


def test_a_dead_letter_names_its_source_and_its_predecessor() -> None:
    item = dead_letter(event(), replay_of="predictions.dead/0/3")
    assert (item.source_topic, item.source_partition, item.source_offset, item.index) == ("predictions", 3, 41, 2)
    assert (item.reason, item.detail, item.model) == ("wrong-type", "a detail", "toy")
    assert (item.replay_of, item.state) == ("predictions.dead/0/3", "waiting")
    assert dead_letter(event(), model="").model == "toy"
    foreign = open_dead_letter(consumed(None, None), "id", {})
    assert (foreign.reason, foreign.model, foreign.source_partition) == ("?", "", -1)
    # A resolution applies to one incarnation of the topic.
    position = DeadLetterPosition("predictions.dead", 0, 7)
    resolutions = {resolution_key("old", position): Resolution(state="replayed", at_ms=1)}
    assert open_dead_letter(consumed(b"", []), "old", resolutions).state == "replayed"
    assert open_dead_letter(consumed(b"", []), "new", resolutions).state == "waiting"


def test_the_original_message_keeps_its_encoding_and_names_its_dead_letter_and_token() -> None:
    arrow = encode_arrow(pa.table({"model": ["toy"]}))
    cases = [
        (dead_letter(event()), False),
        (dead_letter(event(), Reason.UNKNOWN_MODEL, model=""), False),
        (dead_letter(arrow), True),
        (dead_letter(b"cut off", Reason.NOT_ARROW, model=""), True),
        # Its producer omitted the header: it is sent unchanged.
        (dead_letter(arrow, Reason.NOT_JSON, model=""), False),
    ]
    for item, is_arrow in cases:
        message = original_message(item, "0" * 32)
        headers = dict(message["headers"])
        assert headers[batch.DEAD_LETTER_HEADER] == b"predictions.dead/0/7"
        assert (headers.get(CONTENT_TYPE_HEADER) == ARROW_CONTENT_TYPE) == is_arrow
        assert headers[batch.TOKEN_HEADER] == b"0" * 32
        assert (message["value"], message["partition"]) == (item.value, 3)


def test_only_verified_replays_are_linked_and_separated() -> None:
    def replayed(name: bytes, token: bytes) -> list[tuple[str, bytes]]:
        return [(batch.DEAD_LETTER_HEADER, name), (batch.TOKEN_HEADER, token)]

    arrow = (CONTENT_TYPE_HEADER, ARROW_CONTENT_TYPE)
    messages = [
        consumed(b"a", None, 1),
        consumed(b"b", replayed(b"predictions.dead/0/3", b"three"), 2),
        consumed(b"c", replayed(b"predictions.dead/0/4", b"four"), 3),
        consumed(b"d", [*replayed(b"predictions.dead/0/5", b"five"), arrow], 4),
        # Neither an unknown token nor another header makes a replay.
        consumed(b"e", replayed(b"predictions.dead/0/4", b"forged"), 5),
        consumed(b"f", [(batch.DEAD_LETTER_HEADER, b"predictions.dead/0/4"), ("barograph-counted", b"1")], 6),
        consumed(b"g", [("barograph-counted", b"1"), arrow], 7),
    ]
    known = {
        token: batch.ReplayedDeadLetter(f"predictions.dead/0/{3 + i}", counted=i > 0)
        for i, token in enumerate(("three", "four", "five"))
    }
    claims: list[str] = []

    def verify(tokens: Collection[str]) -> dict[str, batch.ReplayedDeadLetter]:
        claims.extend(tokens)
        return known

    apart = batch.sort_messages(batch.MessageBatch.of(messages), verify=verify)
    assert claims == ["three", "four", "five", "forged", ""]
    assert (apart.json.values, apart.counted_json.values) == ([b"a", b"b", b"e", b"f"], [b"c"])
    assert (apart.arrow.values, apart.counted_arrow.values) == ([b"g"], [b"d"])
    assert apart.replay_of == {(0, 2 + i): f"predictions.dead/0/{3 + i}" for i in range(3)}
    together = batch.sort_messages(batch.MessageBatch.of(messages))
    assert (together.json.values, together.arrow.values) == ([b"a", b"b", b"c", b"e", b"f"], [b"d", b"g"])
    assert len(together.counted_json) == len(together.counted_arrow) == 0
    assert together.replay_of == {}


def test_end_markers_are_accepted_on_the_replay_clock_only_and_other_marks_never() -> None:
    heartbeat = b'{"model": "m", "producer": "p", "since": 1, "seq": 7, "of a newer client": 1}'
    values = heartbeat, heartbeat[:-1], heartbeat.replace(b": 7", b": -7"), b""
    messages = [
        consumed(b"a", None, 1),
        consumed(b"", [(MARK_HEADER, END_MARK)], 2),
        consumed(b"b", [(MARK_HEADER, b"start")], 3),
        *(consumed(value, [(MARK_HEADER, b"heartbeat")], 4 + i) for i, value in enumerate(values)),
    ]
    received = batch.MessageBatch.of(messages)
    replay, live = batch.sort_messages(received, accept_end_markers=True), batch.sort_messages(received)
    assert (replay.end_markers, live.end_markers) == ({0}, set())
    for result, refused in ((replay, [3, 5, 6, 7]), (live, [2, 3, 5, 6, 7])):
        assert result.json.values == [b"a"]
        assert [each.seq for each, _ in result.heartbeats] == [7]
        assert [(each.offset, each.reason) for each in result.rejected] == [(i, "unexpected-mark") for i in refused]
    assert live.rejected[0].detail == "an end marker, which only processors on the replay clock accept"
    assert live.rejected[1].detail == "barograph-mark is 'start', neither 'end' nor 'heartbeat'"
    assert live.rejected[3].detail.startswith("a heartbeat that cannot be read: Expected `int` >= 0")


def test_grouping_and_filtering() -> None:
    dead_letters = [
        dead_letter(event()),
        dead_letter(event(), replay_of="predictions.dead/0/1"),
        dead_letter(event(), Reason.UNKNOWN_MODEL, model="other"),
    ]
    (first, second) = count_by_group(dead_letters)
    assert (first.model, first.reason, first.waiting, first.rejected_again) == ("toy", "wrong-type", 2, 1)
    assert (second.model, second.waiting) == ("other", 1)
    one = dead_letters[0]
    assert DeadLetterFilter(model="toy", reason="wrong-type", partition=3, since_ms=one.at_ms).matches(one)
    for criteria in (
        DeadLetterFilter(model="other"),
        DeadLetterFilter(reason="bad-time"),
        DeadLetterFilter(partition=0),
        DeadLetterFilter(since_ms=one.at_ms + 1),
        DeadLetterFilter(until_ms=one.at_ms),
        DeadLetterFilter(positions=frozenset({DeadLetterPosition("predictions.dead", 0, 8)})),
        DeadLetterFilter(states=frozenset({"dropped"})),
    ):
        assert not criteria.matches(one)


EVENT = {"model": "m", "id": "1", "context": {"provider": "p", "prompt_text": "my secret", "answer_text": "my secret"}}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("escape", [False, True])
def test_json_in_all_encodings(encoding: str, escape: bool) -> None:
    text = json.dumps(EVENT)
    if escape:
        text = text.replace("prompt_text", "\\u0070rompt_text").replace("answer_text", "answer\\u005ftext")
    value = text.encode(encoding)
    assert json.loads(without_text(value)) == {"model": "m", "id": "1", "context": {"provider": "p"}}
    assert without_text(value[: -len(value) // 8]) == b"" or escape


def test_a_feature_of_that_name_stays_and_a_repeated_member_does_not_hide_text() -> None:
    value = json.dumps({"features": {"prompt_text": "x"}, "context": {"provider": "p"}}).encode()
    assert json.loads(without_text(value)) == json.loads(value)
    assert b"secret" not in without_text(b'{"context": {"prompt_text": "secret"}, "context": {"provider": "p"}}')


def test_bytes_that_may_hold_text_and_cannot_be_read_are_not_kept_and_others_stay() -> None:
    for value in (
        b'{"context": {"provider": "p"}, "note": "caf\\u00e9"}',
        b"not json \\u0041",
        b"\xff\xff\xff\xff not arrow",
        b'[1, "\\u0041"]',
    ):
        assert without_text(value) == value
    for value in (
        json.dumps(EVENT).encode()[:-4],
        json.dumps([EVENT]).encode(),
        b"\xff\xff\xff\xff damaged context.prompt_text my secret",
        b'{"a":' * 100_000 + b'"prompt_text my secret"',
    ):
        assert without_text(value) == b""


def test_arrow() -> None:
    columns = {"model": ["m"], "context.prompt_text": ["my secret"], "context.provider": ["p"]}
    stripped = without_text(encode_arrow(pa.table(columns)))
    assert b"secret" not in stripped
    assert open_table(stripped).to_pylist() == [{"model": "m", "context.provider": "p"}]


TOKENS = [f"{i:032x}" for i in range(10)]


class Topic:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.committed: list[Resolution] = []
        self.open = 0
        """Offsets at the end that belong to an undecided transaction."""
        self.assigned: list[int] = []
        self.position = 0

    def replay(self, *numbers: int, counted: bool = True) -> None:
        self.committed += [
            Resolution(state="replayed", at_ms=1, token=TOKENS[number], counted=counted) for number in numbers
        ]

    def ends(self) -> dict[int, int]:
        return {0: len(self.committed) + self.open}

    def assign(self, partitions: list[Any]) -> None:
        (start,) = partitions
        self.assigned.append(start.offset)
        self.position = 0 if start.offset == OFFSET_BEGINNING else start.offset

    def unassign(self) -> None:
        pass

    def consume(self, _n: int, timeout_s: float) -> list[FakeMessage]:
        self.now_s += timeout_s
        offset = self.position
        if offset == len(self.committed):
            return [failure(KafkaError._PARTITION_EOF, offset=offset)]
        self.position += 1
        key = resolution_key("id", DeadLetterPosition("predictions.dead", 0, offset)).encode()
        return [FakeMessage(offset, msgspec.json.encode(self.committed[offset]), key_=key)]


@pytest.fixture
def topic() -> Topic:
    return Topic()


@pytest.fixture
def verifier(topic: Topic) -> ReplayVerifier:
    of_topic: dict[str, Any] = {"make_consumer": lambda _config: topic, "end_offsets": topic.ends}
    return ReplayVerifier(fake_settings(), "sketcher", monotonic=lambda: topic.now_s, **of_topic)


def name(i: int) -> str:
    return f"predictions.dead/0/{i}"


def test_a_token_is_verified_by_its_resolution_and_read_no_further(verifier: ReplayVerifier, topic: Topic) -> None:
    topic.replay(0, 1)
    topic.replay(2, counted=False)
    assert verifier.verify([TOKENS[1]]) == {TOKENS[1]: batch.ReplayedDeadLetter(name(1), counted=True)}
    assert topic.position == 2
    assert set(verifier.verify([TOKENS[0], TOKENS[1]])) == {TOKENS[0], TOKENS[1]}
    assert topic.assigned == [OFFSET_BEGINNING], "known tokens need no read"
    assert verifier.verify([TOKENS[2]]) == {TOKENS[2]: batch.ReplayedDeadLetter(name(2), counted=False)}
    assert topic.assigned == [OFFSET_BEGINNING, 2]


def test_malformed_tokens_are_not_looked_up_and_drops_and_invented_tokens_verify_nothing(
    verifier: ReplayVerifier, topic: Topic
) -> None:
    malformed = ("", "predictions.dead/0/0", "A" * 32, f"{TOKENS[0]} ", "é" * 32)
    topic.committed = [Resolution(state="replayed", at_ms=1, token=token) for token in malformed]
    assert verifier.verify(malformed) == {}
    assert topic.assigned == []
    topic.committed = []
    topic.replay(0)
    topic.committed.append(Resolution(state="dropped", at_ms=1, reason="no", token=TOKENS[1]))
    assert set(verifier.verify(TOKENS[:3])) == {TOKENS[0]}
    # At the end of the topic a forged token costs one query of the end.
    assert verifier.verify([TOKENS[4]]) == {}
    assert len(topic.assigned) == 1
    # A recreated topic is read from its start.
    topic.committed.clear()
    topic.replay(5)
    assert set(verifier.verify([TOKENS[5]])) == {TOKENS[5]}


def test_a_message_that_is_readable_before_its_resolution_waits_for_it(
    verifier: ReplayVerifier, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic.open = 1
    consume = topic.consume

    def commit_after_a_second(n: int, timeout_s: float) -> list[FakeMessage]:
        if topic.open and topic.now_s >= 1:
            topic.open = 0
            topic.replay(0)
        return consume(n, timeout_s)

    monkeypatch.setattr(topic, "consume", commit_after_a_second)
    assert set(verifier.verify([TOKENS[0]])) == {TOKENS[0]}
    assert topic.now_s < WAIT_S


def test_an_undecided_transaction_delays_a_message_only_so_long(verifier: ReplayVerifier, topic: Topic) -> None:
    topic.open = 1
    assert verifier.verify([TOKENS[0]]) == {}
    assert WAIT_S <= topic.now_s < WAIT_S + 1
