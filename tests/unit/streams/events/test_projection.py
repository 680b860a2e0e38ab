"""A version in service is counted on its baseline, including fields that the contract no longer names."""

from __future__ import annotations

import json

import msgspec
import numpy as np

from sketches.baseline.columns import TAIL
from streams.events.batch import MessageBatch
from streams.events.json_decoder import JsonDecoder
from streams.registry.registry import RegisteredBaseline, build_registry
from streams.sketcher.summarise import FlushSummaries
from tests.support.pipeline import simple_baseline, simple_contract


def test_fields_of_baselines_are_read_even_if_the_contract_lacks_them() -> None:
    whole, baseline = simple_contract(), simple_baseline()
    fewer = msgspec.structs.replace(whole, fields=whole.fields[:1])
    event = {
        "model": "toy",
        "version": "1",
        "id": "a",
        "at": 1_790_000_000_000,
        "features": {"x": 0.5, "k": 3, "flag": True, "colour": "green"},
    }
    batch = MessageBatch(
        [json.dumps(event).encode()], np.zeros(1, np.int32), np.zeros(1, np.int64), np.array([1_790_000_000_000])
    )
    counts = []
    for contract in (whole, fewer):
        registry = build_registry([(contract, 0)], [RegisteredBaseline(baseline, baseline.id, 0, 0)])
        summaries = FlushSummaries(registry)
        for events in JsonDecoder(registry).decode(batch).events:
            summaries.add(events)
        (pane,) = summaries.panes.values()
        counts.append(pane.counts)
        layout = pane.layout
    assert (counts[0] == counts[1]).all()
    ends = layout.starts + layout.n_cells
    assert counts[1][0, ends - 1].sum() == 0, "nothing is null"
    assert sum(counts[1][0, end : end + TAIL].sum() for end in ends.tolist()) == 0, "nothing is invalid"
