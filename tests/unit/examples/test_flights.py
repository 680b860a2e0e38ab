"""The flights example without its data set."""

from __future__ import annotations

import importlib.util
from datetime import datetime

import pyarrow as pa
import pytest

from barograph_server.examples.flights import data
from barograph_server.examples.flights.features import FEATURES
from barograph_server.examples.flights.replay import build


def test_missing_data_and_a_time_without_a_zone_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(data.DemoDataMissingError, match="uv sync --group demo"):
        data.data_folder()
    with pytest.raises(ValueError, match="has no time zone"):
        build(pa.table({}), datetime(2026, 1, 1))  # noqa: DTZ001 (the point of the test)


def test_features_are_known_at_departure() -> None:
    assert not {"dep_delay", "dep_time", "arr_delay", "arr_time", "air_time", "landed_at"} & set(FEATURES)
