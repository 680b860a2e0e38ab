"""`make bench`: start a broker and an engine, measure everything in one run and print one table.

The profile `full` writes docs/performance.json and the tables and charts of docs/performance.md. `short` measures the
most important figures within three minutes and only prints them. Rates are per CPU-second of the measured process.
Alternatives are measured alternately, so that their ratios depend less on the machine than the rates.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks import page, scale
from benchmarks.figures import Figures
from benchmarks.latency import measure_latency
from benchmarks.machine import describe_machine
from benchmarks.monitor import measure_monitor
from benchmarks.peers.measure import measure_peers
from benchmarks.processes import measure_processes
from benchmarks.profiles import FULL, SHORT, Profile
from benchmarks.publishing import measure_publisher
from benchmarks.queries import measure_queries
from benchmarks.rates import DATABASE, measure_memory, measure_rates, run_sketcher, span
from benchmarks.recording import measure_recorder
from benchmarks.recovery import measure_recovery
from benchmarks.scoring import measure_scoring
from benchmarks.shapes import measure_shapes
from benchmarks.stack import Testbed
from benchmarks.storage import measure_storage
from benchmarks.wide_model import measure_wide_monitor
from benchmarks.workload import SEED, Workload, json_events, make_workload
from local.kafka import FAST_OPTIONS
from local.stack import LocalStack


class BenchmarkRun(NamedTuple):
    """The arguments of every section."""

    testbed: Testbed
    workload: Workload
    """One model with 20 numeric features and a score, without slices."""
    profile: Profile
    figures: Figures


def _rates(b: BenchmarkRun) -> None:
    p = b.profile
    measure_rates(
        b.testbed,
        b.workload,
        b.figures,
        events=p.rate_events,
        faust_events=p.faust_events,
        arrow_events=p.arrow_events,
        runs=p.runs,
    )


def _shapes(b: BenchmarkRun) -> None:
    p = b.profile
    measure_shapes(
        b.testbed,
        b.figures,
        events=p.shape_events,
        arrow_events=p.shape_arrow_events,
        runs=p.shape_runs,
        names=p.shapes,
    )


def _memory(b: BenchmarkRun) -> None:
    p = b.profile
    measure_memory(b.testbed, b.workload, b.figures, events=p.memory_events, wide_events=p.wide_events)


def _recovery(b: BenchmarkRun) -> None:
    p = b.profile
    measure_recovery(b.testbed, b.figures, models=p.models, fields=100, runs=p.kills, outage_s=p.outage_s)


SECTIONS: dict[str, Callable[[BenchmarkRun], None]] = {
    "rates": _rates,
    "shapes": _shapes,
    "peers": lambda b: measure_peers(
        b.testbed, b.workload, b.figures, events=b.profile.peer_events, runs=b.profile.peer_runs
    ),
    "processes": lambda b: measure_processes(
        b.testbed, b.workload, b.figures, events=b.profile.process_events, runs=b.profile.process_runs
    ),
    "publisher": lambda b: measure_publisher(
        b.testbed, b.workload, b.figures, calls=b.profile.calls, rows=b.profile.rows, dead_s=b.profile.dead_s
    ),
    "storage": lambda b: measure_storage(b.testbed, b.figures, panes=b.profile.stored_panes),
    "recorder": lambda b: measure_recorder(
        b.testbed,
        b.figures,
        events=b.profile.recorded,
        arrow_events=b.profile.recorded_arrow,
        runs=b.profile.recorder_runs,
    ),
    "latency": lambda b: measure_latency(b.testbed, b.figures, flood_s=b.profile.flood_s, seconds=b.profile.live_s),
    "memory": _memory,
    "monitor": lambda b: measure_monitor(b.testbed.folder, b.figures, panes=b.profile.panes),
    "wide": lambda b: measure_wide_monitor(b.testbed, b.figures, panes=b.profile.wide_panes, limit_s=b.profile.wide_s),
    "scoring": lambda b: measure_scoring(b.testbed, b.figures, predictions=b.profile.scored),
    "queries": lambda b: measure_queries(b.testbed, b.figures, models=b.profile.models),
    "recovery": _recovery,
    "growth": lambda b: scale.measure(b.testbed, b.figures, "growth"),
    "soak": lambda b: scale.measure(b.testbed, b.figures, "soak"),
    "scale": lambda b: scale.measure(b.testbed, b.figures, "scale"),
}
"""Name → function, in the order of measurement."""


def main() -> int:
    """Measure and print; return 1 if a section failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--profile", choices=("short", "full"), default="full", help="how much is measured")
    parser.add_argument(
        "--short", action="store_const", dest="profile", const="short", help="the same as --profile short"
    )
    parser.add_argument("--only", choices=SECTIONS, action="append", help="measure only this section; may be repeated")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the figures to this file, after each section"
    )
    parser.add_argument(
        "--cprofile", type=Path, metavar="FILE", help="only profile the sketcher and write the profile to this file"
    )
    parser.add_argument("--redraw", action="store_true", help="only rewrite page and charts from docs/performance.json")
    arguments = parser.parse_args()
    if arguments.redraw:
        page.redraw()
        return 0
    profile = SHORT if arguments.profile == "short" else FULL
    figures = Figures(describe_machine())
    figures.about["seed"] = str(SEED)
    figures.about["command"] = _command(arguments)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="barograph-bench-") as name:
        folder = Path(name)
        with LocalStack(folder / "stack", kafka_port=0, clickhouse_port=0, jvm_options=FAST_OPTIONS) as stack:
            testbed = Testbed(stack, folder)
            if arguments.cprofile:
                _profile(testbed, profile, arguments.cprofile)
                return 0
            failed = _measure(testbed, profile, figures, arguments.only or profile.sections, arguments.json)
    figures.about["took"] = f"{time.monotonic() - began:.0f} s"
    print("\n" + page.full_report(figures))
    if arguments.json:
        figures.write(arguments.json)
    if failed:
        print(f"Failed sections: {', '.join(failed)}. Nothing was written to docs/.", file=sys.stderr)
        return 1
    if profile is FULL and not arguments.only:
        page.publish(figures)
    return 0


def _command(arguments: argparse.Namespace) -> str:
    if arguments.only:
        short = ["--short"] if arguments.profile == "short" else []
        return " ".join(["python -m benchmarks", *short, *(f"--only {name}" for name in arguments.only)])
    return "make bench" + (" PROFILE=short" if arguments.profile == "short" else "")


def _measure(
    testbed: Testbed, profile: Profile, figures: Figures, sections: tuple[str, ...] | list[str], path: Path | None
) -> list[str]:
    """Measure sections and return those that failed; a failure does not end the run.

    If there is a path, the figures so far are written to it after each section.
    """
    failed = []
    workload = make_workload(testbed.folder)
    testbed.register(DATABASE, workload)
    for name in SECTIONS:
        if name not in sections:
            continue
        began = time.monotonic()
        print(f"{name} …", flush=True)
        try:
            SECTIONS[name](BenchmarkRun(testbed, workload, profile, figures))
        except Exception:
            traceback.print_exc()
            failed.append(name)
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
        if path is not None:
            figures.write(path)
    return failed


def _profile(testbed: Testbed, profile: Profile, path: Path) -> None:
    """Run the sketcher on JSON events under cProfile."""
    workload = make_workload(testbed.folder)
    testbed.register(DATABASE, workload)
    topics = testbed.create_topics("profile-")
    testbed.fill(topics.predictions, json_events(workload, profile.rate_events, *span()))
    run_sketcher(testbed, workload, "profile-", profile.rate_events, profile=path)
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    raise SystemExit(main())
