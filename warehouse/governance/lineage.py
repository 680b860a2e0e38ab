"""The lineage of a model: the graph from the sources of its fields to its consumers, as its contract declares it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from barograph.contract import Contract, Field

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.tables import insert_rows

LineageKind = Literal["source", "field", "model", "output", "consumer"]
LINEAGE_KINDS: tuple[LineageKind, ...] = get_args(LineageKind)
"""Kinds of nodes, from upstream to downstream."""
UNDECLARED = "no declared source"
"""Title of the node of the fields that no source declares."""
_INPUTS = ("features.", "context.")


@dataclass(frozen=True, slots=True)
class LineageNode:
    """A source, a field that the model reads, the model, a field that it writes, or a consumer."""

    id: str
    """The kind and the name, such as `field:temp`; unique in the graph."""
    kind: LineageKind
    title: str
    detail: str = ""
    """The system of a source, the type of a field, the serving version, or how a consumer reads; may be empty."""
    owner: str = ""
    """The people to ask; empty if the contract names nobody."""
    upstream: tuple[str, ...] = ()
    """Ids of the nodes from which an edge leads to this one."""


@dataclass(frozen=True, slots=True)
class LineageGraph:
    """The lineage of one model. Nodes are in the order in which they are drawn, by kind and from top to bottom."""

    model: str
    nodes: tuple[LineageNode, ...]

    @property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """Pairs of the ids of two nodes, from upstream to downstream."""
        return tuple((source, node.id) for node in self.nodes for source in node.upstream)


def build_lineage(contract: Contract) -> LineageGraph:
    """Build the graph of a contract.

    Features and members of the context lead to the model. Score, class, latency and metrics come from it. A consumer
    that names no fields reads the model as a whole.
    """
    sources: dict[str, list[str]] = {}
    for name, source in contract.declared_sources.items():
        for field in source.fields:
            sources.setdefault(field, []).append(f"source:{name}")
    order = {f"source:{name}": index for index, name in enumerate(contract.declared_sources)}
    # Fields of one source are neighbours, so that few edges cross.
    inputs = sorted(
        filter(is_input, contract.fields),
        key=lambda field: order[sources[field.name][0]] if field.name in sources else len(order),
    )
    outputs = [field for field in contract.fields if not is_input(field)]
    ids = {field.name: f"field:{field.name}" for field in inputs} | {
        field.name: f"output:{field.name}" for field in outputs
    }
    model = f"model:{contract.model}"

    def nodes() -> Iterator[LineageNode]:
        for name, source in contract.declared_sources.items():
            yield LineageNode(f"source:{name}", "source", name, source.system, source.owner)
        # Ids of declared sources have a colon, so that none is equal to this one.
        if any(field.name not in sources for field in inputs):
            yield LineageNode("source", "source", UNDECLARED)
        for field in inputs:
            yield LineageNode(
                ids[field.name], "field", field.name, field.type, "", tuple(sources.get(field.name, ("source",)))
            )
        owner = contract.team or ", ".join(contract.owners)
        version = f"version {contract.serving}" if contract.serving else ""
        yield LineageNode(model, "model", contract.model, version, owner, tuple(ids[field.name] for field in inputs))
        for field in outputs:
            yield LineageNode(
                ids[field.name], "output", field.name, field.type, "", (model, *sources.get(field.name, ()))
            )
        for name, consumer in contract.consumers.items():
            upstream = tuple(ids[field] for field in consumer.fields) or (model,)
            detail = f"{consumer.kind} {consumer.reader}"
            yield LineageNode(f"consumer:{name}", "consumer", name, detail, consumer.owner, upstream)

    return LineageGraph(contract.model, tuple(nodes()))


def is_input(field: Field) -> bool:
    """Return whether a field is an input of the model, rather than something that it returns or that is measured."""
    return field.source.startswith(_INPUTS)


def store_lineage(client: Client, contracts: Sequence[Contract], applied_ms: int) -> None:
    """Store the graphs of contracts that are applied, with the time of their rows in `contracts`.

    Raises: as `insert_columns`.
    """
    insert_rows(
        client,
        "lineage",
        [
            {
                "model": contract.model,
                "contract_id": contract.id,
                "applied_at": applied_ms,
                "position": position,
                "node": node.id,
                **{name: getattr(node, name) for name in ("kind", "title", "detail", "owner", "upstream")},
            }
            for contract in contracts
            for position, node in enumerate(build_lineage(contract).nodes)
        ],
    )
