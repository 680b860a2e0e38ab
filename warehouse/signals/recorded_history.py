"""What history there is for signals to be read over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from warehouse.signals.literals import literals

if TYPE_CHECKING:
    from warehouse.client import Client

REPLAYED_S = 86_400
"""Verdicts that are mostly given so long after their windows were given of replayed history."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """From when to when there are verdicts, and how long after their windows they were given."""

    first: datetime
    last: datetime
    delay_s: float
    """Median from the end of a window to its verdict."""

    @property
    def was_replayed(self) -> bool:
        """Whether history was judged long after it happened."""
        return self.delay_s > REPLAYED_S


def recorded(client: Client, models: Sequence[str]) -> Recorded | None:
    """Say which windows of models were judged; None where none was."""
    [(n, first, last, delay_s)] = client.rows(
        "SELECT count(), min(window_end), max(window_end), "
        "quantile(0.5)(toUnixTimestamp64Milli(judged_at) / 1000 - toUnixTimestamp(window_end)) "
        f"FROM rates WHERE model IN {literals(models)} AND slice = 'all' AND kind = 'error'"
    )
    return Recorded(first, last, float(delay_s)) if n else None
