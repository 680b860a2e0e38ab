"""Who is affected by a change of a contract: the readers of fields that it removes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from barograph.contract import Contract

from barograph_server.governance.readers.grafana_readers import GrafanaReader, read_grafana
from barograph_server.grafana.client import Grafana
from barograph_server.settings import Settings
from barograph_server.terminal import plural
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.governance.query_log import QueryLogMissing, users_of_field

QUERIES_OF = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class RemovedField:
    """A field that a new contract no longer has."""

    contract: Contract
    """The contract in force, which has the field and the consumers."""
    name: str


def removed_fields(in_force: Mapping[str, Contract], new: Mapping[str, Contract]) -> list[RemovedField]:
    return [
        RemovedField(old, field.name)
        for model, contract in new.items()
        if (old := in_force.get(model)) is not None
        for field in old.fields
        if field.name not in {each.name for each in contract.fields}
    ]


def impact_notes(settings: Settings, client: Client, removed: list[RemovedField]) -> Iterator[str]:
    """Say who reads each removed field: consumers that declare it; users, dashboards and rules whose SQL names it."""
    if not removed:
        return
    since = datetime.now(UTC) - QUERIES_OF
    in_grafana: list[GrafanaReader] = []
    if settings.grafana is not None:
        with Grafana(settings.grafana) as grafana:
            in_grafana = list(read_grafana(grafana, client))
    unknown: list[str] = []
    if settings.grafana is None:
        unknown.append("No Grafana is set, so dashboards and rules that read fields are unknown.")
    for each in removed:
        observed: dict[tuple[str, str], str] = {
            (reader.kind, reader.uid): "" for reader in in_grafana if reader.names(each.name)
        }
        try:
            users = users_of_field(client, each.name, since)
        except QueryLogMissing as error:
            if str(error) not in unknown:
                unknown.append(str(error))
        else:
            observed |= {("user", user): f" ({plural(n, 'query', 'queries')})" for user, n in users.items()}
        readers = list(_describe(each, observed))
        if readers:
            text = f"is read by {', '.join(readers)}"
        else:
            text = "has no declared reader, and not all others are known" if unknown else "has no reader"
        yield f"field {each.name} of {each.contract.model} is removed: it {text}."
    if unknown:
        yield " ".join(unknown)


def _describe(removed: RemovedField, observed: Mapping[tuple[str, str], str]) -> Iterator[str]:
    consumers = {(each.kind, each.reader): (name, each) for name, each in removed.contract.consumers.items()}
    for key, (name, consumer) in consumers.items():
        if removed.name in consumer.fields or key in observed:
            yield f"{name} of {consumer.owner} ({key[0]} {key[1]})"
    for key, evidence in observed.items():
        if key not in consumers:
            yield f"{key[0]} {key[1]}, which is not declared{evidence}"
