"""Retries and the circuit breaker against real servers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from barograph.prompts.content import PromptMessage

from barograph_server.streams.evaluator.judges.chat import ChatRequest
from barograph_server.streams.evaluator.judges.errors import JudgeError, JudgeErrorCode
from barograph_server.streams.evaluator.judges.retries import CallRetries, EndpointBreaker, RetryingEndpoint
from barograph_server.streams.runtime.backoff import RetryInterrupted
from tests.support.judge_server import Answer, JudgeServer, chat
from tests.support.scripted_http import in_sequence, reply

Serve = Callable[[Answer], JudgeServer]
REQUEST = ChatRequest((PromptMessage("user", "Judge."),))


class TestClock:
    __test__ = False

    def __init__(self) -> None:
        self.now_s = 0.0
        self.pauses_s: list[float] = []

    def sleep(self, seconds: float) -> bool:
        self.pauses_s.append(seconds)
        self.now_s += seconds
        return False


def statuses(*codes: int, **headers: str) -> Answer:
    answer = in_sequence(*(reply(chat("Yes.") if status == 200 else b"", status, **headers) for status in codes))
    return lambda handler, body, n: answer(handler)


def caller(
    server: JudgeServer, clock: TestClock, retries: CallRetries | None = None, breaker: EndpointBreaker | None = None
) -> RetryingEndpoint:
    return RetryingEndpoint(
        server.endpoint(), retries or CallRetries(), breaker, sleep=clock.sleep, clock=lambda: clock.now_s
    )


def failure(endpoint: RetryingEndpoint) -> JudgeError:
    with pytest.raises(JudgeError) as error:
        endpoint.complete(REQUEST)
    return error.value


def test_transient_failures_are_retried_with_growing_pauses(serve: Serve) -> None:
    clock = TestClock()
    completion = caller(serve(statuses(500, 502, 429, 200)), clock).complete(REQUEST)
    assert (completion.text, completion.attempts) == ("Yes.", 4)
    first, second, third = clock.pauses_s
    assert 0.25 <= first <= 0.5 <= second <= 1.0 <= third <= 2.0


def test_attempts_are_limited_and_pauses_those_of_the_server(serve: Serve) -> None:
    server = serve(statuses(500))
    error = failure(caller(server, TestClock()))
    assert (error.code, error.attempts, len(server.bodies)) == (JudgeErrorCode.ERROR, 4, 4)
    server = serve(statuses(400, 200))
    error = failure(caller(server, TestClock()))
    assert (error.code, error.attempts, len(server.bodies)) == (JudgeErrorCode.REFUSED, 1, 1)
    clock = TestClock()
    assert caller(serve(statuses(429, 200, Retry_After="30")), clock).complete(REQUEST).attempts == 2
    assert clock.pauses_s == [30.0]
    clock = TestClock()
    error = failure(caller(serve(statuses(503, 200, Retry_After="130")), clock))
    assert (error.code, error.attempts, clock.pauses_s) == (JudgeErrorCode.OVERLOADED, 1, [])
    stopping = RetryingEndpoint(serve(statuses(500)).endpoint(), sleep=lambda seconds: True)
    with pytest.raises(RetryInterrupted):
        stopping.complete(REQUEST)


def test_the_limit_of_the_call_bounds_all_pauses(serve: Serve) -> None:
    for limit_s, least_s, most_s in ((None, 8.0, 10.0), (4.0, 2.0, 4.0), (1_000.0, 8.0, 10.0)):
        clock = TestClock()
        endpoint = caller(serve(statuses(500)), clock, CallRetries(max_attempts=100, limit_s=10.0, max_pause_s=2.0))
        with pytest.raises(JudgeError) as error:
            endpoint.complete(REQUEST, limit_s)
        assert least_s < clock.now_s < most_s
        assert (error.value.code, error.value.attempts) == (JudgeErrorCode.ERROR, len(clock.pauses_s) + 1)


def test_an_open_breaker_sends_nothing(serve: Serve) -> None:
    clock = TestClock()
    server = serve(statuses(500, 500, 500, 500, 200))
    breaker = EndpointBreaker(0.5, 4, 30.0, clock=lambda: clock.now_s)
    endpoint = caller(server, clock, CallRetries(max_attempts=2), breaker)
    assert [failure(endpoint).code for _ in range(3)] == [
        JudgeErrorCode.ERROR, JudgeErrorCode.ERROR, JudgeErrorCode.BREAKER,
    ]  # fmt: skip
    assert (breaker.state, len(server.bodies)) == ("open", 4)
    assert failure(endpoint).attempts == 0
    clock.now_s += 30.0
    states = [breaker.state]
    assert endpoint.complete(REQUEST).text == "Yes."
    assert [*states, breaker.state] == ["half-open", "closed"]


@pytest.mark.parametrize(("status", "state"), [(400, "closed"), (422, "closed"), (401, "open"), (404, "open")])
def test_refusals_of_one_request_do_not_open_the_breaker(serve: Serve, status: int, state: str) -> None:
    breaker = EndpointBreaker(0.5, 2, 30.0)
    endpoint = caller(serve(statuses(status)), TestClock(), breaker=breaker)
    failure(endpoint)
    failure(endpoint)
    assert breaker.state == state


def test_an_operation_that_breaks_ends_its_trial() -> None:
    clock = TestClock()
    breaker = EndpointBreaker(1.0, 1, 30.0, clock=lambda: clock.now_s)
    with pytest.raises(ZeroDivisionError):
        breaker.call(lambda: 1 // 0)
    clock.now_s = 30.0
    with pytest.raises(ZeroDivisionError):
        breaker.call(lambda: 1 // 0)
    assert breaker.state == "open"
    clock.now_s = 60.0
    assert breaker.call(lambda: 7) == 7
