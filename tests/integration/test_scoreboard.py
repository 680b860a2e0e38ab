"""The scoreboard on real ClickHouse: what is predicted pages in time, and quiet streams do not."""

from __future__ import annotations

import pytest

from benchmarks.scoreboard.scores import Cell, QuietStream, score_data_set
from warehouse.client import Client

pytestmark = [pytest.mark.engine, pytest.mark.long]


def test_independent_traffic(client: Client) -> None:
    quiet, *cells = score_data_set(client, "diabetes", 100.0, 1, ["mean-shift", "null-rise"], 7)
    assert isinstance(quiet, QuietStream)
    assert quiet.pages == {}
    assert len(cells) == 8
    for cell in cells:
        assert isinstance(cell, Cell)
        assert cell.wrong_pages == 0
        low, _, high = cell.predicted
        [hours] = cell.hours
        if high is not None:
            # One incident of a cell leaves the interval of 10 to 90 % now and then.
            assert hours is not None
            assert 0.5 * (low or 0.0) <= hours <= 1.5 * high
    paged = {(cell.fault, cell.magnitude) for cell in cells if isinstance(cell, Cell) and cell.hours[0] is not None}
    assert {("mean-shift", 1.0), ("mean-shift", 4.0), ("null-rise", 0.3)} <= paged
    assert ("null-rise", 0.03) not in paged
