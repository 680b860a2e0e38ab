"""Reads all readers from Kafka, ClickHouse and Grafana, and stores them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from barograph.contract import Contract
from confluent_kafka import TopicPartition
from confluent_kafka.admin import OffsetSpec

from barograph_server.governance.readers.grafana_readers import read_grafana
from barograph_server.grafana.client import Grafana
from barograph_server.settings import Settings
from barograph_server.streams.broker.acl import KafkaRole, required_acls
from barograph_server.streams.broker.client import TIMEOUT_S, Admin
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.streams.topics import Topics
from barograph_server.terminal import listed, plural
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.governance.query_log import (
    MAX_CALLERS,
    ModelCaller,
    QueryLogMissing,
    model_callers,
    read_users,
    roles_note,
)
from barograph_server.warehouse.tables import insert_rows


def read_consumers(
    settings: Settings, client: Client, contracts: Sequence[Contract], since: datetime
) -> ConsumerReport:
    """Read who reads, and compare with the contracts."""
    observed, notes = read_groups(settings.processor())
    try:
        observed += (
            Reader(
                "user", each.user, each.tables, each.columns, each.first, each.last, each.queries, listed(each.origins)
            )
            for each in read_users(client, since)
        )
    except QueryLogMissing as error:
        notes.append(str(error))
    else:
        notes += filter(None, (roles_note(client),))
    if settings.grafana is None:
        notes.append("No Grafana is set, so dashboards and rules that read tables are unknown: set grafana.url.")
    else:
        with Grafana(settings.grafana) as grafana:
            observed += (
                Reader(each.kind, each.uid, each.tables, origin=each.title) for each in read_grafana(grafana, client)
            )
    callers, unnamed = read_callers(client, contracts, since)
    observed += callers
    notes += unnamed
    return compare_readers(contracts, observed, notes)


UNKNOWN = datetime.fromtimestamp(0, UTC)


def store_readers(client: Client, report: ConsumerReport, now: datetime) -> None:
    """Write all observed readers as one observation."""
    # Several contracts may declare one reader: its rows have the same key and replace each other.
    observed = [(each.observed, True) for each in report.declared if each.observed is not None]
    observed += [(reader, False) for reader in report.undeclared]
    insert_rows(
        client,
        "readers",
        [
            {
                "observed_at": now,
                "kind": reader.kind,
                "name": reader.name,
                "reads": list(reader.reads),
                "columns": list(reader.columns),
                "first": reader.first or UNKNOWN,
                "last": reader.last or UNKNOWN,
                "volume": reader.volume,
                "origin": reader.origin,
                "is_declared": is_declared,
            }
            for reader, is_declared in observed
        ],
    )


def read_callers(client: Client, contracts: Iterable[Contract], since: datetime) -> tuple[list[Reader], list[str]]:
    """Read the callers of the models whose contract names the member of events that has them.

    Args:
        client: the connection; its user may read predictions.

    Returns:
        The callers, and a note on each model whose callers are known only in part.
    """
    by_name: dict[str, list[tuple[str, ModelCaller]]] = {}
    notes = []
    for contract in contracts:
        if not contract.caller:
            continue
        callers = model_callers(client, contract.model, contract.caller.partition(".")[2], since)
        for caller in callers:
            if caller.name:
                by_name.setdefault(caller.name, []).append((contract.model, caller))
            else:
                n = caller.predictions
                names = "names" if n == 1 else "name"
                notes.append(f"{plural(n, 'prediction')} of {contract.model} {names} no caller in {contract.caller}.")
        if len(callers) == MAX_CALLERS:
            notes.append(f"{contract.model} has more than {MAX_CALLERS:,} callers; those with most predictions count.")
        if contract.raw_share < 1:
            notes.append(
                f"Only {contract.raw_share:.0%} of the predictions of {contract.model} are stored with callers."
            )
    return [_reader(name, callers) for name, callers in by_name.items()], notes


def _reader(name: str, callers: Sequence[tuple[str, ModelCaller]]) -> Reader:
    origins = {producer for _, caller in callers for producer in caller.producers} - {""}
    return Reader(
        *("caller", name, tuple(model for model, _ in callers)),
        first=min(caller.first for _, caller in callers),
        last=max(caller.last for _, caller in callers),
        volume=sum(caller.predictions for _, caller in callers),
        origin=listed(sorted(origins)) or "unknown producer",
    )


def own_groups(topics: Topics) -> frozenset[str]:
    return frozenset(
        acl.name for role in get_args(KafkaRole) for acl in required_acls(role, topics) if acl.resource == "group"
    )


def read_groups(settings: ProcessorSettings) -> tuple[list[Reader], list[str]]:
    """Read which other groups have offsets or partitions of the topics; note if none of the topics exists."""
    admin = Admin(settings.bootstrap_servers, settings.kafka)
    existing = admin.client.list_topics(timeout=TIMEOUT_S).topics
    partitions = [
        (name, number) for name in settings.topics.all if name in existing for number in existing[name].partitions
    ]
    if not partitions:
        prefix = f" with the prefix {settings.topics.prefix}" if settings.topics.prefix else ""
        return [], [f"No topic of Barograph{prefix} exists, so groups are unknown: set topic_prefix, or run apply."]
    begins = _first_offsets(admin, partitions)
    groups = admin.result(admin.client.list_consumer_groups(request_timeout=TIMEOUT_S), "list consumer groups")
    if groups.errors:
        # Of a broker that does not answer, all groups would be missing.
        raise admin.explain(groups.errors[0], "list consumer groups")
    readers = []
    own = own_groups(settings.topics)
    for group in sorted(each.group_id for each in groups.valid if each.group_id not in own):
        described = admin.client.describe_consumer_groups([group], request_timeout=TIMEOUT_S)[group]
        members = admin.result(described, f"describe group {group}").members
        assigned = {
            (each.topic, each.partition)
            for member in members
            for each in (member.assignment.topic_partitions if member.assignment is not None else ())
        }
        committed = {
            (each.topic, each.partition): each.offset for each in admin.committed(group, partitions) if each.offset >= 0
        }
        reads = sorted({topic for topic, _ in assigned & set(partitions)} | {topic for topic, _ in committed})
        if not reads:
            continue
        origins = sorted({f"{member.client_id} at {member.host.lstrip('/')}" for member in members})
        volume = sum(max(0, offset - begins.get(partition, 0)) for partition, offset in committed.items())
        readers.append(Reader("group", group, tuple(reads), volume=volume, origin=listed(origins) or "no member now"))
    return readers, []


def _first_offsets(admin: Admin, partitions: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
    earliest: Any = OffsetSpec.earliest  # its stub has no types
    requested = {TopicPartition(*partition): earliest() for partition in partitions}
    futures = admin.client.list_offsets(requested, request_timeout=TIMEOUT_S)
    return {
        (partition.topic, partition.partition): admin.result(future, "list the first offsets").offset
        for partition, future in futures.items()
    }


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
