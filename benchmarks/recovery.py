"""How soon processors work again after kill -9, and how fast they catch up after an outage of the warehouse.

Processors run in live mode with default settings, including the session timeout. The outage is replayed: the events of
ten minutes are published at once, in flushes of the size that they would have had.
"""

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

from barograph.events import MARK_HEADER

from barograph_server.warehouse.client import Client
from benchmarks.figures import Figures, spread
from benchmarks.processors import SESSION_S
from benchmarks.stack import Testbed, terminating, wait_until
from benchmarks.workload import json_events, make_workload

RECOVERY = "After a kill -9"
OUTAGE = "After an outage of the warehouse"
EVENTS = 200
"""Events per model, all with the present as their time."""
LIVE_PER_S = 2_000


def measure_recovery(testbed: Testbed, figures: Figures, *, models: int, fields: int, runs: int, outage_s: int) -> None:
    """Measure restarts after kills, then catching up after an outage."""
    measure_kills(testbed, figures, models=models, fields=fields, runs=runs)
    measure_outage(testbed, figures, outage_s=outage_s)


def measure_kills(testbed: Testbed, figures: Figures, *, models: int, fields: int, runs: int) -> None:
    """Kill sketcher and monitor while panes of many models are open."""
    database, prefix = "kills", "kills-"
    workload = make_workload(testbed.folder, numbers=fields, models=models)
    topics = testbed.create_topics(prefix)
    testbed.register(database, workload)
    create = partial(testbed.start_processor, database=database, prefix=prefix)
    with terminating(create(kind, "one") for kind in ("sketcher", "monitor")) as running:
        for process in running:
            process.wait_assigned()
        now_ms = int(time.time() * 1000)
        n, _ = testbed.fill(topics.predictions, json_events(workload, EVENTS * models, now_ms - 1000, now_ms))
        with testbed.client(database) as client:
            _wait_sketched(client, n)
        end = testbed.end_offset(topics.partials)

        def restart(index: int, kind: str, **parameters: Any) -> float:
            """Kill a processor and restart it; return the seconds until it works again."""
            running[index].kill()
            began = time.time()
            running[index] = create(kind, "one", **parameters)
            at = running[index].wait_event("reached") if parameters else running[index].wait_assigned()
            return at - began

        sketcher_s = [restart(0, "sketcher") for _ in range(runs)]
        name = "sketcher started again, until it reads"
        figures.add(RECOVERY, name, median(sketcher_s), "s", f"to be under 5; {spread(sketcher_s)}")
        monitor_s = [restart(1, "monitor", until=end) for _ in range(runs)]
        name = "monitor started again, until it holds its open panes"
        note = f"{models} models of {fields} fields with open panes; {runs} kills"
        figures.add(RECOVERY, name, median(monitor_s), "s", f"to be under 10; {note}; {spread(monitor_s)}")
        running.append(create("sketcher", "two"))
        running[-1].wait_assigned(0)
        killed = time.time()
        running[0].kill()
        spent_s = running[-1].wait_assigned(after=killed) - killed
        message = f"to be under {SESSION_S + 5:.0f}, since sessions last {SESSION_S:.0f} s; 1 kill"
        figures.add(RECOVERY, "sketcher not started again, until another reads for it", spent_s, "s", message)


def _wait_sketched(client: Client, n: int) -> None:
    query = "SELECT max(events) FROM processors WHERE kind = 'sketcher'"
    wait_until(lambda: int(client.rows(query)[0][0]) >= n, f"the sketcher has counted {n:,} events")


def measure_outage(testbed: Testbed, figures: Figures, *, outage_s: int) -> None:
    """Measure how fast recorder and monitor process the events of an outage."""
    database, prefix = "outage", "outage-"
    workload = make_workload(testbed.folder, numbers=18)
    topics = testbed.create_topics(prefix)
    testbed.register(database, workload)
    n = LIVE_PER_S * outage_s
    now_ms = int(time.time() * 1000)
    testbed.fill(topics.predictions, json_events(workload, n, now_ms - outage_s * 1000, now_ms))
    testbed.fill(topics.predictions, [b""], [(MARK_HEADER, b"end")])
    replay: dict[str, Any] = {"clock": "replay", "flush_events": LIVE_PER_S * 15, "flush_s": 15.0}
    create = partial(testbed.start_processor, instance="one", database=database, prefix=prefix, **replay)
    with terminating([create(kind="sketcher")]) as running, testbed.client(database) as client:
        _wait_sketched(client, n)
        began = time.monotonic()
        running += [create(kind=kind) for kind in ("recorder", "monitor")]
        waits: dict[str, Callable[[], bool]] = {
            "recorder": lambda: int(client.rows("SELECT count() FROM predictions")[0][0]) >= n,
            "monitor": lambda: _judged(client, now_ms // 60_000 * 60),
        }
        took: dict[str, float] = {}

        def all_caught_up() -> bool:
            done = [kind for kind, is_done in waits.items() if kind not in took and is_done()]
            took.update(dict.fromkeys(done, time.monotonic() - began))
            return len(took) == len(waits)

        wait_until(all_caught_up, "recorder and monitor have caught up")
    for kind, spent_s in took.items():
        note = f"to be at least 5; {n:,} events in {spent_s:.1f} s, its start included, both at once on this machine"
        figures.add(
            OUTAGE, f"{kind}: catching up ÷ a live rate of {LIVE_PER_S:,}/s", n / spent_s / LIVE_PER_S, "×", note
        )


def _judged(client: Client, last_s: int) -> bool:
    """Whether the monitor has judged the last whole pane."""
    [(end,)] = client.rows("SELECT max(toUnixTimestamp(window_end)) FROM drift WHERE n > 0")
    return int(end) >= last_s
