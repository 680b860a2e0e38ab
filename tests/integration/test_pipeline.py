"""The path of an event through real processors, against counts made from the source data in plain Python."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

from tests.support.pipeline import Pipeline, simple_baseline, simple_contract

HOUR_MS = 3_600_000
START_MS = 1_790_000_000_000 // HOUR_MS * HOUR_MS


def toy_events(n: int, hours: int, seed: int = 3) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    events = []
    for i in range(n):
        features = {
            "x": rng.gauss(0.5, 1) if rng.random() > 0.1 else None,
            "k": rng.randrange(6),
            "flag": rng.random() < 0.5,
            "colour": rng.choice(["red", "green", "blue", "pink"]),
        }
        events.append(
            {
                "model": "toy",
                "version": "1",
                "id": f"e{i}",
                "at": START_MS + i * hours * HOUR_MS // n,
                "features": features,
                "context": {"region": rng.choice(["north", "south", "west"])},
            }
        )
    return events


def test_counts_of_every_pane_equal_the_source(pipeline: Pipeline) -> None:
    pipeline.create(source_partitions=1)
    contract, baseline = simple_contract(), simple_baseline()
    pipeline.register(contract, [baseline])
    events = toy_events(6000, hours=30)
    pipeline.produce((0, json.dumps(event).encode(), None) for event in events)
    pipeline.end(1)
    pipeline.start("sketcher")
    pipeline.start("monitor")
    pipeline.wait_rows("SELECT sum(n) = 6000 AND min(sealed) FROM volume FINAL WHERE slice = 'all'", "sealed volume")
    pipeline.wait_settled()
    expected: Counter[tuple[str, str, int]] = Counter()
    nulls: Counter[tuple[str, int]] = Counter()
    for event in events:
        hour = event["at"] // HOUR_MS * 3600
        region = event["context"]["region"]
        for name in ("all", f"region={region if region != 'west' else 'other'}"):
            expected[name, "x", hour] += 1
            nulls[name, hour] += event["features"]["x"] is None
    counts = pipeline.rows(
        "SELECT slice, toUnixTimestamp(pane_start), n, nulls, arraySum(counts) FROM panes FINAL WHERE field = 'x'"
    )
    assert {(s, at): (n, k) for s, at, n, k, _ in counts} == {
        (s, at): (n, nulls[s, at]) for (s, _, at), n in expected.items()
    }
    assert all(n == total for *_, n, _, total in counts)
    pipeline.wait_rows("SELECT count() > 0 FROM drift WHERE window = '1d'", "verdicts")
