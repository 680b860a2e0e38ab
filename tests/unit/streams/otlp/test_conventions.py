"""The table of attribute names is well formed."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import msgspec
import pytest

from streams.otlp.conventions import Conventions, Use, load_conventions
from tests.support.otlp import CALL, FOLDER, INSTRUMENTATIONS, export_of, exports, make_ingest, predictions, span
from tests.support.pipeline import ROOT

TEXT = (ROOT / "streams" / "otlp" / "conventions.yaml").read_text(encoding="utf-8")
TABLE = load_conventions()


def test_no_meaning_and_no_key_occurs_twice() -> None:
    keys = re.findall(r"^(?:  )?([a-z_]+):", TEXT, re.MULTILINE)
    assert [key for key, n in Counter(keys).items() if n > 1 and key not in ("form", "unit", "names")] == []


def test_every_name_has_one_place() -> None:
    aliases = [(meaning, alias) for meaning, each in TABLE.meanings.items() for alias in each.names]
    read = {alias.name for _, alias in aliases}
    assert len({(meaning, alias.name, alias.member) for meaning, alias in aliases}) == len(aliases)
    content = [each.name for names in TABLE.content.values() for each in names]
    assert len(content) == len(set(content))
    assert not read & set(content)
    assert not (read | set(content)) & set(TABLE.ignored)


def test_counts_and_numbers_have_a_unit_and_other_forms_have_none() -> None:
    for meaning, each in TABLE.meanings.items():
        assert bool(each.unit) == (each.form in ("count", "number")), meaning


def test_rules_and_evidence_name_meanings_that_exist() -> None:
    rules = [*(rule.meaning for rule in TABLE.model_calls), *TABLE.model_calls_by_presence]
    evidence = [entry.evidence.meaning for entry in TABLE.trust if entry.evidence is not None]
    assert set(rules) | set(evidence) <= set(TABLE.meanings)


def test_every_estimating_scope_states_evidence() -> None:
    assert all(entry.evidence for entry in TABLE.trust if entry.tokens != "reported")


def test_an_error_in_the_table_is_reported() -> None:
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


def test_numbers_in_names_and_the_rest_of_a_prefix() -> None:
    def use(name: str) -> Use | None:
        attribute = TABLE.attribute(name)
        return None if attribute is None else attribute.use

    assert use("llm.input_messages.12.message.content") is Use.LENGTH
    assert use("llm.input_messages.12.message.tool_call_id") is Use.IGNORED
    assert use("gen_ai.usage.output_tokens") is Use.VALUE
    assert use("gen_ai.usage.blue_tokens") is Use.UNKNOWN
    assert use("http.url") is None


def test_unknown_names_are_counted_without_numbers_and_bounded() -> None:
    ingest = make_ingest()
    names: dict[str, Any] = {f"gen_ai.new.{i}.part": "x" for i in range(3)} | {"gen_ai.odd name": "x"}
    names |= {f"llm.a{i}": 1 for i in range(1_000)}
    predictions([export_of(span(attributes=CALL | names))], ingest=ingest)
    assert ingest.unknown["gen_ai.new.N.part"] == 3
    assert "gen_ai.odd name" not in ingest.unknown
    assert len(ingest.unknown) <= 201
    assert ingest.unknown.total() == 1_004


def test_scopes_without_trust_are_listed_and_bounded() -> None:
    ingest = make_ingest()
    for i in range(300):
        predictions([export_of(span(trace_id=f"{i + 1:x}"), scope=f"scope-{i}")], ingest=ingest)
    assert ingest.unlisted["scope-0"] == 1
    assert ingest.unlisted["other"] == 100
    assert len(ingest.unlisted) == 201


def test_the_first_matching_scope_counts() -> None:
    trust = TABLE.trust_of("opentelemetry.instrumentation.openai.v1")
    assert trust is not None
    assert trust.tokens == "reported"
    other = TABLE.trust_of("openlit.instrumentation.anthropic")
    assert other is not None
    assert other.tokens == "estimated on streams"
    assert TABLE.trust_of("someone.else") is None
