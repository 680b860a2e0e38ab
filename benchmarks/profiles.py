"""Profiles: the sections of a run, and the arguments of each: events, repetitions, seconds."""

from __future__ import annotations

from typing import Any

from benchmarks.shapes import HEADLINES

BY_THEMSELVES = ("otlp", "pairing", "queries", "recovery")
"""Sections that are not in the full profile, which takes at most an hour; `--only` runs them."""

Profile = dict[str, dict[str, Any]]
"""Section → the keyword arguments of its function."""

FULL: Profile = {
    # Enough events for a measured process to work for at least two seconds.
    "rates": {"events": 600_000, "faust_events": 30_000, "arrow_events": 2_000_000, "runs": 7},
    "shapes": {"events": 450_000, "arrow_events": 1_800_000, "runs": 5},
    "peers": {"events": 400_000, "runs": 5},
    "processes": {"events": 600_000, "runs": 5},
    "publisher": {"calls": 100_000, "rows": 1_000_000, "dead_s": 10.0},
    "shadow": {"rounds": 10, "calls": 5_000},
    "guard": {"rounds": 10, "calls": 3_000, "batches": 20_000},
    "storage": {"panes": 180},
    "recorder": {"events": 250_000, "arrow_events": 600_000, "runs": 3},
    "otlp": {"requests": 64, "runs": 7},
    "latency": {"flood_s": 20, "seconds": 60},
    "memory": {"events": 2_000_000, "wide_events": 400_000},
    "monitor": {"panes": 90},
    "wide": {"panes": 36, "limit_s": 420.0},
    "scoring": {"predictions": 3_000_000},
    "pairing": {"requests": 10_000_000},
    "queries": {"models": 50},
    "recovery": {"models": 50, "fields": 100, "runs": 3, "outage_s": 600},
    "growth": {},
    "soak": {},
    "scale": {},
}
FULL_SECTIONS = tuple(name for name in FULL if name not in BY_THEMSELVES)

SHORT: Profile = {
    "rates": {"events": 300_000, "faust_events": 15_000, "arrow_events": 800_000, "runs": 3},
    "shapes": {"events": 200_000, "arrow_events": 600_000, "runs": 1, "names": HEADLINES},
    # With one run, one implementation of each peer is measured, and none of Evidently.
    "peers": {"events": 300_000, "runs": 1},
    "processes": {"events": 300_000, "runs": 1},
    "publisher": {"calls": 10_000, "rows": 200_000, "dead_s": 2.0},
    "shadow": {"rounds": 3, "calls": 3_000},
    "guard": {"rounds": 3, "calls": 2_000, "batches": 5_000},
    "storage": {"panes": 60},
    "recorder": {"events": 150_000, "arrow_events": 200_000, "runs": 1},
    "otlp": {"requests": 32, "runs": 3},
    "latency": {"flood_s": 10, "seconds": 25},
    "memory": {"events": 1_000_000, "wide_events": 50_000},
    "monitor": {"panes": 66},
    "wide": {"panes": 8, "limit_s": 90.0},
    "scoring": {"predictions": 1_000_000},
    "pairing": {"requests": 1_000_000},
    "queries": {"models": 10},
    "recovery": {"models": 10, "fields": 100, "runs": 3, "outage_s": 120},
    "growth": {},
    "soak": {},
    "scale": {},
}
SHORT_SECTIONS = ("rates", "shapes", "peers", "publisher", "storage")
