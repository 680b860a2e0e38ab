"""Reads the result in a judge's answer. Nothing is searched in prose: a judge may quote a result from the answer."""

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from barograph_server.streams.evaluator.judges.chat import Completion
from barograph_server.streams.evaluator.judges.errors import JudgeError, JudgeErrorCode
from barograph_server.streams.evaluator.judges.rubric import AnswerClass, Rubric

MAX_REASON_CHARS = 500
Preference = Literal["first", "second", "tie"]
_FENCE = re.compile(r"\s*```[\w-]*[ \t]*\n(.*)\n[ \t]*```\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class JudgeResult:
    """What one answer of a judge says."""

    answer_class: AnswerClass
    score: int | None
    reason: str
    """At most `MAX_REASON_CHARS` characters, on one line."""


def read_result(rubric: Rubric, completion: Completion) -> JudgeResult:
    """Read a class or a score.

    Raises:
        JudgeError: the answer is not one JSON object, or its value is outside the scale.
    """
    members = _read_object(completion)
    if rubric.scores:
        score = members.get("score")
        if type(score) is not int or not rubric.scores.low <= score <= rubric.scores.high:
            expected = f"a whole number from {rubric.scores.low} to {rubric.scores.high}"
            raise _outside("score", expected)
        return JudgeResult(rubric.scores.class_of(score), score, _reason(members))
    value = members.get("class")
    if value == "faulty":
        return JudgeResult("faulty", None, _reason(members))
    if value == "sound":
        return JudgeResult("sound", None, _reason(members))
    raise _outside("class", "faulty or sound")


def read_preference(completion: Completion) -> tuple[Preference, str]:
    """Read which answer is better, and the reason.

    Raises:
        JudgeError: as for `read_result`.
    """
    members = _read_object(completion)
    value: Preference
    for value in ("first", "second", "tie"):
        if members.get("better") == value:
            return value, _reason(members)
    raise _outside("better", "first, second or tie")


def _read_object(completion: Completion) -> dict[str, Any]:
    fence = _FENCE.fullmatch(completion.text)
    repeated = False

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        repeated = repeated or len(dict(pairs)) < len(pairs)
        return dict(pairs)

    try:
        value = json.loads(completion.text if fence is None else fence[1], object_pairs_hook=members)
    except (ValueError, RecursionError):
        advice = "Use a server with structured output, or a larger model"
        if completion.finish_reason == "length":
            advice = "It ends at the limit of tokens; raise max_tokens of the rubric"
        raise JudgeError(JudgeErrorCode.PROSE, f"The judge does not answer with JSON alone. {advice}.") from None
    if not isinstance(value, dict):
        raise JudgeError(JudgeErrorCode.NO_VERDICT, "The judge answers with JSON that is not an object.")
    if repeated:
        raise JudgeError(JudgeErrorCode.NO_VERDICT, "The judge repeats a member of its result.")
    return value


def _outside(member: str, expected: str) -> JudgeError:
    return JudgeError(JudgeErrorCode.NO_VERDICT, f"The member {member} of the judge's result is not {expected}.")


def _reason(members: dict[str, Any]) -> str:
    reason = members.get("reason")
    text = " ".join(reason.split()) if isinstance(reason, str) else ""
    return text[:MAX_REASON_CHARS].encode("utf-8", "replace").decode()
