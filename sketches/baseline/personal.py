"""Personal data in a baseline: training values that are not hashed or truncated although the contract asks for it.

Such a baseline would not match hashed events anyway: all of them would be unseen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from barograph.contract import CROSS, Contract, Field
from barograph.publisher.pii import HASH_PATTERN, MAX_TRUNCATED_CHARS

from barograph_server.sketches.baseline.baseline import Baseline

_HASHED = re.compile(HASH_PATTERN)


def bare_values(contract: Contract, baseline: Baseline) -> list[str]:
    """Return the fields and slices of a baseline that have unprotected personal values, without showing any."""
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
    """Yield each protected source of a slice with its part of the crossed values."""
    rows = [value.split(CROSS) for value in values]
    for position, name in enumerate(source.split(CROSS)):
        if name in by_source:
            yield by_source[name], tuple(row[position] for row in rows if position < len(row))


def _bare(field: Field, values: Iterable[str]) -> int:
    """Return the number of values that the publisher would never send."""
    if field.pii == "hash":
        return sum(_HASHED.fullmatch(value) is None for value in values)
    if field.pii == "truncate":
        return sum(len(value) > MAX_TRUNCATED_CHARS for value in values)
    return sum(1 for _ in values)


def _sentence(field: Field, bare: int) -> str:
    action = {"hash": "hashed", "truncate": "truncated", "drop": "omitted"}[field.pii]
    return (
        f"the contract says pii: {field.pii}, and {bare:,} values of training are not {action} (see docs/security.md)"
    )
