"""A shadow in processes: a call that hangs or ends its process costs that call only."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.shadow_candidates import answer_or_fail, leak
from tests.unit.client.shadow.conftest import TIMEOUT_S, ScriptedShadow, wait_until

MakeShadow = Callable[..., ScriptedShadow]


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
    leaked = [events[id]["metrics"]["leaked_mb"] for id in ids]
    assert leaked == [200, 400, 200, 400, 200]
    assert [record.getMessage() for record in caplog.records] == [
        "a process of a shadow uses more than max_rss_mb=400 and is replaced"
    ] * 2


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
