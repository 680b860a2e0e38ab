"""Signals from the processors' own reports."""

from __future__ import annotations

from collections.abc import Sequence

from warehouse.signals.literals import literals
from warehouse.signals.signal import SURE, Facts, Known, Signal, Span

REACH_S = 86_400
"""A kind of processor that has not reported for a day has been taken away for good, or is known to be gone."""


def processor_age(kinds: Sequence[str], line: float) -> Signal:
    """Seconds since any processor of each kind reported last."""

    def select(span: Span, known: Known) -> str:
        # Reports are on the clock of the wall: they say nothing of history that was replayed.
        told = "0" if known == "ended" else "1"
        return (
            "SELECT kind AS key, '' AS version, toUInt32(toUnixTimestamp(toDateTime(at))) AS until, until AS ended_at, "
            f"until AS judged_at, tuple(until) AS rank, tuple(toUInt8({SURE}), 0., nan, nan, 1.) AS verdict "
            f"FROM processors WHERE {told} AND kind IN {literals(kinds)} AND at > toDateTime64({span.start}, 3) "
            f"AND at <= toDateTime64({span.end}, 3)"
        )

    return Signal("kind", tuple(kinds), line, Facts(select, REACH_S), has_versions=False)
