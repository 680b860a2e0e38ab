"""What a shadow costs the requests of the primary: time until the answer, time of `submit`, CPU of the process.

The answer is ready when the primary has predicted and its event is published; `submit` follows, as in
docs/serving.md. A server that sends the answer before it submits keeps the time of `submit` out of its latency.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from math import comb
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from barograph import Publisher, Shadow

from benchmarks.figures import Figures, quantile
from benchmarks.measured_process import Clock, JsonObject
from benchmarks.stack import Testbed
from benchmarks.workload import SEED, VERSION, make_workload

SHADOW = "A shadow beside the primary"
PACE_PER_S = 1_000
HIDDEN = 100
"""Hidden units of the models."""
WARM_UP = 200
"""Requests before the measurement, in which workers start and breakers open."""
MODES = ("off", "on", "hanging")
"""No shadow; a candidate as fast as the primary; a candidate whose calls never return."""


def measure_shadow(testbed: Testbed, figures: Figures, *, rounds: int, calls: int) -> None:
    """Time requests at a steady rate in a new process for each mode; the modes alternate, in another order each round.

    Args:
        testbed: The testbed.
        figures: Where to add the figures.
        rounds: How many processes of each mode.
        calls: Measured requests of each process.
    """
    testbed.create_topics("shadow-")
    runs: dict[str, list[JsonObject]] = {mode: [] for mode in MODES}
    for i in range(rounds):
        for mode in MODES[i % 3 :] + MODES[: i % 3]:
            runs[mode].append(testbed.run_child("shadow", prefix="shadow-", mode=mode, calls=calls))
    note = f"{calls:,} requests at {PACE_PER_S:,} a second in each process"
    for mode in MODES:
        for name, key, unit in (
            ("answer, median", "median_us", "µs"),
            ("answer, p99", "p99_us", "µs"),
            ("answer and submit, median", "request_median_us", "µs"),
            ("answer and submit, p99", "request_p99_us", "µs"),
            ("CPU of the process", "cpu_us", "µs/request"),
        ):
            values = [run[key] for run in runs[mode]]
            figures.add_runs(SHADOW, f"{name}, shadow {mode}", values, unit, note)
            note = ""
            if mode != "off":
                ratios = [value / run[key] for value, run in zip(values, runs["off"], strict=True)]
                figures.add_runs(SHADOW, f"{name}, shadow {mode} to off", ratios, "×", describe_median(ratios))
        if mode != "off":
            outcomes = {name: median(run["outcomes"].get(name, 0) for run in runs[mode]) for name in _names(runs[mode])}
            text = ", ".join(f"{n:,.0f} {name}" for name, n in outcomes.items())
            figures.add(SHADOW, f"dropped events, shadow {mode}", sum(run["dropped"] for run in runs[mode]), "", text)


def describe_median(values: list[float]) -> str:
    """Describe an interval of at least 95% for the median, by the sign test; it needs six values."""
    n = len(values)
    # The median lies outside the interval between the k-th values from both ends with probability 2 P(Binomial < k).
    k = max((k for k in range(1, n // 2 + 1) if 2 * sum(comb(n, i) for i in range(k)) / 2**n <= 0.05), default=0)
    if not k:
        return ""
    ordered = sorted(values)
    return f"95% interval of the median {ordered[k - 1]:.3f} to {ordered[n - k]:.3f}"


def _names(runs: list[JsonObject]) -> list[str]:
    return sorted({name for run in runs for name, n in run["outcomes"].items() if n})


class LayeredModel:
    """A model with one hidden layer: numpy does part of its work without the GIL, as most models do."""

    def __init__(self, names: tuple[str, ...], seed: int) -> None:
        """Draw the weights.

        Args:
            names: The features that it reads.
            seed: The seed of the weights.
        """
        rng = np.random.default_rng([SEED, seed])
        self._names = names
        self._hidden = rng.normal(size=(HIDDEN, len(names))) / len(names)
        self._output = rng.normal(size=HIDDEN) / HIDDEN

    def predict(self, features: Mapping[str, Any]) -> float:
        """Return the score of one request."""
        values = np.array([features[name] for name in self._names], dtype=float)
        return float(1 / (1 + np.exp(-self._output @ np.tanh(self._hidden @ values))))


def serve(parameters: JsonObject) -> JsonObject:
    """Answer requests at a steady rate: the primary's prediction, its event, and the shadow's request."""
    workload = make_workload(Path(parameters["folder"]))
    columns = {name: values.tolist() for name, values in workload.columns(2_000, 9).items()}
    names = tuple(workload.numbers)
    requests = [{name: column[i] for name, column in columns.items() if name != "score"} for i in range(2_000)]
    publisher = Publisher.from_contract(
        workload.contract,
        version=VERSION,
        bootstrap_servers=parameters["bootstrap_servers"],
        topic_prefix=parameters["prefix"],
    )
    primary = LayeredModel(names, 1)
    candidate = LayeredModel(names, 2).predict if parameters["mode"] == "on" else _hang
    shadow = None if parameters["mode"] == "off" else Shadow(publisher, candidate, version=f"{VERSION}-candidate")
    answer_ns: list[int] = []
    request_ns: list[int] = []
    usage, began = Clock(), time.monotonic()
    for i in range(WARM_UP + parameters["calls"]):
        if i == WARM_UP:
            usage = Clock()
        time.sleep(max(0.0, began + i / PACE_PER_S - time.monotonic()))
        features, request = requests[i % len(requests)], f"shadow-{i}"
        before_ns = time.perf_counter_ns()
        publisher.prediction(id=request, features=features, score=primary.predict(features))
        answered_ns = time.perf_counter_ns()
        if shadow is not None:
            shadow.submit(id=request, features=features)
        answer_ns.append(answered_ns - before_ns)
        request_ns.append(time.perf_counter_ns() - before_ns)
    cpu_s = usage.read()["cpu_s"]
    outcomes = {}
    if shadow is not None:
        shadow.close(1.0)
        outcomes = shadow.stats.outcomes
    publisher.flush()
    stats = publisher.stats
    publisher.close()
    return {
        "median_us": quantile(answer_ns[WARM_UP:], 0.5) / 1000,
        "p99_us": quantile(answer_ns[WARM_UP:], 0.99) / 1000,
        "request_median_us": quantile(request_ns[WARM_UP:], 0.5) / 1000,
        "request_p99_us": quantile(request_ns[WARM_UP:], 0.99) / 1000,
        "cpu_us": cpu_s / parameters["calls"] * 1e6,
        "dropped": sum(stats.dropped.values()) + stats.failed,
        "outcomes": outcomes,
    }


def _hang(_features: Any) -> None:
    threading.Event().wait()


CHILDREN: dict[str, Callable[[JsonObject], JsonObject]] = {"shadow": serve}
