"""When each source partition was read to its end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

PROBE_S = 1.0
"""How often an open flush queries the broker for the end of each partition."""


@dataclass(frozen=True, slots=True)
class _EndQuery:
    """An answer of the broker that the position has not reached yet."""

    queried_at_ms: int
    end: int


class EndProbe:
    """Finds, for each partition of one flush, the last moment at which it held nothing beyond the position.

    A partition is caught up as of the moment *before* its end offset was queried, once the position reaches that
    offset: a lagging partition never counts as idle, however fast it grows.
    """

    def __init__(
        self, end_offset: Callable[[int], int | None], *, clock: Callable[[], float], boundary_ms: float = float("inf")
    ) -> None:
        """Start without answers.

        Args:
            end_offset: queries a partition's end; None where the broker does not answer.
            clock: Unix seconds.
            boundary_ms: once this moment (Unix ms) has passed, partitions that were caught up before it only are
                queried at once, so that the flush can end.
        """
        self._end_offset, self._clock, self._boundary_ms = end_offset, clock, boundary_ms
        self._pending: dict[int, _EndQuery] = {}
        self.caught_up_ms: dict[int, int] = {}
        """Partition → the moment (Unix ms) up to which everything in it is read."""

    def update(self, positions: Mapping[int, int]) -> None:
        """Compare the positions with the ends, and query the ends that are due."""
        now_ms = self._now_ms()
        for partition, position in positions.items():
            self._check(partition, position)
            caught_up_ms = self.caught_up_ms.get(partition, 0)
            is_due = now_ms - caught_up_ms >= PROBE_S * 1000 or caught_up_ms < self._boundary_ms <= now_ms
            if partition not in self._pending and is_due:
                self._query(partition)

    def finish(self, positions: Mapping[int, int]) -> None:
        """Query every partition without a pending answer once more, before the flush is committed."""
        for partition, position in positions.items():
            if partition not in self._pending:
                self._query(partition)
            self._check(partition, position)

    def _check(self, partition: int, position: int) -> None:
        pending = self._pending.get(partition)
        if pending is not None and position >= pending.end:
            self.caught_up_ms[partition] = pending.queried_at_ms
            del self._pending[partition]

    def _query(self, partition: int) -> None:
        queried_at_ms = self._now_ms()
        end = self._end_offset(partition)
        if end is not None:
            self._pending[partition] = _EndQuery(queried_at_ms, end)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)
