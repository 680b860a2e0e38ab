"""Projection of a model's events onto the sources that the summaries need: its fields and its slices."""

from dataclasses import dataclass

from barograph.contract import CONFIDENCE, Contract, Field, FieldType
from barograph.contract.check import default_source
from barograph.events import CONTEXT, FEATURES, MAPS, SCORES

from barograph_server.sketches.baseline.baseline import FieldBaseline
from barograph_server.streams.events.hashed_values import hashed_sources
from barograph_server.streams.registry.registry import Registry

LATENCY = "latency_ms"
"""The source that the latency objective is about."""
SCORES_PREFIX = f"{SCORES}."
"""Prefix of the sources of single scores."""


_OF_REQUEST = (f"{FEATURES}.", f"{CONTEXT}.")


def is_of_answer(source: str) -> bool:
    """Whether the source is of the answer, so that failed predictions do not count in its fields."""
    return not source.startswith(_OF_REQUEST)


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
    hashed: frozenset[str]
    """Texts that the publisher hashes; other values are invalid."""
    order: tuple[str, ...]
    """All sources in the contract's order.

    Events usually have the same order, since both follow the training table, and a decoder finds a member fastest where
    it expects it.
    """


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

    return Projection(model, of("number"), of("flag"), of("time"), of("text"), hashed_sources(contract), tuple(kinds))


def slice_sources(registry: Registry, contract: Contract) -> set[str]:
    """Return the sources of a model's slices, in its contract and in all its baselines."""
    sources = {source for dimension in contract.slices for source in dimension.sources}
    for history in registry.baselines.get(contract.model, {}).values():
        for entry in history:
            sources |= {source for dimension in entry.baseline.dimensions for source in dimension.sources}
    return sources


def undeclared(registry: Registry, contract: Contract) -> list[Field]:
    """Return the fields of live baselines that the contract does not name, or no longer names.

    A new contract takes effect at once, while versions in service keep their baselines. Their fields are still read,
    not taken for null.
    """
    declared = {field.name for field in contract.fields}
    fields: dict[str, Field] = {}
    for history in (*registry.baselines.get(contract.model, {}).values(), registry.empty.get(contract.model, ())):
        for entry in history:
            for baseline in entry.baseline.fields:
                if baseline.name not in declared:
                    fields.setdefault(baseline.name, field_of(baseline, contract))
    return list(fields.values())


def field_of(baseline: FieldBaseline, contract: Contract) -> Field:
    """Derive a field from its baseline alone, for a contract that does not name it."""
    kind: FieldType = "float"
    if baseline.kind == "category":
        kind = "category"
    elif baseline.edges == (0.5,) and baseline.low is None:
        kind = "bool"
    is_source = baseline.name.partition(".")[0] in MAPS
    if baseline.name.startswith(SCORES_PREFIX):
        is_source = baseline.kind == "numeric"
    elif baseline.name == CONFIDENCE:
        # A feature may have this name too. In a model with scores it means the largest score.
        is_source = any(field.source.startswith(SCORES_PREFIX) for field in contract.fields)
    return Field(name=baseline.name, type=kind, source=baseline.name if is_source else default_source(baseline.name))
