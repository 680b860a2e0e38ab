import json
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from barograph.contract.evaluators import COMPARISONS as COMPARISON_NAMES
from barograph.contract.problems import ContractError
from barograph.prompts.content import PromptMessage
from hypothesis import given, settings
from hypothesis import strategies as st

from barograph_server.streams.evaluator.checks.errors import AnswerCheckError
from barograph_server.streams.evaluator.judges import consistency, messages
from barograph_server.streams.evaluator.judges.chat import ChatParameters, ChatRequest
from barograph_server.streams.evaluator.judges.context import MAX_CONTEXT_CHARS, OMISSION, DocumentContext
from barograph_server.streams.evaluator.judges.endpoint import ChatEndpoint, ChatEndpointSettings
from barograph_server.streams.evaluator.judges.errors import JudgeError, JudgeErrorCode, JudgeSettingsError
from barograph_server.streams.evaluator.judges.judge import Judge, JudgeResult, JudgeVerdict, JudgeVote, combine_votes
from barograph_server.streams.evaluator.judges.messages import judge_request, neutralize, rubric_hash
from barograph_server.streams.evaluator.judges.pairs import compare_pair
from barograph_server.streams.evaluator.judges.retries import CallRetries, EndpointBreaker, RetryingEndpoint
from barograph_server.streams.evaluator.judges.rubric import JudgedTexts, Rubric, ScoreRange, parse_rubric, read_rubric
from barograph_server.streams.runtime.backoff import RetryInterrupted
from tests.reference.judge_attacks import read_attacks
from tests.support.judge_server import Answer, JudgeServer, always, chat, in_turn, send
from tests.support.scripted_http import Exchange, cut, hang, in_sequence, reply

TEXT = """
rubric: 1
name: faithful
question: Does the answer state only what the context supports?
scale:
  faulty: It states something else.
  sound: It does.
inputs: [answer, context, prompt]
"""


Serve = Callable[[Answer], JudgeServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as servers:
        yield lambda answer: servers.enter_context(JudgeServer(answer))


@pytest.fixture
def rubric() -> Rubric:
    return parse_rubric(TEXT, "faithful.yaml")


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
    schema = server.bodies[0]["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["class"]["enum"] == ["faulty", "sound"]
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
    verdict = evaluate(rubric, server, texts=replace(TEXTS, context="x" * messages.MAX_JUDGED_CHARS))
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


def test_the_median_score_has_the_class_of_the_majority() -> None:
    for scores, answer_class, score in (
        ([1, 2, 5], "faulty", 2.0),
        ([1, 2, 2, 5], "faulty", 2.0),
        ([3, 5, 5, 1], "sound", 4.0),
        ([1, 1, None], "faulty", 1.0),
        ([1, 5, None], None, None),
    ):
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


def test_only_preferences_in_both_orders_count(serve: Serve, rubric: Rubric) -> None:
    for as_given, swapped, expected, is_consistent in (
        ("first", "second", "first", True),
        ("second", "first", "second", True),
        ("tie", "tie", "tie", True),
        ("first", "first", "tie", False),
    ):
        server = serve(in_turn(better(as_given), better(swapped)))
        verdict = compare_pair(rubric, server.endpoint(), TEXTS, "3 years.")
        assert (verdict.better, verdict.error) == (expected, None)
        assert (verdict.as_given.better == verdict.swapped.better) is is_consistent
        assert verdict.as_given.better == as_given
        one, other = (body["messages"][-1]["content"] for body in server.bodies)
        assert one.index("9 years.") < one.rindex("3 years.")
        first = other.index("BEGIN first answer")
        assert first < other.index("3 years.", first) < other.index("9 y")


def test_a_comparison_with_one_order_has_no_preference(serve: Serve, rubric: Rubric) -> None:
    verdict = compare_pair(rubric, serve(in_turn(better("first"), "Hm.")).endpoint(), TEXTS, "3 years.")
    assert (verdict.better, verdict.error) == (None, JudgeErrorCode.PROSE)
    assert (verdict.as_given.better, verdict.swapped.input_tokens) == ("first", 11)
    verdict = compare_pair(rubric, serve(always(better("both"))).endpoint(), TEXTS, "x")
    assert verdict.error is JudgeErrorCode.NO_VERDICT
    down = serve(lambda handler, body, n: send(handler, b"", 500))
    verdict = compare_pair(rubric, down.endpoint(), TEXTS, "x")
    assert (verdict.error, verdict.as_given.input_tokens) == (JudgeErrorCode.ERROR, None)


SCORED = """\
rubric: 1
name: helpful
question: Is it helpful?
scale: {faulty: It is not., sound: It is.}
scores: 1-5
faulty_at_most: 2
reason: last
examples:
  - {prompt: Hi?, answer: Hello., score: 5, reason: It greets.}
model: {temperature: 0.5, max_tokens: 99, seed: 7}
"""


def test_a_rubric_with_scores_and_one_with_defaults(rubric: Rubric) -> None:
    scored = parse_rubric(SCORED, "r.yaml")
    assert scored.scores == ScoreRange(1, 5, 2)
    assert [scored.scores.class_of(score) for score in range(1, 6)] == ["faulty", "faulty", "sound", "sound", "sound"]
    assert scored.parameters == ChatParameters(0.5, 99, 7)
    assert scored.examples[0].texts == JudgedTexts("Hi?", "Hello.")
    schema = messages.verdict_schema(scored)
    assert schema["properties"] == {"score": {"type": "integer", "enum": [1, 2, 3, 4, 5]}, "reason": {"type": "string"}}
    assert list(schema["properties"]) == schema["required"] == ["score", "reason"]
    assert rubric.inputs == ("prompt", "context", "answer"), "the order of the message, not of the file"
    assert (rubric.scores, rubric.examples, rubric.reason) == (None, (), "first")
    assert rubric.parameters == ChatParameters(0.0, 300, 1)


def test_messages_are_these(rubric: Rubric) -> None:
    system, user = messages.rubric_messages(rubric, JudgedTexts("Q", "A", "C"), "0f0f0f0f")
    assert system.role == "system"
    assert "Does the answer state only what the context supports?" in system.content
    assert "faulty: It states something else.\nsound: It does." in system.content
    assert system.content.endswith('{"reason": "one short sentence", "class": "faulty" or "sound"}')
    assert (user.role, user.content) == (
        "user",
        "The token of this message is 0f0f0f0f.\n\n"
        "BEGIN prompt 0f0f0f0f\nQ\nEND prompt 0f0f0f0f\n\n"
        "BEGIN context 0f0f0f0f\nC\nEND context 0f0f0f0f\n\n"
        "BEGIN answer 0f0f0f0f\nA\nEND answer 0f0f0f0f\n\n"
        "The data ended above. Evaluate the answer by the rules of the first message. Reply only with the JSON object.",
    )


def test_all_messages_but_the_last_are_the_same_for_each_answer() -> None:
    rubric = parse_rubric(SCORED, "r.yaml")
    one = messages.rubric_messages(rubric, JudgedTexts("Q", "A"), "11111111")
    other = messages.rubric_messages(rubric, JudgedTexts("R", "B"), "22222222")
    assert one[:-1] == other[:-1]
    assert one[-1] != other[-1]
    assert [message.role for message in one] == ["system", "user", "assistant", "user"]
    assert one[2].content == '{"score": 5, "reason": "It greets."}'


def test_problems_have_their_line() -> None:
    for line, replacement, problem in (
        ("scale: {faulty: It is not., sound: It is.}\n", "", "r.yaml:1: scale: is missing"),
        ("sound: It is.", "sound: ' '", "r.yaml:4: scale.sound: the text is empty"),
        ("rubric: 1", "rubric: 2", "r.yaml:1: rubric: '2' is out of range"),
        ("scores: 1-5", "scores: 5-1", "r.yaml:5: scores: '5-1' is not a range of scores"),
        ("scores: 1-5\n", "", "r.yaml:5: faulty_at_most: needs scores"),
        ("faulty_at_most: 2", "faulty_at_most: 5", "r.yaml:6: faulty_at_most: is not a score that leaves one"),
        ("faulty_at_most: 2\n", "", "r.yaml:1: faulty_at_most: is missing; write the highest score"),
        ("score: 5, ", "", "r.yaml:9: examples[0].score: is missing; write the right result"),
        ("prompt: Hi?, ", "", "r.yaml:9: examples[0].prompt: is missing; the rubric's inputs contain it"),
        ("reason: last", "inputs: [prompt]", "r.yaml:7: inputs: answer is missing"),
        ("reason: last", "inputs: [answer]", "r.yaml:9: examples[0].prompt: is not one of the rubric's inputs"),
        ("score: 5,", "class: sound,", "r.yaml:9: examples[0].class: the rubric has scores; write score"),
        ("score: 5,", "score: 9,", "r.yaml:9: examples[0].score: is outside the scores"),
    ):
        assert line in SCORED
        with pytest.raises(ContractError) as error:
            parse_rubric(SCORED.replace(line, replacement), "r.yaml")
        assert problem in str(error.value)


def test_a_rubric_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    with pytest.raises(ContractError, match="cannot be read: no such file"):
        read_rubric(path)
    path.write_text(SCORED, encoding="utf-8")
    assert read_rubric(path) == parse_rubric(SCORED, "r.yaml")


def test_all_that_decides_the_result_is_in_the_version(rubric: Rubric) -> None:
    scored: Any = parse_rubric(SCORED, "r.yaml")
    changed = (
        *(replace(rubric, question="Why?"), replace(rubric, sound="It is."), replace(rubric, reason="none")),
        *(replace(rubric, inputs=("prompt", "answer")), replace(rubric, parameters=ChatParameters(1.0))),
        *(replace(rubric, parameters=ChatParameters(seed=2)), scored, replace(scored, examples=())),
        replace(scored, scores=replace(scored.scores, faulty_at_most=3)),
    )
    versions = [
        rubric_hash(rubric, "m"),
        rubric_hash(rubric, "n"),
        rubric_hash(rubric, "m", "n"),
        rubric_hash(rubric, "m", votes=3),
        *(rubric_hash(each, "m") for each in changed),
    ]
    assert len(set(versions)) == len(versions)
    assert all(len(version) == 12 and int(version, 16) >= 0 for version in versions)
    assert rubric_hash(replace(rubric, name="other"), "m") == versions[0], "the name decides nothing"


def test_the_section_of_the_documentation_has_a_rubric_that_can_be_read_and_every_code() -> None:
    page = (Path(__file__).resolve().parents[5] / "docs/evaluation.md").read_text(encoding="utf-8")
    section = page.partition("\n## Judges\n")[2].partition("\n## ")[0]
    (text,) = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    rubric = parse_rubric(text, "faithful.yaml")
    assert (rubric.name, rubric.scores, len(rubric.examples)) == ("faithful", ScoreRange(1, 5, 2), 1)
    rows = dict(re.findall(r"^\| `(judge-[a-z-]+)` \| .+ \| (yes|no) \|$", section, re.MULTILINE))
    assert rows == {code.value: "yes" if JudgeError(code, "").is_transient else "no" for code in JudgeErrorCode}


KEY = "sk-very-secret-key"
REQUEST = ChatRequest((PromptMessage("user", "Judge the private text."),), ChatParameters(0.0, 50, 3))


def failure(endpoint: ChatEndpoint, timeout_s: float = 20.0) -> JudgeError:
    with pytest.raises(JudgeError) as error:
        endpoint.complete(REQUEST, timeout_s)
    shown = "".join(traceback.format_exception(error.value)) + repr(error.value) + repr(endpoint)
    assert KEY not in shown
    assert "private text" not in shown.replace("Judge the private text.", "")
    assert "server text" not in shown
    return error.value


def test_requests_and_answers(serve: Serve) -> None:
    server = serve(lambda handler, body, n: send(handler, chat("Yes.", logprobs=[-0.5, -1.5])))
    request = ChatRequest(REQUEST.messages, REQUEST.parameters, {"type": "object"}, logprobs=True)
    completion = server.endpoint(KEY).complete(request)
    assert (completion.text, completion.finish_reason) == ("Yes.", "stop")
    assert (completion.input_tokens, completion.output_tokens, completion.mean_logprob) == (11, 7, -1.0)
    assert 0.0 < completion.latency_ms < 60_000.0
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert server.bodies[0] == {
        "model": "judge-1",
        "messages": [{"role": "user", "content": "Judge the private text."}],
        "temperature": 0.0,
        "max_tokens": 50,
        "seed": 3,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "result", "strict": True, "schema": {"type": "object"}},
        },
        "logprobs": True,
    }
    # Members that a server leaves out, and others that are sent.
    server = serve(lambda handler, body, n: send(handler, b'{"choices": [{"message": {"content": null}}]}'))
    completion = server.endpoint(token_limit_member="max_completion_tokens").complete(REQUEST)
    assert (completion.text, completion.input_tokens, completion.mean_logprob) == ("", None, None)
    assert {"response_format", "logprobs", "max_tokens"}.isdisjoint(server.bodies[0])
    assert server.bodies[0]["max_completion_tokens"] == 50
    assert "Authorization" not in server.headers[0]
    echo = serve(lambda handler, body, n: send(handler, chat(f"The key is {handler.headers['Authorization']}.")))
    assert echo.endpoint(KEY).complete(REQUEST).text == "The key is Bearer [key]."


def test_exchanges_that_fail(serve: Serve) -> None:
    large = serve(lambda handler, body, n: handler.drip(b" " * (1 << 20)))
    error = failure(large.endpoint(KEY))
    assert error.code is JudgeErrorCode.ERROR
    assert "1,048,576 bytes" in str(error)
    cutting = serve(lambda handler, body, n: cut(handler))
    assert failure(cutting.endpoint(KEY)).code is JudgeErrorCode.UNREACHABLE
    silent = serve(lambda handler, body, n: hang(handler))
    assert failure(silent.endpoint(KEY), 0.2).code is JudgeErrorCode.TIMEOUT
    assert failure(silent.endpoint(KEY, timeout_s=0.2)).code is JudgeErrorCode.TIMEOUT
    closed = serve(always("Yes."))
    closed.stop()
    assert "refused" in str(failure(closed.endpoint(KEY)))


STATUSES = {
    JudgeErrorCode.REFUSED: (302, 400, 422),
    JudgeErrorCode.DENIED: (401, 402, 403, 404),
    JudgeErrorCode.ERROR: (408, 500, 502),
    JudgeErrorCode.OVERLOADED: (429, 503),
}


def test_statuses(serve: Serve) -> None:
    secret = f"server text {KEY}".encode()
    for code, status in ((code, status) for code, statuses in STATUSES.items() for status in statuses):
        server = serve(lambda handler, body, n: send(handler, secret, status, Retry_After="7"))  # noqa: B023
        error = failure(server.endpoint(KEY))
        assert error.retry_after_s == (7.0 if code is JudgeErrorCode.OVERLOADED else 0.0)
        assert error.code is code
        assert str(status) in str(error)
        assert error.is_transient == (code in (JudgeErrorCode.ERROR, JudgeErrorCode.OVERLOADED)), status
        assert error.is_of_endpoint == (code is not JudgeErrorCode.REFUSED), status


def test_answers_that_are_no_chat(serve: Serve) -> None:
    contents = (
        *(b"", b"<html>server text</html>", b'{"choices": []}'),
        b'{"choices": [{"message": {"content": 5}}]}',
        b'{"choices": [{"message": {"content": "server text", "x": \xff}}]}',
        b"[" * 100_000,
        b'{"choices": [{"message": ' + b'{"a": ' * 100_000,
    )
    endpoint = serve(lambda handler, body, n: send(handler, contents[n])).endpoint(KEY)
    for content in contents:
        assert failure(endpoint).code is JudgeErrorCode.ERROR, content[:80]


def test_urls_that_cannot_be_used() -> None:
    for url in (
        "", "127.0.0.1:80/v1", "ftp://host/v1", "http://", "http://user:pa55@host/v1", "http://host/v1?key=pa55",
        "http://host:pa55/v1", "http://ho st/v1", "http://[pa55/v1", "http://host/v1\r\nX: pa55",
    ):  # fmt: skip
        with pytest.raises(JudgeSettingsError) as error:
            ChatEndpoint(ChatEndpointSettings(url, "m"))
        assert "pa55" not in str(error.value)


def test_keys_that_cannot_be_sent() -> None:
    for key in ("", " ", "a b", "a\nb", "ключ"):
        with pytest.raises(JudgeSettingsError, match=r"^JUDGE_KEY ") as error:
            ChatEndpoint(ChatEndpointSettings("http://host/v1", "m", "JUDGE_KEY"), {"JUDGE_KEY": key})
        assert not key.strip() or key not in str(error.value)


RETRIED = ChatRequest((PromptMessage("user", "Judge."),))


class ManualClock:
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
    server: JudgeServer, clock: ManualClock, retries: CallRetries | None = None, breaker: EndpointBreaker | None = None
) -> RetryingEndpoint:
    return RetryingEndpoint(
        server.endpoint(), retries or CallRetries(), breaker, sleep=clock.sleep, clock=lambda: clock.now_s
    )


def retried_failure(endpoint: RetryingEndpoint) -> JudgeError:
    with pytest.raises(JudgeError) as error:
        endpoint.complete(RETRIED)
    return error.value


def test_transient_failures_are_retried_with_growing_pauses(serve: Serve) -> None:
    clock = ManualClock()
    completion = caller(serve(statuses(500, 502, 429, 200)), clock).complete(RETRIED)
    assert (completion.text, completion.attempts) == ("Yes.", 4)
    first, second, third = clock.pauses_s
    assert 0.25 <= first <= 0.5 <= second <= 1.0 <= third <= 2.0


def test_attempts_are_limited_and_pauses_those_of_the_server(serve: Serve) -> None:
    server = serve(statuses(500))
    error = retried_failure(caller(server, ManualClock()))
    assert (error.code, error.attempts, len(server.bodies)) == (JudgeErrorCode.ERROR, 4, 4)
    server = serve(statuses(400, 200))
    error = retried_failure(caller(server, ManualClock()))
    assert (error.code, error.attempts, len(server.bodies)) == (JudgeErrorCode.REFUSED, 1, 1)
    clock = ManualClock()
    assert caller(serve(statuses(429, 200, Retry_After="30")), clock).complete(RETRIED).attempts == 2
    assert clock.pauses_s == [30.0]
    clock = ManualClock()
    error = retried_failure(caller(serve(statuses(503, 200, Retry_After="130")), clock))
    assert (error.code, error.attempts, clock.pauses_s) == (JudgeErrorCode.OVERLOADED, 1, [])
    with pytest.raises(RetryInterrupted):
        RetryingEndpoint(serve(statuses(500)).endpoint(), sleep=lambda seconds: True).complete(RETRIED)


def test_the_limit_of_the_call_bounds_all_pauses(serve: Serve) -> None:
    for limit_s, least_s, most_s in ((None, 8.0, 10.0), (4.0, 2.0, 4.0), (1_000.0, 8.0, 10.0)):
        clock = ManualClock()
        endpoint = caller(serve(statuses(500)), clock, CallRetries(max_attempts=100, limit_s=10.0, max_pause_s=2.0))
        with pytest.raises(JudgeError) as error:
            endpoint.complete(RETRIED, limit_s)
        assert least_s < clock.now_s < most_s
        assert (error.value.code, error.value.attempts) == (JudgeErrorCode.ERROR, len(clock.pauses_s) + 1)


def test_an_open_breaker_sends_nothing(serve: Serve) -> None:
    clock = ManualClock()
    server = serve(statuses(500, 500, 500, 500, 200))
    breaker = EndpointBreaker(0.5, 4, 30.0, clock=lambda: clock.now_s)
    endpoint = caller(server, clock, CallRetries(max_attempts=2), breaker)
    codes = [retried_failure(endpoint).code for _ in range(3)]
    assert codes == [JudgeErrorCode.ERROR, JudgeErrorCode.ERROR, JudgeErrorCode.BREAKER]
    assert (breaker.state, len(server.bodies)) == ("open", 4)
    assert retried_failure(endpoint).attempts == 0
    clock.now_s += 30.0
    states = [breaker.state]
    assert endpoint.complete(RETRIED).text == "Yes."
    assert [*states, breaker.state] == ["half-open", "closed"]


@pytest.mark.parametrize(("status", "state"), [(400, "closed"), (422, "closed"), (401, "open"), (404, "open")])
def test_refusals_of_one_request_do_not_open_the_breaker(serve: Serve, status: int, state: str) -> None:
    breaker = EndpointBreaker(0.5, 2, 30.0)
    endpoint = caller(serve(statuses(status)), ManualClock(), breaker=breaker)
    assert [retried_failure(endpoint).attempts for _ in range(2)] == [1, 1]
    assert breaker.state == state


def test_an_operation_that_breaks_ends_its_trial() -> None:
    clock = ManualClock()
    breaker = EndpointBreaker(1.0, 1, 30.0, clock=lambda: clock.now_s)
    for now_s in (0.0, 30.0):
        clock.now_s = now_s
        with pytest.raises(ZeroDivisionError):
            breaker.call(lambda: 1 // 0)
        assert breaker.state == "open"
    clock.now_s = 60.0
    assert breaker.call(lambda: 7) == 7


MESSAGES = (PromptMessage("user", "Capital?"),)
PARAMETERS = ChatParameters(0.8, 50)


def test_the_mean_similarity_by_every_comparison_of_contracts() -> None:
    assert set(COMPARISON_NAMES) == set(consistency.COMPARISONS)
    samples = ["Paris", "Paris", "paris.", "Lyon"]
    compare = consistency.mean_similarity
    means = {name: compare("Paris", samples, similarity) for name, similarity in consistency.COMPARISONS.items()}
    assert means == {"exact": 2 / 4, "normalized": 3 / 4, "tokens": 3 / 4}


def test_similarities() -> None:
    for one, other, exact, normalized, jaccard in (
        ("Paris", " Paris\n", 1.0, 1.0, 1.0),
        ("Paris", "paris.", 0.0, 1.0, 1.0),
        ("1,000 euros", "1000 Euros!", 0.0, 1.0, 1.0),
        ("red blue", "blue red", 0.0, 0.0, 1.0),
        ("red blue", "red green", 0.0, 0.0, 1 / 3),
        ("", " ", 1.0, 1.0, 1.0),
        ("", "red", 0.0, 0.0, 0.0),
    ):
        for first, second in ((one, other), (other, one)):
            assert consistency.exact_match(first, second) == exact
            assert consistency.normalized_match(first, second) == normalized
            assert consistency.token_jaccard(first, second) == pytest.approx(jaccard)


def test_samples_of_an_endpoint(serve: Serve) -> None:
    def answer(handler: Exchange, body: dict[str, Any], n: int) -> None:
        text = ("Paris", "Lyon", "Paris")[n] if body["temperature"] else "greedy"
        send(handler, chat(text, [-1.0, -2.0] if body.get("logprobs") else None))

    server = serve(answer)
    result = consistency.sample_answers(server.endpoint(), MESSAGES, 3, PARAMETERS)
    assert result == consistency.AnswerSamples(("Paris", "Lyon", "Paris"), -1.5, 44, 28, 4)
    assert [(body["temperature"], body["seed"]) for body in server.bodies] == [(0.8, 1), (0.8, 2), (0.8, 3), (0.0, 1)]
    without = consistency.sample_answers(serve(always("x")).endpoint(), MESSAGES, 2, PARAMETERS, logprob=False)
    assert without == consistency.AnswerSamples(("x", "x"), None, 22, 14, 2)


@pytest.mark.parametrize(("status", "lacks"), [(200, True), (400, True), (401, False), (500, False)])
def test_samples_count_without_log_probabilities(serve: Serve, status: int, lacks: bool) -> None:
    server = serve(lambda handler, body, n: send(handler, chat("a"), status if body.get("logprobs") else 200))
    result = consistency.sample_answers(server.endpoint(), MESSAGES, 2, PARAMETERS)
    assert (result.texts, result.error, result.mean_logprob) == (("a", "a"), None, None)
    assert (result.attempts, result.lacks_logprobs) == (3, lacks)


def test_a_failed_cut_or_late_sample_ends_it_and_what_was_used_counts(serve: Serve) -> None:
    server = serve(lambda handler, body, n: send(handler, chat("a") if n == 0 else b"", 200 if n == 0 else 500))
    result: Any = consistency.sample_answers(server.endpoint(), MESSAGES, 3, PARAMETERS)
    assert (result.error.code, result.texts, result.attempts) == (JudgeErrorCode.ERROR, ("a",), 2)
    assert (result.input_tokens, result.output_tokens, result.lacks_logprobs) == (11, 7, False)
    server = serve(lambda handler, body, n: send(handler, chat("a", finish_reason="length" if n else "stop")))
    result = consistency.sample_answers(server.endpoint(), MESSAGES, 3, PARAMETERS)
    assert "Raise max_tokens" in str(result.error)
    assert (result.error.code, result.attempts, result.output_tokens) == (JudgeErrorCode.CUT, 2, 14)
    times = iter([0.0, 1.0, 4.0, 12.0])
    server = serve(always("a"))
    result = consistency.sample_answers(
        server.endpoint(), MESSAGES, 3, PARAMETERS, logprob=False, limit_s=10.0, clock=lambda: next(times)
    )
    assert (result.error.code, result.attempts, len(server.bodies)) == (JudgeErrorCode.TIMEOUT, 2, 2)
    assert "evaluator.timeout_s" in str(result.error)


DOCUMENTS = {
    "shipping": "Parcels arrive within three working days.",
    "returns": "Customers may return goods within 30 days of delivery.\n",
    "empty": " \n",
}


def paragraphs(word: str, n: int = 30) -> str:
    return "\n\n".join(f"Paragraph {word}{i} has this. {f'{word} ' * (480 // (len(word) + 1))}" for i in range(n))


def test_cited_documents_or_else_those_that_overlap() -> None:
    for question, answer, expected in (
        ("How long may I return?", "Within 60 days [returns].", ["returns"]),
        ("How long?", "“Customers may return goods” (Returns), and parcels [shipping].", ["returns", "shipping"]),
        # An unknown document, and a quote without a reference, are no citation.
        ("When does my parcel arrive?", "Soon [tariffs].", ["shipping"]),
        ("When do parcels arrive?", "“within three or four working days”", ["returns", "shipping"]),
        ("Do you sell bicycles?", "No.", []),
    ):
        context = DocumentContext(DOCUMENTS).select(question, answer)
        assert context == "\n\n".join(f"[{each}]\n{DOCUMENTS[each].strip()}" for each in expected)


def test_of_long_documents_the_passages_that_overlap_most_are_selected_in_their_order() -> None:
    source = DocumentContext({"long": paragraphs("alpha"), **DOCUMENTS})
    context = source.select(
        "What has paragraph alpha25?", "Paragraph alpha25 and paragraph alpha3 have it [long], [returns]."
    )
    assert context.index("Paragraph alpha3 ") < context.index("Paragraph alpha25 ")
    assert OMISSION in context
    assert context.endswith("30 days of delivery.")
    assert MAX_CONTEXT_CHARS // 2 < len(context) < MAX_CONTEXT_CHARS + 200
    other = source.select("What has paragraph alpha25?", "Nothing is cited.")
    assert other.startswith(f"[long]\n{OMISSION}\nParagraph alpha") or other.startswith("[long]\nParagraph alpha")
    assert "Paragraph alpha25 " in other
    documents = {f"d{i}": paragraphs("beta", 4) for i in range(9)}
    turned = dict(reversed(documents.items()))
    exchange = "What is in paragraph beta2?", "This."
    assert DocumentContext(documents).select(*exchange) == DocumentContext(turned).select(*exchange)


def test_every_cited_document_has_a_passage_or_the_answer_cites_too_many() -> None:
    documents = {f"doc-{i}": paragraphs(f"w{i}", 12) for i in range(40)}
    source = DocumentContext(documents)
    context = source.select("", " ".join(f"[doc-{i}]" for i in range(8)))
    assert all(f"[doc-{i}]\n" in context for i in range(8))
    with pytest.raises(AnswerCheckError, match="cites 40 documents, of which"):
        source.select("", " ".join(f"[doc-{i}]" for i in range(40)))
    many = DocumentContext({f"doc-{i}": "Short." for i in range(40)})
    assert many.select("", " ".join(f"[doc-{i}]" for i in range(40))).count("Short.") == 40


ATTACKS = read_attacks()
CONTROL_TOKENS = [
    "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>", "<｜User｜>", "<s>", "</s>", "<BOS>",
    "<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "[TOOL_CALLS]", "<|>",
]  # fmt: skip


def blocks_of(message: str) -> dict[str, str]:
    """Read a message as its rule says: lines with the token of the first line begin and end the blocks."""
    first, rest = message.split("\n", 1)
    token = first.removeprefix("The token of this message is ").removesuffix(".")
    pattern = rf"^BEGIN (\w+) {token}\n(.*?)\nEND \1 {token}$"
    blocks = {match[1]: match[2] for match in re.finditer(pattern, rest, re.DOTALL | re.MULTILINE)}
    assert message.count(token) == 1 + 2 * len(blocks), "the token is nowhere else"
    return blocks


def test_an_attack_stays_in_its_block(rubric: Rubric) -> None:
    assert len(ATTACKS) == 20
    harmless = judge_request(rubric, JudgedTexts("Q", "A", "C")).messages
    for attack in (each.format(answer="Black.") for each in ATTACKS.values()):
        for texts in (JudgedTexts("Q", attack, "C"), JudgedTexts(attack, "A", "C"), JudgedTexts("Q", "A", attack)):
            sent = judge_request(rubric, texts).messages
            assert sent[:-1] == harmless[:-1], "nothing of a text is outside the last message"
            assert sent[-1].role == "user"
            assert blocks_of(sent[-1].content) == {name: neutralize(texts.text_of(name)) for name in rubric.inputs}
            assert not any(token.lower() in sent[-1].content.lower() for token in CONTROL_TOKENS)
        assert neutralize(attack).replace(" ", "") == attack.replace(" ", ""), "a judge sees all of the attack"


@settings(max_examples=50)
@given(st.text())
def test_any_text_stays_in_its_block(text: str) -> None:
    token = messages.draw_token([text])
    message = messages.data_message([("prompt", text), ("answer", text)], token, "Judge.")
    assert blocks_of(message) == {"prompt": neutralize(text), "answer": neutralize(text)}


@settings(max_examples=50)
@given(st.lists(st.sampled_from([*CONTROL_TOKENS, "<", "|", ">", "[", "]", "/", "s", " "])).map("".join))
def test_no_control_token_remains(text: str) -> None:
    result = neutralize(text).lower()
    assert not any(token.lower() in result for token in CONTROL_TOKENS)


def test_other_texts_do_not_change_and_halves_of_surrogate_pairs_can_be_sent() -> None:
    for text in ("a < b || c > d", "x = [INSTALL]", "<b>bold</b>", "1 <2> 3", "<small>", "a|b"):
        assert neutralize(text) == text
    assert neutralize("a\ud800b") == "a?b"


def test_each_message_has_its_own_token_that_no_text_has(rubric: Rubric, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = JudgedTexts("Q", "A", "C")
    assert len({judge_request(rubric, texts).messages[-1].content for _ in range(20)}) == 20
    draws = iter(["0000beef", "1111beef"])
    monkeypatch.setattr("secrets.token_hex", lambda n: next(draws))
    assert messages.draw_token(["END answer 0000BEEF"]) == "1111beef"
