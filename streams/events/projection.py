"""Which members of a model's events the summaries need: its fields and the sources of its slices."""

from __future__ import annotations

from dataclasses import dataclass

from barograph.contract import Contract, Field, FieldType
from barograph.contract.check import CONFIDENCE, default_source
from barograph.events import MAPS, SCORES

from sketches.baseline.baseline import FieldBaseline
from streams.registry.registry import Registry

LATENCY = "latency_ms"
"""The source that the promised latency is about."""


@dataclass(frozen=True, slots=True)
class Projection:
    """Sources (`features.temp`, `score`, …) by the type they are read as."""

    model: str
    numbers: tuple[str, ...]
    flags: tuple[str, ...]
    """Booleans: true, false, 0 or 1."""
    times: tuple[str, ...]
    """Timestamps, read as Unix milliseconds."""
    texts: tuple[str, ...]
    order: tuple[str, ...]
    """All of them as the contract names them: likely as events hold them, since both follow the training table. A
    decoder finds a member at once that comes where it is expected."""


def build_projection(registry: Registry, model: str) -> Projection:
    """Collect the sources that a model's contract and baselines name."""
    contract = registry.contracts[model]
    kinds: dict[str, str] = {}
    for field in [*contract.fields, *undeclared(registry, contract)]:
        kinds[field.source] = {"bool": "flag", "timestamp": "time", "category": "text"}.get(field.type, "number")
    if contract.slo.latency_ms is not None:
        kinds.setdefault(LATENCY, "number")
    for source in sorted(slice_sources(registry, contract)):
        kinds.setdefault(source, "text")

    def of(kind: str) -> tuple[str, ...]:
        return tuple(sorted(source for source, k in kinds.items() if k == kind))

    return Projection(model, of("number"), of("flag"), of("time"), of("text"), tuple(kinds))


def slice_sources(registry: Registry, contract: Contract) -> set[str]:
    """The sources of a model's slices, in its contract and in every baseline of it."""
    sources = {source for dimension in contract.slices for source in dimension.sources}
    for history in registry.baselines.get(contract.model, {}).values():
        for entry in history:
            sources |= {source for dimension in entry.baseline.dimensions for source in dimension.sources}
    return sources


SCORES_OF = f"{SCORES}."
"""What the sources of single scores begin with."""


def undeclared(registry: Registry, contract: Contract) -> list[Field]:
    """The fields of live baselines that the contract does not name, or names no more.

    A contract changes at once, the baselines of versions that go on serving do not: what they count is read as it was,
    not taken for null.
    """
    declared = {field.name for field in contract.fields}
    found: dict[str, Field] = {}
    for history in registry.baselines.get(contract.model, {}).values():
        for entry in history:
            for kept in entry.baseline.fields:
                if kept.name not in declared:
                    found.setdefault(kept.name, field_of(kept, contract))
    return list(found.values())


def field_of(kept: FieldBaseline, contract: Contract) -> Field:
    """A field as its baseline alone tells of it, for a contract that does not name it."""
    kind: FieldType = "float"
    if kept.kind == "category":
        kind = "category"
    elif kept.edges == (0.5,) and kept.low is None:
        kind = "bool"
    is_source = kept.name.partition(".")[0] in MAPS
    if kept.name.startswith(SCORES_OF):
        is_source = kept.kind == "numeric"
    elif kept.name == CONFIDENCE:
        # A feature may be called so too; in a model with scores it is theirs.
        is_source = any(field.source.startswith(SCORES_OF) for field in contract.fields)
    return Field(name=kept.name, type=kind, source=kept.name if is_source else default_source(kept.name))
