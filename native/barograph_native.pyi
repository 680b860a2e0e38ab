"""Fetches messages and reads JSON events; for the modules `native_…` of the streams."""

from collections.abc import Sequence
from typing import overload

def use_librdkafka(path: str) -> str | None:
    """Use the librdkafka at a path, which the process has loaded.

    Returns:
        The path of this library, for the property `plugin.library.paths`; None if there is no such librdkafka.
    """

class Fetcher:
    """Reads the consumer that this thread made last, which must have this library as a plugin.

    Raises:
        RuntimeError: this thread has made none.
    """

    def __new__(cls) -> Fetcher: ...
    def route(self, partitions: list[tuple[str, int]]) -> None:
        """Read these partitions, and no others, once they are assigned."""

    def fetch(self, messages: int, timeout_ms: int) -> Fetched:
        """Return the messages and errors that arrive within a time, or as soon as they are as many or take 8 MiB.

        Raises:
            RuntimeError: the consumer is closed.
            MemoryError: they do not fit into memory; the consumer's position is behind them.
        """

    def close(self) -> None:
        """Release the consumer."""

class Fetched(Sequence[bytes | None]):
    """The values of messages."""

    topics: list[str]
    is_full: bool
    """Whether their number or size ended the fetch, so that more are likely to wait."""
    errors: list[tuple[str, int, int, int, str]]
    """Topic, partition, offset, librdkafka's code and text of each."""

    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, at: int) -> bytes | None: ...
    @overload
    def __getitem__(self, at: slice) -> list[bytes | None]: ...
    def positions(self) -> tuple[bytearray, bytearray, bytearray, bytearray]:
        """Return the messages' indices of topics and partitions (32 bits), offsets and times of receipt (64 bits)."""

    def headers_of(self) -> list[tuple[int, list[tuple[str, bytes | None]]]]:
        """Return each message that has headers with them."""

Names = tuple[list[str], bytearray]
"""Distinct names, and for each event an index into them or −1, as 32-bit integers."""
Texts = tuple[bytearray, bytearray, bytearray | None]
"""The buffers of an Arrow column of texts: offsets, characters, and validity if a text is null."""
Maps = tuple[list[str], bytearray, bytearray, bytearray, Texts]
"""The buffers of an Arrow column of maps: names, offsets, and of each entry the index of its name (32 bits) and its
value, a number (64-bit float), a text, or nothing."""
Columns = tuple[bytearray, bytearray, list[Names], bytearray, bytearray, bytearray, list[Texts], list[Maps], bytearray]
"""Accepted events of one model: the number of each event's message (32 bits), times (64 bits), versions and other
names, sequence numbers (64 bits), whether each is a shadow (8 bits), numbers (64-bit floats, column after column),
texts, maps, and how many features are not known (64 bits)."""
ModelSpec = tuple[str, list[tuple[str, str, str]], str, float | None]
"""A model: its name; its members, each with its map ("" for the event itself), its name, and what it holds; the map
whose largest number is the last column of numbers ("" for none); and None, or the limit of the hash of ids if events
are kept whole: then ids are the first column of texts, and events with other members are left."""

class JsonReader:
    """Reads events of the models that it is made for.

    Args:
        roles: the values of a role, each with whether it is that of a shadow.
        max_ahead_ms: how much later than its receipt the time of an accepted event may be.
        max_age_ms: how much earlier it may be.

    Raises:
        ValueError: a member holds something unknown.
    """

    panics: int
    """Messages that a defect of this library left to the fallback."""
    number_bytes: int
    """Bytes of the numbers in the columns."""

    def __new__(
        cls, models: list[ModelSpec], roles: list[tuple[str, bool]], max_ahead_ms: int, max_age_ms: int
    ) -> JsonReader: ...
    def add(self, values: Sequence[bytes | None], received_ms: bytes, first: int) -> list[int]:
        """Read messages, and return the indices of those that are left to the fallback.

        Args:
            values: a list, or what was fetched.
            received_ms: when Kafka received each, as 64-bit integers.
            first: number of the first message in the batch.
        """

    def take(self) -> list[Columns | None]:
        """Return the columns of each model's events, None for a model without events, and empty them."""

class Sampler:
    """Samples JSON events for recording.

    Args:
        limits: for each model the limit that the hash of a recorded event's id is below.
    """

    panics: int
    """Messages that are kept because of a defect of this library."""

    def __new__(cls, limits: dict[str, float]) -> Sampler: ...
    def kept(self, values: Sequence[bytes | None]) -> list[int]:
        """Return the indices, ascending, of all messages but those that give no row by the hash of their id."""
