"""The subset of JSON Schema that the schemas of the tests use."""

from __future__ import annotations

import json
import math
import re
from typing import Any

TYPES: dict[str, Any] = {
    **{"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)},
    **{"number": int | float, "integer": int},
}


def faults(
    value: Any, schema: dict[str, Any], where: str = "", definitions: dict[str, dict[str, Any]] | None = None
) -> list[str]:
    """Return the violations of a schema by plain JSON; `definitions` are those that `$ref` may name."""
    definitions = schema.get("definitions", {}) if definitions is None else definitions
    if "$ref" in schema:
        schema = definitions[schema["$ref"].removeprefix("#/definitions/")]
    if "anyOf" in schema and all(faults(value, option, where, definitions) for option in schema["anyOf"]):
        return [f"{where}: matches no option"]
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kinds and not any(
        isinstance(value, TYPES[kind]) and isinstance(value, bool) <= (kind == "boolean") for kind in kinds
    ):
        return [f"{where}: is not of type {kinds}"]
    result: list[str] = []
    if ("enum" in schema and value not in schema["enum"]) or ("const" in schema and value != schema["const"]):
        result.append(f"{where}: is not an allowed value")
    if number and not (
        schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf)
        and value > schema.get("exclusiveMinimum", -math.inf)
    ):
        result.append(f"{where}: is out of range")
    if isinstance(value, str):
        short, long = schema.get("minLength", 0), schema.get("maxLength", 10**9)
        if not short <= len(value) <= long or not re.search(schema.get("pattern", ""), value):
            result.append(f"{where}: has a wrong length or pattern")
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 10**9):
            result.append(f"{where}: has a wrong length")
        if schema.get("uniqueItems") and len({json.dumps(item) for item in value}) < len(value):
            result.append(f"{where}: has duplicates")
        for position, item in enumerate(value):
            result += faults(item, schema.get("items", {}), f"{where}[{position}]", definitions)
    if isinstance(value, dict):
        result += [f"{where}: {key} is missing" for key in schema.get("required", []) if key not in value]
        for key, member in value.items():
            result += faults(key, schema.get("propertyNames", {}), f"{where} key")
            inner = schema.get("properties", {}).get(key, schema.get("additionalProperties", {}))
            if inner is False:
                result.append(f"{where}: {key} is unknown")
            else:
                result += faults(member, inner, f"{where}.{key}", definitions)
    return result
