"""`make bench`: start a broker and an engine, measure everything in one run and print one table.

The profile `full` writes docs/performance.json and the tables and charts of docs/performance.md. `short` measures the
most important figures in about four minutes and only prints them. Every run ends with its ratios beside those of
another run, by default the published one. Rates are per CPU-second of the measured process. Alternatives are measured
alternately, so that their ratios depend less on the machine than the rates.
"""

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from barograph_server.local.kafka import FAST_OPTIONS
from barograph_server.local.stack import LocalStack
from benchmarks import goals, page, scale
from benchmarks.figures import Figures
from benchmarks.latency import measure_latency
from benchmarks.machine import describe_machine
from benchmarks.monitor import measure_monitor
from benchmarks.peers.measure import measure_peers
from benchmarks.publishing import measure_publisher
from benchmarks.rates import measure_memory, measure_rates, measure_soak
from benchmarks.receiving import measure_receiver
from benchmarks.recording import measure_recorder
from benchmarks.recovery import measure_recovery
from benchmarks.scoring import measure_scoring
from benchmarks.serving import measure_guard, measure_shadow
from benchmarks.shapes import HEADLINES, measure_shapes
from benchmarks.stack import Testbed
from benchmarks.storage import measure_storage
from benchmarks.wide_model import measure_wide_monitor
from benchmarks.workload import SEED


class Section(NamedTuple):
    """A section of a run and its arguments in each profile: events, repetitions, seconds."""

    measure: Callable[..., None]
    full: dict[str, Any]
    short: dict[str, Any]
    in_full: bool = True
    """Whether a full run contains it, which takes at most an hour; `--only` runs the others."""
    in_short: bool = False


SECTIONS = {
    # Enough events for a measured process to work for at least two seconds.
    "rates": Section(
        measure_rates,
        {"events": 600_000, "faust_events": 30_000, "arrow_events": 2_000_000, "runs": 7},
        {"events": 300_000, "faust_events": 15_000, "arrow_events": 800_000, "runs": 3},
        in_short=True,
    ),
    "shapes": Section(
        measure_shapes,
        {"events": 450_000, "arrow_events": 1_800_000, "runs": 5},
        {"events": 200_000, "arrow_events": 600_000, "runs": 1, "names": HEADLINES},
        in_short=True,
    ),
    # With one run, one implementation of each peer is measured, and none of Evidently.
    "peers": Section(measure_peers, {"events": 400_000, "runs": 5}, {"events": 300_000, "runs": 1}, in_short=True),
    "publisher": Section(
        measure_publisher,
        {"calls": 100_000, "rows": 1_000_000, "dead_s": 10.0},
        {"calls": 10_000, "rows": 200_000, "dead_s": 2.0},
        in_short=True,
    ),
    "shadow": Section(measure_shadow, {"rounds": 10, "calls": 5_000}, {"rounds": 3, "calls": 3_000}),
    "guard": Section(
        measure_guard,
        {"rounds": 10, "calls": 3_000, "batches": 20_000},
        {"rounds": 3, "calls": 2_000, "batches": 5_000},
    ),
    "storage": Section(measure_storage, {"panes": 180}, {"panes": 60}, in_short=True),
    "recorder": Section(
        measure_recorder,
        {"events": 250_000, "arrow_events": 600_000, "runs": 3},
        {"events": 150_000, "arrow_events": 200_000, "runs": 1},
    ),
    "otlp": Section(measure_receiver, {"requests": 64, "runs": 7}, {"requests": 32, "runs": 3}, in_full=False),
    "latency": Section(measure_latency, {"flood_s": 20, "seconds": 60}, {"flood_s": 10, "seconds": 25}),
    "memory": Section(
        measure_memory, {"events": 2_000_000, "wide_events": 400_000}, {"events": 1_000_000, "wide_events": 50_000}
    ),
    "soak": Section(measure_soak, {"hours": 24}, {"hours": 2}, in_full=False),
    "monitor": Section(measure_monitor, {"panes": 90}, {"panes": 66}),
    "wide": Section(measure_wide_monitor, {"panes": 36, "limit_s": 420.0}, {"panes": 8, "limit_s": 90.0}),
    "scoring": Section(measure_scoring, {"predictions": 3_000_000}, {"predictions": 1_000_000}),
    "recovery": Section(
        measure_recovery,
        {"models": 50, "fields": 100, "runs": 3, "outage_s": 600},
        {"models": 10, "fields": 100, "runs": 3, "outage_s": 120},
        in_full=False,
    ),
    "scale": Section(
        scale.measure_scale,
        {"events": 400_000, "arrow_events": 1_200_000},
        {"events": 200_000, "arrow_events": 600_000},
    ),
}
"""In the order of measurement; functions of testbed, figures and the arguments of a profile."""


def main() -> int:
    """Measure and print; return 1 if a section failed."""
    arguments = _parse_arguments()
    if arguments.redraw:
        page.redraw()
        scale.redraw()
        return 0
    is_full = arguments.profile == "full"
    figures = Figures(describe_machine())
    figures.about["seed"] = str(SEED)
    figures.about["command"] = " ".join(["python -m benchmarks", *sys.argv[1:]])
    other = Figures.read(arguments.against)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="barograph-bench-") as name:
        folder = Path(name)
        with LocalStack(folder / "stack", kafka_port=0, clickhouse_port=0, jvm_options=FAST_OPTIONS) as stack:
            testbed = Testbed(stack, folder)
            in_profile = [name for name, each in SECTIONS.items() if (each.in_full if is_full else each.in_short)]
            failed = _measure(testbed, figures, arguments.only or in_profile, arguments.json, is_full=is_full)
    figures.about["took"] = f"{time.monotonic() - began:.0f} s"
    print(f"\n{figures.facts()}\n\n{goals.table(figures)}\n\n{page.figures_table(figures)}\n")
    print(page.comparison(figures, other))
    if arguments.json:
        figures.write(arguments.json)
    if failed:
        print(f"Failed sections: {', '.join(failed)}. Nothing was written to docs/performance.md.", file=sys.stderr)
        return 1
    if is_full and not arguments.only:
        page.publish(figures)
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--profile", choices=("short", "full"), default="full", help="how much is measured")
    parser.add_argument(
        "--short", action="store_const", dest="profile", const="short", help="the same as --profile short"
    )
    parser.add_argument("--only", choices=SECTIONS, action="append", help="measure only this section; may be repeated")
    file: dict[str, Any] = {"type": Path, "metavar": "FILE"}
    parser.add_argument("--json", **file, help="also write the figures to this file, after each section")
    parser.add_argument("--against", **file, default=page.PUBLISHED, help="a file of --json to compare ratios with")
    parser.add_argument("--redraw", action="store_true", help="only rewrite pages and charts from the JSON files")
    return parser.parse_args()


def _measure(
    testbed: Testbed, figures: Figures, names: Sequence[str], path: Path | None, *, is_full: bool
) -> list[str]:
    """Measure sections and return those that failed; a failure does not end the run.

    If there is a path, the figures so far are written to it after each section.
    """
    failed = []
    for name, section in SECTIONS.items():
        if name not in names:
            continue
        began = time.monotonic()
        print(f"{name} …", flush=True)
        try:
            section.measure(testbed, figures, **(section.full if is_full else section.short))
        except Exception:
            traceback.print_exc()
            failed.append(name)
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
        if path is not None:
            figures.write(path)
    return failed


if __name__ == "__main__":
    sys.exit(main())
