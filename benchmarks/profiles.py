"""Profiles: how much a run measures."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.shapes import HEADLINES

ALL_SECTIONS = (
    "rates",
    "shapes",
    "peers",
    "processes",
    "publisher",
    "storage",
    "recorder",
    "latency",
    "memory",
    "monitor",
    "wide",
    "scoring",
    "queries",
    "recovery",
    "growth",
    "soak",
    "scale",
)
BY_THEMSELVES = ("queries", "recovery")
"""Sections that are not in the full profile, which takes at most an hour; `--only` runs them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Events, repetitions and seconds of each section."""

    sections: tuple[str, ...]
    runs: int
    rate_events: int
    """Enough for a measured process to work for at least two seconds."""
    faust_events: int
    arrow_events: int
    shapes: tuple[str, ...] | None
    """Names of shapes; None for all."""
    shape_runs: int
    shape_events: int
    shape_arrow_events: int
    peer_runs: int
    """If it is 1, one implementation of each peer is measured, and none of Evidently."""
    peer_events: int
    process_runs: int
    process_events: int
    calls: int
    rows: int
    dead_s: float
    """How long a process publishes to an unreachable broker (s)."""
    stored_panes: int
    recorder_runs: int
    recorded: int
    recorded_arrow: int
    flood_s: int
    """Length of the flood that determines the maximum rate (s)."""
    live_s: int
    memory_events: int
    wide_events: int
    panes: int
    wide_panes: int
    wide_s: float
    scored: int
    models: int
    kills: int
    outage_s: int


FULL = Profile(
    sections=tuple(name for name in ALL_SECTIONS if name not in BY_THEMSELVES),
    runs=7,
    rate_events=600_000,
    faust_events=30_000,
    arrow_events=2_000_000,
    shapes=None,
    shape_runs=5,
    shape_events=450_000,
    shape_arrow_events=1_800_000,
    peer_runs=5,
    peer_events=400_000,
    process_runs=5,
    process_events=600_000,
    calls=100_000,
    rows=1_000_000,
    dead_s=10.0,
    stored_panes=180,
    recorder_runs=3,
    recorded=250_000,
    recorded_arrow=600_000,
    flood_s=20,
    live_s=60,
    memory_events=2_000_000,
    wide_events=400_000,
    panes=90,
    wide_panes=36,
    wide_s=420.0,
    scored=3_000_000,
    models=50,
    kills=3,
    outage_s=600,
)
SHORT = Profile(
    sections=("rates", "shapes", "peers", "publisher", "storage"),
    runs=3,
    rate_events=300_000,
    faust_events=15_000,
    arrow_events=800_000,
    shapes=HEADLINES,
    shape_runs=1,
    shape_events=200_000,
    shape_arrow_events=600_000,
    peer_runs=1,
    peer_events=300_000,
    process_runs=1,
    process_events=300_000,
    calls=10_000,
    rows=200_000,
    dead_s=2.0,
    stored_panes=60,
    recorder_runs=1,
    recorded=150_000,
    recorded_arrow=200_000,
    flood_s=10,
    live_s=25,
    memory_events=1_000_000,
    wide_events=50_000,
    panes=66,
    wide_panes=8,
    wide_s=90.0,
    scored=1_000_000,
    models=10,
    kills=3,
    outage_s=120,
)
