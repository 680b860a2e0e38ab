"""Merges panes for tests."""

from collections.abc import Iterable

from barograph_server.streams.monitor.state.merging import merge_panes
from barograph_server.streams.monitor.state.pane import Pane
from barograph_server.streams.monitor.state.series import Series


def merge(series: Series, start_s: int, panes: Iterable[Pane]) -> Pane:
    return merge_panes(series, start_s, panes) or series.empty_pane(start_s)
