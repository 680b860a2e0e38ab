import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from barograph.contract import Contract, Slice, Text
from barograph.contract.evaluators import CHECKS, Evaluator, EvaluatorBudget, purposes
from barograph.text.content import CUT
from structlog.testing import capture_logs

from barograph_server.errors import SettingsError
from barograph_server.settings import load_settings
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.evaluator import active
from barograph_server.streams.evaluator.anchors import read_anchors
from barograph_server.streams.evaluator.answer import Answer, read_answers
from barograph_server.streams.evaluator.check_evaluators import Check, SetupError, build_check
from barograph_server.streams.evaluator.due_answer import DueAnswer, decode_due
from barograph_server.streams.evaluator.evaluation import Evaluation, is_chosen
from barograph_server.streams.evaluator.judge_evaluators import JudgeEvaluators
from barograph_server.streams.evaluator.settings import EvaluatorSettings, JudgeEndpoint, cost_usd
from barograph_server.streams.registry.registry import Registry
from tests.support.arrow_types import write
from tests.support.judge_server import Answer as ServerAnswer
from tests.support.judge_server import JudgeServer, always, chat, send
from tests.support.scripted_http import Exchange

DOCUMENT = "Customers may return goods within 30 days of delivery. Call +49 30 1234567."
QUESTION = "How many days do I have to return an order of mine?"
SETTINGS = {
    "citations": Evaluator(check="citations", documents="documents"),
    "json": Evaluator(check="json", schema="schema.json"),
    "pattern": Evaluator(check="pattern", pattern="(?i)thank"),
    "refusal": Evaluator(check="refusal"),
    "language": Evaluator(check="language"),
    "personal-data": Evaluator(check="personal-data", documents="documents"),
    "grounding": Evaluator(check="grounding", documents="documents", at_least=0.5),
}

VERSIONS = {
    "citations": "35a4921a5b2f",
    "json": "226fefe1fd0b",
    "pattern": "adf5aa81dd50",
    "refusal": "9a4d1370bee7",
    "language": "7101bddeb789",
    "personal-data": "f90cce8d747d",
    "grounding": "a7ee295a5a8b",
}
"""A version that changes divides the history of all models with the check: change one only with its rules."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "returns.md").write_text(DOCUMENT, encoding="utf-8")
    (tmp_path / "schema.json").write_text('{"type": "object", "required": ["days"]}', encoding="utf-8")
    return tmp_path


def answer(text: str, question: str | None = QUESTION) -> Answer:
    return Answer("bot", "1", "a", 0, text, question)


def test_checks_decide(folder: Path) -> None:
    for check, text, expected in (
        ("citations", '"return goods within 30 days of delivery" [returns]', False),
        ("citations", '"return goods within 60 days of delivery" [returns]', True),
        ("citations", "No quote at all.", False),
        ("json", '{"days": 30}', False),
        ("json", "30 days", True),
        ("pattern", "Thank you.", False),
        ("pattern", "Go away.", True),
        ("refusal", "I am sorry, but I cannot help with that.", True),
        ("refusal", "Within 30 days.", False),
        ("language", "Sie haben dreissig Tage Zeit, um die Bestellung an uns zurueckzuschicken.", True),
        ("language", "You have thirty days to send the order back to us, counted from the delivery.", False),
        ("personal-data", "Write to anna@example.org.", True),
        ("personal-data", "Call +49 30 1234567.", False),
        ("grounding", "Customers may return goods within 30 days of delivery.", False),
        ("grounding", "Bring whatever pleases you whenever it pleases you.", True),
    ):
        evaluate, version = build_check(SETTINGS[check], folder)
        assert len(version) == 12
        assert evaluate(answer(text)).is_faulty is expected


def test_what_cannot_be_decided_has_a_reason(folder: Path) -> None:
    for check in ("language", "personal-data"):
        assert build_check(SETTINGS[check], folder)[0](answer("A text.", None)).error == "no-question"
    assert build_check(SETTINGS["language"], folder)[0](answer("Ok.")).is_faulty is None
    for check in CHECKS:
        assert build_check(SETTINGS[check], folder)[0](answer(f"Thank you{CUT}")).error == "answer-cut"
    assert build_check(SETTINGS["grounding"], folder)[0](answer("a " * 150_000)).error == "too-long"


def test_the_version_changes_with_what_decides(folder: Path) -> None:
    versions = {check: build_check(each, folder)[1] for check, each in SETTINGS.items()}
    assert versions == VERSIONS
    assert build_check(Evaluator(check="refusal", share=0.5), folder)[1] == versions["refusal"]
    (folder / "documents" / "returns.md").write_text(DOCUMENT.replace("30", "60"), encoding="utf-8")
    changed = {check for check, each in SETTINGS.items() if build_check(each, folder)[1] != versions[check]}
    assert changed == {"citations", "grounding", "personal-data"}
    assert set(SETTINGS) == set(CHECKS)
    other = {"pattern": "(?i)you", "at_least": 0.6}
    for name, purpose in purposes().items():
        for check in {*purpose.needed, *purpose.allowed} & set(CHECKS):
            if not purpose.by_content:
                changed_setting = msgspec.structs.replace(SETTINGS[check], **{name: other[name]})
                assert build_check(changed_setting, folder)[1] != build_check(SETTINGS[check], folder)[1], (check, name)


def test_a_wrong_setup_is_an_error(folder: Path) -> None:
    for evaluator, message in (
        (Evaluator(check="citations", documents="none"), "none cannot be read"),
        (Evaluator(check="json", schema="documents/returns.md"), "is not JSON"),
        (Evaluator(check="pattern", pattern="("), "cannot be set up"),
        (Evaluator(check="later"), "is unknown to this release"),
    ):
        with pytest.raises(SetupError, match=message):
            build_check(evaluator, folder)


def test_samples_of_evaluators_are_independent_shares() -> None:
    ids = [f"a{i}" for i in range(20_000)]
    first = [is_chosen("bot.a", each, 0.3) for each in ids]
    second = [is_chosen("bot.b", each, 0.3) for each in ids]
    assert 0.28 < sum(first) / len(ids) < 0.32
    assert 0.08 < sum(a and b for a, b in zip(first, second, strict=True)) / len(ids) < 0.10
    assert all(is_chosen("bot.a", each, 1.0) for each in ids)
    assert not any(is_chosen("bot.a", each, 0.0) for each in ids)


RUBRIC = """
rubric: 1
name: faithful
question: Does the context support the answer?
scale: {faulty: It does not., sound: It does.}
inputs: [prompt, context, answer]
"""
SOUND = json.dumps({"reason": "It does.", "class": "sound"})
AGREES = Evaluator(consistency=4, endpoint="small", at_least=0.5, compare="normalized")
JUDGE = Evaluator(judge="faithful.yaml", endpoint="small", documents="documents")
Start = Callable[[ServerAnswer], "Judges"]


class Judges:
    def __init__(self, server: JudgeServer, rubrics: Path) -> None:
        self.server, self._folder = server, rubrics
        settings = EvaluatorSettings(endpoints=(JudgeEndpoint("small", "m", self.server.url, 1.0, 2.0),), timeout_s=5.0)
        self._evaluators = JudgeEvaluators(settings, threading.Event().wait)
        self.close = self._evaluators.close

    def build(self, evaluator: Evaluator) -> tuple[Check, str]:
        return self._evaluators.build(evaluator, self._folder)


@pytest.fixture
def start(rubrics: Path) -> Iterator[Start]:
    with ExitStack() as started:

        def start(returned: ServerAnswer) -> Judges:
            server = started.enter_context(JudgeServer(returned))
            return started.enter_context(closing(Judges(server, rubrics)))

        yield start


@pytest.fixture
def rubrics(tmp_path: Path) -> Path:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "returns.md").write_text("Customers may return goods within 30 days.", encoding="utf-8")
    (tmp_path / "faithful.yaml").write_text(RUBRIC, encoding="utf-8")
    return tmp_path


def test_a_judge_with_documents_receives_those_the_answer_cites_or_is_not_called(start: Start, rubrics: Path) -> None:
    judges = start(always(SOUND))
    evaluate, first = judges.build(JUDGE)
    result = evaluate(answer("60 days [returns]."))
    assert (result.is_faulty, result.error) == (False, None)
    message = judges.server.bodies[0]["messages"][-1]["content"]
    assert "[returns]\nCustomers may return goods within 30 days.\n" in message
    result = evaluate(answer("Hello!", "Who are you?"))
    assert (result.is_faulty, result.error, result.metrics) == (None, "judge-missing-input", {"calls": 0.0})
    assert len(judges.server.bodies) == 1
    # The version depends on the documents.
    assert judges.build(JUDGE)[1] == first
    (rubrics / "documents" / "returns.md").write_text("Customers may return goods within 60 days.", encoding="utf-8")
    assert judges.build(JUDGE)[1] != first


def test_self_consistency_compares_further_answers_with_the_answer(start: Start) -> None:
    def respond(handler: Exchange, body: dict[str, Any], number: int) -> None:
        text = ("30 days.", "60 days", "30 Days", "Never.")[number % 5] if body["temperature"] else "30 days"
        send(handler, chat(text, [-0.5, -1.5] if body.get("logprobs") else None))

    judges = start(respond)
    evaluate, _ = judges.build(AGREES)
    result = evaluate(answer("30 days"))
    assert (result.is_faulty, result.score, result.error) == (False, 0.5, None)
    assert result.metrics == {
        **{"input_tokens": 55.0, "output_tokens": 35.0, "cost_usd": pytest.approx((55 + 2 * 35) / 1e6)},
        **{"calls": 5.0, "mean_logprob": -1.0},
    }
    assert all(each["messages"] == [{"role": "user", "content": QUESTION}] for each in judges.server.bodies)
    assert {(each["temperature"], each["max_tokens"]) for each in judges.server.bodies} == {(0.8, 1_000), (0.0, 1_000)}
    faulty = evaluate(answer("In an hour"))
    assert (faulty.is_faulty, faulty.score) == (True, 0.0)
    # Log probabilities are requested once of a server without them.
    judges = start(always("30 days"))
    evaluate, _ = judges.build(AGREES)
    first, second = evaluate(answer("30 days")), evaluate(answer("30 days"))
    assert (first.score, first.metrics["calls"], second.score, second.metrics["calls"]) == (1.0, 5.0, 1.0, 4.0)
    assert "mean_logprob" not in first.metrics
    assert sum("logprobs" in body for body in judges.server.bodies) == 1


def test_self_consistency_without_a_result(start: Start) -> None:
    judges = start(lambda handler, body, number: send(handler, chat("30 days", finish_reason="length")))
    evaluate, _ = judges.build(AGREES)
    assert evaluate(answer("30 days", None)).error == evaluate(answer("30 days", "How" + CUT)).error == "no-question"
    assert evaluate(answer("30" + CUT)).error == "answer-cut"
    assert not judges.server.bodies
    result = evaluate(answer("30 days"))
    assert (result.is_faulty, result.score, result.error) == (None, None, "judge-cut")
    assert (result.metrics["calls"], result.metrics["output_tokens"]) == (1.0, 7.0)


def test_the_version_of_self_consistency_depends_on_all_that_decides_it(start: Start) -> None:
    judges = start(always("x"))
    changes: list[dict[str, Any]] = [{}, {"consistency": 5}, {"at_least": 0.6}, {"compare": "exact"}]
    changes += [{"temperature": 1.0}, {"max_tokens": 20}]
    own = {name for name, purpose in purposes().items() if "consistency" in (*purpose.needed, *purpose.allowed)}
    assert own - {"endpoint"} <= {name for change in changes for name in change}
    versions = {judges.build(msgspec.structs.replace(AGREES, **change))[1] for change in changes}
    assert len(versions) == len(changes)
    same: list[dict[str, Any]] = [{"share": 0.5}, {"temperature": 0.8}, {"max_tokens": 1_000}]
    assert all(judges.build(msgspec.structs.replace(AGREES, **each))[1] in versions for each in same)
    with pytest.raises(SetupError, match="has no large; it has small"):
        judges.build(msgspec.structs.replace(AGREES, endpoint="large"))


SMALL = JudgeEndpoint("small", "m", "http://127.0.0.1:8080/v1")


def judges(*endpoints: JudgeEndpoint) -> JudgeEvaluators:
    return JudgeEvaluators(EvaluatorSettings(endpoints=endpoints or (SMALL,)), threading.Event().wait)


def read(text: str) -> EvaluatorSettings:
    return load_settings(needs=(), environ={"BAROGRAPH_EVALUATOR_ENDPOINTS": text}, find=lambda: None).evaluator


def test_endpoints_are_read_with_their_prices_and_one_without_encryption_is_logged() -> None:
    text = (
        "{small: {model: 'org/m:1', url: 'https://host/v1/', input: 0.15, output: 0.6}, other: {model: n, url: '%s'}}"
    )
    small, other = read(text % "http://[::1]:80/v1").endpoints_by_name().values()
    assert small == JudgeEndpoint("small", "org/m:1", "https://host/v1/", 0.15, 0.6)
    assert (other.name, other.url, other.input_price) == ("other", "http://[::1]:80/v1", 0.0)
    assert cost_usd(small, {"input_tokens": 1e6, "output_tokens": 1e6}) == pytest.approx(0.75)
    assert EvaluatorSettings().endpoints_by_name() == {}
    urls = {"near": "http://127.0.0.1/v1", "tls": "https://host/v1", "far": "http://host/v1"}
    with capture_logs() as lines:
        judges(*(JudgeEndpoint(name, "m", url) for name, url in urls.items()))
    assert [(line["event"], line["endpoint"]) for line in lines] == [("judge is not encrypted", "far")]


def test_endpoints_that_cannot_be_read_are_errors_without_secrets() -> None:
    for text, message in (
        ("small", "write a map"),
        ("{small: {model: m}}", "small.url: is missing; write url: http://HOST:PORT/v1"),
        ("{small: {model: m, url: 'ftp://host/v1'}}", "small.url: is no address of http or https; write http://HOST"),
        ("{small: {model: m, url: 'http://host:port/v1'}}", "small.url: is no valid address"),
        ("{small: {model: m, url: 'http://host/v1#1/2'}}", "small.url: has a part after #; remove it"),
        ("{small: {model: m, url: 'http://user:secret-1@host/v1'}}", "small.url: holds a user name or a password"),
        ("{small: {model: m, url: 'http://host/v1', output: -2}}", "small.output: -2 is out of range"),
        ("{a: {model: m, url: 'http://host'}, a: {model: m, url: 'http://host'}}", "a: occurs twice"),
    ):
        with pytest.raises(SettingsError, match=re.escape(message)) as raised:
            read(text)
        assert "secret-1" not in str(raised.value)
    with pytest.raises(ProcessorError, match=r"evaluator\.key"):
        EvaluatorSettings(key="two words").endpoints_by_name()


def test_a_judge_that_cannot_be_set_up_is_an_error(tmp_path: Path) -> None:
    for text, endpoint, message in (
        (RUBRIC, "large", "evaluator.endpoints has no large; it has small"),
        (RUBRIC.replace("question", "questions"), "small", "questions"),
        (RUBRIC, "small", "documents: FOLDER"),
        (RUBRIC.replace("context, ", "reference, "), "small", "input reference, which events do not contain"),
        ("", "small", "faithful.yaml"),
    ):
        (tmp_path / "faithful.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(SetupError, match=message):
            judges().build(Evaluator(judge="faithful.yaml", endpoint=endpoint), tmp_path)
        with pytest.raises(SetupError, match="cannot be read"):
            judges().build(Evaluator(judge="none.yaml", endpoint=endpoint), tmp_path)


def test_documents_without_a_use_and_documents_with_equal_ids_are_errors(rubrics: Path) -> None:
    (rubrics / "plain.yaml").write_text(RUBRIC.replace("context, ", ""), encoding="utf-8")
    with pytest.raises(SetupError, match=r"plain\.yaml has no input context, so documents have no effect"):
        judges().build(msgspec.structs.replace(JUDGE, judge="plain.yaml"), rubrics)
    (rubrics / "documents" / "RETURNS.txt").write_text("Never.", encoding="utf-8")
    with pytest.raises(SetupError, match=r"documents cannot be used: .* differ in case only"):
        judges().build(JUDGE, rubrics)


RETURNS = "Customers may return goods within 30 days of delivery."
ANSWER = Answer("bot", "1", "a1", 0, f"“{RETURNS[:-1]}” [returns].")
SHORT_RUBRIC = "rubric: 1\nname: right\nquestion: Is it right?\nscale: {faulty: It is wrong., sound: It is right.}\n"
EVALUATORS = {
    "cited": Evaluator(check="citations", documents="documents"),
    "right": Evaluator(judge="right.yaml", endpoint="small"),
    "grounded": Evaluator(judge="grounded.yaml", endpoint="small", documents="documents"),
}
CONTRACT = Contract(model="bot", text=Text(content="keep", sample=1.0), evaluators=EVALUATORS)


class Follower:
    def __init__(self, folder: Path) -> None:
        self.now_s = 0.0
        self.contract = CONTRACT
        judges = JudgeEvaluators(
            EvaluatorSettings(endpoints=(JudgeEndpoint("small", "m", "http://127.0.0.1:9/v1"),)), lambda _: False
        )
        self._active = active.ActiveEvaluators(
            lambda: Registry(contracts={"bot": self.contract}), folder, judges.build, lambda: self.now_s
        )

    def refresh(self, after_s: float = active.FILES_S) -> tuple[dict[str, active.ActiveEvaluator], list[Any]]:
        self.now_s += after_s
        with capture_logs() as lines:
            self._active.refresh()
        errors = [(line["evaluator"], line["reason"]) for line in lines if line["log_level"] == "error"]
        return {each.name: each for each in self._active.by_model["bot"]}, errors


def versions(evaluators: dict[str, active.ActiveEvaluator]) -> dict[str, str]:
    return {name: each.version for name, each in evaluators.items()}


def test_files_that_are_missing_or_change(tmp_path: Path) -> None:
    (tmp_path / "right.yaml").write_text(SHORT_RUBRIC, encoding="utf-8")
    (tmp_path / "grounded.yaml").write_text(f"{SHORT_RUBRIC}inputs: [context, answer]\n", encoding="utf-8")
    document = tmp_path / "documents" / "returns.md"
    document.parent.mkdir()
    follower = Follower(tmp_path)
    evaluators, errors = follower.refresh()
    assert {name for name, reason in errors if "has no documents" in reason} == {"cited", "grounded"}
    assert evaluators["cited"].version == evaluators["grounded"].version == active.NO_VERSION
    assert evaluators["cited"].evaluate(ANSWER).error == "setup-failed"
    document.write_text(RETURNS, encoding="utf-8")
    assert versions(follower.refresh(active.FILES_S / 2)[0]) == versions(evaluators), "files are looked at now and then"
    evaluators, errors = follower.refresh()
    assert (evaluators["cited"].evaluate(ANSWER).answer_class, errors) == ("sound", [])
    assert active.NO_VERSION not in versions(evaluators).values()
    assert versions(follower.refresh()[0]) == versions(evaluators)
    document.write_text(RETURNS.replace("30", "60 or 90"), encoding="utf-8")
    (tmp_path / "right.yaml").write_text(SHORT_RUBRIC.replace("right?", "correct?"), encoding="utf-8")
    changed, _ = follower.refresh()
    assert changed["cited"].evaluate(ANSWER).answer_class == "faulty"
    assert not set(versions(changed).values()) & set(versions(evaluators).values())
    (tmp_path / "right.yaml").write_text(SHORT_RUBRIC.replace("scale", "scales"), encoding="utf-8")
    evaluators, ((name, reason),) = follower.refresh()
    assert (name, "scales" in reason, evaluators["right"].version) == ("right", True, active.NO_VERSION)


def test_a_changed_contract_counts_at_once_and_a_judge_runs_without_anchors_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "right.yaml").write_text(SHORT_RUBRIC, encoding="utf-8")
    follower = Follower(tmp_path)
    follower.contract = msgspec.structs.replace(CONTRACT, evaluators={"right": EVALUATORS["right"]})
    before = follower.refresh()[0]["right"]
    judge = msgspec.structs.replace(EVALUATORS["right"], share=0.5, anchors="anchors.jsonl")
    follower.contract = msgspec.structs.replace(CONTRACT, evaluators={"right": judge})
    evaluators, ((name, reason),) = follower.refresh(0.0)
    after = evaluators["right"]
    assert (name, "anchors.jsonl cannot be read: no such file" in reason, after.anchors) == ("right", True, None)
    assert (before.settings.share, after.settings.share, after.version) == (1.0, 0.5, before.version)


AT_MS = 1_790_000_000_123
TEXTS = {"answer_text": "An answer.", "prompt_text": "A question?", "prompt": "answer@7"}
EVENT = {"model": "m", "version": "1", "id": "a", "at": AT_MS, "context": TEXTS}


def event(**members: Any) -> bytes:
    return json.dumps({**EVENT, **members}).encode()


def test_an_answer_is_read_with_its_question_and_context_and_with_odd_members() -> None:
    (answer,) = read_answers(event(arm="b"), {"m"})
    assert (answer.model, answer.version, answer.id, answer.at_ms, answer.arm) == ("m", "1", "a", AT_MS, "b")
    assert (answer.text, answer.question, answer.context) == ("An answer.", "A question?", {"prompt": "answer@7"})
    assert not answer.is_cut
    (answer,) = read_answers(event(arm=7, score=float("nan"), context={**TEXTS, "session": 4711, "beta": True}), {"m"})
    assert answer.arm == "7"
    assert answer.context == {"prompt": "answer@7", "session": "4711", "beta": "true"}
    (answer,) = read_answers(event(context={"answer_text": "half \ud83d of a pair", "user": "\ud83d"}), {"m"})
    assert answer.text == "half ? of a pair"
    assert answer.context["user"] == "?"


def test_what_is_no_answer_gives_none() -> None:
    contexts = ({"prompt_text": "answer_text"}, {"answer_text": ""}, {"answer_text": 7}, None)
    no_answers: list[dict[str, Any]] = [
        *({"model": "other"}, {"role": "shadow"}, {"error": "Timeout"}, {"at": "yesterday"}, {"id": None}),
        *({"context": each} for each in contexts),
    ]
    for members in no_answers:
        assert read_answers(event(**members), {"m"}) == [], members
    for value in (None, b"", b"answer_text", b'{"answer_text": ', b"[" * 100_000 + b"answer_text"):
        assert read_answers(value, {"m"}) == []


def arrow(**columns: Any) -> bytes:
    plain: dict[str, Any] = {
        "model": ["m", "m", "other"],
        "version": ["1"] * 3,
        "id": ["a", "b", "c"],
        "at": pa.array([AT_MS] * 3, pa.int64()),
        "context.answer_text": ["x", None, "z"],
        "context.prompt": ["answer@7"] * 3,
    }
    return write(pa.table({**plain, **columns}))


def test_arrow_batches_are_read_with_times_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    micros = AT_MS * 1000 + 999
    (answer,) = read_answers(arrow(at=pa.array([micros] * 3, pa.timestamp("us"))), {"m"}, is_arrow=True)
    assert (answer.id, answer.text, answer.at_ms, answer.context) == ("a", "x", AT_MS, {"prompt": "answer@7"})
    (answer,) = read_answers(arrow(at=pa.array([AT_MS] * 3, pa.int64())), {"m"}, is_arrow=True)
    assert answer.at_ms == AT_MS
    huge = pa.array([2**62] * 3, pa.timestamp("s"))
    (answer,) = read_answers(arrow(**{"at": pa.array([AT_MS] * 3), "context.time": huge}), {"m"}, is_arrow=True)
    assert answer.text == "x"
    assert read_answers(arrow(at=["text"] * 3), {"m"}, is_arrow=True) == []
    assert read_answers(b"answer_text, and no stream", {"m"}, is_arrow=True) == []


def lines(n: int = 20) -> list[dict[str, Any]]:
    return [
        {"id": f"a{i}", "prompt": "Why?", "answer": f"Because {i}.", "class": "sound" if i % 2 else "faulty"}
        for i in range(n)
    ]


def written(folder: Path, rows: list[dict[str, Any]], *more: str) -> Path:
    path = folder / "anchors.jsonl"
    path.write_text("\n".join([*map(json.dumps, rows), *more]) + "\n", encoding="utf-8")
    return path


def problem(path: Path) -> str:
    with pytest.raises(SetupError) as caught:
        read_anchors(path)
    return str(caught.value).replace(str(path), "FILE")


def test_anchors_are_read_and_only_their_content_decides_the_hash(tmp_path: Path) -> None:
    anchors = read_anchors(written(tmp_path, lines()))
    assert len(anchors.anchors) == 20
    assert anchors.anchors[1].answer_class == "sound"
    spaced = (json.dumps(each, separators=(" ,", ":  ")) + "\r" for each in lines()[::-1])
    assert read_anchors(written(tmp_path, [], *spaced, "")).hash == anchors.hash, "order and white space do not count"
    changed = [*lines()[:-1], lines()[-1] | {"class": "faulty"}]
    assert read_anchors(written(tmp_path, changed)).hash != anchors.hash


def test_a_run_counts_right_verdicts_and_missing_ones(tmp_path: Path) -> None:
    anchors = read_anchors(written(tmp_path, lines()))
    classes = {each.id: "sound" for each in anchors.anchors[:15]}
    run = anchors.run("r", "run", classes)
    assert (run.anchors, run.right, run.no_result) == (20, 7, 5)
    assert run.wrong == {f"a{i}" for i in range(0, 15, 2)}


ODD = '{"id": "x", "prompt": "p", "answer": "a"}'


def test_wrong_lines_are_reported_with_their_numbers(tmp_path: Path) -> None:
    for line, text in (
        ("no JSON", "FILE cannot be used:\nline 21: JSON is malformed"),
        (ODD, "line 21: Object missing required field `class`; write"),
        (ODD.replace("}", ', "class": "sound", "note": ""}'), "unknown field `note`"),
        (json.dumps(lines()[3]), "line 21: the id 'a3' is in line 4 too; rename one"),
    ):
        assert text in problem(written(tmp_path, lines(), line))


def test_too_few_anchors_and_those_of_one_class_are_rejected(tmp_path: Path) -> None:
    assert "there are 19 anchors; label at least 20, better 100" in problem(written(tmp_path, lines(19)))
    faulty = [each | {"class": "faulty"} for each in lines()]
    assert "all anchors are faulty; add sound ones" in problem(written(tmp_path, faulty))


def test_many_wrong_lines_are_not_all_listed_and_files_may_be_unreadable(tmp_path: Path) -> None:
    text = problem(written(tmp_path, lines(), *["x"] * 50))
    assert text.count("\nline ") == 10
    assert text.endswith("and 40 more")
    assert "cannot be read: no such file" in problem(tmp_path / "none.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'{"id": "\xe9"}')
    assert "is not UTF-8" in problem(tmp_path / "latin.jsonl")


def taken(budget: EvaluatorBudget, seconds: int, **used: float) -> list[int]:
    now_s = 1_000.0
    hourly = active.HourlyBudget(budget, lambda: now_s)
    minutes = [0] * (seconds // 60)
    for tenth in range(seconds * 10):
        now_s += 0.1
        if hourly.take_call():
            minutes[tenth // 600] += 1
            hourly.charge(used)
    return minutes


def test_a_budget_is_spread_over_the_hour() -> None:
    for budget, used in (
        (EvaluatorBudget(calls=600), {}),
        (EvaluatorBudget(tokens=60_000), {"tokens": 100}),
        (EvaluatorBudget(usd=6.0), {"usd": 0.01}),
    ):
        minutes = taken(budget, 3600, **used)
        # Five minutes' worth at once, then ten each minute.
        assert minutes[0] == pytest.approx(60, abs=1)
        assert all(each == pytest.approx(10, abs=1) for each in minutes[1:])
        assert sum(minutes) == pytest.approx(650, abs=2 if budget.calls else 3)


def test_a_small_budget_allows_a_call_at_last_and_none_is_unlimited() -> None:
    assert sum(taken(EvaluatorBudget(calls=1), 7200)) == 2
    assert sum(taken(EvaluatorBudget(), 60)) == 600


def test_retries_count_and_a_call_that_was_not_needed_is_given_back() -> None:
    budget = active.HourlyBudget(EvaluatorBudget(calls=120), lambda: 1_000.0)
    for _ in range(100):
        assert budget.take_call()
        budget.charge({"calls": -1.0})
    assert budget.take_call()
    budget.charge({"calls": 9.0})
    assert not budget.take_call()


def test_an_error_of_the_endpoint_waits_unless_the_endpoint_answers_for_others() -> None:
    due, error = DueAnswer(ANSWER, "faithful", 1.0, 0), Evaluation(error="judge-timeout")
    assert due.after_try(Evaluation(False), 0, 1) is due.after_try(Evaluation(error="judge-prose"), 0, 1) is None
    breaker = Evaluation(error="judge-breaker")
    # Nothing was answered since its latest request, or nothing was sent.
    tries = [(error, -1, now_ms) for now_ms in range(1, 100)] + [(breaker, 99, 99)]
    for evaluation, answered_ms, now_ms in [*tries, (error, 100, 100), (error, 101, 101)]:
        again: Any = due.after_try(evaluation, answered_ms, now_ms)
        due = decode_due(msgspec.json.encode(again))
        assert (due.failures, due.answer, due.has_waited) == (max(0, now_ms - 99), ANSWER, True)
    assert due.after_try(error, 102, 102) is None
    used = {"calls": 4.0, "input_tokens": 11.0}
    assert Evaluation(False, metrics={"calls": 1.0}).after(Evaluation(metrics=used)).metrics == {**used, "calls": 5.0}


SHARES: Any = {"share": 0.1, "prompts": {"answer@8": 0.6, "answer@9": 0.0}, "slices": {"country=de": 0.5}}
SAMPLED = Contract(
    model="bot",
    text=Text(content="keep", sample=1.0),
    slices=(Slice(name="country", source="context.land"),),
    evaluators={"refuses": Evaluator(check="refusal", **SHARES)},
)


def test_the_largest_share_of_prompt_and_slices_counts() -> None:
    budget = active.HourlyBudget(EvaluatorBudget())
    evaluator = active.ActiveEvaluator(SAMPLED, "refuses", "v", lambda _: Evaluation(False), budget)
    for context, share in (
        ({}, 0.1),
        ({"land": "de"}, 0.5),
        ({"country": "de"}, 0.1),
        ({"prompt": "answer@8"}, 0.6),
        ({"prompt": "answer@9", "land": "de"}, 0.5),
    ):
        assert evaluator.share(Answer("bot", "1", "a", 0, "Hello.", context=context)) == share
