import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from barograph.shadow.answer import CandidateResult, failed_call
from barograph.shadow.breaker import CircuitBreaker
from barograph.shadow.request import SETTLED, ShadowRequest
from barograph.shadow.request_tracker import RequestBudget, RequestTracker
from hypothesis import given
from hypothesis import strategies as st

TIMEOUT_S = 2.0
ANSWER = CandidateResult({"score": 0.5}, None, 1.0)
WRONG = CandidateResult({}, "shadow-wrong-output", 1.0)
RAISED = CandidateResult({}, "ValueError", 1.0)


class DeskModel:
    """A tracker with a manual clock, and workers that begin and finish requests when the test says so."""

    def __init__(self, *, n_workers: int = 1, max_pending: int = 10, ends_calls: bool = False, **options: Any) -> None:
        self.now_s = 0.0
        self.requests: list[ShadowRequest] = []
        self.queued: list[ShadowRequest] = []
        self.running: list[ShadowRequest] = []
        self.published: list[tuple[ShadowRequest, CandidateResult]] = []
        self.n_workers, self.max_pending = n_workers, max_pending
        failure_calls, per_minute = options.get("failure_calls", 2), options.get("per_minute")
        self.on_publish: Callable[[], None] = lambda: None
        self.tracker = RequestTracker(
            self.publish,
            CircuitBreaker(1.0, failure_calls, pause_s=3.0),
            None if per_minute is None else RequestBudget(per_minute, 0.0),
            timeout_s=TIMEOUT_S,
            max_pending=max_pending,
            n_workers=n_workers,
            ends_calls=ends_calls,
            clock=lambda: self.now_s,
            name="4 of 3",
        )

    def publish(self, request: ShadowRequest, result: CandidateResult) -> None:
        self.on_publish()
        self.published.append((request, result))

    def new_request(self) -> ShadowRequest:
        self.requests.append(ShadowRequest("the same id", None, 0))
        return self.requests[-1]

    def submit(self) -> None:
        request = self.new_request()
        if self.tracker.admit(request, "features"):
            self.queued.append(request)

    def refuse(self) -> None:
        self.tracker.refuse(self.new_request(), "shadow-skipped-sample")

    def begin(self) -> None:
        if self.queued and len(self.running) < self.n_workers:
            request = self.queued.pop(0)
            features = self.tracker.begin(request)
            if features is not SETTLED:
                assert features == "features"
                self.running.append(request)

    def finish(self, result: CandidateResult, index: int = 0) -> None:
        if self.running:
            self.tracker.finish(self.running.pop(index % len(self.running)), result)

    def fail_to_queue(self) -> None:
        if self.queued:
            self.tracker.finish(self.queued.pop(), failed_call("RuntimeError"))

    def expire(self) -> None:
        for request in self.tracker.expire():
            assert request in self.running

    def close(self) -> None:
        self.tracker.close(0)

    def check(self) -> None:
        stats = self.tracker.stats
        assert stats.submitted == len(self.requests)
        assert stats.submitted == stats.pending + sum(stats.outcomes.values())
        assert len(self.published) == sum(stats.outcomes.values())
        assert len({id(request) for request, _ in self.published}) == len(self.published), "two outcomes of a request"
        assert len(self.queued) + len(self.running) <= self.max_pending

    def outcomes(self) -> list[str | None]:
        """The published errors in the order of submission; each request has one."""
        errors = {id(request): result.error for request, result in self.published}
        return [errors[id(request)] for request in self.requests]


STEPS = st.one_of(
    *(st.just((name,)) for name in ("submit", "submit", "begin", "begin", "refuse", "expire", "fail_to_queue")),
    st.tuples(st.just("finish"), st.sampled_from([ANSWER, ANSWER, WRONG, RAISED]), st.integers(0, 2)),
    st.tuples(st.just("advance"), st.sampled_from([0.5, TIMEOUT_S, 3.0])),
)
OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    **{"n_workers": st.integers(1, 3), "max_pending": st.integers(1, 5), "ends_calls": st.booleans()},
    **{"failure_calls": st.integers(1, 3), "per_minute": st.sampled_from([None, 60.0])},
}


@given(st.lists(STEPS, max_size=60), st.lists(STEPS, max_size=20), st.fixed_dictionaries(OPTIONS))
def test_every_interleaving_gives_each_request_exactly_one_outcome(
    steps: list[tuple[Any, ...]], after_close: list[tuple[Any, ...]], options: dict[str, Any]
) -> None:
    model = DeskModel(**options)
    for name, *arguments in [*steps, ("close",), *after_close]:
        if name == "advance":
            model.now_s += arguments[0]
        else:
            getattr(model, name)(*arguments)
        model.check()
    stats = model.tracker.stats
    assert stats.pending == 0
    outcomes = Counter("answered" if error is None else error for error in model.outcomes())
    outcomes["error"] = outcomes.pop("ValueError", 0) + outcomes.pop("RuntimeError", 0)
    assert outcomes == Counter(stats.outcomes)


def test_time_in_the_queue_counts_and_does_not_open_the_breaker() -> None:
    model = DeskModel(failure_calls=1, max_pending=1)
    model.submit()
    model.now_s += TIMEOUT_S
    model.expire()
    assert (model.outcomes(), model.tracker.state) == (["shadow-timeout"], "closed")
    model.submit()
    assert model.outcomes()[1] == "shadow-skipped-queue", "the first request is still in the queue"
    model.begin()
    assert not model.running, "a request that timed out is not called"
    for _ in range(2):
        model.submit()
        model.begin()
        model.finish(ANSWER)
    assert model.outcomes()[2:] == [None, None]


@pytest.mark.parametrize("is_begun", [True, False])
def test_a_trial_that_times_out_ends_the_trial_even_if_it_only_waited(is_begun: bool) -> None:
    model = DeskModel(n_workers=2, failure_calls=1)
    model.submit()
    model.begin()
    model.finish(RAISED)
    model.now_s += 3.0
    model.expire()
    states = [model.tracker.state]
    model.submit()
    if is_begun:
        model.begin()
    model.now_s += TIMEOUT_S
    model.expire()
    assert [*states, model.tracker.state] == ["half-open", "open"]
    assert model.outcomes() == ["ValueError", "shadow-timeout"]


@pytest.mark.parametrize(("ends_calls", "state"), [(False, "open"), (True, "closed")])
def test_calls_that_workers_can_end_do_not_hang(ends_calls: bool, state: str) -> None:
    model = DeskModel(n_workers=2, ends_calls=ends_calls, failure_calls=10)
    for _ in range(2):
        model.submit()
        model.begin()
    model.now_s += TIMEOUT_S
    assert model.tracker.expire() == (model.requests if ends_calls else [])
    assert model.tracker.state == state
    for result in (ANSWER, RAISED):
        model.finish(result)
    assert model.tracker.stats.late == (0 if ends_calls else 2)


def test_close_waits_until_settled_requests_are_published() -> None:
    model = DeskModel()
    order: list[str] = []

    def close() -> None:
        model.tracker.close(60)
        order.append("closed")

    closer = threading.Thread(target=close)

    def publish() -> None:
        closer.start()
        closer.join(0.05)
        order.append("published")

    model.on_publish = publish
    model.submit()
    model.begin()
    model.finish(ANSWER)
    closer.join(60)
    assert order == ["published", "closed"]


def record(breaker: CircuitBreaker, outcomes: str, now_s: float = 0.0) -> None:
    for outcome in outcomes:
        breaker.record(failed=outcome == "x", is_trial=False, now_s=now_s)


def test_it_opens_at_a_share_of_failures_among_the_latest_calls() -> None:
    states = {"xxx": "closed", "xx..": "open", "x...": "closed", "x...x..": "closed", "x...xx": "open"}
    for outcomes, state in states.items():
        breaker = CircuitBreaker(0.5, 4, 30.0)
        record(breaker, outcomes)
        assert (breaker.state, breaker.allows) == (state, state == "closed"), outcomes


def test_after_the_pause_one_trial_decides() -> None:
    breaker = CircuitBreaker(0.5, 2, 30.0)
    record(breaker, "xx", now_s=100.0)
    breaker.end_pause(129.9)
    assert (breaker.state, breaker.allows) == ("open", False)
    breaker.end_pause(130.0)
    assert (breaker.state, breaker.allows) == ("half-open", True)
    assert breaker.admit()
    assert not breaker.allows
    record(breaker, "..xx")
    assert not breaker.allows, "calls from before the pause decide nothing"
    breaker.record(failed=False, is_trial=True, now_s=131.0)
    assert (breaker.state, breaker.allows, breaker.admit()) == ("closed", True, False)
    record(breaker, "x")
    assert breaker.state == "closed", "failures from before the pause count no more"


def test_the_budget_refills_evenly_and_holds_one_second() -> None:
    budget = RequestBudget(120, 0.0)
    assert [budget.take(0.0) for _ in range(3)] == [True, True, False]
    assert [budget.take(0.5), budget.take(0.5)] == [True, False]
    assert [budget.take(1_000.0) for _ in range(3)] == [True, True, False]
    for per_minute in (6, 90, 600):
        budget = RequestBudget(per_minute, 0.0)
        n = sum(budget.take(i / 64) for i in range(60 * 64))
        assert per_minute <= n <= per_minute + max(1, per_minute // 60), "no minute exceeds it by more than the bucket"
