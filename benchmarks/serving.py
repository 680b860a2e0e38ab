"""What a shadow and a guard cost the requests of a serving process, and how soon a fallback answers.

Requests come at a steady rate. The answer is ready when the primary has predicted and its event is published; a
shadow's `submit` follows, as in docs/serving.md. A server that sends the answer before it submits keeps the time of
`submit` out of its latency.
"""

import threading
import time
from collections.abc import Callable, Mapping
from math import inf
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from barograph import Guard, Shadow
from barograph.guard.health import HealthState, ModelHealth
from scipy.stats import quantile_test

from barograph_server.alerts.guard.health_log import HealthLog
from benchmarks.figures import Figures, quantile
from benchmarks.measured_process import Clock, JsonObject
from benchmarks.publishing import close, open_publisher
from benchmarks.stack import Child, Measured, Testbed
from benchmarks.workload import SEED, VERSION, Workload, make_workload

SHADOW, GUARD = "A shadow beside the primary", "The state of a model in serving"
PACE_PER_S = 1_000
HIDDEN = 100
"""Hidden units of the models."""
WARM_UP = 200
"""Requests before the measurement, in which workers start and breakers open."""
BATCH = 100
"""Reads between two looks at the clock, which itself takes as long as a read."""
CHANGE_S = 0.25
"""Time between two changes of the guard's state."""
SHADOW_MODES = ("off", "on", "hanging")
"""No shadow; a candidate as fast as the primary; a candidate whose calls never return."""
GUARD_MODES = ("without", "with")
ANSWER = (("answer, median", "median_us", "µs"), ("answer, p99", "p99_us", "µs"))
REQUEST = (("answer and submit, median", "request_median_us", "µs"), ("answer and submit, p99", "request_p99_us", "µs"))
CPU = ("CPU of the process", "cpu_us", "µs/request")

Runs = dict[str, list[JsonObject]]


def measure_shadow(testbed: Testbed, figures: Figures, *, rounds: int, calls: int) -> None:
    """Time requests without a shadow, with one, and with one that hangs."""
    testbed.create_topics("shadow-")
    runs = _alternate(testbed, serve_with_shadow, SHADOW_MODES, rounds, prefix="shadow-", calls=calls)
    _add_requests(figures, SHADOW, (*ANSWER, *REQUEST, CPU), runs, "shadow {}", calls)
    for mode in SHADOW_MODES[1:]:
        kinds = sorted({kind for run in runs[mode] for kind, n in run["outcomes"].items() if n})
        outcomes = {kind: median(run["outcomes"].get(kind, 0) for run in runs[mode]) for kind in kinds}
        text = ", ".join(f"{n:,.0f} {kind}" for kind, n in outcomes.items())
        figures.add(SHADOW, f"dropped events, shadow {mode}", sum(run["dropped"] for run in runs[mode]), "", text)


def measure_guard(testbed: Testbed, figures: Figures, *, rounds: int, calls: int, batches: int) -> None:
    """Time reads of a guard's state, requests with and without a guard, and changes of the state."""
    model = make_workload(testbed.folder).contract.model
    steady = Writer(testbed, "guard-", model, ("healthy",))
    try:
        runs = [testbed.run_child(read_guard, prefix="guard-", model=model, batches=batches) for _ in range(rounds)]
        note = f"{batches:,} batches of {BATCH} reads in each process; the loop is part of the time"
        figures.add_runs(GUARD, "reading guard.state, median", [run["median_ns"] for run in runs], "ns", note)
        note = "quantile of the batches' means"
        figures.add_runs(GUARD, "reading guard.state, p99", [run["p99_ns"] for run in runs], "ns", note)
        served = _alternate(testbed, serve_with_guard, GUARD_MODES, rounds, prefix="guard-", calls=calls)
        _add_requests(figures, GUARD, (*ANSWER, CPU), served, "{} guard.use", calls)
    finally:
        steady.close()
    changing = Writer(testbed, "guard-changes-", model, ("healthy", "degraded"))
    try:
        child = testbed.start_child(serve_with_guard, prefix="guard-changes-", mode="with", calls=rounds * calls)
        _measure_reaction(figures, child, changing)
    finally:
        changing.close()


def _alternate(testbed: Testbed, serve: Measured, modes: tuple[str, ...], rounds: int, **parameters: Any) -> Runs:
    """Run a new process for each mode; the modes alternate, in another order each round."""
    runs: Runs = {mode: [] for mode in modes}
    for i in range(rounds):
        for mode in modes[i % len(modes) :] + modes[: i % len(modes)]:
            runs[mode].append(testbed.run_child(serve, mode=mode, **parameters))
    return runs


def _add_requests(
    figures: Figures, section: str, kinds: tuple[tuple[str, str, str], ...], runs: Runs, name_of_mode: str, calls: int
) -> None:
    """Add the figures of each mode, and their ratios to the first mode in the same round."""
    note = f"{calls:,} requests at {PACE_PER_S:,} a second in each process"
    base = next(iter(runs))
    for mode, of_mode in runs.items():
        for name, key, unit in kinds:
            figures.add_runs(section, f"{name}, {name_of_mode.format(mode)}", [run[key] for run in of_mode], unit, note)
            note = ""
            if mode != base:
                over, under = ([run[key] for run in runs[each]] for each in (mode, base))
                interval = describe_median([a / b for a, b in zip(over, under, strict=True)])
                figures.add_ratios(section, f"{name}, {mode} ÷ {base}", over, under, interval)


def describe_median(values: list[float]) -> str:
    """Describe an interval of at least 95% for the median, by the sign test; it needs six values."""
    interval: Any = quantile_test(values).confidence_interval()
    if not interval.high < inf:
        return ""
    return f"95% interval of the median {interval.low:.3f} to {interval.high:.3f}"


class Writer:
    """Writes a record of the model every `CHANGE_S` on a thread, with the given states in turn, as a leader does."""

    def __init__(self, testbed: Testbed, prefix: str, model: str, states: tuple[HealthState, ...]) -> None:
        testbed.create_topics(prefix)
        settings = testbed.settings("guard", prefix).processor(instance="bench")
        self._log, self._model, self._states = HealthLog(settings), model, states
        self.written: list[tuple[str, float, float]] = []
        """State of each record, and the times before and after its transaction (Unix seconds)."""
        self._log.lead()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._log.close()

    def _run(self) -> None:
        while True:
            state, began_s = self._states[len(self.written) % len(self._states)], time.time()
            at_ms = int(began_s * 1000)
            record = ModelHealth(
                model=self._model, state=state, since_ms=at_ms, at_ms=at_ms, evaluated_at_ms=at_ms, sequence=at_ms
            )
            if not self._log.publish([record]):
                raise RuntimeError("Kafka did not accept a record")
            self.written.append((state, began_s, time.time()))
            if self._stop.wait(CHANGE_S):
                return


def _measure_reaction(figures: Figures, child: Child, writer: Writer) -> None:
    """Add the time from a record to the first answer that follows it, at the pace of requests."""
    switches: list[tuple[str, float]] = [(answer, at_s) for answer, at_s in child.finish()["switches"]]
    state_of = {"primary": "healthy", "fallback": "degraded"}
    delays: dict[str, list[float]] = {"the record is produced": [], "its transaction is committed": []}
    for answer, at_s in switches[1:]:
        _, *times_s = [each for each in writer.written if each[0] == state_of[answer] and each[1] < at_s][-1]
        for values, since_s in zip(delays.values(), times_s, strict=True):
            values.append((at_s - since_s) * 1000)
    for name, values in delays.items():
        note = f"{len(values)} changes, {PACE_PER_S:,} requests a second"
        figures.add(GUARD, f"from when {name} to the first answer, median", quantile(values, 0.5), "ms")
        figures.add(GUARD, f"from when {name} to the first answer, p99", quantile(values, 0.99), "ms", note)


class LayeredModel:
    """A model with one hidden layer: numpy does part of its work without the GIL, as most models do."""

    def __init__(self, names: tuple[str, ...], seed: int) -> None:
        rng = np.random.default_rng([SEED, seed])
        self._names = names
        self._hidden = rng.normal(size=(HIDDEN, len(names))) / len(names)
        self._output = rng.normal(size=HIDDEN) / HIDDEN

    def predict(self, features: Mapping[str, Any]) -> float:
        values = np.array([features[name] for name in self._names], dtype=float)
        return float(1 / (1 + np.exp(-self._output @ np.tanh(self._hidden @ values))))


def serve_with_shadow(parameters: JsonObject) -> JsonObject:
    """Answer requests: the primary's prediction, its event, and the shadow's request."""
    workload = make_workload(Path(parameters["folder"]))
    publisher = open_publisher(parameters, workload)
    names = tuple(workload.numbers)
    primary = LayeredModel(names, 1)
    candidate = LayeredModel(names, 2).predict if parameters["mode"] == "on" else _hang
    shadow = None if parameters["mode"] == "off" else Shadow(publisher, candidate, version=f"{VERSION}-candidate")

    def answer(request: str, features: Mapping[str, Any]) -> float:
        score = primary.predict(features)
        publisher.prediction(id=request, features=features, score=score)
        return score

    def submit(request: str, features: Mapping[str, Any]) -> None:
        if shadow is not None:
            shadow.submit(id=request, features=features)

    result = _serve(parameters, workload, answer, submit)
    outcomes = {}
    if shadow is not None:
        shadow.close(1.0)
        outcomes = shadow.stats.outcomes
    return {**result, "dropped": close(publisher), "outcomes": outcomes}


def serve_with_guard(parameters: JsonObject) -> JsonObject:
    """Answer requests by the primary or the fallback, and publish the event of the prediction."""
    workload = make_workload(Path(parameters["folder"]))
    publisher = open_publisher(parameters, workload)
    primary = LayeredModel(tuple(workload.numbers), 1).predict
    guard = None if parameters["mode"] == "without" else _open_guard(parameters, workload.contract.model)
    predict = primary if guard is None else guard.use(primary, lambda features: 0.5)

    def answer(request: str, features: Mapping[str, Any]) -> float:
        with publisher.observe(id=request, features=features) as observation:
            score = observation.score = predict(features)
        return score

    result = _serve(parameters, workload, answer, lambda request, features: None)
    if guard is not None:
        guard.close()
    publisher.close()
    return result


def _serve(
    parameters: JsonObject,
    workload: Workload,
    answer: Callable[[str, Mapping[str, Any]], float],
    submit: Callable[[str, Mapping[str, Any]], None],
) -> JsonObject:
    """Time answers and what follows them at a steady rate; `switches` are the first answers of each model."""
    columns = {name: values.tolist() for name, values in workload.columns(2_000, 9).items()}
    requests = [{name: column[i] for name, column in columns.items() if name != "score"} for i in range(2_000)]
    answer_ns: list[int] = []
    request_ns: list[int] = []
    switches: list[tuple[str, float]] = []
    usage, began = Clock(), time.monotonic()
    for i in range(WARM_UP + parameters["calls"]):
        if i == WARM_UP:
            usage = Clock()
        time.sleep(max(0.0, began + i / PACE_PER_S - time.monotonic()))
        features, request = requests[i % len(requests)], f"request-{i}"
        before_ns = time.perf_counter_ns()
        score = answer(request, features)
        answered_ns = time.perf_counter_ns()
        submit(request, features)
        request_ns.append(time.perf_counter_ns() - before_ns)
        answer_ns.append(answered_ns - before_ns)
        answered_by = "fallback" if score == 0.5 else "primary"
        if not switches or switches[-1][0] != answered_by:
            switches.append((answered_by, time.time()))
    result = {"cpu_us": usage.read()["cpu_s"] / parameters["calls"] * 1e6, "switches": switches}
    for prefix, times_ns in (("", answer_ns), ("request_", request_ns)):
        for name, share in (("median", 0.5), ("p99", 0.99)):
            result[f"{prefix}{name}_us"] = quantile(times_ns[WARM_UP:], share) / 1000
    return result


def read_guard(parameters: JsonObject) -> JsonObject:
    """Time batches of reads of the state while the guard follows the topic."""
    with _open_guard(parameters, parameters["model"]) as guard:
        reads_ns = []
        for _ in range(parameters["batches"]):
            began_ns = time.perf_counter_ns()
            for _ in range(BATCH):
                guard.state  # noqa: B018 - the read is what is measured
            reads_ns.append((time.perf_counter_ns() - began_ns) / BATCH)
    return {"median_ns": quantile(reads_ns, 0.5), "p99_ns": quantile(reads_ns, 0.99)}


def _open_guard(parameters: JsonObject, model: str) -> Guard:
    """Return a guard that has read a record of the topic."""
    guard = Guard(model, bootstrap_servers=parameters["bootstrap_servers"], topic_prefix=parameters["prefix"])
    end_s = time.monotonic() + 60
    while guard.state == "unknown":
        if time.monotonic() > end_s:
            raise RuntimeError("the guard has read no record")
        time.sleep(0.01)
    return guard


def _hang(_features: Any) -> None:
    threading.Event().wait()
