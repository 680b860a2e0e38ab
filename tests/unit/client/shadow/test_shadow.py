import asyncio
import itertools
import json
import logging
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from barograph import Contract, Shadow
from barograph.events import MAX_MEMBERS
from barograph.shadow.answer import WrongOutput, call_candidate, read_answer

from barograph_server.streams.recorder.rows import hash_ids
from tests.support.scripted_kafka import ScriptedPublisher
from tests.support.shadow_candidates import answer_or_fail, leak

TIMEOUT_S = 3_600.0
"""The time-out of the tests: only the manual clock reaches it."""


def wait_until(condition: Callable[[], Any]) -> None:
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.001)


class ScriptedShadow:
    """A shadow of version 4 of a scripted publisher's version 3."""

    def __init__(self, serving: ScriptedPublisher, candidate: Callable[[Any], Any], **options: Any) -> None:
        self.serving = serving
        clocks = {"clock": lambda: serving.now_s, "wall_clock_ns": lambda: serving.now_ns}
        options = {"version": "4", "of": "3", "timeout_ms": TIMEOUT_S * 1000, **clocks, **options}
        self.shadow = Shadow(serving.publisher, candidate, **options)

    def advance(self, seconds: float) -> str:
        self.serving.now_s += seconds
        self.shadow._service.expire()
        return self.shadow.state

    def submit(self, *ids: str, features: Any = None) -> None:
        for id in ids:
            self.shadow.submit(id=id, features={"x": 0.5} if features is None else features)

    def events(self) -> dict[str, dict[str, Any]]:
        events = self.serving.flush_events()
        assert len({event["id"] for event in events}) == len(events)
        return {event["id"]: event for event in events}

    def errors(self) -> dict[str, str | None]:
        return {id: event.get("error") for id, event in self.events().items()}

    def outcomes(self) -> dict[str, int]:
        stats = self.shadow.stats
        assert stats.submitted == stats.pending + sum(stats.outcomes.values())
        return {outcome: n for outcome, n in stats.outcomes.items() if n}


@pytest.fixture
def serving() -> Iterator[ScriptedPublisher]:
    scripted = ScriptedPublisher(Contract(model="m"))
    yield scripted
    scripted.publisher.close()


@pytest.fixture
def make_shadow(serving: ScriptedPublisher) -> Iterator[Callable[..., ScriptedShadow]]:
    shadows: list[ScriptedShadow] = []

    def make(candidate: Callable[[Any], Any], **options: Any) -> ScriptedShadow:
        shadows.append(ScriptedShadow(serving, candidate, **options))
        return shadows[-1]

    yield make
    for scripted in shadows:
        scripted.shadow.close(0)


MakeShadow = Callable[..., ScriptedShadow]


class Gate:
    """A candidate whose calls report that they started, and hang until the gate is opened."""

    def __init__(self) -> None:
        self.started = threading.Semaphore(0)
        self.opened = threading.Event()

    def __call__(self, _features: Any) -> float:
        self.started.release()
        assert self.opened.wait(60)
        return 0.5

    def wait_for_calls(self, n: int) -> None:
        for _ in range(n):
            assert self.started.acquire(timeout=60)


@pytest.fixture
def gate() -> Iterator[Gate]:
    hanging = Gate()
    yield hanging
    hanging.opened.set()


def test_the_candidates_answer_is_published_as_a_shadow(serving: ScriptedPublisher, make_shadow: MakeShadow) -> None:
    times = iter([0, 12_500_000])
    scripted = make_shadow(
        lambda features: {"score": features["x"] / 2, "class_": "late", "metrics": {"trees": 3}},
        timer_ns=lambda: next(times),
    )
    scripted.shadow.submit(id="a", features={"x": 1.0}, context={"origin": "JFK"})
    assert scripted.shadow.close(60) == 0
    assert scripted.events()["a"] == {
        **{"model": "m", "version": "4", "id": "a", "at": serving.now_ns // 1_000_000, "context": {"origin": "JFK"}},
        **{"score": 0.5, "class": "late", "metrics": {"trees": 3}, "latency_ms": 12.5, "role": "shadow"},
        **{"producer": serving.outbox.producer_id, "seq": 0},
    }
    assert scripted.outcomes() == {"answered": 1}


def test_a_candidate_that_raises_does_not_end_its_worker(make_shadow: MakeShadow) -> None:
    def candidate(error: BaseException | None) -> float:
        if error is not None:
            raise error
        return 0.5

    scripted = make_shadow(candidate, workers=1, copy_input=False, failure_calls=10)
    for id, error in (("bad", ValueError("secret")), ("worse", SystemExit(1)), ("good", None)):
        scripted.shadow.submit(id=id, features=error)
    scripted.shadow.close(60)
    assert scripted.errors() == {"bad": "ValueError", "worse": "SystemExit", "good": None}
    assert "secret" not in json.dumps(scripted.events())
    assert scripted.outcomes() == {"error": 2, "answered": 1}


def test_a_hanging_call_is_a_timeout_and_its_late_answer_is_dropped(make_shadow: MakeShadow, gate: Gate) -> None:
    scripted = make_shadow(gate, workers=2)
    scripted.submit("a")
    gate.wait_for_calls(1)
    scripted.advance(TIMEOUT_S - 1)
    assert scripted.errors() == {}
    scripted.advance(1)
    assert scripted.errors() == {"a": "shadow-timeout"}
    assert "latency_ms" not in scripted.events()["a"]
    gate.opened.set()
    wait_until(lambda: scripted.shadow.stats.late == 1)
    scripted.submit("b")
    scripted.shadow.close(60)
    assert scripted.errors() == {"a": "shadow-timeout", "b": None}
    assert scripted.outcomes() == {"shadow-timeout": 1, "answered": 1}


def test_when_all_workers_hang_the_breaker_opens_until_one_returns(
    make_shadow: MakeShadow, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "barograph")
    scripted = make_shadow(gate, workers=2, pause_s=30.0)
    scripted.submit("a", "b", "queued")
    gate.wait_for_calls(2)
    scripted.advance(TIMEOUT_S)
    assert scripted.shadow.state == "open"
    for _ in range(3):
        scripted.advance(30.0)
    assert scripted.shadow.state == "open", "no worker could run a trial"
    scripted.submit("c")
    assert scripted.errors() == {**dict.fromkeys(["a", "b", "queued"], "shadow-timeout"), "c": "shadow-skipped-breaker"}
    gate.opened.set()
    wait_until(lambda: scripted.advance(0) == "half-open")
    scripted.submit("trial")
    scripted.shadow.close(60)
    assert scripted.errors()["trial"] is None
    assert scripted.outcomes() == {"shadow-timeout": 3, "shadow-skipped-breaker": 1, "answered": 1}
    messages = [record.getMessage() for record in caplog.records if record.name == "barograph"]
    assert messages == [f"the circuit breaker of shadow 4 of 3 is {state}" for state in ("open", "half-open", "closed")]


def test_a_full_queue_and_a_spent_budget_skip_requests(make_shadow: MakeShadow, gate: Gate) -> None:
    scripted = make_shadow(gate, workers=1, max_pending=2)
    scripted.submit("running", "queued", "skipped")
    gate.opened.set()
    scripted.shadow.close(60)
    assert scripted.errors() == {"running": None, "queued": None, "skipped": "shadow-skipped-queue"}
    scripted = make_shadow(lambda _: 0.5, max_per_minute=6)
    scripted.submit("a", "b")
    scripted.advance(10.0)
    scripted.submit("c")
    scripted.shadow.close(60)
    budget = {"a": None, "b": "shadow-skipped-budget", "c": None}
    assert scripted.errors().items() >= budget.items()


def test_the_sample_is_that_of_the_recorder(make_shadow: MakeShadow) -> None:
    scripted = make_shadow(lambda _: 0.5, sample=0.3)
    ids = [f"request-é-{i}" for i in range(200)]
    scripted.submit(*ids)
    scripted.shadow.close(60)
    answered = [error is None for error in map(scripted.errors().get, ids)]
    assert answered == (hash_ids(ids) < 0.3 * 2**32).tolist()
    assert scripted.outcomes() == {"answered": sum(answered), "shadow-skipped-sample": 200 - sum(answered)}
    assert 30 < sum(answered) < 90


def test_requests_that_are_pending_at_close_are_published(
    serving: ScriptedPublisher, make_shadow: MakeShadow, gate: Gate
) -> None:
    scripted = make_shadow(gate, workers=1)
    scripted.submit("running", "queued")
    gate.wait_for_calls(1)
    assert scripted.shadow.close(0) == 2
    assert scripted.shadow.close(0) == 0
    scripted.submit("after")
    scripted.shadow.submit(id="", features={})
    assert scripted.errors() == dict.fromkeys(["running", "queued", "after"], "shadow-closed")
    assert scripted.outcomes() == {"shadow-closed": 4}
    threading.Timer(0.05, gate.opened.set).start()
    with Shadow(serving.publisher, gate, version="4", timeout_ms=60_000) as shadow:
        shadow.submit(id="a", features={})
    assert shadow.stats.outcomes["answered"] == 1, "the end of a with block waits for answers"


def test_each_request_has_its_own_input(serving: ScriptedPublisher, make_shadow: MakeShadow, gate: Gate) -> None:
    scripted = make_shadow(lambda features: features.pop("x"))
    inputs = [{"x": 1}, {"x": 2}]
    for features in inputs:
        scripted.submit("a", features=features)
    scripted.shadow.close(60)
    assert inputs == [{"x": 1}, {"x": 2}], "the candidate changes a copy only"
    assert sorted((event["id"], event["score"]) for event in serving.flush_events()) == [("a", 1), ("a", 2)]
    not_copied = {"x": 0.5}
    scripted = make_shadow(lambda features: features.pop("x"), copy_input=False)
    scripted.submit("b", features=not_copied)
    scripted.shadow.close(60)
    assert not_copied == {}
    scripted = make_shadow(gate)
    context: dict[str, str | None] = {"origin": "JFK"}
    scripted.shadow.submit(id="c", features={}, context=context)
    context["origin"] = "LGA"  # after the submission
    gate.opened.set()
    scripted.shadow.close(60)
    assert serving.flush_events()[-1]["context"] == {"origin": "JFK"}


def test_an_unusable_request_is_an_error_and_never_raised(serving: ScriptedPublisher, make_shadow: MakeShadow) -> None:
    scripted = make_shadow(lambda _: 0.5)
    scripted.shadow.submit(id="", features={})
    scripted.submit("a", features=(i for i in range(3)))  # generators cannot be copied
    scripted.shadow.submit(id=7, features={})  # type: ignore[arg-type]  # converted to text
    scripted.shadow.close(60)
    assert scripted.errors() == {"a": "TypeError", "7": None}
    assert scripted.outcomes() == {"error": 2, "answered": 1}
    assert serving.stats.dropped == {"invalid": 1}


def test_a_closed_publisher_drops_events_and_the_shadow_counts_its_requests(
    serving: ScriptedPublisher, make_shadow: MakeShadow
) -> None:
    scripted = make_shadow(lambda _: 0.5, sample=0.5)
    serving.publisher.close()
    scripted.submit(*(str(i) for i in range(8)))
    scripted.shadow.close(60)
    assert sum(scripted.outcomes().values()) == 8
    assert serving.stats.dropped == {"closed": 8}


def test_a_process_without_further_threads_counts_errors_until_it_has_them(
    make_shadow: MakeShadow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    used, unused = make_shadow(lambda _: 0.5), make_shadow(lambda _: 0.5)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        used.submit("a")
        unused.submit("b")
    used.submit("c")
    assert (used.shadow.close(60), unused.shadow.close(60)) == (0, 0)
    assert used.errors() == {"a": "RuntimeError", "b": "RuntimeError", "c": None}
    assert (used.outcomes(), unused.outcomes()) == ({"error": 1, "answered": 1}, {"error": 1})


def test_invalid_arguments_are_reported(serving: ScriptedPublisher) -> None:
    for name, value, message in (
        ("version", "3", "version and of are both '3'"),
        ("version", 4, "version is int"),
        ("sample", 0, "sample is 0; pass a share in"),
        ("timeout_ms", -1, "timeout_ms is -1; pass a positive number"),
        ("workers", 0, "workers is 0; pass a whole number from 1"),
        ("executor", "fibers", "executor is 'fibers'; pass threads or processes"),
        ("executor", "processes", "the candidate cannot be pickled"),
        ("max_rss_mb", 500, "max_rss_mb is 500, but the candidate runs in this process"),
    ):
        options: dict[str, Any] = {"version": "4", name: value}
        with pytest.raises(ValueError, match=message):
            Shadow(serving.publisher, lambda _: 0.5, **options)
    batch_job = ScriptedPublisher(Contract(model="m"), wait=True)
    with pytest.raises(ValueError, match='on_full="wait"'):
        Shadow(batch_job.publisher, lambda _: 0.5, version="4")  # it would block requests
    batch_job.publisher.close()


def test_threads_that_report_at_the_same_time_settle_each_request_once(serving: ScriptedPublisher) -> None:
    """Answers, time-outs of a millisecond, a full queue and the close race with one another."""
    limits: dict[str, Any] = {"workers": 3, "max_pending": 20, "failure_share": 1.0, "failure_calls": 10_000}
    shadow = Shadow(serving.publisher, lambda features: sum(range(features)), version="4", timeout_ms=1, **limits)
    n_threads, n_requests = 4, 300

    def submit(thread: int) -> None:
        for i in range(n_requests):
            shadow.submit(id=f"{thread}-{i}", features=zlib.crc32(b"%d" % i) % 2_000)

    threads = [threading.Thread(target=submit, args=(i,)) for i in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads[1:]:
        thread.join()
    shadow.close(60)
    threads[0].join()
    events = serving.flush_events()
    counts = Counter(event.get("error", "answered") for event in events)
    stats = shadow.stats
    assert len({event["id"] for event in events}) == len(events) == stats.submitted == n_threads * n_requests
    assert counts == Counter({outcome: n for outcome, n in stats.outcomes.items() if n})
    assert stats.pending == 0


def test_a_forked_child_starts_over_and_leaves_pending_requests_to_its_parent() -> None:
    script = """
    import os, threading

    opened, started = threading.Event(), threading.Event()
    def candidate(features):
        started.set()
        assert features == "child" or opened.wait(60)
        return 0.5

    serving = ScriptedPublisher(Contract(model="m"))
    shadow = Shadow(serving.publisher, candidate, version="4", timeout_ms=60_000, workers=1)
    shadow.submit(id="running", features="parent")
    shadow.submit(id="queued", features="parent")
    assert started.wait(60)
    child = os.fork()
    if child == 0:
        shadow.submit(id="child", features="child")
        assert shadow.close(60) == 0
        assert [event["id"] for event in serving.flush_events()] == ["child"]
        assert shadow.stats.submitted == shadow.stats.outcomes["answered"] == 1
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    opened.set()
    assert shadow.close(60) == 0
    assert [event["id"] for event in serving.flush_events()] == ["running", "queued"]
    assert shadow.stats.outcomes["answered"] == 2
    """
    run_script(script)


@pytest.mark.parametrize("form", ["threads", "coroutines", "processes"])
def test_a_candidate_that_forks_answers_once(form: str) -> None:
    script = """
    from tests.support.shadow_candidates import fork_and_return, fork_and_return_async

    if __name__ == "__main__":
        serving = ScriptedPublisher(Contract(model="m"))
        candidate = fork_and_return_async if FORM == "coroutines" else fork_and_return
        executor = "processes" if FORM == "processes" else "threads"
        shadow = Shadow(serving.publisher, candidate, version="4", timeout_ms=60_000, workers=1, executor=executor)
        for i in range(3):
            shadow.submit(id=str(i), features={"i": i})
        shadow.close(60)
        print([(event["id"], event.get("score")) for event in serving.flush_events()])
    """
    assert run_script(script.replace("FORM", repr(form))) == "[('0', 0), ('1', 1), ('2', 2)]\n"


def test_requests_from_an_event_loop_do_not_block_it(make_shadow: MakeShadow, gate: Gate) -> None:
    scripted = make_shadow(gate, workers=1, max_pending=3)

    async def serve() -> None:
        scripted.submit(*"abcd")

    asyncio.run(serve())
    assert scripted.errors() == {"d": "shadow-skipped-queue"}
    gate.opened.set()
    scripted.shadow.close(60)
    assert scripted.errors() == {**dict.fromkeys("abc", None), "d": "shadow-skipped-queue"}


def test_a_process_that_exits_publishes_pending_requests_before_its_publisher_closes() -> None:
    script = """
    import atexit, time
    from barograph.publisher import lifetime

    serving = ScriptedPublisher(Contract(model="m"))
    # Exit handlers run in reverse order, so this one sees what is left after the publisher was closed.
    atexit.unregister(lifetime._close_all)
    atexit.register(lambda: print([(e["id"], e["score"]) for e in serving.flush_events()]))
    atexit.register(lifetime._close_all)
    shadow = Shadow(serving.publisher, lambda features: time.sleep(0.1) or 0.5, version="4", timeout_ms=60_000)
    shadow.submit(id="a", features={})
    """
    assert run_script(script) == "[('a', 0.5)]\n"


SCRIPT = "from barograph import Contract, Shadow\nfrom tests.support.scripted_kafka import ScriptedPublisher\n"


def run_script(script: str) -> str:
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT + textwrap.dedent(script)],
        cwd=Path(__file__).parents[4],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


class StructAnswer(msgspec.Struct):
    score: float
    class_: str
    note: str = "ignored"


@dataclass
class DataAnswer:
    score: float | None
    metrics: dict[str, float]


def test_numbers_mappings_and_structs_are_answers() -> None:
    for answer, members in (
        (0.5, {"score": 0.5}),
        (3, {"score": 3}),
        (math.inf, {"score": math.inf}),
        (Decimal("0.25"), {"score": 0.25}),
        (np.int64(7), {"score": 7}),
        (np.array([0.5]), {"score": 0.5}),
        ({"score": np.float64(0.5), "class_": np.bool_(True)}, {"score": 0.5, "class_": "true"}),
        ({"class_": "late", "score": None}, {"class_": "late"}),
        ({"scores": {1: np.float32(0.5), "b": None}}, {"scores": {"1": 0.5, "b": None}}),
        (StructAnswer(0.5, "late"), {"score": 0.5, "class_": "late"}),
        (DataAnswer(None, {"tokens": 3}), {"metrics": {"tokens": 3}}),
    ):
        read = read_answer(answer)
        assert read == members, answer
        assert {type(value) for value in read.values()} <= {int, float, str, dict}, answer
    assert math.isnan(read_answer(math.nan)["score"])
    assert math.isnan(read_answer(np.array([math.nan]))["score"])


def test_other_shapes_and_types_are_wrong_output() -> None:
    for answer in (
        *(None, True, "0.5", "", [0.5], np.array([0.1, 0.9]), object(), SimpleNamespace(score=None)),
        *({}, {"score": None}, {"score": 0.5, "other": 1}, {"score": "0.5"}, {"class_": ["late"]}),
        *({"scores": [0.1, 0.9]}, {"scores": {"late": "0.5"}}, {"metrics": {"tokens": True}}),
        {"metrics": {str(i): i for i in range(MAX_MEMBERS + 1)}},
    ):
        with pytest.raises(WrongOutput):
            read_answer(answer)
        assert call_candidate(lambda value: value, answer, lambda: 0).error == "shadow-wrong-output", answer


async def candidate(features: dict[str, Any]) -> Any:
    await asyncio.sleep(0)
    if "raise" in features:
        raise features["raise"]
    return features["answer"]


def test_coroutines_are_awaited_in_a_thread_of_their_own(make_shadow: MakeShadow) -> None:
    scripted = make_shadow(candidate)
    scripted.submit("a", features={"answer": 0.5})
    scripted.submit("wrong", features={"answer": [0.5]})
    scripted.submit("raises", features={"raise": ValueError("secret")})
    scripted.submit("exits", features={"raise": SystemExit(1)})
    scripted.submit("cancelled", features={"raise": asyncio.CancelledError()})
    scripted.submit("b", features={"answer": {"class_": "late"}})
    scripted.shadow.close(60)
    assert scripted.errors() == {
        **dict.fromkeys("ab", None),
        "wrong": "shadow-wrong-output",
        "raises": "ValueError",
        "exits": "SystemExit",
        "cancelled": "CancelledError",
    }
    assert scripted.events()["b"]["class"] == "late"
    wait_until(lambda: "barograph-shadow-loop" not in {thread.name for thread in threading.enumerate()})


def test_an_object_with_an_async_call_is_awaited_and_closed_on_its_loop(
    make_shadow: MakeShadow, caplog: pytest.LogCaptureFixture
) -> None:
    closed: list[bool] = []

    class Client:
        def __init__(self, *, can_close: bool) -> None:
            self.can_close = can_close

        async def __call__(self, features: dict[str, Any]) -> float:
            self.loop = asyncio.get_running_loop()
            return 0.5

        async def aclose(self) -> None:
            closed.append(asyncio.get_running_loop() is self.loop)
            if not self.can_close:
                raise OSError("still open")

    for id, can_close in (("a", True), ("b", False)):
        scripted = make_shadow(Client(can_close=can_close))
        scripted.submit(id)
        scripted.shadow.close(60)
        assert scripted.errors()[id] is None
    wait_until(lambda: len(closed) == 2 and "the candidate of a shadow could not be closed" in caplog.text)
    assert closed == [True, True]


def test_a_call_that_exceeds_its_time_is_cancelled(make_shadow: MakeShadow) -> None:
    started, cancelled = threading.Event(), threading.Event()

    async def hanging(features: dict[str, Any]) -> float:
        if "x" in features:
            return 0.5
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError("not reached")

    scripted = make_shadow(hanging, workers=1)
    scripted.submit("hangs", features={"hang": True})
    assert started.wait(60)
    scripted.advance(TIMEOUT_S)
    assert cancelled.wait(60)
    scripted.submit("next")
    scripted.shadow.close(60)
    assert scripted.errors() == {"hangs": "shadow-timeout", "next": None}
    assert (scripted.shadow.state, scripted.shadow.stats.late) == ("closed", 0)


def test_a_coroutine_that_blocks_its_loop_fills_the_queue_not_the_caller(make_shadow: MakeShadow, gate: Gate) -> None:
    calls: list[Any] = []

    async def blocking(features: Any) -> float:
        calls.append(features)
        return gate(features)

    scripted = make_shadow(blocking, workers=2, max_pending=3)
    scripted.submit("blocks")
    gate.wait_for_calls(1)
    scripted.submit("b", "c", "d")
    scripted.advance(TIMEOUT_S)
    scripted.submit("e")
    errors = scripted.errors()
    gate.opened.set()
    timeouts = dict.fromkeys(["blocks", "b", "c"], "shadow-timeout")
    assert errors == timeouts | dict.fromkeys("de", "shadow-skipped-queue")
    ids = map(str, itertools.count())

    def is_admitted() -> bool:
        id = next(ids)
        scripted.submit(id, features={"x": 1})
        return scripted.errors().get(id) != "shadow-skipped-queue"

    wait_until(is_admitted)
    scripted.shadow.close(60)
    assert calls == [{"x": 0.5}, {"x": 1}], "requests whose time ended in the queue are not computed"


def test_a_process_is_replaced_when_its_call_hangs_or_ends_it(make_shadow: MakeShadow, tmp_path: Path) -> None:
    scripted = make_shadow(answer_or_fail, executor="processes", workers=1, failure_calls=100)
    scripted.submit("first", features={})
    scripted.submit("wrong", features={"answer": "0.5"})
    scripted.submit("raises", features={"raise": "secret"})
    scripted.submit("unpicklable", features={"answer": threading.Lock})
    scripted.submit("unsendable", features={"answer": threading.Lock()})
    scripted.submit("same", features={})
    scripted.submit("hangs", features={"hang": str(tmp_path / "hangs")})
    wait_until((tmp_path / "hangs").exists)
    scripted.advance(TIMEOUT_S)
    assert scripted.errors()["hangs"] == "shadow-timeout"
    scripted.submit("exits", features={"exit": 3})
    scripted.submit("second", features={})
    assert scripted.shadow.close(60) == 0
    events = scripted.events()
    assert scripted.errors() == {
        **dict.fromkeys(["first", "same", "second"], None),
        "wrong": "shadow-wrong-output",
        "raises": "SystemExit",
        "unpicklable": "shadow-wrong-output",
        "unsendable": "TypeError",
        "hangs": "shadow-timeout",
        "exits": "CandidateExited",
    }
    processes = [events[id]["metrics"]["pid"] for id in ("first", "same", "second")]
    assert processes[0] == processes[1] != processes[2]
    assert events["first"]["latency_ms"] > 0
    assert scripted.shadow.stats.late == 0
    # A candidate in a thread would be hanging still, and the breaker would be open.
    assert scripted.shadow.state == "closed"


def test_a_process_that_ended_between_calls_costs_no_request(make_shadow: MakeShadow) -> None:
    scripted = make_shadow(answer_or_fail, executor="processes", workers=1)
    scripted.submit("first", features={})
    wait_until(scripted.events)
    os.kill(scripted.events()["first"]["metrics"]["pid"], signal.SIGKILL)
    wait_until(lambda: not multiprocessing.active_children())
    scripted.submit("second", features={})
    scripted.shadow.close(60)
    assert scripted.errors() == {"first": None, "second": None}


def test_a_process_that_leaks_memory_is_replaced(make_shadow: MakeShadow, caplog: pytest.LogCaptureFixture) -> None:
    scripted = make_shadow(leak, executor="processes", workers=1, max_rss_mb=400)
    ids = [str(i) for i in range(5)]
    scripted.submit(*ids, features={"mb": 200})
    scripted.shadow.close(60)
    events = scripted.events()
    assert scripted.errors() == dict.fromkeys(ids, None)
    assert [events[id]["metrics"]["leaked_mb"] for id in ids] == [200, 400, 200, 400, 200]
    assert caplog.messages == ["a process of a shadow uses more than max_rss_mb=400 and is replaced"] * 2


def test_close_ends_a_hanging_process(make_shadow: MakeShadow, tmp_path: Path) -> None:
    scripted = make_shadow(answer_or_fail, executor="processes", workers=1)
    scripted.submit("hangs", features={"hang": str(tmp_path / "hangs")})
    wait_until((tmp_path / "hangs").exists)
    assert scripted.shadow.close(0) == 1
    wait_until(lambda: not any(thread.name == "barograph-shadow-0" for thread in threading.enumerate()))
    assert scripted.errors() == {"hangs": "shadow-closed"}


def test_close_ends_a_process_that_does_not_exit(make_shadow: MakeShadow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("barograph.shadow.processes.EXIT_WAIT_S", 0.01)
    scripted = make_shadow(answer_or_fail, executor="processes", workers=1)
    scripted.submit("lingers", features={"linger": True})
    assert scripted.shadow.close(60) == 0
    wait_until(lambda: not multiprocessing.active_children())
    assert scripted.errors() == {"lingers": None}
