"""Live calls of a real language model through five instrumentations, and its metrics, compared with measurements."""

import json
from typing import Any

import pytest

from barograph_server.local.language_model import MODEL, LocalLanguageModel
from barograph_server.streams.scrape.exposition import load_server_table, parse_exposition
from barograph_server.streams.scrape.facts import FactReader
from benchmarks.peers.environments import run_uv
from tests.support.http import request
from tests.support.otlp import published, start
from tests.support.pipeline import ROOT, Pipeline

pytestmark = pytest.mark.llm
FIRST_TOKEN_MS = 10.0
"""Largest difference between the first token of a span and that of the client."""
FOLDER = ROOT / "tests" / "instrumentations"
TIMEOUT_S = 600.0


def make_calls(name: str, base_url: str, model: str, receiver_port: int) -> dict[str, dict[str, Any]]:
    environ = {
        "OTEL_SERVICE_NAME": "support-bot",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver_port}",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
    }
    command = ("run", "--locked", "--quiet", "python", str(FOLDER / "calls.py"), name, base_url, model)
    output = run_uv(FOLDER / name, *command, timeout_s=TIMEOUT_S, environ=environ)
    return {call["call"]: call for call in json.loads(output.splitlines()[-1])}


@pytest.mark.parametrize(
    ("name", "reports_first_token"),
    [("genai_openai", True), ("openai_v2", False), ("openllmetry", True), ("openinference", True), ("openlit", False)],
)
def test_predictions_equal_what_client_and_server_measured(
    pipeline: Pipeline, language_model: LocalLanguageModel, name: str, reports_first_token: bool
) -> None:
    run_uv(FOLDER / name, "sync", "--locked", "--quiet", timeout_s=TIMEOUT_S)
    pipeline.create()
    calls = make_calls(name, language_model.url, MODEL, start(pipeline))
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
