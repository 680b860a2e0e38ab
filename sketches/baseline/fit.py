"""Whether a contract fits its baseline, and whether the baseline has unprotected personal values.

Such a baseline would not match hashed events anyway: all of them would be unseen.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from barograph.contract import CROSS, Contract, Field, Slice
from barograph.publisher.pii import HASH_PATTERN, MAX_TRUNCATED_CHARS

from barograph_server.sketches.baseline.baseline import Baseline, FieldBaseline, SliceValues


def fit_problems(contract: Contract, baseline: Baseline) -> list[str]:
    """Return every mismatch between a contract and a baseline."""
    problems = []
    if contract.model != baseline.model:
        problems.append(f"the contract is for model {contract.model}, the baseline for {baseline.model}")
    frozen = {field.name: field for field in baseline.fields}
    for field in contract.fields:
        if field.name in frozen:
            problems += [f"field {field.name}: {text}" for text in _field_misfits(field, frozen[field.name])]
        else:
            problems.append(f"field {field.name}: the baseline does not have it")
    watched = {field.name for field in contract.fields}
    problems += [f"field {name}: the contract does not have it" for name in frozen if name not in watched]
    dimensions = {dimension.name: dimension for dimension in baseline.dimensions}
    for cut in contract.slices:
        if cut.name in dimensions:
            problems += [f"slice {cut.name}: {text}" for text in _slice_misfits(cut, dimensions[cut.name])]
        else:
            problems.append(f"slice {cut.name}: the baseline does not have it")
    sliced = {cut.name for cut in contract.slices}
    problems += [f"slice {name}: the contract does not have it" for name in dimensions if name not in sliced]
    return problems + _season_misfits(contract, baseline) + bare_values(contract, baseline)


def _season_misfits(contract: Contract, baseline: Baseline) -> list[str]:
    """φ was learned with or without hours of the week, and cannot be used for the other."""
    if contract.season == "none":
        return ["season: the baseline has hours of the week, the contract has no season"] if baseline.timezone else []
    if baseline.timezone == contract.timezone:
        return []
    hours = f"those of {baseline.timezone}" if baseline.timezone else "none"
    return [f"season: the contract asks for hours of the week in {contract.timezone}, the baseline has {hours}"]


def _field_misfits(field: Field, frozen: FieldBaseline) -> Iterator[str]:
    kind = "category" if field.type == "category" else "numeric"
    if frozen.kind != kind:
        yield f"type {field.type} needs a {kind} baseline, not a {frozen.kind} one"
    for name in ("low", "high"):
        limit, counted = getattr(field, name), getattr(frozen, name)
        if limit is not None and limit != counted:
            yield f"{name} is {limit} in the contract, {counted} in the baseline"


def _slice_misfits(cut: Slice, frozen: SliceValues) -> Iterator[str]:
    if cut.source != frozen.source:
        yield f"source is {cut.source} in the contract, {frozen.source} in the baseline"
    if cut.values and set(cut.values) != set(frozen.values):
        differing = ", ".join(sorted(set(cut.values) ^ set(frozen.values)))
        yield f"contract and baseline have different values: {differing}"
    crosses = len(frozen.sources) - 1
    malformed = [value for value in frozen.values if crosses and value.count(CROSS) != crosses]
    if malformed:
        yield f"the baseline's value {malformed[0]!r} is not a value of {frozen.source}"
    if not cut.values and len(frozen.values) > cut.top:
        yield f"the contract keeps the top {cut.top} values, the baseline {len(frozen.values)}"


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
