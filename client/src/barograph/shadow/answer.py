"""What a candidate returns, and how one call of it ends."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from barograph.events import MAX_MEMBERS, METRICS, SCORES, ShadowReason
from barograph.values import class_text, plain, text_of

MEMBERS = ("score", "class_", SCORES, METRICS)
"""The members of a prediction that a candidate may return."""


class WrongOutput(ValueError):
    """A candidate returned something that is no answer."""


class CandidateResult(NamedTuple):
    """How one call of a candidate ended. It holds built-in types only, so that it can pass between processes."""

    members: dict[str, Any]
    """Members of the prediction; empty if the call failed."""
    error: str | None
    """The class name of the candidate's exception, or `shadow-wrong-output`; None if it answered."""
    latency_ms: float | None
    """The time of the call; None if the candidate was not called."""


def call_candidate(candidate: Callable[[Any], Any], features: Any, timer_ns: Callable[[], int]) -> CandidateResult:
    """Call a candidate and read its answer. Every exception becomes a result, SystemExit and KeyboardInterrupt too."""
    process_id, start_ns = os.getpid(), timer_ns()
    members: dict[str, Any] = {}
    error = None
    try:
        members = read_answer(candidate(features))
    except BaseException as problem:  # the candidate must not end its worker
        error = error_name(problem)
    _end_forked_child(process_id)
    return CandidateResult(members, error, (timer_ns() - start_ns) / 1e6)


async def await_candidate(
    candidate: Callable[[Any], Awaitable[Any]], features: Any, timer_ns: Callable[[], int]
) -> CandidateResult:
    """Await a candidate that is a coroutine function, as `call_candidate` calls others."""
    process_id, start_ns = os.getpid(), timer_ns()
    members: dict[str, Any] = {}
    error = None
    try:
        members = read_answer(await candidate(features))
    except BaseException as problem:  # a cancelled call ends here, too
        error = error_name(problem)
    _end_forked_child(process_id)
    return CandidateResult(members, error, (timer_ns() - start_ns) / 1e6)


def _end_forked_child(process_id: int) -> None:
    """End a child that the candidate forked and that returned: it would answer the requests of its parent again."""
    if os.getpid() != process_id:
        os._exit(1)


def failed_call(error: str) -> CandidateResult:
    """Return the result, with this `error`, of a request for which the candidate was not called, or did not return."""
    return CandidateResult({}, error, None)


def error_name(problem: BaseException) -> str:
    """Return the `error` of a failed call; never the exception's text, which may hold data."""
    return ShadowReason.WRONG_OUTPUT.value if isinstance(problem, WrongOutput) else type(problem).__name__


def read_answer(answer: Any) -> dict[str, Any]:
    """Convert what a candidate returned to members of a prediction, of built-in types.

    Args:
        answer: A number, which is the score, or `score`, `class_`, `scores` and `metrics` (at least one of them) as the
            keys of a mapping or the attributes of an object. A number may be a NumPy scalar or an array with one
            element, and may be NaN or infinite. Other attributes are ignored.

    Raises:
        WrongOutput: The answer is something else: None, a flag, text, an array of several values, a mapping with other
            keys.
    """
    if isinstance(answer, Mapping):
        if not answer.keys() <= set(MEMBERS):
            raise WrongOutput("the mapping has keys that are no members of an answer")
        parts = dict(answer)
    else:
        parts = {name: getattr(answer, name) for name in MEMBERS if hasattr(answer, name)}
        if not parts:
            return {"score": _number(answer)}
    members = {name: _READERS[name](value) for name, value in parts.items() if value is not None}
    if not members:
        raise WrongOutput("the answer is empty")
    return members


def _number(value: Any) -> float | int:
    if isinstance(value, Decimal):
        return float(value)
    number = None if isinstance(value, bool) else plain(value)
    if type(number) is not float and type(number) is not int:
        raise WrongOutput("a number is something else")
    return number


def _class(value: Any) -> str:
    simple = value if isinstance(value, bool) else plain(value)
    if not isinstance(simple, bool | int | float | str):
        raise WrongOutput("a class is neither text nor a flag nor a number")
    text = class_text(simple)
    assert text is not None
    return text


def _numbers(value: Any) -> dict[str, float | int | None]:
    if not isinstance(value, Mapping) or len(value) > MAX_MEMBERS:
        raise WrongOutput("scores or metrics are no mapping, or too many")
    return {text_of(name) or "": None if number is None else _number(number) for name, number in value.items()}


_READERS: dict[str, Callable[[Any], Any]] = {"score": _number, "class_": _class, SCORES: _numbers, METRICS: _numbers}
