"""Reads Barograph's JSON events into columns, for `native_reader.py` and `native_rows.py` of the server."""

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
        cls,
        models: list[ModelSpec],
        roles: list[tuple[str, bool]],
        max_ahead_ms: int,
        max_age_ms: int,
    ) -> JsonReader: ...
    def add(self, values: list[bytes | None], received_ms: bytes, first: int) -> list[int]:
        """Read messages, and return the indices of those that are left to the fallback.

        Args:
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
    def kept(self, values: list[bytes | None]) -> list[int]:
        """Return the indices, ascending, of all messages but those that give no row by the hash of their id."""
