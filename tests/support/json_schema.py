"""Violations of a JSON Schema by plain JSON."""

from typing import Any

import jsonschema_rs


def faults(value: Any, schema: dict[str, Any], where: str = "") -> list[str]:
    validator = jsonschema_rs.validator_for(schema, pattern_options=jsonschema_rs.RegexOptions())
    return [f"{where}{error.instance_path}: {error.message}" for error in validator.iter_errors(value)]
