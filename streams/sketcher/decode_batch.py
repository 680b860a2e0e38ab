"""Messages that are decoded and summarised together."""

from collections.abc import Callable, Iterator

from barograph_server.streams.events.arrow_decoder import ArrowDecoder
from barograph_server.streams.events.batch import Decoded, SortedMessages
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.sketcher.flush_policy import MAX_REJECTED_BYTES

BATCH_MESSAGES = 100_000
"""Messages at which a batch is full. Longer arrays cost less per event."""
REPLAY_BATCH_MESSAGES = 20_000
"""The same on the replay clock, where each event may belong to another pane; there Arrow messages fill a batch too."""
BATCH_BYTES = 16 << 20
"""Bytes of numbers at which a batch is full."""
BATCH_S = 0.25
"""Age at which a batch is full: whether the flush should end is checked between batches."""


class DecodeBatch:
    """Accumulates messages until there are enough to summarise."""

    def __init__(
        self, from_json: JsonDecoder, from_arrow: ArrowDecoder, *, replay: bool, monotonic: Callable[[], float]
    ) -> None:
        """Start an empty batch.

        Args:
            replay: whether the sketcher runs on the replay clock.
        """
        self._replay, self._monotonic = replay, monotonic
        self._json, self._counted_json = from_json.accumulator(), from_json.accumulator()
        self._arrow, self._counted_arrow = from_arrow.accumulator(), from_arrow.accumulator()
        self._opened_s = monotonic()

    def add(self, messages: SortedMessages) -> None:
        self._json.add(messages.json)
        self._counted_json.add(messages.counted_json)
        self._arrow.add(messages.arrow)
        self._counted_arrow.add(messages.counted_arrow)

    def is_full(self, max_events: int) -> bool:
        """Return whether the batch is to be summarised now, while `max_events` still fit into the flush."""
        accumulators = self._json, self._counted_json, self._arrow, self._counted_arrow
        return (
            sum(each.messages for each in accumulators) >= (REPLAY_BATCH_MESSAGES if self._replay else BATCH_MESSAGES)
            or (self._replay and self.has_arrow)
            or self.events >= max_events
            or sum(each.n_bytes for each in accumulators) >= BATCH_BYTES
            or sum(each.rejected_bytes for each in accumulators) >= MAX_REJECTED_BYTES
            or self._monotonic() - self._opened_s >= BATCH_S
        )

    @property
    def events(self) -> int:
        """Events in the batch, rejected ones included."""
        json, arrow = self._json.messages + self._counted_json.messages, self._arrow.rows + self._counted_arrow.rows
        return json + arrow

    @property
    def has_arrow(self) -> bool:
        """Whether the batch holds Arrow messages."""
        return bool(self._arrow.messages or self._counted_arrow.messages)

    def take(self) -> Iterator[tuple[Decoded, bool]]:
        """Yield the decoded events, each with whether its producer numbers were counted before, and empty the batch."""
        yield self._json.take(), False
        yield self._counted_json.take(), True
        yield self._arrow.take(), False
        yield self._counted_arrow.take(), True
