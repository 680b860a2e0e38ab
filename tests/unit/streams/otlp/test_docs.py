"""docs/llm.md says what the golden files and the table of trust show."""

from __future__ import annotations

from typing import Any

from streams.otlp.conventions import load_conventions
from streams.otlp.rejection import SpanReason, ValueReason
from tests.support.otlp import INSTRUMENTATIONS, exports, predictions
from tests.support.pipeline import ROOT
from warehouse.metrics import SPAN_OUTCOME, VALUE_REASON

PAGE = (ROOT / "docs" / "llm.md").read_text(encoding="utf-8")
TITLES = {
    "genai-openai-default": "`opentelemetry-instrumentation-genai-openai` 1.3b0",
    "genai-openai-content": "the same with content",
    "v2-default": "`opentelemetry-instrumentation-openai-v2` 2.4b0",
    "v2-latest": "the same with `gen_ai_latest_experimental`",
    "openllmetry": "OpenLLMetry 0.62.4",
    "openinference": "OpenInference 0.1.66",
    "openlit": "OpenLIT 1.45.0",
    "litellm": "LiteLLM 1.110.2",
}


def rows_of(table: str) -> list[str]:
    section = PAGE.partition(f"<!-- {table}: begin -->")[2].partition(f"<!-- {table}: end -->")[0]
    return section.strip().splitlines()[2:]


def answer(*, is_true: bool) -> str:
    return "yes" if is_true else "no"


def instrumentation_row(name: str) -> str:
    events = predictions(exports(name))
    _, with_usage, stream = events[:3]

    def has(event: dict[str, Any], metric: str) -> bool:
        return metric in event.get("metrics", {})

    estimated = "invented: published as estimated" if has(stream, "input_tokens_estimated") else "not observed"
    cells = [
        TITLES[name],
        answer(is_true=has(with_usage, "input_tokens")),
        answer(is_true=has(with_usage, "cached_input_tokens")),
        estimated,
        "published as estimated" if has(stream, "ttft_ms_estimated") else answer(is_true=has(stream, "ttft_ms")),
        answer(is_true="status" in stream),
        answer(is_true=has(stream, "output_chars")),
    ]
    return f"| {' | '.join(cells)} |"


def test_the_table_of_instrumentations_is_what_the_golden_files_show() -> None:
    assert rows_of("instrumentations") == [instrumentation_row(name) for name in INSTRUMENTATIONS]


def test_the_table_of_trust_is_the_conventions() -> None:
    expected = [
        f"| `{entry.scope}` | {', '.join(entry.versions) or 'none yet'} | {entry.tokens} | {entry.ttft} |"
        for entry in load_conventions().trust
    ]
    assert rows_of("trust") == expected


def test_every_reason_is_documented_and_a_label_of_its_metric() -> None:
    for reason in (*SpanReason, *ValueReason):
        if reason not in (ValueReason.NOT_A_NAME, ValueReason.INSTRUMENTATION_ERROR):
            assert f"`{reason}`" in PAGE, reason
    assert {reason.value for reason in SpanReason} <= set(SPAN_OUTCOME.values)
    assert {reason.value for reason in ValueReason} == set(VALUE_REASON.values)
