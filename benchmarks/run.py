"""`make bench`: starts a broker and an engine of its own, measures everything in one run, and prints one table.

`--short` measures less of the same within three minutes. Rates are per CPU-second of the measured process, and what
is compared is measured in turns, so that ratios hold on other machines better than the numbers do.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figures
from benchmarks.latency import measure_latency
from benchmarks.machine import describe_machine
from benchmarks.monitor import measure_monitor
from benchmarks.peers.measure import measure_peers
from benchmarks.publishing import measure_publisher
from benchmarks.queries import measure_queries
from benchmarks.rates import DATABASE, measure_memory, measure_rates, run_sketcher
from benchmarks.recovery import measure_recovery
from benchmarks.scoring import measure_scoring
from benchmarks.workload import SEED, make_workload
from benchmarks.world import World
from local.kafka import FAST_OPTIONS
from local.stack import LocalStack

SECTIONS = ("rates", "memory", "monitor", "publisher", "latency", "scoring", "queries", "recovery", "peers")


@dataclass(frozen=True, slots=True)
class Profile:
    """How much is measured."""

    runs: int
    rate_events: int
    faust_events: int
    arrow_events: int
    memory_events: int
    panes: int
    live_s: int
    calls: int
    rows: int
    scored: int
    models: int
    kills: int
    outage_s: int
    peer_events: int
    peer_runs: int


FULL = Profile(
    5, 1_000_000, 100_000, 2_000_000, 5_000_000, 150, 120, 200_000, 1_000_000, 10_000_000, 50, 5, 600, 600_000, 3
)
SHORT = Profile(3, 300_000, 40_000, 400_000, 1_000_000, 66, 25, 25_000, 200_000, 1_000_000, 10, 3, 120, 300_000, 1)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--short", action="store_true", help="less of everything, within three minutes")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="measure only this; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="write a profile of the sketcher there instead")
    asked = parser.parse_args()
    profile = SHORT if asked.short else FULL
    figures = Figures(describe_machine())
    figures.about["seed"] = str(SEED)
    figures.about["command"] = " ".join(["python -m benchmarks", *sys.argv[1:]]) if sys.argv[1:] else "make bench"
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="barograph-bench-") as name:
        folder = Path(name)
        with LocalStack(folder / "stack", kafka_port=0, clickhouse_port=0, jvm_options=FAST_OPTIONS) as stack:
            world = World(stack, folder)
            if asked.profile:
                _profile(world, profile, asked.profile)
                return 0
            _measure(world, profile, figures, asked.only or SECTIONS)
    figures.about["took"] = f"{time.monotonic() - began:.0f} s"
    print("\n" + figures.table())
    if asked.json:
        figures.write(asked.json)
    return 0


def _measure(world: World, profile: Profile, figures: Figures, sections: tuple[str, ...] | list[str]) -> None:
    if "queries" in sections:
        measure_queries(world, figures, models=profile.models)
    if "recovery" in sections:
        measure_recovery(
            world, figures, models=profile.models, fields=100, runs=profile.kills, outage_s=profile.outage_s
        )
    if set(sections) <= {"queries", "recovery"}:
        return
    workload = make_workload(world.folder, numbers=18)
    world.register(DATABASE, workload)
    if "rates" in sections:
        measure_rates(
            world,
            workload,
            figures,
            events=profile.rate_events,
            faust_events=profile.faust_events,
            arrow_events=profile.arrow_events,
            runs=profile.runs,
        )
    if "peers" in sections:
        measure_peers(world, workload, figures, events=profile.peer_events, runs=profile.peer_runs)
    if "memory" in sections:
        measure_memory(world, workload, figures, events=profile.memory_events)
    if "monitor" in sections:
        measure_monitor(world.folder, figures, panes=profile.panes)
    if "publisher" in sections:
        measure_publisher(world, workload, figures, calls=profile.calls, rows=profile.rows)
    if "latency" in sections:
        measure_latency(world, figures, seconds=profile.live_s)
    if "scoring" in sections:
        measure_scoring(world, figures, predictions=profile.scored)


def _profile(world: World, profile: Profile, path: Path) -> None:
    """Let the sketcher read JSON events under cProfile."""
    from benchmarks.workload import json_events

    workload = make_workload(world.folder, numbers=18)
    world.register(DATABASE, workload)
    topics = world.create_topics("profile-")
    now_ms = int(time.time() * 1000)
    world.fill(topics.predictions, json_events(workload, profile.rate_events, now_ms - 600_000, now_ms))
    run_sketcher(world, workload, "profile-", profile.rate_events, profile=path)
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    raise SystemExit(main())
