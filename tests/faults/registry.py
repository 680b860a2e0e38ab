"""Changes of what is registered, while everything runs."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import ClassVar

import msgspec

from sketches.baseline.baseline import Baseline, dump_baseline
from tests.faults.source import HOUR_MS, STRICT
from tests.faults.trial_run import World
from tests.support.pipeline import simple_baseline
from warehouse.tables import insert_rows

FLUSHED_S = 2.0
"""A flush of the harness's sketchers takes half a second, its transaction less."""
KNOWN_S = 60.0
"""How long sketchers are given to read a change."""


@dataclass(frozen=True)
class NewContract:
    """The contract is changed: other thresholds, another owner."""

    name: ClassVar[str] = "contract changed"

    def apply(self, world: World) -> str:
        owner = f"owner {world.done[self.name]}"
        world.contract = msgspec.structs.replace(world.contract, owners=(owner,))
        world.pipeline.register(world.contract, [])
        return owner


@dataclass(frozen=True)
class NewBaseline:
    """Version 1 gets another baseline, with other bins, from a moment of event time that is still to come."""

    seed: int
    name: ClassVar[str] = "baseline changed"

    def apply(self, world: World) -> str:
        # Events of the source wait before that moment until every sketcher knows.
        pane_ms = world.contract.pane_s * 1000
        from_ms = (world.source.now_ms // pane_ms + 2) * pane_ms
        world.source.hold_at_ms = from_ms
        baseline = simple_baseline(seed=self.seed)
        accept(world, baseline, from_ms // 1000)
        world.baselines.append((from_ms // 1000, baseline))
        world.source.hold_at_ms = float("inf")
        return f"{baseline.id[:12]} from {(from_ms - world.source.start_ms) / HOUR_MS:.0f} h on"


@dataclass(frozen=True)
class NewVersion:
    """A version appears that nobody has registered; its baseline follows."""

    version: str
    name: ClassVar[str] = "version changed"

    def apply(self, world: World) -> str:
        world.source.versions.append(self.version)
        time.sleep(3.0)
        accept(world, msgspec.structs.replace(simple_baseline(), version=self.version), 0)
        return f"version {self.version} unregistered at first"


def accept(world: World, baseline: Baseline, effective_s: int) -> None:
    """Register a baseline and wait until every sketcher has read it."""
    row = {
        "model": STRICT,
        "version": baseline.version,
        "baseline_id": baseline.id,
        "effective_from": effective_s,
        "reason": "test",
        "body": dump_baseline(baseline).decode(),
        "accepted_at": int(time.time() * 1000),
    }
    with world.pipeline.client as client:
        insert_rows(client, "baselines", [row])
        [(known,)] = client.rows("SELECT count() FROM baselines FINAL")
    deadline = time.monotonic() + KNOWN_S
    while not all(baselines_read(world, name) >= known for name in world.fleet.names("sketcher")):
        if time.monotonic() > deadline:
            raise AssertionError(f"a sketcher has not read the new baseline within {KNOWN_S:.0f} s")
        time.sleep(0.1)
    # A flush goes by what was registered when it was opened.
    time.sleep(FLUSHED_S)


def baselines_read(world: World, name: str) -> int:
    """How many baselines a processor says it has read, since its last start."""
    read = 0
    for line in (world.folder / f"{name}.log").read_text().splitlines():
        if '"event": "started"' in line:
            read = 0
        elif '"registry"' in line and '"baselines"' in line:
            read = int(json.loads(line)["baselines"])
    return read
