"""What a recorder takes of fetched messages: the next offsets, and what is decoded, as a plain loop would find them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streams.events.batch import MessagePositions
from streams.recorder.recorder import Place, Recorder

TOPICS = {"predictions": "predictions", "labels": "labels"}


@dataclass(frozen=True)
class Fetched:
    """A message or an error of a partition."""

    at: Place
    place_in_log: int
    failure: str | None

    def error(self) -> str | None:
        return self.failure

    def topic(self) -> str:
        return self.at[0]

    def partition(self) -> int:
        return self.at[1]

    def offset(self) -> int:
        return self.place_in_log


class Taking(Recorder):
    """Notes what is decoded, and which errors are told."""

    def __init__(self, position: dict[Place, int]) -> None:
        self._topics, self._position = TOPICS, position
        self.decoded: dict[str, list[Any]] = {}
        self.errors: list[tuple[Any, Place]] = []

    def _decode(self, batch: Any, table: str, messages: list[Any], places: MessagePositions) -> None:
        assert list(zip(places.partition, places.offset, strict=True)) == [
            (message.partition(), message.offset()) for message in messages
        ]
        self.decoded.setdefault(table, []).extend(messages)

    def _on_error(self, error: Any, place: Place) -> None:
        self.errors.append((error, place))


places = st.tuples(st.sampled_from(list(TOPICS)), st.integers(0, 3))


@given(
    st.lists(st.tuples(places, st.sampled_from([None, None, None, "gone"])), max_size=20),
    st.dictionaries(places, st.integers(0, 5), max_size=8),
)
def test_positions_and_decoded_messages_are_those_of_a_plain_loop(
    drawn: list[tuple[Place, str | None]], assigned: dict[Place, int]
) -> None:
    messages = [Fetched(place, i, failure) for i, (place, failure) in enumerate(drawn)]
    position, decoded, errors = dict(assigned), dict[str, list[Any]](), []
    for message in messages:
        if message.failure is not None:
            errors.append((message.failure, message.at))
        elif message.at in position:
            position[message.at] = message.place_in_log + 1
            decoded.setdefault(message.at[0], []).append(message)
    taking = Taking(dict(assigned))
    taking._take(None, messages)  # type: ignore[arg-type]
    assert taking._position == position
    assert {table: found for table, found in taking.decoded.items() if found} == decoded
    assert taking.errors == errors
