"""How soon processors work again after kill -9, and how fast they catch up after an outage of the warehouse.

Processors run in live mode with default settings, including the session timeout. The outage is replayed: the events of
ten minutes are published at once, in flushes of the size that they would have had.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from barograph.events import MARK_HEADER

from benchmarks.figures import Figures, spread
from benchmarks.production import SESSION_S
from benchmarks.stack import Testbed, start
from benchmarks.workload import json_events, make_workload
from warehouse.client import Client

RECOVERY = "After a kill -9"
OUTAGE = "After an outage of the warehouse"
EVENTS = 200
"""Events per model, all with the present as their time."""
LIVE_PER_S = 2_000
TIMEOUT_S = 240.0
POLL_INTERVAL_S = 0.02


def measure_recovery(testbed: Testbed, figures: Figures, *, models: int, fields: int, runs: int, outage_s: int) -> None:
    """Measure restarts after kills, then catching up after an outage."""
    measure_kills(testbed, figures, models=models, fields=fields, runs=runs)
    measure_outage(testbed, figures, outage_s=outage_s)


# ------------------------------------------------------------------------------------------------------ kills


def measure_kills(testbed: Testbed, figures: Figures, *, models: int, fields: int, runs: int) -> None:
    """Kill sketcher and monitor while panes of many models are open."""
    database, prefix = "kills", "kills-"
    workload = make_workload(testbed.folder, numbers=fields, models=models)
    topics = testbed.create_topics(prefix)
    testbed.register(database, workload)
    processes = _Processes(testbed, database, prefix)
    try:
        for kind in ("sketcher", "monitor"):
            processes.start(kind, "one")
        for kind in ("sketcher", "monitor"):
            processes.wait_assigned(kind, "one", 0)
        now_ms = int(time.time() * 1000)
        n, _ = testbed.fill(topics.predictions, json_events(workload, EVENTS * models, now_ms - 1000, now_ms))
        with testbed.client(database) as client:
            _wait_sketched(client, n)
        end = testbed.end_offset(topics.partials)
        note = f"{models} models of {fields} fields with open panes; {runs} kills"
        sketcher_s = [_restart(processes, "sketcher") for _ in range(runs)]
        name = "sketcher started again, until it reads"
        figures.add(RECOVERY, name, median(sketcher_s), "s", f"to be under 5; {spread(sketcher_s)}")
        monitor_s = [_restart(processes, "monitor", until=end) for _ in range(runs)]
        name = "monitor started again, until it holds its open panes"
        figures.add(RECOVERY, name, median(monitor_s), "s", f"to be under 10; {note}; {spread(monitor_s)}")
        spent_s = _hand_over(processes)
        message = f"to be under {SESSION_S + 5:.0f}, since sessions last {SESSION_S:.0f} s; 1 kill"
        figures.add(RECOVERY, "sketcher not started again, until another reads for it", spent_s, "s", message)
    finally:
        processes.end()


def _wait_sketched(client: Client, n: int) -> None:
    """Wait until the sketcher has reported n events."""
    deadline = time.monotonic() + TIMEOUT_S
    while int(client.rows("SELECT max(events) FROM processors WHERE kind = 'sketcher'")[0][0]) < n:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the sketcher did not count {n:,} events")
        time.sleep(0.2)


def _restart(processes: _Processes, kind: str, until: int | None = None) -> float:
    """Kill a processor and restart it; return the seconds until it works again."""
    processes.kill(kind, "one")
    began = time.time()
    processes.start(kind, "one", until=until)
    if until is None:
        return processes.wait_assigned(kind, "one", began) - began
    return processes.wait_event("reached", kind, "one", began) - began


def _hand_over(processes: _Processes) -> float:
    """Kill a sketcher beside an idle one; return the seconds until the idle one is assigned its partition."""
    began = time.time()
    processes.start("sketcher", "two")
    processes.wait_event("assigned", "sketcher", "two", began)
    killed = time.time()
    processes.kill("sketcher", "one")
    return processes.wait_assigned("sketcher", "two", killed) - killed


class _Processes:
    """Processors as child processes with their logs."""

    def __init__(self, testbed: Testbed, database: str, prefix: str) -> None:
        self._testbed, self._database, self._prefix = testbed, database, prefix
        self._running: dict[tuple[str, str], subprocess.Popen[bytes]] = {}

    def start(self, kind: str, instance: str, **parameters: Any) -> None:
        """Start a processor, which appends to its log."""
        address = self._testbed.address(self._database)
        arguments = {
            "bootstrap_servers": self._testbed.bootstrap_servers,
            "host": address.host,
            "port": address.port,
            "database": self._database,
            "prefix": self._prefix,
            "instance": instance,
            **parameters,
        }
        log = self._log(kind, instance)
        self._running[kind, instance] = start("benchmarks.production", kind, json.dumps(arguments), log=log)

    def kill(self, kind: str, instance: str) -> None:
        """Kill a processor with SIGKILL."""
        process = self._running.pop((kind, instance))
        process.kill()
        process.wait()

    def end(self) -> None:
        """Terminate all processors."""
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        for process in self._running.values():
            process.wait(60)

    def wait_assigned(self, kind: str, instance: str, after: float) -> float:
        """Wait until a processor has partitions; return when (Unix s)."""
        return self.wait_event("assigned", kind, instance, after, lambda message: bool(message["partitions"]))

    def wait_event(
        self,
        event: str,
        kind: str,
        instance: str,
        after: float,
        condition: Callable[[dict[str, Any]], bool] = lambda message: True,
    ) -> float:
        """Wait until a processor logs an event after a moment; return when (Unix s)."""
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            for line in self._log(kind, instance).read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    message = json.loads(line)
                    at = np.datetime64(message["timestamp"].rstrip("Z")).astype("datetime64[us]").astype(int) / 1e6
                except (ValueError, KeyError, TypeError):
                    continue
                if message.get("event") == event and at > after and condition(message):
                    return float(at)
            process = self._running[kind, instance]
            if process.poll() is not None:
                raise RuntimeError(f"{kind} ended: {self._log(kind, instance).read_text()[-2000:]}")
            time.sleep(POLL_INTERVAL_S)
        raise RuntimeError(f"the {kind} did not log {event!r} within {TIMEOUT_S:.0f} s")

    def _log(self, kind: str, instance: str) -> Path:
        return self._testbed.folder / f"{self._prefix}{kind}-{instance}.log"


# ------------------------------------------------------------------------------------------------------ outage


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
    processes = _Processes(testbed, database, prefix)
    replay = {"clock": "replay", "flush_events": LIVE_PER_S * 15, "flush_s": 15.0}
    try:
        processes.start("sketcher", "one", **replay)
        with testbed.client(database) as client:
            _wait_sketched(client, n)
            began = time.monotonic()
            for kind in ("recorder", "monitor"):
                processes.start(kind, "one", **replay)
            waits: dict[str, Callable[[], bool]] = {
                "recorder": lambda: int(client.rows("SELECT count() FROM predictions")[0][0]) >= n,
                "monitor": lambda: _judged(client, now_ms // 60_000 * 60),
            }
            took: dict[str, float] = {}
            while len(took) < len(waits):
                for kind, is_done in waits.items():
                    if kind not in took and is_done():
                        took[kind] = time.monotonic() - began
                if time.monotonic() - began > TIMEOUT_S:
                    raise RuntimeError(f"recorder and monitor did not catch up: {sorted(took)} did")
                time.sleep(0.1)
    finally:
        processes.end()
    for kind, spent_s in took.items():
        note = f"to be at least 5; {n:,} events in {spent_s:.1f} s, its start included, both at once on this machine"
        figures.add(
            OUTAGE, f"{kind}: catching up ÷ a live rate of {LIVE_PER_S:,}/s", n / spent_s / LIVE_PER_S, "×", note
        )


def _judged(client: Client, last_s: int) -> bool:
    """Whether the monitor has judged the last whole pane."""
    [(end,)] = client.rows("SELECT max(toUnixTimestamp(window_end)) FROM drift WHERE n > 0")
    return int(end) >= last_s
