"""Panes merged as tests need them."""

from __future__ import annotations

from collections.abc import Iterable

from streams.monitor.state.merging import merged
from streams.monitor.state.series import Pane, Series


def merge(series: Series, start_s: int, panes: Iterable[Pane]) -> Pane:
    """The merge of some panes, which is an empty one where there are none."""
    return merged(series, start_s, panes) or series.empty_pane(start_s)
