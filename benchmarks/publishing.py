"""Cost of publishing in the serving process, and the traffic for the latency benchmark."""

import os
import socket
import time
from pathlib import Path
from typing import Any

import msgspec
from barograph import Publisher
from barograph.contract import Window

from benchmarks.figures import Figures, quantile
from benchmarks.measured_process import JsonObject, sample_process, write_result
from benchmarks.stack import Testbed
from benchmarks.workload import CONTEXT, VERSION, Workload, arrow_table, make_workload

PUBLISHER = "The publisher"
CALL_MEDIAN, CALL_TAIL = "prediction(…), median", "prediction(…), p99.9"
FLOOR_TAIL = "msgspec alone encodes the same members, p99.9"
TABLE_ROW = "predictions(table), per row in the calling thread"
DEAD_EVENTS, DEAD_TABLES = "memory with a dead broker, prediction(…)", "memory with a dead broker, predictions(table)"
_ENCODER = msgspec.json.Encoder()
PACE_PER_S = 5_000
PROCESSES = 3
"""Processes, one after the other: the time of the slowest calls differs between processes by up to a factor of two."""
BURST = 20
"""Calls between two waits: a serving process answers some requests and then waits."""


def measure_publisher(testbed: Testbed, figures: Figures, *, calls: int, rows: int, dead_s: float) -> None:
    """Time single calls as in a serving thread and one call with a whole table, and measure memory without a broker."""
    testbed.create_topics("publisher-")
    runs: list[JsonObject] = []
    floors: list[JsonObject] = []
    for _ in range(PROCESSES):
        for results, alone in ((runs, False), (floors, True)):
            results.append(testbed.run_child(time_calls, prefix="publisher-", calls=calls, alone=alone))
    dropped = sum(run["dropped"] for run in runs)
    note = f"{calls:,} calls at {PACE_PER_S:,} a second in each process, {dropped} dropped"
    for name, key in ((CALL_MEDIAN, "median"), ("prediction(…), p99", "p99"), (CALL_TAIL, "p99.9")):
        figures.add_runs(PUBLISHER, name, [run["wall"][key] for run in runs], "µs", note)
        note = ""
    note = "of processes in turn with the others: the same pace, no queue, no Kafka"
    figures.add_runs(PUBLISHER, FLOOR_TAIL, [run["wall"]["p99.9"] for run in floors], "µs", note)
    note = "a third of the same calls; excludes other processes of the machine"
    name = "prediction(…), p99.9, CPU time of the thread"
    figures.add_runs(PUBLISHER, name, [run["thread"]["p99.9"] for run in runs], "µs", note)
    name, note = "prediction(…), CPU of the whole process", "includes sending and compression"
    figures.add_runs(PUBLISHER, name, [run["cpu_us"] for run in runs], "µs/event", note)
    table = testbed.run_child(publish_table, prefix="publisher-", rows=rows)
    figures.add(
        PUBLISHER, "predictions(table), flush included", table["rate"], "rows/s", f"{rows:,} rows with on_full=wait"
    )
    figures.add(PUBLISHER, "predictions(table)", table["cpu_rate"], "rows per CPU-second")
    figures.add(PUBLISHER, TABLE_ROW, table["call_us"], "µs", "CPU time of the calling thread by rows")
    with socket.create_server(("127.0.0.1", 0)) as server:
        dead_address = f"127.0.0.1:{server.getsockname()[1]}"
    for name, kind in ((DEAD_EVENTS, "events"), (DEAD_TABLES, "tables")):
        dead = testbed.run_child(
            publish_without_broker, bootstrap_servers=dead_address, prefix="", kind=kind, seconds=dead_s
        )
        note = f"peak over what the process held before; {dead['events']:,} events in {dead_s:g} s"
        figures.add(PUBLISHER, name, dead["growth_mb"], "MB", f"{note}, {dead['dropped']:,} of them dropped")


def open_publisher(parameters: JsonObject, workload: Workload, on_full: Any = "drop") -> Publisher:
    return Publisher.from_contract(
        workload.contract,
        version=VERSION,
        bootstrap_servers=parameters["bootstrap_servers"],
        topic_prefix=parameters["prefix"],
        on_full=on_full,
    )


def close(publisher: Publisher) -> int:
    """Close a publisher, and return the number of events that it lost."""
    publisher.flush()
    stats = publisher.stats
    publisher.close()
    return sum(stats.dropped.values()) + stats.failed


def _requests(workload: Workload, n: int) -> list[tuple[dict[str, Any], float]]:
    """Features and score of n requests, as Python objects."""
    columns = {name: values.tolist() for name, values in workload.columns(n, 9).items()}
    scores = columns.pop("score")
    names = tuple(columns)
    return [
        (dict(zip(names, values, strict=True)), score)
        for values, score in zip(zip(*columns.values(), strict=True), scores, strict=True)
    ]


def _encode(**members: Any) -> None:
    _ENCODER.encode(members)


def time_calls(parameters: JsonObject) -> JsonObject:
    """Time each call, paced in small bursts; with `alone`, msgspec's encoder instead of the publisher."""
    workload = make_workload(Path(parameters["folder"]))
    requests = _requests(workload, 10_000)
    publisher = open_publisher(parameters, workload)
    call = _encode if parameters["alone"] else publisher.prediction
    clock, cpu_clock = time.perf_counter_ns, time.thread_time_ns
    wall_ns: list[int] = []
    thread_ns: list[int] = []
    context = {name: str(values[0]) for name, values in workload.context(CONTEXT, 1, 9).items()}
    began, cpu_before = time.monotonic(), time.process_time()
    for i in range(parameters["calls"]):
        features, score = requests[i % len(requests)]
        request = f"7f3a9c20-5b1e-4d87-0009-{i:012x}"
        # The publisher polls for delivery reports at every 32nd call; 3 and 32 are coprime, so both clocks get a share.
        now, spent = (cpu_clock, thread_ns) if i % 3 == 0 else (clock, wall_ns)
        before = now()
        call(id=request, features=features, score=score, latency_ms=12.375, arm="treatment", context=context)
        spent.append(now() - before)
        if i % BURST == 0:
            time.sleep(max(0.0, began + i / PACE_PER_S - time.monotonic()))
    publisher.flush()
    cpu_us = (time.process_time() - cpu_before) / parameters["calls"] * 1e6
    dropped = close(publisher)
    shares = {"median": 0.5, "p99": 0.99, "p99.9": 0.999}
    return {
        "wall": {name: quantile(wall_ns, share) / 1000 for name, share in shares.items()},
        "thread": {name: quantile(thread_ns, share) / 1000 for name, share in shares.items()},
        "cpu_us": cpu_us,
        "dropped": dropped,
    }


def publish_table(parameters: JsonObject) -> JsonObject:
    """Publish one table and wait until the broker has acknowledged it."""
    workload = make_workload(Path(parameters["folder"]))
    now_ms = int(time.time() * 1000)
    rows = arrow_table(workload, parameters["rows"], now_ms - 600_000, now_ms)
    publisher = open_publisher(parameters, workload, "wait")
    # Imports at the first use of libraries do not count.
    publisher.predictions(rows.slice(0, 1000))
    publisher.flush()
    began, cpu_before, thread_before = time.monotonic(), time.process_time(), time.thread_time()
    accepted = publisher.predictions(rows)
    call_s = time.thread_time() - thread_before
    publisher.flush()
    wall_s, cpu_s = time.monotonic() - began, time.process_time() - cpu_before
    publisher.close()
    return {"rate": accepted / wall_s, "cpu_rate": accepted / cpu_s, "call_us": call_s / accepted * 1e6}


def publish_without_broker(parameters: JsonObject) -> JsonObject:
    """Publish to an unreachable broker as fast as calls return, and measure the growth of memory."""
    workload = make_workload(Path(parameters["folder"]))
    now_ms = int(time.time() * 1000)
    requests, rows = _requests(workload, 10_000), arrow_table(workload, 10_000, now_ms - 600_000, now_ms)
    # Reset the peak.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before_mb = sample_process().rss_mb
    publisher = open_publisher(parameters, workload)
    n, deadline = 0, time.monotonic() + parameters["seconds"]
    while time.monotonic() < deadline:
        if parameters["kind"] == "tables":
            publisher.predictions(rows)
            n += len(rows)
            continue
        for features, score in requests[:1000]:
            publisher.prediction(id=f"dead-{n}", features=features, score=score, latency_ms=12.375)
            n += 1
    growth_mb = sample_process().peak_mb - before_mb
    dropped = sum(publisher.stats.dropped.values())
    # A regular exit would wait for queued messages.
    write_result(parameters, {"growth_mb": growth_mb, "events": n, "dropped": dropped})
    os._exit(0)


def publish_live(parameters: JsonObject) -> JsonObject:
    """Publish for some seconds at a steady rate, or without one as fast as the publisher's buffer allows.

    Event times are the present.
    """
    windows = tuple(Window(*window) for window in parameters["windows"])
    workload = make_workload(Path(parameters["folder"]), pane_s=parameters["pane_s"], windows=windows)
    requests = _requests(workload, 10_000)
    per_s, seconds = parameters.get("per_s"), parameters["seconds"]
    publisher = open_publisher(parameters, workload, "drop" if per_s else "wait")
    began, n = time.monotonic(), 0
    while (elapsed_s := time.monotonic() - began) < seconds or (per_s and n < int(per_s * seconds)):
        due = min(int(per_s * seconds), int(elapsed_s * per_s)) if per_s else n + 500
        for i in range(n, due):
            features, score = requests[i % len(requests)]
            publisher.prediction(id=f"live-{i}", features=features, score=score, latency_ms=12.375)
        n = due
        if per_s:
            time.sleep(0.005)
    return {"events": n, "dropped": close(publisher)}
