"""The recorded history that signals can be read over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from barograph_server.warehouse.signals.literals import literals

if TYPE_CHECKING:
    from barograph_server.warehouse.client import Client

REPLAYED_S = 86_400
"""Median delay of verdicts, in seconds, above which history counts as replayed."""


@dataclass(frozen=True, slots=True)
class RecordedHistory:
    """The range of verdicts, and their delay after their windows."""

    first: datetime
    last: datetime
    delay_s: float
    """Median time from the end of a window to its verdict."""

    @property
    def was_replayed(self) -> bool:
        """Whether history was judged long after its event time."""
        return self.delay_s > REPLAYED_S


def read_recorded_history(client: Client, models: Sequence[str]) -> RecordedHistory | None:
    """Read the range of the judged windows of some models; None if there are none."""
    [(n, first, last, delay_s)] = client.rows(
        "SELECT count(), min(window_end), max(window_end), "
        "quantile(0.5)(toUnixTimestamp64Milli(judged_at) / 1000 - toUnixTimestamp(window_end)) "
        f"FROM rates WHERE model IN {literals(models)} AND slice = 'all' AND kind = 'error'"
    )
    return RecordedHistory(first, last, float(delay_s)) if n else None
