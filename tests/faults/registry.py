"""Faults that change contracts, baselines and versions in the registry during a run."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import ClassVar

import msgspec

from sketches.baseline.baseline import Baseline
from tests.faults.source import HOUR_MS
from tests.faults.trial_run import World
from tests.support.pipeline import baseline_row, simple_baseline, wait_for
from warehouse.tables import insert_rows

FLUSHED_S = 2.0
"""Longer than a flush of the sketchers of the harness (0.5 s) and its transaction."""
KNOWN_S = 60.0
"""Time within which sketchers must read a change, in seconds."""


@dataclass(frozen=True)
class NewContract:
    name: ClassVar[str] = "contract changed"

    def apply(self, world: World) -> str:
        owner = f"owner {world.done[self.name]}"
        world.contract = msgspec.structs.replace(world.contract, owners=(owner,))
        world.pipeline.register(world.contract, [])
        return owner


@dataclass(frozen=True)
class NewBaseline:
    """Version 1 gets a baseline with other bins, effective from a time that is later than all events so far."""

    seed: int
    name: ClassVar[str] = "baseline changed"

    def apply(self, world: World) -> str:
        # The source sends no events from that time on until every sketcher has read the baseline.
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
    version: str
    name: ClassVar[str] = "version changed"

    def apply(self, world: World) -> str:
        world.source.versions.append(self.version)
        time.sleep(3.0)
        accept(world, msgspec.structs.replace(simple_baseline(), version=self.version), 0)
        return f"version {self.version} unregistered at first"


def accept(world: World, baseline: Baseline, effective_s: int) -> None:
    with world.pipeline.client as client:
        insert_rows(client, "baselines", [baseline_row(baseline, effective_s, int(time.time() * 1000))])
        [(known,)] = client.rows("SELECT count() FROM baselines FINAL")
    wait_for(
        lambda: all(baselines_read(world, name) >= known for name in world.fleet.names("sketcher")),
        "every sketcher to read the new baseline",
        KNOWN_S,
    )
    # A flush uses the registry as of its start.
    time.sleep(FLUSHED_S)


def baselines_read(world: World, name: str) -> int:
    """Return the number of baselines that a processor has read since its last start, according to its log."""
    read = 0
    for line in (world.folder / f"{name}.log").read_text().splitlines():
        if '"event": "started"' in line:
            read = 0
        elif '"registry"' in line and '"baselines"' in line:
            read = int(json.loads(line)["baselines"])
    return read
