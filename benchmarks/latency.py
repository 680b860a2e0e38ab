"""Latency from the end of a pane to its verdict in ClickHouse, with publisher, sketcher and monitor in live mode.

Events are published at half the maximum rate of all processes together on this machine, which a flood determines first.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from statistics import median
from typing import Any

from barograph.contract import Window

from benchmarks.figures import Figures, quantile
from benchmarks.stack import Child, Testbed, start
from benchmarks.workload import Workload, make_workload
from streams import run
from streams.settings import ProcessorSettings
from streams.sketcher.sketcher import GROUP
from streams.topics import Topics
from warehouse.client import Address, Client

LATENCY = "From the last event of a pane to its verdict"
GREATEST = "the greatest live rate of everything on this machine"
BEYOND_P99 = "row can be read in ClickHouse, beyond lateness, p99"
DATABASE, PREFIX = "live", "live-"
PANE_S, LATENESS_S, OUT_OF_ORDER_S = 5, 2, 1
WINDOWS = (Window(PANE_S, PANE_S), Window(60, PANE_S))
NUMBERS = 20
CATCH_UP_S = 120.0
POLL_INTERVAL_S = 0.05
"""Interval between queries for verdicts, which is the resolution of the latency."""


def measure_latency(testbed: Testbed, figures: Figures, *, flood_s: int, seconds: int) -> None:
    """Find the maximum rate, publish steadily at half of it, and measure when the verdict of each pane is readable."""
    workload = live_workload(testbed)
    topics = testbed.create_topics(PREFIX)
    testbed.register(DATABASE, workload)
    parameters = {
        "bootstrap_servers": testbed.bootstrap_servers,
        "instance": "live",
        "host": testbed.address(DATABASE).host,
        "port": testbed.address(DATABASE).port,
    }
    published = {
        "prefix": PREFIX,
        "numbers": NUMBERS,
        "pane_s": PANE_S,
        "windows": [[w.length_s, w.hop_s] for w in WINDOWS],
    }
    log = testbed.folder / "live.log"
    processes = [start("benchmarks.latency", kind, json.dumps(parameters), log=log) for kind in ("sketcher", "monitor")]
    try:
        with testbed.client(DATABASE) as client:
            _wait_started(client, processes)
            maximum = _maximum_rate(
                testbed, topics.predictions, testbed.start_child("flood", seconds=flood_s, **published)
            )
            per_s = int(maximum / 2)
            load = testbed.start_child("steady", per_s=per_s, seconds=seconds, **published)
            began = time.time()
            visible_s = _poll_verdicts(client, seconds + 30, load, began)
            sent = load.finish()
            judged = {int(end): float(at) for end, at in client.rows(_JUDGED, {"name": WINDOWS[0].name})}
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(60)
    note = f"publisher, broker, sketcher, monitor and engine together; {flood_s} s of JSON events from one publisher"
    figures.add(LATENCY, GREATEST, maximum, "events/s", note)
    _show(figures, visible_s, judged, f"{per_s:,} events/s for {seconds} s, {sent['dropped']} dropped")


def _maximum_rate(testbed: Testbed, topic: str, load: Child) -> float:
    """Events per second between the commits of a sketcher during a flood.

    Returns after the sketcher has read all events.
    """
    commits: list[tuple[float, int]] = []
    while load.process.poll() is None:
        time.sleep(POLL_INTERVAL_S)
        committed = testbed.committed(f"{PREFIX}{GROUP}", topic)
        if committed and (not commits or committed > commits[-1][1]):
            commits.append((time.monotonic(), committed))
    load.finish()
    end, deadline = testbed.end_offset(topic), time.monotonic() + CATCH_UP_S
    while testbed.committed(f"{PREFIX}{GROUP}", topic) < end:
        if time.monotonic() > deadline:
            raise RuntimeError("the sketcher did not catch up after the flood")
        time.sleep(POLL_INTERVAL_S)
    # The first commits belong to the warm-up.
    measured = commits[len(commits) // 4 :]
    if len(measured) < 2:
        raise RuntimeError(f"the sketcher committed {len(commits)} flushes during the flood: too few for a rate")
    return (measured[-1][1] - measured[0][1]) / (measured[-1][0] - measured[0][0])


def live_workload(testbed: Testbed) -> Workload:
    """The workload of the rate benchmarks with panes of a few seconds."""
    return make_workload(
        testbed.folder,
        numbers=NUMBERS,
        pane_s=PANE_S,
        windows=WINDOWS,
        lateness_s=LATENESS_S,
        out_of_order_s=OUT_OF_ORDER_S,
    )


_VISIBLE = (
    "SELECT DISTINCT toUnixTimestamp(window_end) FROM drift "
    "WHERE slice = 'all' AND window = {name:String} AND n > 0 AND window_end > toDateTime({after:UInt32})"
)
_JUDGED = (
    "SELECT toUnixTimestamp(window_end), min(toUnixTimestamp64Milli(judged_at)) / 1000 FROM drift "
    "WHERE slice = 'all' AND window = {name:String} AND n > 0 GROUP BY window_end"
)


def _poll_verdicts(client: Client, timeout_s: float, load: Child, began: float) -> dict[int, float]:
    """Window end → when its verdict was first readable (Unix s); polls until the load has ended and all are judged."""
    first_readable_s: dict[int, float] = {}
    deadline = time.monotonic() + timeout_s
    ended_at = None
    after = int(began)
    while time.monotonic() < deadline:
        rows = client.rows(_VISIBLE, {"name": WINDOWS[0].name, "after": after})
        now = time.time()
        for (end,) in rows:
            first_readable_s.setdefault(int(end), now)
        after = max([after, *first_readable_s])
        if ended_at is None and load.process.poll() is not None:
            ended_at = now
        if ended_at is not None and after >= ended_at:
            break
        time.sleep(POLL_INTERVAL_S)
    return first_readable_s


def _wait_started(client: Client, processes: list[subprocess.Popen[bytes]]) -> None:
    """Wait until the monitor has sealed a pane: the consumer groups are stable and every process is running."""
    deadline = time.monotonic() + 90
    while not int(client.rows("SELECT count() FROM progress")[0][0]):
        dead = [process.args for process in processes if process.poll() is not None]
        if dead or time.monotonic() > deadline:
            raise RuntimeError(f"sketcher and monitor did not start (ended: {dead}); see live.log")
        time.sleep(0.2)


def _show(figures: Figures, visible_s: dict[int, float], judged_s: dict[int, float], note: str) -> None:
    # The publisher takes seconds to start, and the last window contains an incomplete pane.
    ends = sorted(visible_s)[2:-1]
    if not ends:
        raise RuntimeError("no verdict was readable: the run was too short")
    wait_s = LATENESS_S + OUT_OF_ORDER_S
    figures.about["latency"] = (
        f"panes of {PANE_S} s, lateness {LATENESS_S} s, out of order {OUT_OF_ORDER_S} s; {note}; all processes on this "
        "machine"
    )
    for name, result in (
        ("verdict judged", [judged_s[end] - end for end in ends if end in judged_s]),
        ("row can be read in ClickHouse", [visible_s[end] - end for end in ends]),
    ):
        figures.add(
            LATENCY, f"{name}, median", median(result), "s", f"{len(result)} panes; the contract sets {wait_s} s"
        )
        figures.add(LATENCY, f"{name}, p99", quantile(result, 0.99), "s", f"the greatest is {max(result):.2f} s")
        beyond = [spent - wait_s for spent in result]
        figures.add(LATENCY, f"{name}, beyond lateness, median", median(beyond), "s")
        figures.add(LATENCY, f"{name}, beyond lateness, p99", quantile(beyond, 0.99), "s")


def main() -> int:
    """Run a processor in live mode: `python -m benchmarks.latency KIND SETTINGS`."""
    kind, parameters = sys.argv[1], json.loads(sys.argv[2])
    address = Address(parameters["host"], parameters["port"], DATABASE)
    settings = ProcessorSettings(
        instance=parameters["instance"],
        bootstrap_servers=parameters["bootstrap_servers"],
        warehouse=address,
        topics=Topics(PREFIX),
    )
    work: Any = {"sketcher": run.run_sketcher, "monitor": run.run_monitor}[kind]
    return int(work(replace(settings, clock="live")))


if __name__ == "__main__":
    sys.exit(main())
