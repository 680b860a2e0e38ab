"""When a flush ends."""

from collections.abc import Callable, Collection

from barograph_server.streams.registry.registry import Registry
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.streams.sketcher.flush import Flush

BOUNDARY_S = 1.0
"""How long after a pane's end an open flush waits for the partitions to be read up to that end."""
MAX_REJECTED_BYTES = 64 << 20
"""Bytes of rejected events at which a flush ends."""
MAX_PANE_BYTES = 48 << 20
"""Approximate bytes of panes at which a flush ends. The panes of the last decode batch come on top."""
MIN_FLUSH_S = 0.2
"""Shortest flush that a boundary ends: with many models, boundaries follow one another closely."""


class FlushPolicy:
    """Decides when one flush ends: by size, by age, or once a pane is complete."""

    def __init__(
        self,
        settings: ProcessorSettings,
        registry: Registry,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        """Start the flush now."""
        self._settings, self._clock, self._monotonic = settings, clock, monotonic
        self._opened_s = monotonic()
        self.boundary_ms = float("inf") if settings.clock == "replay" else next_boundary_s(registry, clock()) * 1000
        """The next moment (Unix ms) at which a pane ends or can be sealed; never on the replay clock."""

    def age_s(self) -> float:
        """Return how long the flush has been open."""
        return self._monotonic() - self._opened_s

    def is_due(self, flush: Flush, assigned: Collection[int]) -> bool:
        if flush.must_end or self._is_full(flush) or self.age_s() >= self._settings.flush_s:
            return True
        if self.age_s() < MIN_FLUSH_S or not assigned:
            return False
        if self._settings.clock == "replay":
            return bool(flush.end_markers) and all(p in flush.ends.caught_up_ms for p in assigned)
        return self._has_passed_boundary(flush, assigned)

    def _is_full(self, flush: Flush) -> bool:
        return (
            flush.events + len(flush.rejected) >= self._settings.flush_events
            or flush.rejected_bytes >= MAX_REJECTED_BYTES
            or len(flush.summaries.panes) >= self._settings.flush_panes
            or flush.summaries.n_bytes >= MAX_PANE_BYTES
        )

    def _has_passed_boundary(self, flush: Flush, assigned: Collection[int]) -> bool:
        """Return whether a pane ended or can be sealed, and every partition was read up to that moment.

        A flush that ended at the boundary itself could not exclude older events: the pane would be sealed by the next
        flush only, up to `flush_s` later. A lagging partition delays the end by at most `BOUNDARY_S`.
        """
        now_ms = self._clock() * 1000
        if now_ms < self.boundary_ms:
            return False
        is_read = all(flush.ends.caught_up_ms.get(p, 0) >= self.boundary_ms for p in assigned)
        return is_read or now_ms >= self.boundary_ms + BOUNDARY_S * 1000


def next_boundary_s(registry: Registry, now_s: float) -> float:
    """Return the next moment (Unix seconds) at which a pane of any model ends or can be sealed.

    Infinite without models.

    Args:
        now_s: Unix seconds; the boundary lies after it.
    """
    paces = {
        (contract.pane_s, delay_s)
        for contract in registry.contracts.values()
        for delay_s in (0, contract.lateness_s + contract.out_of_order_s)
    }
    return min(
        (((now_s - delay_s) // pane_s + 1) * pane_s + delay_s for pane_s, delay_s in paces), default=float("inf")
    )
