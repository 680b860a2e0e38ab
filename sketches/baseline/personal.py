"""Personal data that a baseline would carry where events do not: values of training that nobody hashed or cut.

What the publisher hashes could not be compared with such a baseline anyway: every event would be unseen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from barograph.contract import CROSS, Contract, Field
from barograph.publisher.pii import HASH_CHARS, TRUNCATED_CHARS

from sketches.baseline.baseline import Baseline

_HASHED = re.compile(rf"[0-9a-f]{{{HASH_CHARS}}}")


def bare_values(contract: Contract, baseline: Baseline) -> list[str]:
    """Name the fields and slices of a baseline that hold values which the contract has protected; none is shown."""
    by_source = {field.source: field for field in contract.fields if field.pii != "keep"}
    by_name = {field.name: field for field in by_source.values()}
    problems = []
    for frozen in baseline.fields:
        field = by_name.get(frozen.name)
        if field is not None and (bare := _bare(field, frozen.categories)):
            problems.append(f"field {field.name}: {_sentence(field, bare)}")
    for dimension in baseline.dimensions:
        for field, values in _parts(dimension.source, dimension.values, by_source):
            if bare := _bare(field, values):
                problems.append(f"slice {dimension.name}: {_sentence(field, bare)}")
    return problems


def _parts(
    source: str, values: Iterable[str], by_source: Mapping[str, Field]
) -> Iterable[tuple[Field, tuple[str, ...]]]:
    """Each protected source of a slice, with the values that it has in the crossed ones."""
    rows = [value.split(CROSS) for value in values]
    for position, name in enumerate(source.split(CROSS)):
        if name in by_source:
            yield by_source[name], tuple(row[position] for row in rows if position < len(row))


def _bare(field: Field, values: Iterable[str]) -> int:
    """How many values the publisher would never send."""
    if field.pii == "hash":
        return sum(_HASHED.fullmatch(value) is None for value in values)
    if field.pii == "truncate":
        return sum(len(value) > TRUNCATED_CHARS for value in values)
    return sum(1 for _ in values)


def _sentence(field: Field, bare: int) -> str:
    done = {"hash": "hashed", "truncate": "cut", "drop": "left out"}[field.pii]
    return f"the contract says pii: {field.pii}, and {bare:,} values of training are not {done} (see docs/security.md)"
