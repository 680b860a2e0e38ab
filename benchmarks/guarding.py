"""What a guard costs serving: reading its state, answering through `guard.use`, and how soon the fallback answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from barograph import Guard, Publisher
from barograph.guard.health import HealthState, ModelHealth

from barograph_server.alerts.guard.health_log import HealthLog
from barograph_server.streams.settings import ProcessorSettings
from benchmarks.figures import Figures, quantile
from benchmarks.measured_process import Clock, JsonObject
from benchmarks.shadowing import LayeredModel, describe_median
from benchmarks.stack import Child, Testbed
from benchmarks.workload import VERSION, make_workload

GUARD = "The state of a model in serving"
READ_MEDIAN, READ_P99 = "reading guard.state, median", "reading guard.state, p99"
PACE_PER_S = 1_000
WARM_UP = 200
BATCH = 100
"""Reads between two looks at the clock, which itself takes as long as a read."""
CHANGE_S = 0.25
"""Time between two changes of the state."""
MODES = ("without", "with")


class Writer:
    """Writes a record of the model every `CHANGE_S` on a thread, healthy and degraded in turn, as a leader does."""

    def __init__(self, testbed: Testbed, prefix: str, model: str, states: tuple[HealthState, ...]) -> None:
        """Start the thread.

        Args:
            testbed: The testbed.
            prefix: The prefix of the topic.
            model: The model.
            states: The states, in turn.
        """
        settings = ProcessorSettings(
            instance="bench",
            bootstrap_servers=testbed.bootstrap_servers,
            warehouse=testbed.address("guard"),
            topics=testbed.create_topics(prefix),
        )
        self._log, self._model, self._states = HealthLog(settings), model, states
        self.written: list[tuple[str, float, float]] = []
        """State of each record, and the times before and after its transaction (Unix seconds)."""
        self._log.lead()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop writing."""
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


def measure_guard(testbed: Testbed, figures: Figures, *, rounds: int, calls: int, batches: int) -> None:
    """Time reads and requests in new processes; requests with and without a guard alternate.

    Args:
        testbed: The testbed.
        figures: Where to add the figures.
        rounds: How many processes of each kind.
        calls: Measured requests of each process.
        batches: Measured batches of reads of each process.
    """
    model = make_workload(testbed.folder).contract.model
    steady = Writer(testbed, "guard-", model, ("healthy",))
    try:
        _measure_reads(testbed, figures, model, rounds, batches)
        _measure_requests(testbed, figures, rounds, calls)
    finally:
        steady.close()
    changing = Writer(testbed, "guard-changes-", model, ("healthy", "degraded"))
    try:
        child = testbed.start_child("guard-serve", prefix="guard-changes-", mode="with", calls=rounds * calls)
        _measure_reaction(figures, child, changing)
    finally:
        changing.close()


def _measure_reads(testbed: Testbed, figures: Figures, model: str, rounds: int, batches: int) -> None:
    runs = [testbed.run_child("guard-read", prefix="guard-", model=model, batches=batches) for _ in range(rounds)]
    note = f"{batches:,} batches of {BATCH} reads in each process; the loop is part of the time"
    figures.add_runs(GUARD, READ_MEDIAN, [run["read_median_ns"] for run in runs], "ns", note)
    figures.add_runs(GUARD, READ_P99, [run["read_p99_ns"] for run in runs], "ns", "quantile of the batches' means")
    figures.add_runs(GUARD, "the same loop without the read, median", [run["loop_median_ns"] for run in runs], "ns")


def _measure_requests(testbed: Testbed, figures: Figures, rounds: int, calls: int) -> None:
    runs: dict[str, list[JsonObject]] = {mode: [] for mode in MODES}
    for i in range(rounds):
        for mode in MODES[i % 2 :] + MODES[: i % 2]:
            runs[mode].append(testbed.run_child("guard-serve", prefix="guard-", mode=mode, calls=calls))
    note = f"{calls:,} requests at {PACE_PER_S:,} a second in each process"
    for name, key, unit in (
        ("answer, median", "median_us", "µs"),
        ("answer, p99", "p99_us", "µs"),
        ("CPU of the process", "cpu_us", "µs/request"),
    ):
        for mode in MODES:
            figures.add_runs(GUARD, f"{name}, {mode} guard.use", [run[key] for run in runs[mode]], unit, note)
            note = ""
        ratios = [guarded[key] / bare[key] for guarded, bare in zip(runs["with"], runs["without"], strict=True)]
        figures.add_runs(GUARD, f"{name}, with ÷ without", ratios, "×", describe_median(ratios))


def _measure_reaction(figures: Figures, child: Child, writer: Writer) -> None:
    """Add the time from a record to the first answer that follows it, at the pace of requests."""
    switches: list[tuple[str, float]] = [(answer, at_s) for answer, at_s in child.finish()["switches"]]
    state_of = {"primary": "healthy", "fallback": "degraded"}
    appended, committed = [], []
    for answer, at_s in switches[1:]:
        causes = [each for each in writer.written if each[0] == state_of[answer] and each[1] < at_s]
        _, began_s, ended_s = causes[-1]
        appended.append((at_s - began_s) * 1000)
        committed.append((at_s - ended_s) * 1000)
    for name, values in (("the record is produced", appended), ("its transaction is committed", committed)):
        figures.add(GUARD, f"from when {name} to the first answer, median", quantile(values, 0.5), "ms")
        note = f"{len(values)} changes, {PACE_PER_S:,} requests a second"
        figures.add(GUARD, f"from when {name} to the first answer, p99", quantile(values, 0.99), "ms", note)


def read(parameters: JsonObject) -> JsonObject:
    """Time batches of reads of the state while the guard follows the topic."""
    with _open_guard(parameters, parameters["model"]) as guard:
        reads_ns, loops_ns = [], []
        for _ in range(parameters["batches"]):
            began_ns = time.perf_counter_ns()
            for _ in range(BATCH):
                guard.state  # noqa: B018 - the read is what is measured
            reads_ns.append((time.perf_counter_ns() - began_ns) / BATCH)
            began_ns = time.perf_counter_ns()
            for _ in range(BATCH):
                pass
            loops_ns.append((time.perf_counter_ns() - began_ns) / BATCH)
    return {
        "read_median_ns": quantile(reads_ns, 0.5),
        "read_p99_ns": quantile(reads_ns, 0.99),
        "loop_median_ns": quantile(loops_ns, 0.5),
    }


def serve(parameters: JsonObject) -> JsonObject:
    """Answer requests at a steady rate: the primary or the fallback, and the event of the prediction."""
    workload = make_workload(Path(parameters["folder"]))
    columns = {name: values.tolist() for name, values in workload.columns(2_000, 9).items()}
    names = tuple(workload.numbers)
    requests = [{name: column[i] for name, column in columns.items() if name != "score"} for i in range(2_000)]
    primary = LayeredModel(names, 1).predict
    guard = None if parameters["mode"] == "without" else _open_guard(parameters, workload.contract.model)
    answer: Callable[[Any], float] = primary if guard is None else guard.use(primary, _average)
    publisher = Publisher.from_contract(
        workload.contract,
        version=VERSION,
        bootstrap_servers=parameters["bootstrap_servers"],
        topic_prefix=parameters["prefix"],
    )
    answer_ns: list[int] = []
    switches: list[tuple[str, float]] = []
    usage, began = Clock(), time.monotonic()
    for i in range(WARM_UP + parameters["calls"]):
        if i == WARM_UP:
            usage = Clock()
        time.sleep(max(0.0, began + i / PACE_PER_S - time.monotonic()))
        features = requests[i % len(requests)]
        before_ns = time.perf_counter_ns()
        with publisher.observe(id=f"guard-{i}", features=features) as observation:
            observation.score = score = answer(features)
        answer_ns.append(time.perf_counter_ns() - before_ns)
        answered_by = "fallback" if score == 0.5 else "primary"
        if not switches or switches[-1][0] != answered_by:
            switches.append((answered_by, time.time()))
    cpu_s = usage.read()["cpu_s"]
    if guard is not None:
        guard.close()
    publisher.close()
    return {
        "median_us": quantile(answer_ns[WARM_UP:], 0.5) / 1000,
        "p99_us": quantile(answer_ns[WARM_UP:], 0.99) / 1000,
        "cpu_us": cpu_s / parameters["calls"] * 1e6,
        "switches": switches,
    }


def _average(features: Mapping[str, Any]) -> float:
    """Answer without a model."""
    return 0.5


def _open_guard(parameters: JsonObject, model: str) -> Guard:
    """Return a guard that follows the topic."""
    guard = Guard(model, bootstrap_servers=parameters["bootstrap_servers"], topic_prefix=parameters["prefix"])
    end_s = time.monotonic() + 60
    while guard.state == "unknown":
        if time.monotonic() > end_s:
            raise RuntimeError("the guard has read no record")
        time.sleep(0.01)
    return guard


CHILDREN: dict[str, Callable[[JsonObject], JsonObject]] = {"guard-read": read, "guard-serve": serve}
