"""Sampling of raw predictions by a hash of the id, the same in JSON and Arrow."""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from barograph.contract import Contract
from barograph.events import encode_arrow

from streams.events.batch import MessageBatch
from streams.recorder.arrow_rows import ArrowRows
from streams.recorder.json_rows import JsonRows
from streams.registry.registry import build_registry

NOW_MS = 1_790_000_000_000
IDS = [f"é{i}" for i in range(2000)]


def sampled(share: float, *, arrow: bool) -> list[str]:
    registry = build_registry([(Contract(model="toy", raw_share=share), 1)], [])
    values: list[bytes | None]
    if arrow:
        n = len(IDS)
        rows = pa.table({"model": ["toy"] * n, "version": ["1"] * n, "id": IDS, "at": [NOW_MS] * n})
        values = [encode_arrow(rows)]
    else:
        events: list[Any] = [{"model": "toy", "version": "1", "id": each, "at": NOW_MS} for each in IDS]
        values = [json.dumps(event).encode() for event in events]
    n = len(values)
    if arrow:
        assert list(JsonRows(registry).sample(values)) == [0]
    batch = MessageBatch(values, np.zeros(n, np.int32), np.arange(n), np.full(n, NOW_MS))
    result = (ArrowRows if arrow else JsonRows)(registry).rows(batch)
    return [each for table in result for each in table.column("id").to_pylist()]


@pytest.mark.parametrize("arrow", [False, True], ids=["json", "arrow"])
def test_the_share_is_sampled_by_the_hash_of_the_id(arrow: bool) -> None:
    assert sampled(1.0, arrow=arrow) == IDS
    assert sampled(0.0, arrow=arrow) == []
    quarter = sampled(0.25, arrow=arrow)
    assert quarter == [each for each in IDS if zlib.crc32(each.encode()) < 2**30]
    assert 0.2 < len(quarter) / len(IDS) < 0.3
    assert set(quarter) < set(sampled(0.5, arrow=arrow))
