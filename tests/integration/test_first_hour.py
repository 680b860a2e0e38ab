"""A model without a baseline: its first calls are counted and shown, until a baseline of recorded calls takes over."""

import time
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from barograph.contract import Contract, Field, TokenPrice, Window

from barograph_server.dashboards.macros import TimeRange
from barograph_server.operations.status.read import read_status
from barograph_server.profiling.infer.errors import TableError
from barograph_server.profiling.infer.traffic import infer_traffic
from barograph_server.provisioning.plan import first_baselines
from tests.support.otlp import as_json, export_of, post, span, start
from tests.support.pipeline import Pipeline
from tests.support.two_day_model import ask

MODEL, VERSION = "support-bot", "gpt-4o-2024-08-06"
BEGIN_S = int(time.time()) // 3600 * 3600 - 8 * 3600
N, FAILED_EVERY = 1600, 20
CALL = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.provider.name": "openai"}
CONTRACT = Contract(
    model=MODEL,
    windows=(Window(1800, 600),),
    fields=(
        Field(name="latency_ms", type="float", source="latency_ms", high=60_000.0),
        Field(name="input_tokens", type="float", source="metrics.input_tokens", sketch="req"),
    ),
    prices=(TokenPrice(version="gpt-4o*", input=2.5, output=10.0),),
)


def calls(first: int, begin_s: int) -> dict[str, Any]:
    """N calls in two hours, of which one in 20 failed, and one span whose operation is unknown."""
    rng, spans = np.random.default_rng(first), []
    for i in range(N):
        answer = {
            "gen_ai.response.model": VERSION,
            "gen_ai.usage.input_tokens": int(rng.lognormal(6, 0.5)),
            "gen_ai.usage.output_tokens": int(rng.lognormal(5, 0.5)),
        }
        failure = {"error.type": "RateLimitError"}
        start_ns = int((begin_s + 7200 * i / N) * 1e9)
        times: dict[str, Any] = {
            "startTimeUnixNano": str(start_ns),
            "endTimeUnixNano": str(start_ns + int(rng.lognormal(20, 0.4))),
        }
        attributes = CALL | (failure if i % FAILED_EVERY == FAILED_EVERY - 1 else answer)
        spans.append(span(f"{i + 1:x}", trace_id=f"{first + i:x}", attributes=attributes, **times))
    return export_of(*spans, span("ffff", trace_id="ffff", attributes={**CALL, "gen_ai.operation.name": "video"}))


def time_at(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)


@pytest.mark.smoke
def test_calls_are_shown_without_a_baseline_until_one_of_them_takes_over(pipeline: Pipeline) -> None:
    pipeline.create()
    pipeline.register(CONTRACT, first_baselines([CONTRACT]))
    port = start(pipeline)
    pipeline.start_all("sketcher", "recorder", "monitor", clock="replay")
    assert post(port, as_json(calls(0x1000, BEGIN_S)))[0] == 200
    pipeline.wait_rows(f"SELECT sum(n) = {N} FROM volume FINAL WHERE slice = 'all'", "all calls in panes")
    pipeline.wait_rows(f"SELECT count() = {N} FROM predictions FINAL", "all calls recorded")
    pipeline.wait_rows("SELECT count() > 10 FROM latest_distances", "described windows")
    times = TimeRange.between(time_at(BEGIN_S - 3600), time_at(BEGIN_S + 7 * 3600))
    chosen: dict[str, Any] = {"model": MODEL, "version": VERSION, "window": "30m"}
    with pipeline.client as client:
        assert ask(client, "variables.language_models", time_range=times) == [(MODEL,)]
        assert ask(client, "variables.windows", time_range=times, model=MODEL) == [("30m",)]
        ((errors, _),) = ask(client, "traffic.errors_now", time_range=times, **chosen)
        assert errors == pytest.approx(1 / FAILED_EVERY)
        assert sum(row[2] for row in ask(client, "costs.version", time_range=times, **chosen)) > 1
        tokens = ask(client, "generations.tokens_per_generation", time_range=times, **chosen)
        assert all(300 < row[2] < 700 for row in tokens)
        latency = ask(client, "traffic.latency", time_range=times, **chosen)
        assert tokens
        assert latency
        assert all(200 < row[1] < 1000 < row[3] for row in latency)
        ((*_, last_s, _),) = ask(client, "fleet.models_now", time_range=times)
        assert last_s == pytest.approx(5 * 3600, abs=60)
        (spans,) = pipeline.wait_rows(
            "SELECT count() > 0 FROM processor_metrics WHERE metric LIKE '%video'", "a report"
        )
        assert spans
        status = read_status(client)
        (model,) = status.models
        assert (model.version, model.levels["stable"], set(model.reasons)) == (VERSION, 0, {"no baseline"})
        assert [problem.text for problem in status.problems] == ["spans, unknown operation video"]
        last_minutes = TimeRange.between(time_at(time.time() - 3600), time_at(time.time() + 60))
        assert [row[:2] for row in ask(client, "generations.uncounted", time_range=last_minutes)] == [
            ("unknown operation video", 1)
        ]
        with pytest.raises(TableError, match=r"0 recorded predictions .* a baseline needs 769"):
            infer_traffic(client, MODEL, since=time_at(time.time()))
        result = infer_traffic(client, MODEL)
    baseline = result.baseline
    assert (baseline.version, baseline.rows) == (VERSION, N - N // FAILED_EVERY)
    sources = {field.name: field.source for field in result.contract.fields}
    assert sources["output_tokens"] == "metrics.output_tokens"
    assert sources["request_model"] == "context.request_model"
    assert set(CONTRACT.fields) <= set(result.contract.fields)
    assert result.contract.prices == CONTRACT.prices
    assert result.contract.slo.error_rate == 0.1  # The upper limit of 80 of 1,600 is 6.2 %.
    assert baseline.fields[[field.name for field in baseline.fields].index("latency_ms")].high == 60_000.0
    assert all(field.slices["all"].cells[-1] == 0 for field in baseline.fields)
    pipeline.register(result.contract, [baseline])
    pipeline.wait_flushed()
    assert post(port, as_json(calls(0x2000, BEGIN_S + 3 * 3600)))[0] == 200
    pipeline.wait_rows(f"SELECT sum(n) = {2 * N} FROM volume FINAL WHERE slice = 'all'", "each call once")
    pipeline.wait_rows(
        "SELECT countIf(level = 'stable') > 5 FROM latest_drift "
        f"WHERE version = '{VERSION}' AND baseline_id = '{baseline.id}'",
        "verdicts on the baseline of the recorded calls",
    )
