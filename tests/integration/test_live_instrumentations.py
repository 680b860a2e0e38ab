"""Live calls of a real language model through five instrumentations, compared with what client and server measured."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local.child_process import PartMissingError
from local.language_model import MODEL, LocalLanguageModel
from tests.support.instrumentations import install, make_calls
from tests.support.missing_dependencies import skip_without
from tests.support.otlp_receiver import published, start
from tests.support.pipeline import Pipeline

pytestmark = [pytest.mark.llm, pytest.mark.slow]

FIRST_TOKEN_MS = 10.0
"""Largest difference between the first token of a span and that of the client."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalLanguageModel]:
    """A real language model."""
    model = LocalLanguageModel(tmp_path_factory.mktemp("language-model"), port=0)
    try:
        model.start()
    except PartMissingError as error:
        skip_without(error)
    yield model
    model.stop()


@pytest.mark.parametrize(
    ("name", "reports_first_token"),
    [
        ("genai_openai", True),
        ("openai_v2", False),
        ("openllmetry", True),
        ("openinference", True),
        ("openlit", False),
    ],
)
def test_predictions_equal_what_client_and_server_measured(
    pipeline: Pipeline, server: LocalLanguageModel, name: str, reports_first_token: bool
) -> None:
    install(name)
    pipeline.create()
    port = start(pipeline)
    calls = make_calls(name, server.url, MODEL, port)
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
