"""Settings of the evaluator: endpoints of judges, and judges that cannot be set up."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from barograph.contract.evaluators import Evaluator
from structlog.testing import capture_logs

from streams.errors import ProcessorError
from streams.evaluator.check_evaluators import SetupError
from streams.evaluator.judge_evaluators import JudgeEvaluators
from streams.evaluator.settings import EvaluatorSettings, JudgeEndpoint, cost_usd

RUBRIC = """
rubric: 1
name: faithful
question: Is the answer right?
scale: {faulty: It is wrong., sound: It is right.}
"""


def judges(endpoints: str = "small=m@http://127.0.0.1:8080/v1", **settings: str) -> JudgeEvaluators:
    return JudgeEvaluators(EvaluatorSettings(endpoints=endpoints, **settings), threading.Event().wait)  # type: ignore[arg-type]


def test_endpoints_are_read_with_their_prices() -> None:
    text = "small=org/m:1@https://host/v1/#0.15/0.6, other=n@http://[::1]:80/v1"
    small, other = EvaluatorSettings(endpoints=text).parsed_endpoints().values()
    assert small == JudgeEndpoint("small", "org/m:1", "https://host/v1", 0.15, 0.6)
    assert (other.name, other.url, other.input_price) == ("other", "http://[::1]:80/v1", 0.0)
    assert cost_usd(small, {"input_tokens": 1e6, "output_tokens": 1e6}) == pytest.approx(0.75)
    assert EvaluatorSettings().parsed_endpoints() == {}


@pytest.mark.parametrize(
    "endpoints",
    [
        "small",
        "small=m",
        "small=@http://host/v1",
        "small=m@ftp://host/v1",
        "small=m@http://[::1",
        "small=m@http://host:port/v1",
        "small=m@http://user:secret-1@host/v1",
        "small=m@http://host/v1#cheap",
        "small=m@http://host/v1#1/-2",
        "a=m@http://host/v1, a=m@http://host/v2",
    ],
)
def test_endpoints_that_cannot_be_read_are_errors_without_secrets(endpoints: str) -> None:
    with pytest.raises(ProcessorError, match=r"evaluator\.endpoints") as raised:
        EvaluatorSettings(endpoints=endpoints).parsed_endpoints()
    assert "secret-1" not in str(raised.value)
    with pytest.raises(ProcessorError, match=r"evaluator\.key"):
        EvaluatorSettings(key="two words").parsed_endpoints()


def test_an_endpoint_without_encryption_is_logged() -> None:
    with capture_logs() as lines:
        judges("near=m@http://127.0.0.1/v1, tls=m@https://host/v1, far=m@http://host/v1")
    assert [(line["event"], line["endpoint"]) for line in lines] == [("judge is not encrypted", "far")]


@pytest.mark.parametrize(
    ("text", "endpoint", "message"),
    [
        (RUBRIC, "large", "evaluator.endpoints has no large; it has small"),
        (RUBRIC.replace("question", "questions"), "small", "questions"),
        (RUBRIC + "inputs: [prompt, context, answer]\n", "small", "documents: FOLDER"),
        (RUBRIC + "inputs: [prompt, reference, answer]\n", "small", "the input reference, which events do not contain"),
        ("", "small", "faithful.yaml"),
    ],
)
def test_a_judge_that_cannot_be_set_up_is_an_error(tmp_path: Path, text: str, endpoint: str, message: str) -> None:
    (tmp_path / "faithful.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SetupError, match=message):
        judges().build(Evaluator(judge="faithful.yaml", endpoint=endpoint), tmp_path)
    with pytest.raises(SetupError, match="cannot be read"):
        judges().build(Evaluator(judge="none.yaml", endpoint=endpoint), tmp_path)


def test_the_version_depends_on_rubric_and_model_and_not_on_address_and_key(tmp_path: Path) -> None:
    (tmp_path / "faithful.yaml").write_text(RUBRIC, encoding="utf-8")
    judge = Evaluator(judge="faithful.yaml", endpoint="small")
    _, version = judges().build(judge, tmp_path)
    assert judges("small=m@http://127.0.0.1:9/v1", key="sk-1").build(judge, tmp_path)[1] == version
    assert judges("small=n@http://127.0.0.1:8080/v1").build(judge, tmp_path)[1] != version
