"""What publishing costs the serving process, and the steady traffic that the latency is measured on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from barograph import Publisher
from barograph.contract import Window

from benchmarks.figures import Figures, quantile
from benchmarks.workload import VERSION, Workload, arrow_table, make_workload
from benchmarks.world import World

PUBLISHER = "The publisher"
PACE_PER_S = 5_000
BURST = 20
"""Calls between two waits: a serving process answers some requests and then waits for the next."""

Told = dict[str, Any]


def measure_publisher(world: World, workload: Workload, figures: Figures, *, calls: int, rows: int) -> None:
    """Time single calls as a serving thread makes them, and one call with a whole table."""
    world.create_topics("publisher-")
    numbers = len(workload.numbers)
    found = world.run_child("calls", prefix="publisher-", numbers=numbers, calls=calls)
    note = f"{calls:,} calls at {PACE_PER_S:,} a second, {found['dropped']} dropped"
    for name in ("median", "p99", "p99.9"):
        figures.add(PUBLISHER, f"prediction(…), {name}", found[name], "µs", note)
        note = ""
    figures.add(
        PUBLISHER, "prediction(…), CPU of the whole process", found["cpu_us"], "µs/event", "sending and compression too"
    )
    table = world.run_child("table", prefix="publisher-", numbers=numbers, rows=rows)
    figures.add(
        PUBLISHER, "predictions(table), flush included", table["rate"], "rows/s", f"{rows:,} rows with on_full=wait"
    )
    figures.add(PUBLISHER, "predictions(table)", table["cpu_rate"], "rows per CPU-second")


def _publisher(told: Told, workload: Workload, on_full: Any) -> Publisher:
    return Publisher.from_contract(
        workload.contract,
        version=VERSION,
        bootstrap_servers=told["bootstrap_servers"],
        topic_prefix=told["prefix"],
        on_full=on_full,
    )


def _requests(workload: Workload, n: int) -> list[tuple[dict[str, Any], float]]:
    """Features and score of n requests, as Python's own values."""
    drawn = {name: values.tolist() for name, values in workload.columns(n, 9).items()}
    scores = drawn.pop("score")
    names = tuple(drawn)
    return [
        (dict(zip(names, values, strict=True)), score)
        for values, score in zip(zip(*drawn.values(), strict=True), scores, strict=True)
    ]


def calls(told: Told) -> Told:
    """Time each call, paced in small bursts."""
    workload = make_workload(Path(told["folder"]), numbers=told["numbers"])
    requests = _requests(workload, 10_000)
    publisher = _publisher(told, workload, "drop")
    clock, spent_ns = time.perf_counter_ns, []
    context = {"tenant": "acme-0042", "release": "2024-06-11.3"}
    began, cpu_before = time.monotonic(), time.process_time()
    for i in range(told["calls"]):
        features, score = requests[i % len(requests)]
        request = f"7f3a9c20-5b1e-4d87-0009-{i:012x}"
        before = clock()
        publisher.prediction(
            id=request, features=features, score=score, latency_ms=12.375, arm="treatment", context=context
        )
        spent_ns.append(clock() - before)
        if i % BURST == 0:
            time.sleep(max(0.0, began + i / PACE_PER_S - time.monotonic()))
    publisher.flush()
    cpu_us = (time.process_time() - cpu_before) / told["calls"] * 1e6
    stats = publisher.stats
    publisher.close()
    shares = {"median": 0.5, "p99": 0.99, "p99.9": 0.999}
    return {
        **{name: quantile(spent_ns, share) / 1000 for name, share in shares.items()},
        "cpu_us": cpu_us,
        "dropped": sum(stats.dropped.values()) + stats.failed,
    }


def table(told: Told) -> Told:
    """Publish one table and wait until the broker has it."""
    workload = make_workload(Path(told["folder"]), numbers=told["numbers"])
    now_ms = int(time.time() * 1000)
    rows = arrow_table(workload, told["rows"], now_ms - 600_000, now_ms)
    publisher = _publisher(told, workload, "wait")
    began, cpu_before = time.monotonic(), time.process_time()
    accepted = publisher.predictions(rows)
    publisher.flush()
    wall_s, cpu_s = time.monotonic() - began, time.process_time() - cpu_before
    publisher.close()
    return {"rate": accepted / wall_s, "cpu_rate": accepted / cpu_s}


def steady(told: Told) -> Told:
    """Publish at an even rate for a while, each event with the present as its time."""
    windows = tuple(Window(*window) for window in told["windows"])
    workload = make_workload(Path(told["folder"]), numbers=told["numbers"], pane_s=told["pane_s"], windows=windows)
    requests = _requests(workload, 10_000)
    publisher = _publisher(told, workload, "drop")
    began, n = time.monotonic(), 0
    wanted = int(told["per_s"] * told["seconds"])
    while n < wanted:
        due = min(wanted, int((time.monotonic() - began) * told["per_s"]))
        for i in range(n, due):
            features, score = requests[i % len(requests)]
            publisher.prediction(id=f"steady-{i}", features=features, score=score, latency_ms=12.375)
        n = due
        time.sleep(0.005)
    publisher.flush()
    stats = publisher.stats
    publisher.close()
    return {"events": n, "dropped": sum(stats.dropped.values()) + stats.failed}


CHILDREN: dict[str, Callable[[Told], Told]] = {"calls": calls, "table": table, "steady": steady}
