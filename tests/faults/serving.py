"""A serving process with a shadow, which the harness kills. It publishes predictions, labels and shadows.

Its journal has the number of each request, written before anything is published; the seed and the number determine the
request. After a restart it continues there, and publishes the latest labels again. At SIGTERM it also writes the
outcomes that its shadow counted.
"""

import heapq
import json
import os
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from barograph import Publisher, Shadow

from barograph_server.signal_wait import set_on_signal
from tests.reference.shadow_pairs import BINARY, SHADOW
from tests.support.scoring import HOUR_MS
from tests.support.shadow_candidates import answer_mixed, answer_mixed_async

RATE = 200
STEP_MS = 4_000
BURST_EVERY, BURST = 300, 80
"""Requests that come at once, without a pause, in each so many requests: they fill the queue."""
TIMEOUT_MS = 100.0
LABEL_LAG = 200
"""Most requests between a request and its label."""
EXECUTORS = ("threads", "processes", "coroutines")
"""Where the candidate runs, in this order from one process to the next."""


@dataclass(frozen=True, slots=True)
class Request:
    seed: int
    number: int

    def share(self, what: str) -> float:
        return zlib.crc32(f"{self.seed} {self.number} {what}".encode()) / 2**32

    @property
    def id(self) -> str:
        return f"r{self.number}"

    def at_ms(self, start_ms: int) -> int:
        return start_ms + self.number * STEP_MS + int(self.share("time") * 600_000)

    @property
    def score(self) -> float | None:
        return None if self.share("failed") < 0.02 else round(self.share("score"), 6)

    @property
    def labels(self) -> list[tuple[int, bool, int]]:
        """Each label: the request after which it is published, its value, and its event time after the request (ms)."""
        if self.share("labelled") >= 0.8:
            return []
        value = self.share("truth") < self.share("score")
        lag = 0 if self.share("first") < 0.1 else int(self.share("lag") * LABEL_LAG)
        first = (self.number + lag, value, int(self.share("delay") * 5 * HOUR_MS))
        corrected = (self.number + lag + 20, not value, first[2] + 1)
        return [first, corrected] if self.share("corrected") < 0.1 else [first]


def read_journal(folder: Path) -> list[tuple[int, int]]:
    file = folder / "serving.journal"
    lines = file.read_text().splitlines() if file.exists() else []
    return [(int(number), int(process)) for number, process in (line.split() for line in lines)]


def read_outcomes(folder: Path) -> dict[int, dict[str, int]]:
    """Return the outcomes that the shadow of each process counted, of processes that ended by SIGTERM."""
    return {int(file.stem.split("-")[1]): json.loads(file.read_text()) for file in folder.glob("serving-*.json")}


def serve(options: dict[str, Any], folder: Path) -> int:
    stop = threading.Event()
    set_on_signal(stop)
    done = read_journal(folder)
    first, process = (done[-1][0] + 1, done[-1][1] + 1) if done else (0, 0)
    publisher = Publisher.from_contract(
        BINARY,
        version=SHADOW.of,
        bootstrap_servers=options["bootstrap_servers"],
        topic_prefix=options["prefix"],
        kafka={"message.timeout.ms": 600_000, "reconnect.backoff.max.ms": 1000},
    )
    current = Request(options["seed"], first)
    executor = EXECUTORS[process % len(EXECUTORS)]
    shadow = Shadow(
        publisher,
        answer_mixed_async if executor == "coroutines" else answer_mixed,
        version=SHADOW.candidate,
        sample=0.95,
        timeout_ms=TIMEOUT_MS,
        workers=4,
        max_pending=30,
        max_per_minute=60 * RATE,
        executor="processes" if executor == "processes" else "threads",
        pause_s=0.2,
        wall_clock_ns=lambda: current.at_ms(options["start_ms"]) * 1_000_000,
    )
    pending_labels = sorted(
        label for number in range(max(0, first - 2 * LABEL_LAG), first) for label in _labels(options, number)
    )
    journal = os.open(folder / "serving.journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for number in _numbers(first, stop):
        current = Request(options["seed"], number)
        os.write(journal, f"{number} {process}\n".encode())
        for label in _labels(options, number):
            heapq.heappush(pending_labels, label)
        while pending_labels and pending_labels[0][0] <= number:
            _, id, value, at_ms = heapq.heappop(pending_labels)
            publisher.label(id=id, label=value, at=at_ms)
        _serve_one(publisher, shadow, current, current.at_ms(options["start_ms"]))
    shadow.close(60)
    for _, id, value, at_ms in pending_labels:
        publisher.label(id=id, label=value, at=at_ms)
    left = publisher.close(300)
    if left or publisher.stats.dropped or publisher.stats.failed:
        raise RuntimeError(f"{left} messages were left, dropped {publisher.stats.dropped}")
    outcomes = {outcome: n for outcome, n in shadow.stats.outcomes.items() if n}
    (folder / f"serving-{process}.json").write_text(json.dumps(outcomes))
    return 0


def _numbers(first: int, stop: threading.Event) -> Iterator[int]:
    due_s, number = time.monotonic(), first
    while not stop.is_set():
        yield number
        number += 1
        if number % BURST_EVERY >= BURST:
            due_s += 1 / RATE
        stop.wait(max(0.0, due_s - time.monotonic()))


def _labels(options: dict[str, Any], number: int) -> list[tuple[int, str, bool, int]]:
    request = Request(options["seed"], number)
    at_ms = request.at_ms(options["start_ms"])
    return [(due, request.id, value, at_ms + delay_ms) for due, value, delay_ms in request.labels]


def _serve_one(publisher: Publisher, shadow: Shadow, request: Request, at_ms: int) -> None:
    context = {"country": ("de", "fr", "us")[int(request.share("country") * 3)]}
    features = {"kind": request.share("kind"), "score": round(request.share("candidate"), 6)}
    publish = partial(publisher.prediction, id=request.id, features=features, context=context, at=at_ms)
    if request.score is None:
        publish(error="TimeoutError")
    else:
        publish(score=request.score, latency_ms=8.0)
    shadow.submit(id=request.id, features=features, context=context)
