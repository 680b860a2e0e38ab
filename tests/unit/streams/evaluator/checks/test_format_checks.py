"""An answer has its form: a pattern of RE2, or JSON with a schema."""

from __future__ import annotations

import time
from typing import Any

import pytest

from barograph_server.streams.evaluator.checks.errors import AnswerCheckError
from barograph_server.streams.evaluator.checks.format_checks import MAX_FORMATTED_CHARS, check_json, check_pattern
from barograph_server.streams.evaluator.checks.json_schema import (
    MAX_PATTERN_CHARS,
    MAX_VIOLATIONS,
    AnswerPattern,
    AnswerSchema,
)


def violations(answer: str, schema: dict[str, Any]) -> tuple[str, ...]:
    return check_json(answer, AnswerSchema(schema)).violations


def test_a_pattern_matches_anywhere_or_the_whole_answer_of_limited_length() -> None:
    assert check_pattern("Answer: 42.", AnswerPattern(r"\d+")).is_valid
    result = check_pattern("Answer: 42.", AnswerPattern(r"^\d+$"))
    assert result.violations == (r"the answer does not match '^\\d+$'",)
    long = "1" * (MAX_FORMATTED_CHARS + 1)
    for result in (check_pattern(long, AnswerPattern("1")), check_json(long)):
        assert result.violations == ("the answer has 1,000,001 characters, more than 1,000,000",)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"(a)\1", "RE2"),
        ("(?=a)", "RE2"),
        ("(", r"missing \)"),
        ("a{5000}", "repetition"),
        ("a" * (MAX_PATTERN_CHARS + 1), "at most 1,000"),
    ],
)
def test_a_pattern_that_cannot_be_used(pattern: str, reason: str) -> None:
    with pytest.raises(AnswerCheckError, match=reason):
        AnswerPattern(pattern)


@pytest.mark.parametrize("pattern", ["(a+)+$", "^(a|a)*$", "a*a*a*a*a*b", r"(\w+\s?)+$"])
def test_a_pattern_takes_bounded_time(pattern: str) -> None:
    started = time.process_time()
    assert not check_pattern("a" * (MAX_FORMATTED_CHARS - 1) + "!", AnswerPattern(pattern)).is_valid
    assert time.process_time() - started < 20


def test_json() -> None:
    for answer in ('{"a": [1, null]}', "3", '"x"', '```json\n{"a": 1}\n```', '\n```\n{"a": 1}\n```\n'):
        assert check_json(answer).is_valid, answer
    assert not check_json("```json\n1\n```", allow_fence=False).is_valid


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "not JSON: Expecting value in line 1, column 1"),
        ('Here:\n```json\n{"a": 1}\n```', "Expecting value"),
        ("NaN", "NaN"),
        ("[" * 200_000, "nested too deeply"),
        ("9" * 10_000, "not usable"),
        ('{"a": 1, "a": 2}', "repeats the member 'a'"),
    ],
)
def test_what_is_not_json(answer: str, reason: str) -> None:
    (violation,) = check_json(answer).violations
    assert reason in violation


@pytest.mark.parametrize(
    ("schema", "valid", "invalid", "reason"),
    [
        ({"type": "integer"}, "1.0", "true", "$: is boolean, not integer"),
        ({"type": ["string", "null"]}, "null", "1", "$: is number, not string or null"),
        ({"enum": ["a", 1]}, "1", "true", '$: is not one of ["a", 1]'),
        ({"const": 2}, "2.0", "3", "$: is not 2"),
        ({"minimum": 1}, "1", "0", "$: is less than 1"),
        ({"maximum": 1}, "1", "2", "$: is greater than 1"),
        ({"exclusiveMinimum": 1}, "2", "1", "$: is not greater than 1"),
        ({"exclusiveMaximum": 1}, "0", "1", "$: is not less than 1"),
        ({"minLength": 2}, '"ab"', '"a"', "$: has fewer characters than 2"),
        ({"maxLength": 1}, '"a"', '"ab"', "$: has more characters than 1"),
        ({"minItems": 1}, "[1]", "[]", "$: has fewer items than 1"),
        ({"maxItems": 1}, "[1]", "[1, 2]", "$: has more items than 1"),
        ({"uniqueItems": True}, "[1, 1.5, 1e999]", "[1, 1.0]", "$: has equal items"),
        ({"uniqueItems": True}, '[{"a": [0]}, {"a": [false]}]', '[{"a": [0]}, {"a": [-0.0]}]', "$: has equal items"),
        ({"const": {"a": [2]}}, '{"a": [2.0]}', '{"a": [3]}', '$: is not {"a": [2]}'),
        ({"pattern": "^a"}, '"ab"', '"b"', "$: does not match '^a'"),
        ({"items": {"type": "string"}}, '["a"]', '["a", 1]', "$[1]: is number, not string"),
        ({"required": ["a"]}, '{"a": 1}', "{}", "$: has no member 'a'"),
        ({"properties": {"a": {"type": "null"}}}, '{"b": 1}', '{"a": 1}', "$.a: is number, not null"),
        ({"properties": {"a": True}, "additionalProperties": False}, '{"a": 1}', '{"b": 1}', "$: has the member 'b'"),
        ({"additionalProperties": {"type": "string"}}, '{"a": "b"}', '{"a": 1}', "$.a: is number, not string"),
        ({"anyOf": [{"type": "string"}, {"minimum": 2}]}, "2", "1", "$: satisfies none of the 2 schemas"),
        ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, "2", "3", "$: is greater than 2"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "null"}}}, "null", "1", "$: is number, not null"),
        (False, "", "1", "$: is not allowed"),
    ],
)  # fmt: skip
def test_keywords_of_a_schema(schema: Any, valid: str, invalid: str, reason: str) -> None:
    member = {"properties": {"x": schema}} if schema is False else schema
    if valid:
        assert violations(valid, member) == ()
    (violation,) = violations('{"x": 1}' if schema is False else invalid, member)
    assert violation.startswith(reason.replace("$:", "$.x:") if schema is False else reason)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"format": "email"}, "#: the keyword 'format' is not supported"),
        ({"type": "text"}, "#/type: unknown type 'text'"),
        ({"type": ["null", {}]}, "#/type: unknown type {}"),
        ({"required": "a"}, "#/required: write a list"),
        ({"properties": {"a": {"oneOf": []}}}, "#/properties/a: the keyword 'oneOf' is not supported"),
        ({"items": []}, "#/items: write an object, not list"),
        ({"$defs": []}, r"#/\$defs: write an object, not list"),
        ({"pattern": 1}, "#/pattern: write a text"),
        ({"uniqueItems": 1}, "#/uniqueItems: write true or false"),
        ({"pattern": "("}, "the pattern '\\('"),
        ({"$ref": "#/$defs/b"}, "#/\\$ref: '#/\\$defs/b' is not in the schema"),
        ({"minimum": "1"}, "#/minimum: write a number"),
    ],
)
def test_a_schema_that_cannot_be_used(schema: dict[str, Any], reason: str) -> None:
    with pytest.raises(AnswerCheckError, match=reason):
        AnswerSchema(schema)


def test_a_recursive_schema_a_deep_value_and_the_violations_are_limited() -> None:
    schema = {"$ref": "#/$defs/tree", "$defs": {"tree": {"items": {"$ref": "#/$defs/tree"}}}}
    assert violations("[[], [[]]]", schema) == ()
    assert "too many steps or levels" in violations("[" * 200 + "]" * 200, schema)[0]
    loop = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}
    assert "too many steps or levels" in violations("1", loop)[0]
    wide = {"anyOf": [{"$ref": "#/$defs/a"}] * 10, "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}] * 10},
            "b": {"anyOf": [{"$ref": "#/$defs/c"}] * 100}, "c": {"anyOf": [{"const": 2}] * 100}}}  # fmt: skip
    assert "too many steps" in violations("1", wide)[0]
    assert len(violations(str([1] * 100), {"items": {"type": "string"}})) == MAX_VIOLATIONS
