"""A reader that was observed, and how it compares with the contracts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from barograph.contract import Contract

ReaderKind = Literal["group", "user", "dashboard", "rule", "caller"]


@dataclass(frozen=True, slots=True)
class Reader:
    """A consumer group, a user of ClickHouse, a dashboard or alert rule of Grafana, or a caller of a model."""

    kind: ReaderKind
    name: str
    reads: tuple[str, ...]
    """Topics, or tables and views; of a caller, models."""
    columns: tuple[str, ...] = ()
    """Columns of tables, as `table.column`."""
    first: datetime | None = None
    """Its first read in the range; None if the source does not say."""
    last: datetime | None = None
    volume: int = 0
    """Messages that a group has read and that are still stored, queries of a user, predictions of a caller; else 0."""
    origin: str = ""
    """Client ids and hosts, addresses, producers, or the title."""


@dataclass(frozen=True, slots=True)
class DeclaredReader:
    """A consumer of a contract, and what was observed of it."""

    model: str
    name: str
    owner: str
    kind: ReaderKind
    reader: str
    fields: tuple[str, ...]
    observed: Reader | None


@dataclass(frozen=True, slots=True)
class ConsumerReport:
    """All readers."""

    declared: tuple[DeclaredReader, ...]
    undeclared: tuple[Reader, ...]
    """Readers that no contract declares."""
    notes: tuple[str, ...] = ()
    """What could not be looked up, and why."""


def compare_readers(
    contracts: Iterable[Contract], observed: Iterable[Reader], notes: Iterable[str] = ()
) -> ConsumerReport:
    """Compare the readers with the consumers of all contracts: topics and tables are shared by all models."""
    by_key: Mapping[tuple[str, str], Reader] = {(each.kind, each.name): each for each in observed}
    declared = tuple(
        DeclaredReader(
            contract.model,
            name,
            consumer.owner,
            consumer.kind,  # type: ignore[arg-type]
            consumer.reader,
            consumer.fields,
            by_key.get((consumer.kind, consumer.reader)),
        )
        for contract in contracts
        for name, consumer in contract.consumers.items()
    )
    known = {(each.kind, each.reader) for each in declared}
    undeclared = tuple(reader for key, reader in sorted(by_key.items()) if key not in known)
    return ConsumerReport(declared, undeclared, tuple(notes))
