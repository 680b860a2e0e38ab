"""The faults of the demo's candidate."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest

from examples.flights.shadow import FAULTS, faults


def test_the_id_alone_decides_about_a_fault() -> None:
    ids = pa.chunked_array([[f"UA-{number}-20130801-EWR" for number in range(20_000)]])
    errors = faults(ids).to_pylist()
    assert errors[::-1] == faults(pa.chunked_array([ids.to_pylist()[::-1]])).to_pylist()
    counts = Counter(errors)
    for name, share in FAULTS:
        assert counts[name] / len(errors) == pytest.approx(share, rel=0.3)
