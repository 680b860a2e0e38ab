"""A subset of JSON Schema for answers of language models.

Every keyword outside the subset is an error of the schema, so that no rule is skipped silently. Libraries have no limit
of steps: `jsonschema-rs` lists the violations of a recursive schema in exponential time.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from barograph_server.streams.evaluator.checks.errors import AnswerCheckError

MAX_VIOLATIONS = 20
"""Violations that are listed of one answer."""
MAX_STEPS = 100_000
"""Comparisons of a value with a schema for one answer; one with more does not satisfy its schema."""
MAX_DEPTH = 64
"""Levels of a schema, with its references, and of an answer."""

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "number": (int, float),
    "integer": int,
}
_ANNOTATIONS = frozenset(("$schema", "$id", "$comment", "title", "description", "default", "examples"))
_SCHEMAS = ("items", "additionalProperties")
_SCHEMA_LISTS = ("anyOf", "allOf")
_SCHEMA_MAPS = ("properties", "$defs", "definitions")
_LIMITS: dict[str, str] = {
    "minLength": "has fewer characters than",
    "maxLength": "has more characters than",
    "minItems": "has fewer items than",
    "maxItems": "has more items than",
    "minimum": "is less than",
    "maximum": "is greater than",
    "exclusiveMinimum": "is not greater than",
    "exclusiveMaximum": "is not less than",
}
_KEYWORDS = frozenset(
    ("type", "enum", "const", "required", "pattern", "uniqueItems", "$ref",
     *_SCHEMAS, *_SCHEMA_LISTS, *_SCHEMA_MAPS, *_LIMITS)
)  # fmt: skip


class AnswerSchema:
    """A JSON Schema, checked once."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """Check a schema.

        Args:
            schema: The schema, as plain values of JSON. It may use `type`, `enum`, `const`, `properties`, `required`,
                `additionalProperties`, `items`, `minItems`, `maxItems`, `uniqueItems`, `minLength`, `maxLength`,
                `pattern` (RE2), `minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum`, `anyOf`, `allOf`, and
                `$ref` to `#/$defs/…` or `#/definitions/…`.

        Raises:
            AnswerCheckError: It uses something else, or a value of the wrong type.
        """
        self._schema = schema
        self._patterns: dict[str, AnswerPattern] = {}
        self._references = {
            f"#/{name}/{key}": value
            for name in ("$defs", "definitions")
            for key, value in _mapping(schema.get(name, {}), f"#/{name}").items()
        }
        self._check_schema(schema, "#", 0)

    def violations(self, value: object) -> list[str]:
        """Return why a value of JSON does not satisfy the schema: path and reason, at most `MAX_VIOLATIONS`."""
        violations: list[str] = []
        steps = [0]
        try:
            self._compare(value, self._schema, "$", violations, steps, 0)
        except _TooComplexError as error:
            violations.append(str(error))
        except RecursionError:
            violations.append("$: the value is nested too deeply")
        return violations[:MAX_VIOLATIONS]

    def _check_schema(self, schema: object, where: str, depth: int) -> None:
        if isinstance(schema, bool):
            return
        if depth > MAX_DEPTH:
            raise AnswerCheckError(f"{where}: the schema has more than {MAX_DEPTH} levels")
        schema = _mapping(schema, where)
        for key, value in schema.items():
            if key in _ANNOTATIONS:
                continue
            if key not in _KEYWORDS:
                raise AnswerCheckError(
                    f"{where}: the keyword {key!r} is not supported; remove it or write another rule"
                )
            self._check_keyword(key, value, f"{where}/{key}", depth)

    def _check_keyword(self, key: str, value: Any, where: str, depth: int) -> None:
        if key in _SCHEMAS:
            self._check_schema(value, where, depth + 1)
        elif key in _SCHEMA_LISTS:
            for index, each in enumerate(_list(value, where)):
                self._check_schema(each, f"{where}/{index}", depth + 1)
        elif key in _SCHEMA_MAPS:
            for name, each in _mapping(value, where).items():
                self._check_schema(each, f"{where}/{name}", depth + 1)
        elif key == "type":
            for name in _list([value] if isinstance(value, str) else value, where):
                if not isinstance(name, str) or name not in _TYPES:
                    raise AnswerCheckError(f"{where}: unknown type {name!r}; write {', '.join(_TYPES)}")
        elif key in ("enum", "required"):
            _list(value, where)
        elif key == "pattern":
            if not isinstance(value, str):
                raise AnswerCheckError(f"{where}: write a text")
            self._patterns[value] = AnswerPattern(value)
        elif key == "$ref" and (not isinstance(value, str) or value not in self._references):
            raise AnswerCheckError(f"{where}: {value!r} is not in the schema; write #/$defs/ and a name")
        elif key in _LIMITS and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise AnswerCheckError(f"{where}: write a number")
        elif key == "uniqueItems" and not isinstance(value, bool):
            raise AnswerCheckError(f"{where}: write true or false")

    def _compare(
        self, value: Any, schema: Any, where: str, violations: list[str], steps: list[int], depth: int
    ) -> None:
        steps[0] += 1
        if steps[0] > MAX_STEPS or depth > MAX_DEPTH:
            raise _TooComplexError(f"{where}: the comparison with the schema needs too many steps or levels")
        if len(violations) >= MAX_VIOLATIONS:
            return
        if isinstance(schema, bool):
            if not schema:
                violations.append(f"{where}: is not allowed")
            return
        if "$ref" in schema:
            self._compare(value, self._references[schema["$ref"]], where, violations, steps, depth + 1)
        types = schema.get("type", list(_TYPES))
        types = [types] if isinstance(types, str) else types
        if not any(_is_of_type(value, name) for name in types):
            own_type = next(name for name in _TYPES if _is_of_type(value, name))
            violations.append(f"{where}: is {own_type}, not {' or '.join(types)}")
            return
        if "enum" in schema and not any(_is_equal(value, each) for each in schema["enum"]):
            violations.append(f"{where}: is not one of {json.dumps(schema['enum'], ensure_ascii=False)[:120]}")
        if "const" in schema and not _is_equal(value, schema["const"]):
            violations.append(f"{where}: is not {json.dumps(schema['const'], ensure_ascii=False)[:120]}")
        violations += _limit_violations(value, schema, where)
        if isinstance(value, str) and "pattern" in schema and not self._patterns[schema["pattern"]].matches(value):
            violations.append(f"{where}: does not match {schema['pattern']!r}")
        if isinstance(value, list):
            if schema.get("uniqueItems") and len(set(map(_canonical, value))) < len(value):
                violations.append(f"{where}: has equal items")
            for index, item in enumerate(value if "items" in schema else ()):
                self._compare(item, schema["items"], f"{where}[{index}]", violations, steps, depth + 1)
        if isinstance(value, dict):
            self._compare_members(value, schema, where, violations, steps, depth)
        for each in schema.get("allOf", ()):
            self._compare(value, each, where, violations, steps, depth + 1)
        if "anyOf" in schema:
            for each in schema["anyOf"]:
                option: list[str] = []
                self._compare(value, each, where, option, steps, depth + 1)
                if not option:
                    break
            else:
                violations.append(f"{where}: satisfies none of the {len(schema['anyOf'])} schemas of anyOf")

    def _compare_members(
        self, value: dict[str, Any], schema: Mapping[str, Any], where: str, violations: list[str], steps: list[int],
        depth: int,
    ) -> None:  # fmt: skip
        properties = schema.get("properties", {})
        violations += [f"{where}: has no member {name!r}" for name in schema.get("required", ()) if name not in value]
        for name, member in value.items():
            member_schema = properties.get(name, schema.get("additionalProperties", True))
            if member_schema is False and name not in properties:
                violations.append(f"{where}: has the member {name[:80]!r}, which the schema does not allow")
            else:
                self._compare(member, member_schema, f"{where}.{name[:80]}", violations, steps, depth + 1)


class _TooComplexError(Exception):
    """The comparison exceeds its limits."""


def _limit_violations(value: Any, schema: Mapping[str, Any], where: str) -> list[str]:
    kind = "Length" if isinstance(value, str) else "Items" if isinstance(value, list) else ""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    violations = []
    for keyword, text in _LIMITS.items():
        if keyword not in schema:
            continue
        limit = schema[keyword]
        if keyword.endswith(("Length", "Items")):
            if not kind or not keyword.endswith(kind):
                continue
            size: Any = len(value)
        elif is_number:
            size = value
        else:
            continue
        is_wrong = {
            "min": size < limit,
            "max": size > limit,
            "exclusiveMin": size <= limit,
            "exclusiveMax": size >= limit,
        }[keyword.removesuffix("Length").removesuffix("Items").removesuffix("imum")]
        if is_wrong:
            violations.append(f"{where}: {text} {limit}")
    return violations


def _is_of_type(value: object, name: str) -> bool:
    if isinstance(value, bool) and name in ("number", "integer"):
        return False
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[name])


def _is_equal(one: object, other: object) -> bool:
    return _canonical(one) == _canonical(other)


def _canonical(value: object) -> str:
    """Return a text that equal values of JSON share: 1 is 1.0, true is not 1, and members have no order."""
    return json.dumps(_with_whole_numbers(value), sort_keys=True)


def _with_whole_numbers(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_with_whole_numbers(each) for each in value]
    if isinstance(value, dict):
        return {name: _with_whole_numbers(each) for name, each in value.items()}
    return value


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise AnswerCheckError(f"{where}: write an object, not {type(value).__name__}")
    return value


def _list(value: object, where: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise AnswerCheckError(f"{where}: write a list, not {type(value).__name__}")
    return value


MAX_PATTERN_CHARS = 1_000


class AnswerPattern:
    """A regular expression that an answer must contain, for the engine RE2, which Arrow contains.

    Python's `re` may take exponential time. RE2 does not; it has no backreferences and no look-around.
    """

    def __init__(self, pattern: str) -> None:
        """Compile a pattern.

        Args:
            pattern: The expression. It may match anywhere; write `^` and `$` for the whole text.

        Raises:
            AnswerCheckError: RE2 does not accept it, or it has more than `MAX_PATTERN_CHARS` characters.
        """
        if len(pattern) > MAX_PATTERN_CHARS:
            raise AnswerCheckError(f"the pattern has {len(pattern):,} characters; at most {MAX_PATTERN_CHARS:,} fit")
        self.pattern = pattern
        try:
            self.matches("")
        except pa.ArrowInvalid as error:
            reason = str(error).partition("\n")[0].removeprefix("Invalid regular expression: ")
            raise AnswerCheckError(
                f"the pattern {pattern[:80]!r} is invalid: {reason}; write it for RE2, which has no look-around and no "
                "backreferences"
            ) from error

    def matches(self, text: str) -> bool:
        """Return whether a text contains a match."""
        encoded = text.encode("utf-8", "replace").decode()
        return bool(pc.match_substring_regex(pa.array([encoded], pa.large_string()), self.pattern)[0].as_py())
