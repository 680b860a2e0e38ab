"""The flights example without its data set."""

from __future__ import annotations

import importlib.util
from datetime import datetime

import numpy as np
import pyarrow as pa
import pytest

from examples.flights import data
from examples.flights.features import FEATURES
from examples.flights.model import LATE, ON_TIME, THRESHOLD, classes
from examples.flights.replay import between, build


def test_missing_data_raises_an_error_with_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(data.DemoDataMissingError, match="uv sync --group demo"):
        data.data_folder()


def test_the_threshold_itself_is_late() -> None:
    assert classes(np.array([0.0, THRESHOLD, 1.0])).to_pylist() == [ON_TIME, LATE, LATE]


def test_now_needs_a_time_zone() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        build(pa.table({}), datetime(2026, 1, 1))  # noqa: DTZ001 (the point of the test)


def test_date_ranges_include_both_ends() -> None:
    rows = pa.table({"original_date": ["2013-05-31", "2013-06-01", "2013-07-31", "2013-08-01"]})
    assert between(rows, "2013-06-01", "2013-07-31")["original_date"].to_pylist() == ["2013-06-01", "2013-07-31"]


def test_features_are_known_at_departure() -> None:
    assert not {"dep_delay", "dep_time", "arr_delay", "arr_time", "air_time", "landed_at"} & set(FEATURES)
