"""Verdicts from real servers: prose, wrong scales, votes, ties."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from barograph_server.streams.evaluator.judges.errors import JudgeErrorCode, JudgeSettingsError
from barograph_server.streams.evaluator.judges.judge import Judge, JudgeVerdict, JudgeVote, combine_votes
from barograph_server.streams.evaluator.judges.messages import MAX_JUDGED_CHARS, rubric_hash
from barograph_server.streams.evaluator.judges.pairs import compare_pair
from barograph_server.streams.evaluator.judges.results import JudgeResult
from barograph_server.streams.evaluator.judges.retries import RetryingEndpoint
from barograph_server.streams.evaluator.judges.rubric import JudgedTexts, Rubric, ScoreRange
from tests.support.judge_server import Answer, JudgeServer, always, chat, in_turn, send

Serve = Callable[[Answer], JudgeServer]
TEXTS = JudgedTexts("How long?", "9 years.", "3 years.")
FAULTY, SOUND = '{"reason": "It says 9.", "class": "faulty"}', '{"reason": "Fine.", "class": "sound"}'


def evaluate(rubric: Rubric, *servers: JudgeServer, votes: int = 1, texts: JudgedTexts = TEXTS) -> JudgeVerdict:
    endpoints = [RetryingEndpoint(server.endpoint(), sleep=lambda seconds: False) for server in servers]
    return Judge(rubric, endpoints, votes).evaluate(texts)


def test_verdicts_and_failures(serve: Serve, rubric: Rubric) -> None:
    server = serve(always(FAULTY))
    verdict = evaluate(rubric, server)
    assert (verdict.answer_class, verdict.score, verdict.reason, verdict.error) == ("faulty", None, "It says 9.", None)
    assert (verdict.input_tokens, verdict.output_tokens, verdict.attempts) == (11, 7, 1)
    assert verdict.latency_ms >= verdict.votes[0].latency_ms > 0.0
    assert server.bodies[0]["response_format"]["json_schema"]["schema"]["properties"]["class"]["enum"] == [
        "faulty", "sound",
    ]  # fmt: skip
    scored = replace(rubric, scores=ScoreRange(1, 5, 2))
    assert evaluate(scored, serve(always('{"score": 2}'))).answer_class == "faulty"
    verdict = evaluate(scored, serve(always('{"score": 3}')))
    assert (verdict.answer_class, verdict.score) == ("sound", 3.0)
    assert evaluate(rubric, serve(always(f"```json\n{SOUND}\n```\n"))).answer_class == "sound"
    cut = serve(lambda handler, body, n: send(handler, chat('{"reason": "Th', finish_reason="length")))
    assert "max_tokens" in evaluate(rubric, cut).message
    verdict = evaluate(rubric, serve(lambda handler, body, n: send(handler, b"", 500)))
    assert (verdict.error, verdict.attempts, verdict.input_tokens) == (JudgeErrorCode.ERROR, 4, None)


PROSE = (
    *("", "Yes", "The answer is faulty.", 'My verdict: {"class": "faulty"}', '{"class": "faulty"} because it says 9'),
    *('{"class": "sound"}\n{"class": "faulty"}', '{"class": "faulty"', '{"class": ' + "[" * 100_000),
)
OUTSIDE = (
    *("null", "[]", "5", '"faulty"', "{}", '{"class": "bad"}', '{"class": "Faulty"}', '{"class": null}'),
    *('{"class": ["faulty"]}', '{"score": 2}', '{"class": "sound", "class": "faulty"}', '{"Class": "faulty"}'),
)
OUTSIDE_SCORES = ("0", "6", "2.5", "3.0", '"3"', "true", "null", "NaN", "1e400", "[3]")


def test_prose_and_results_outside_the_scale(serve: Serve, rubric: Rubric) -> None:
    server = serve(in_turn(*PROSE, *OUTSIDE))
    for text in PROSE:
        verdict = evaluate(rubric, server)
        assert (verdict.answer_class, verdict.error) == (None, JudgeErrorCode.PROSE), text
        assert (verdict.input_tokens, verdict.attempts) == (11, 1), "the tokens were spent"
    for text in OUTSIDE:
        assert evaluate(rubric, server).error is JudgeErrorCode.NO_VERDICT, text
    server = serve(in_turn(*(f'{{"score": {score}}}' for score in OUTSIDE_SCORES)))
    for score in OUTSIDE_SCORES:
        scored = replace(rubric, scores=ScoreRange(1, 5, 2))
        assert evaluate(scored, server).error is JudgeErrorCode.NO_VERDICT, score


def test_reasons_are_short_and_a_missing_input_sends_nothing(serve: Serve, rubric: Rubric) -> None:
    text = json.dumps({"reason": "a\n\n b\ud800" + "c" * 1000, "class": "sound"})
    reason = evaluate(rubric, serve(always(text))).reason
    assert reason[:5] == "a b?c"
    assert len(reason) == 500
    assert evaluate(rubric, serve(always('{"reason": 5, "class": "sound"}'))).reason == ""
    # A missing input sends nothing.
    server = serve(always(SOUND))
    verdict = evaluate(rubric, server, texts=JudgedTexts("How long?", "9 years.", " "))
    assert (verdict.error, verdict.attempts, server.bodies) == (JudgeErrorCode.MISSING_INPUT, 0, [])
    assert "context" in verdict.message
    verdict = evaluate(rubric, server, texts=replace(TEXTS, context="x" * MAX_JUDGED_CHARS))
    assert (verdict.error, verdict.attempts, server.bodies) == (JudgeErrorCode.TOO_LONG, 0, [])


def test_several_judges_and_one_that_changes_its_mind(serve: Serve, rubric: Rubric) -> None:
    yes, no, prose = serve(always(SOUND)), serve(always(FAULTY)), serve(always("Hm."))
    assert evaluate(rubric, yes, yes, no).answer_class == "sound"
    assert evaluate(rubric, no, prose, no).answer_class == "faulty"
    assert evaluate(rubric, yes, no).error is JudgeErrorCode.DISAGREEMENT
    assert evaluate(rubric, yes, no, prose).error is JudgeErrorCode.DISAGREEMENT
    assert evaluate(rubric, yes, prose, prose).error is JudgeErrorCode.PROSE
    assert evaluate(rubric, yes, prose).error is JudgeErrorCode.PROSE
    server = serve(in_turn(FAULTY, SOUND))
    verdict = evaluate(rubric, server, votes=3)
    assert verdict.answer_class == "faulty"
    assert [vote.result.answer_class for vote in verdict.votes if vote.result] == ["faulty", "sound", "faulty"]
    assert [body["seed"] for body in server.bodies] == [1, 2, 3]
    assert (verdict.input_tokens, verdict.output_tokens, verdict.attempts) == (33, 21, 3)
    tie = evaluate(rubric, serve(in_turn(FAULTY, SOUND)), votes=2)
    assert (tie.answer_class, tie.error, len(tie.votes)) == (None, JudgeErrorCode.DISAGREEMENT, 2)


def vote(score: int | None) -> JudgeVote:
    result = None if score is None else JudgeResult("faulty" if score <= 2 else "sound", score, str(score))
    return JudgeVote("m", result, None, None, 1.0, 1, None if result else JudgeErrorCode.TIMEOUT)


@pytest.mark.parametrize(
    ("scores", "answer_class", "score"),
    [
        ([1, 2, 5], "faulty", 2.0),
        ([2, 3, 4], "sound", 3.0),
        ([1, 2, 2, 5], "faulty", 2.0),
        ([3, 5, 5, 1], "sound", 4.0),
        ([1, 1, None], "faulty", 1.0),
        ([1, 5, None], None, None),
        ([1, None], None, None),
    ],
)
def test_the_median_score_has_the_class_of_the_majority(
    scores: Sequence[int | None], answer_class: str | None, score: float | None
) -> None:
    verdict = combine_votes(tuple(map(vote, scores)), 1.0)
    assert (verdict.answer_class, verdict.score) == (answer_class, score)
    assert (verdict.error is None) == (answer_class is not None)


def test_settings(serve: Serve, rubric: Rubric) -> None:
    endpoint = RetryingEndpoint(serve(always(SOUND)).endpoint())
    endpoint.close()
    assert Judge(rubric, [endpoint], 3).version == rubric_hash(rubric, "judge-1", votes=3)
    with pytest.raises(JudgeSettingsError, match="0 votes"):
        Judge(rubric, [])
    with pytest.raises(JudgeSettingsError, match="26 votes"):
        Judge(rubric, [endpoint] * 13, 2)


def better(value: str) -> str:
    return json.dumps({"reason": "So.", "better": value})


@pytest.mark.parametrize(
    ("as_given", "swapped", "expected", "is_consistent"),
    [
        ("first", "second", "first", True),
        ("second", "first", "second", True),
        ("tie", "tie", "tie", True),
        ("first", "first", "tie", False),
        ("tie", "first", "tie", False),
    ],
)
def test_only_preferences_in_both_orders_count(
    serve: Serve, rubric: Rubric, as_given: str, swapped: str, expected: str, is_consistent: bool
) -> None:
    server = serve(in_turn(better(as_given), better(swapped)))
    verdict = compare_pair(rubric, server.endpoint(), TEXTS, "3 years.")
    assert (verdict.better, verdict.is_consistent, verdict.error) == (expected, is_consistent, None)
    assert verdict.as_given.better == as_given
    one, other = (body["messages"][-1]["content"] for body in server.bodies)
    assert one.index("9 years.") < one.rindex("3 years.")
    assert other.index("BEGIN first answer") < other.index("3 years.", other.index("BEGIN first")) < other.index("9 y")


def test_a_comparison_with_one_order_has_no_preference(serve: Serve, rubric: Rubric) -> None:
    verdict = compare_pair(rubric, serve(in_turn(better("first"), "Hm.")).endpoint(), TEXTS, "3 years.")
    assert (verdict.better, verdict.is_consistent, verdict.error) == (None, False, JudgeErrorCode.PROSE)
    assert (verdict.as_given.better, verdict.swapped.input_tokens) == ("first", 11)
    verdict = compare_pair(rubric, serve(always(better("both"))).endpoint(), TEXTS, "x")
    assert verdict.error is JudgeErrorCode.NO_VERDICT
    down = serve(lambda handler, body, n: send(handler, b"", 500))
    verdict = compare_pair(rubric, down.endpoint(), TEXTS, "x")
    assert (verdict.error, verdict.as_given.input_tokens) == (JudgeErrorCode.ERROR, None)
