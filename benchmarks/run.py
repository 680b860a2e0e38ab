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
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from barograph_server.local.kafka import FAST_OPTIONS
from barograph_server.local.stack import LocalStack
from benchmarks import page, scale
from benchmarks.figures import Figures
from benchmarks.guarding import measure_guard
from benchmarks.latency import measure_latency
from benchmarks.machine import describe_machine
from benchmarks.monitor import measure_monitor
from benchmarks.pairing import measure_pairing
from benchmarks.peers.measure import measure_peers
from benchmarks.processes import measure_processes
from benchmarks.profiles import FULL, FULL_SECTIONS, SHORT, SHORT_SECTIONS, Profile
from benchmarks.publishing import measure_publisher
from benchmarks.queries import measure_queries
from benchmarks.rates import base_workload, measure_memory, measure_rates, run_sketcher, span
from benchmarks.receiving import measure_receiver
from benchmarks.recording import measure_recorder
from benchmarks.recovery import measure_recovery
from benchmarks.scoring import measure_scoring
from benchmarks.shadowing import measure_shadow
from benchmarks.shapes import measure_shapes
from benchmarks.stack import Testbed
from benchmarks.storage import measure_storage
from benchmarks.wide_model import measure_wide_monitor
from benchmarks.workload import SEED, json_events

SECTIONS: dict[str, Callable[..., None]] = {
    "rates": measure_rates,
    "shapes": measure_shapes,
    "peers": measure_peers,
    "processes": measure_processes,
    "publisher": measure_publisher,
    "shadow": measure_shadow,
    "guard": measure_guard,
    "storage": measure_storage,
    "recorder": measure_recorder,
    "otlp": measure_receiver,
    "latency": measure_latency,
    "memory": measure_memory,
    "monitor": measure_monitor,
    "wide": measure_wide_monitor,
    "scoring": measure_scoring,
    "pairing": measure_pairing,
    "queries": measure_queries,
    "recovery": measure_recovery,
    "growth": partial(scale.measure, section="growth"),
    "soak": partial(scale.measure, section="soak"),
    "scale": partial(scale.measure, section="scale"),
}
"""Name → function of testbed, figures and the arguments in the profile, in the order of measurement."""


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
    parser.add_argument(
        "--redraw", action="store_true", help="only rewrite pages and charts from the JSON files in docs/"
    )
    arguments = parser.parse_args()
    if arguments.redraw:
        page.redraw()
        scale.publish(scale.read_record())
        return 0
    is_full = arguments.profile == "full"
    profile = FULL if is_full else SHORT
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
            sections = arguments.only or (FULL_SECTIONS if is_full else SHORT_SECTIONS)
            failed = _measure(testbed, profile, figures, sections, arguments.json)
    figures.about["took"] = f"{time.monotonic() - began:.0f} s"
    print("\n" + page.full_report(figures))
    if arguments.json:
        figures.write(arguments.json)
    if failed:
        print(f"Failed sections: {', '.join(failed)}. Nothing was written to docs/.", file=sys.stderr)
        return 1
    if is_full and not arguments.only:
        page.publish(figures)
    return 0


def _command(arguments: argparse.Namespace) -> str:
    if arguments.only:
        short = ["--short"] if arguments.profile == "short" else []
        return " ".join(["python -m benchmarks", *short, *(f"--only {name}" for name in arguments.only)])
    return "make bench" + (" PROFILE=short" if arguments.profile == "short" else "")


def _measure(
    testbed: Testbed, profile: Profile, figures: Figures, sections: Sequence[str], path: Path | None
) -> list[str]:
    """Measure sections and return those that failed; a failure does not end the run.

    If there is a path, the figures so far are written to it after each section.
    """
    failed = []
    for name in SECTIONS:
        if name not in sections:
            continue
        began = time.monotonic()
        print(f"{name} …", flush=True)
        try:
            SECTIONS[name](testbed, figures, **profile[name])
        except Exception:
            traceback.print_exc()
            failed.append(name)
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
        if path is not None:
            figures.write(path)
    return failed


def _profile(testbed: Testbed, profile: Profile, path: Path) -> None:
    """Run the sketcher on JSON events under cProfile."""
    workload, events = base_workload(testbed), profile["rates"]["events"]
    topics = testbed.create_topics("profile-")
    testbed.fill(topics.predictions, json_events(workload, events, *span()))
    run_sketcher(testbed, workload, "profile-", events, profile=path)
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    raise SystemExit(main())
