"""A shadow whose candidate is a coroutine function, on an event loop of its own."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.client.shadow.conftest import TIMEOUT_S, ScriptedShadow, wait_until

MakeShadow = Callable[..., ScriptedShadow]


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


def test_a_coroutine_that_blocks_its_loop_fills_the_queue_and_never_blocks_the_caller(make_shadow: MakeShadow) -> None:
    started, opened = threading.Event(), threading.Event()
    calls: list[Any] = []

    async def blocking(features: Any) -> float:
        calls.append(features)
        started.set()
        opened.wait(60)
        return 0.5

    scripted = make_shadow(blocking, workers=2, max_pending=3)
    scripted.submit("blocks")
    assert started.wait(60)
    scripted.submit("b", "c", "d")
    scripted.advance(TIMEOUT_S)
    scripted.submit("e")
    errors = scripted.errors()
    opened.set()
    assert errors == {
        **dict.fromkeys(["blocks", "b", "c"], "shadow-timeout"),
        **dict.fromkeys("de", "shadow-skipped-queue"),
    }
    ids = map(str, itertools.count())

    def is_admitted() -> bool:
        id = next(ids)
        scripted.submit(id, features={"x": 1})
        return scripted.errors().get(id) != "shadow-skipped-queue"

    wait_until(is_admitted)
    scripted.shadow.close(60)
    assert calls == [{"x": 0.5}, {"x": 1}], "requests whose time ended in the queue are not computed"
