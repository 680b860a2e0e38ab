"""Events of the model `toy`, whose contract and baseline `tests.support.pipeline` has."""

import json
import random
from collections.abc import Iterable, Iterator
from typing import Any

HOUR_S, HOUR_MS = 3600, 3_600_000
START_MS = 1_790_000_000_000 // HOUR_MS * HOUR_MS
START_S = START_MS // 1000


def toy_event(i: int, at_ms: int, **changes: Any) -> dict[str, Any]:
    features = {"x": 0.5, "k": 3, "flag": True, "colour": "red"}
    plain = {"model": "toy", "version": "1", "id": f"e{i}", "at": at_ms, "features": features}
    return plain | {"context": {"region": "north"}} | changes


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
        region = rng.choice(["north", "south", "west"])
        at_ms = START_MS + i * hours * HOUR_MS // n
        events.append(toy_event(i, at_ms, features=features, context={"region": region}))
    return events


def messages(events: Iterable[dict[str, Any]], partitions: int = 1) -> Iterator[tuple[int, bytes, None]]:
    return ((i % partitions, json.dumps(event).encode(), None) for i, event in enumerate(events))
