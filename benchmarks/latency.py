"""Latency from the end of a pane to its verdict in ClickHouse, with publisher, sketcher and monitor in live mode.

Events are published at half the maximum rate of all processes together on this machine, which a flood determines first.
"""

import math
import time
from functools import partial
from statistics import median

from barograph.contract import Window

from barograph_server.streams.sketcher.sketcher import GROUP
from barograph_server.warehouse.client import Client
from benchmarks.figures import Figures, quantile
from benchmarks.publishing import publish_live
from benchmarks.stack import Child, Testbed, terminating, wait_until
from benchmarks.workload import make_workload

LATENCY = "From the last event of a pane to its verdict"
GREATEST = "the greatest live rate of everything on this machine"
BEYOND_P99 = "row can be read in ClickHouse, beyond lateness, p99"
DATABASE, PREFIX = "live", "live-"
PANE_S, LATENESS_S, OUT_OF_ORDER_S = 5, 2, 1
WINDOWS = (Window(PANE_S, PANE_S), Window(60, PANE_S))
POLL_INTERVAL_S = 0.05
"""Interval between queries for verdicts, which is the resolution of the latency."""


def measure_latency(testbed: Testbed, figures: Figures, *, flood_s: int, seconds: int) -> None:
    """Find the maximum rate, publish steadily at half of it, and measure when the verdict of each pane is readable."""
    # Panes of a few seconds; otherwise the workload of the rate benchmarks.
    keys = {"lateness_s": LATENESS_S, "out_of_order_s": OUT_OF_ORDER_S}
    workload = make_workload(testbed.folder, pane_s=PANE_S, windows=WINDOWS, **keys)
    topics = testbed.create_topics(PREFIX)
    testbed.register(DATABASE, workload)
    published = {"prefix": PREFIX, "pane_s": PANE_S, "windows": [[w.length_s, w.hop_s] for w in WINDOWS]}
    starting = (
        testbed.start_processor(kind, "live", database=DATABASE, prefix=PREFIX, clock="live")
        for kind in ("sketcher", "monitor")
    )
    with terminating(starting) as processes, testbed.client(DATABASE) as client:
        wait_until(partial(_is_running, client, processes), "the monitor has sealed a pane")
        load = testbed.start_child(publish_live, seconds=flood_s, **published)
        maximum = _maximum_rate(testbed, topics.predictions, load)
        per_s = int(maximum / 2)
        load = testbed.start_child(publish_live, per_s=per_s, seconds=seconds, **published)
        began = time.time()
        visible_s = _poll_verdicts(client, seconds + 30, load, began)
        sent = load.finish()
        judged = {int(end): float(at) for end, at in client.rows(_JUDGED, {"name": WINDOWS[0].name})}
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
    end = testbed.end_offset(topic)
    wait_until(lambda: testbed.committed(f"{PREFIX}{GROUP}", topic) >= end, "the sketcher has caught up with the flood")
    # The first commits belong to the warm-up.
    measured = commits[len(commits) // 4 :]
    if len(measured) < 2:
        raise RuntimeError(f"the sketcher committed {len(commits)} flushes during the flood: too few for a rate")
    return (measured[-1][1] - measured[0][1]) / (measured[-1][0] - measured[0][0])


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
    deadline, ended_at = began + timeout_s, math.inf
    after = int(began)
    while after < ended_at and time.time() < deadline:
        rows = client.rows(_VISIBLE, {"name": WINDOWS[0].name, "after": after})
        now = time.time()
        first_readable_s |= {int(end): now for (end,) in rows}
        after = max([after, *first_readable_s])
        if load.process.poll() is not None:
            ended_at = min(ended_at, now)
        time.sleep(POLL_INTERVAL_S)
    return first_readable_s


def _is_running(client: Client, processes: list[Child]) -> bool:
    """Whether the monitor has sealed a pane: the consumer groups are stable and every process is running."""
    for process in processes:
        process.sample()
    return int(client.rows("SELECT count() FROM progress")[0][0]) > 0


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
        panes, greatest = f"{len(result)} panes; the contract sets {wait_s} s", f"the greatest is {max(result):.2f} s"
        for text, without_s, notes in (("", 0, (panes, greatest)), (", beyond lateness", wait_s, ("", ""))):
            figures.add(LATENCY, f"{name}{text}, median", median(result) - without_s, "s", notes[0])
            figures.add(LATENCY, f"{name}{text}, p99", quantile(result, 0.99) - without_s, "s", notes[1])
