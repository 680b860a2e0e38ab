"""A real language model: its calls through five instrumentations, its metrics, a judge, and a suite with its gate."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from barograph.prompts.content import PromptMessage, content_hash
from barograph.prompts.file import load_content
from barograph.prompts.records import PromptVersion

from barograph_server.local.language_model import MODEL, LocalLanguageModel
from barograph_server.streams.evaluator.judges.chat import ChatParameters
from barograph_server.streams.evaluator.judges.consistency import sample_answers
from barograph_server.streams.evaluator.judges.endpoint import ChatEndpoint, ChatEndpointSettings
from barograph_server.streams.evaluator.judges.judge import Judge
from barograph_server.streams.evaluator.judges.rubric import JudgedTexts, parse_rubric
from barograph_server.streams.scrape.exposition import load_server_table, parse_exposition
from barograph_server.streams.scrape.facts import FactReader
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.rollouts.prompts import store_missing
from benchmarks.peers.environments import run_uv
from tests.reference.judge_attacks import RUBRIC
from tests.support.command_line import OutputOf
from tests.support.http import request
from tests.support.otlp import published, start
from tests.support.pipeline import ROOT, Pipeline

pytestmark = pytest.mark.llm
FIRST_TOKEN_MS = 10.0
"""Largest difference between the first token of a span and that of the client."""
FOLDER = ROOT / "tests" / "instrumentations"
TIMEOUT_S = 600.0


@pytest.mark.parametrize(
    ("name", "reports_first_token"),
    [("genai_openai", True), ("openai_v2", False), ("openllmetry", True), ("openinference", True), ("openlit", False)],
)
def test_predictions_equal_what_client_and_server_measured(
    pipeline: Pipeline, language_model: LocalLanguageModel, name: str, reports_first_token: bool
) -> None:
    run_uv(FOLDER / name, "sync", "--locked", "--quiet", timeout_s=TIMEOUT_S)
    pipeline.create()
    environ = {
        "OTEL_SERVICE_NAME": "support-bot",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{start(pipeline)}",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
    }
    command = ("run", "--locked", "--quiet", "python", str(FOLDER / "calls.py"), name, language_model.url, MODEL)
    output = run_uv(FOLDER / name, *command, timeout_s=TIMEOUT_S, environ=environ)
    calls: dict[str, dict[str, Any]] = {call["call"]: call for call in json.loads(output.splitlines()[-1])}
    events = published(pipeline, len(calls))
    answer, with_usage, stream, too_long, refused = events
    for event in events:
        event.setdefault("metrics", {})
    for event, call in ((answer, calls["answer"]), (with_usage, calls["stream with usage"])):
        timings, metrics = call["timings"], event["metrics"]
        assert metrics["input_tokens"] == timings["cache_n"] + timings["prompt_n"]
        assert metrics["output_tokens"] == timings["predicted_n"]
        assert metrics.get("cached_input_tokens", timings["cache_n"]) == timings["cache_n"]
        assert event["version"] == MODEL
        assert "error" not in event
        assert timings["prompt_ms"] + timings["predicted_ms"] <= event["latency_ms"] <= call["seconds"] * 1000
    assert not {"input_tokens", "output_tokens"} & stream["metrics"].keys()
    assert ("input_tokens_estimated" in stream["metrics"]) == (name == "openlit")
    assert "ttft_ms" not in answer["metrics"]
    for event, call in ((with_usage, calls["stream with usage"]), (stream, calls["stream"])):
        if reports_first_token:
            assert event["metrics"]["ttft_ms"] == pytest.approx(call["first_token_s"] * 1000, abs=FIRST_TOKEN_MS)
        else:
            assert "ttft_ms" not in event["metrics"]
        assert ("ttft_ms_estimated" in event["metrics"]) == (name == "openlit")
    assert too_long["error"] == calls["too long"]["error"] == "BadRequestError"
    assert refused["error"] == calls["refused"]["error"] == "APIConnectionError"
    for event in (too_long, refused):
        assert not {"input_tokens", "output_tokens"} & event["metrics"].keys()
    pipeline.stop()


def test_metrics_of_the_server_become_facts(language_model: LocalLanguageModel) -> None:
    reader = FactReader(load_server_table(), "answers", "local")

    def scrape(at_ms: int) -> dict[str, float | None]:
        body = request("GET", f"{language_model.root_url}/metrics").data
        facts = reader.read(parse_exposition(body), at_ms)
        assert facts.servers == ("llamacpp",)
        assert not facts.rejected
        return {row.name: row.value for row in facts.rows}

    scrape(0)
    question = {"messages": [{"role": "user", "content": "How do I pay?"}], "max_tokens": 8}
    url, sent = f"{language_model.url}/chat/completions", json.dumps(question).encode()
    usage = request("POST", url, sent, {"Content-Type": "application/json"}, timeout_s=60).json()["usage"]
    facts = scrape(15_000)
    assert (facts["running_requests"], facts["waiting_requests"]) == (0, 0)
    assert facts["output_tokens"] == usage["completion_tokens"]
    assert facts["input_tokens"] == usage["prompt_tokens"]
    assert (facts["time_per_output_token_ms"] or 0.0) > 0


@pytest.fixture
def endpoint(language_model: LocalLanguageModel) -> Iterator[ChatEndpoint]:
    with closing(ChatEndpoint(ChatEndpointSettings(language_model.url, MODEL, timeout_s=300.0))) as endpoint:
        yield endpoint


def test_a_verdict(endpoint: ChatEndpoint) -> None:
    judge = Judge(parse_rubric(RUBRIC, "correct.yaml"), [endpoint], votes=3)
    verdict = judge.evaluate(JudgedTexts("What colour is snow?", "Black"))
    assert verdict.answer_class in ("faulty", "sound"), verdict.message
    assert [vote.error for vote in verdict.votes] == [None] * 3
    assert (verdict.input_tokens or 0) > 600
    assert 3 * 3 < (verdict.output_tokens or 0) <= 3 * 24


def test_self_consistency(endpoint: ChatEndpoint) -> None:
    messages = (PromptMessage("user", "What is the capital of France? Answer in one word."),)
    result = sample_answers(endpoint, messages, 2, ChatParameters(0.8, 200))
    assert (result.error, len(result.texts)) == (None, 2)
    assert -20.0 < (result.mean_logprob or 0.0) < 0.0


BOT = Path(__file__).parents[2] / "examples" / "support_bot"
SUITE, POLICY = BOT / "evals" / "answers.yaml", BOT / "evals" / "policy.yaml"
ITEMS = 62
PROMPTS = {1: "answer_verbose.yaml", 2: "answer.yaml"}
"""Version 2 costs a third of version 1: its answers have at most 8 tokens. Most end before the fact."""


def test_the_gate_holds_the_worse_prompt_back(
    client: Client,
    config: str,
    language_model: LocalLanguageModel,
    tmp_path: Path,
    output_of: OutputOf,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(*words: str | Path, code: int = 0) -> str:
        return output_of(code, "eval", *words, "--config", config)

    for version, name in PROMPTS.items():
        content = load_content(BOT / "prompts" / name)
        known: dict[str, Any] = {"content_hash": content_hash(content), "registered_at_ms": version * 1000}
        store_missing(client, [PromptVersion(version=version, content=content, **known)])
    options = ("--model", "support-bot", "--endpoint", language_model.url, "--log-dir", tmp_path)
    for version in PROMPTS:
        out = run("run", SUITE, "--prompt", f"answer@{version}", *options)
        assert f"of {ITEMS} answers to {ITEMS} items; run" in out
    shown: list[dict[str, Any]] = json.loads(run("show", "--model", "support-bot", "--format", "json"))
    runs = [(each["prompt"], each["items"], each["version"]) for each in shown]
    assert runs == [(f"answer@{version}", ITEMS, MODEL) for version in PROMPTS]
    gate = ("gate", "--model", "support-bot", "--policy", POLICY)
    run(*gate, "--candidate", "answer@1", "--accept")
    table = run(*gate, "--candidate", "answer@2", code=1)
    with capsys.disabled():
        # The figures of docs/suites.md.
        print(f"\n{run('show', '--model', 'support-bot')}\n{table}")
    decision = json.loads(run(*gate, "--candidate", "answer@2", "--format", "json", code=1))
    (suite,) = decision["suites"]
    assert (decision["outcome"], suite["difference"]["items"]) == ("hold", ITEMS)
    assert suite["accepted"]["mean"] > 0.3
    assert suite["candidate"]["mean"] < 0.2
    assert suite["difference"]["high"] < -0.1
    # The same log again is no second run.
    (first, *_) = sorted(tmp_path.glob("*/*.eval"))
    assert "is stored already" in run("import", first)
    assert "The prompt answer@9 is not registered" in run("run", SUITE, "--prompt", "answer@9", *options, code=3)
