"""The table of attribute names is well formed, and docs/llm.md says what it and the golden files show."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import msgspec
import pytest

from barograph_server.streams.otlp.conventions import Conventions, Use, load_conventions
from barograph_server.streams.otlp.rejection import SpanReason, ValueReason
from barograph_server.warehouse.operations.metrics import SPAN_OUTCOME, VALUE_REASON
from tests.support.otlp import CALL, FOLDER, INSTRUMENTATIONS, export_of, exports, make_ingest, predictions, span
from tests.support.pipeline import ROOT

TEXT = (ROOT / "streams" / "otlp" / "conventions.yaml").read_text(encoding="utf-8")
TABLE = load_conventions()


def test_the_table_is_well_formed() -> None:
    aliases = [(meaning, alias) for meaning, each in TABLE.meanings.items() for alias in each.names]
    read = {alias.name for _, alias in aliases}
    assert len({(meaning, alias.name, alias.member) for meaning, alias in aliases}) == len(aliases)
    content = [each.name for names in TABLE.content.values() for each in names]
    assert len(content) == len(set(content))
    assert not read & set(content)
    assert not (read | set(content)) & set(TABLE.ignored)
    for meaning, each in TABLE.meanings.items():
        assert bool(each.unit) == (each.form in ("count", "number")), meaning
    rules = [*(rule.meaning for rule in TABLE.model_calls), *TABLE.model_calls_by_presence]
    evidence = [entry.evidence.meaning for entry in TABLE.trust if entry.evidence is not None]
    assert set(rules) | set(evidence) <= set(TABLE.meanings)
    assert all(entry.evidence for entry in TABLE.trust if entry.tokens != "reported")
    keys = re.findall(r"^(?:  )?([a-z_]+):", TEXT, re.MULTILINE)
    assert [key for key, n in Counter(keys).items() if n > 1 and key not in ("form", "unit", "names")] == []
    with pytest.raises(msgspec.ValidationError, match="count"):
        Conventions(TEXT.replace("form: count", "form: counts", 1))


def test_all_names_that_were_seen_in_golden_files_are_seen() -> None:
    """`unseen` marks exactly the names that no golden file has."""
    present: set[str] = set()
    for name in INSTRUMENTATIONS:
        present |= set(re.findall(r'"key": ?"([^"]+)"', (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8")))
    marked = {alias.name for each in TABLE.meanings.values() for alias in each.names if alias.unseen}
    unmarked = {alias.name for each in TABLE.meanings.values() for alias in each.names if not alias.unseen}
    assert marked & present == set()
    # vLLM's names were read in its source, and the GenAI conventions had them until 1.26.
    assert unmarked - present == {"gen_ai.usage.prompt_tokens", "gen_ai.usage.completion_tokens"}


@pytest.mark.parametrize("name", INSTRUMENTATIONS)
def test_golden_files_have_no_unknown_name_and_no_unlisted_scope(name: str) -> None:
    ingest = make_ingest()
    predictions(exports(name), ingest=ingest)
    assert ingest.unknown == {}
    assert ingest.unlisted == {}


def test_names_match_with_numbers_and_prefixes_and_of_scopes_the_first() -> None:
    def use(name: str) -> Use | None:
        attribute = TABLE.attribute(name)
        return None if attribute is None else attribute.use

    assert use("llm.input_messages.12.message.content") is Use.LENGTH
    assert use("llm.input_messages.12.message.tool_call_id") is Use.IGNORED
    assert use("gen_ai.usage.output_tokens") is Use.VALUE
    assert use("gen_ai.usage.blue_tokens") is Use.UNKNOWN
    assert use("http.url") is None
    trust = TABLE.trust_of("opentelemetry.instrumentation.openai.v1")
    assert trust is not None
    assert trust.tokens == "reported"
    other = TABLE.trust_of("openlit.instrumentation.anthropic")
    assert other is not None
    assert other.tokens == "estimated on streams"
    assert TABLE.trust_of("someone.else") is None


def test_unknown_names_and_scopes_are_counted_and_bounded() -> None:
    ingest = make_ingest()
    names: dict[str, Any] = {f"gen_ai.new.{i}.part": "x" for i in range(3)} | {"gen_ai.odd name": "x"}
    names |= {f"llm.a{i}": 1 for i in range(1_000)}
    predictions([export_of(span(attributes=CALL | names))], ingest=ingest)
    assert ingest.unknown["gen_ai.new.N.part"] == 3
    assert "gen_ai.odd name" not in ingest.unknown
    assert len(ingest.unknown) <= 201
    assert ingest.unknown.total() == 1_004
    ingest = make_ingest()
    for i in range(300):
        predictions([export_of(span(trace_id=f"{i + 1:x}"), scope=f"scope-{i}")], ingest=ingest)
    assert ingest.unlisted["scope-0"] == 1
    assert ingest.unlisted["other"] == 100
    assert len(ingest.unlisted) == 201


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
