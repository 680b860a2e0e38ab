"""Rows of the panes that changed since the last commit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from barograph_server.streams.monitor.rows.pane_rows import PANES_PER_INSERT, pane_pages, volume_columns
from barograph_server.streams.monitor.rows.violation_rows import violation_columns
from barograph_server.streams.monitor.state.commit_rows import TableColumns
from barograph_server.streams.monitor.state.pane import Pane
from barograph_server.streams.monitor.state.series import Series


def changed_panes(
    series: Series, dirty: list[Pane], sealed_until_s: int, partials_partition: int
) -> Iterator[TableColumns]:
    """Yield the rows of `panes`, `volume` and `violations` of changed panes.

    Args:
        dirty: the panes that changed, in order.
        sealed_until_s: panes that end by then are sealed.
        partials_partition: the partition of `partials` that they come from.
    """
    pane_s = series.contract.pane_s
    sealed = np.array([pane.sealed or pane.start_s + pane_s <= sealed_until_s for pane in dirty], dtype=bool)
    for page in pane_pages(series, dirty, partials_partition, pane_s, sealed):
        yield "panes", page
    for first in range(0, len(dirty), PANES_PER_INSERT):
        chosen = slice(first, first + PANES_PER_INSERT)
        yield "volume", volume_columns(series, dirty[chosen], partials_partition, sealed[chosen])
        violations = violation_columns(series, dirty[chosen], partials_partition)
        if violations is not None:
            yield "violations", violations
