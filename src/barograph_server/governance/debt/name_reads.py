"""When the SQL of a user, dashboard or alert rule last contained the name of a field or slice."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from barograph.contract import Contract

from barograph_server.governance.readers.grafana_readers import read_grafana
from barograph_server.grafana.client import Grafana
from barograph_server.settings import Settings
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.governance.query_log import QueryLogMissing, last_reads, roles_note


@dataclass(frozen=True, slots=True)
class NameReads:
    """What the query log, the dashboards and the alert rules contain."""

    last: Mapping[str, datetime]
    """Text → when a query last contained it; a text of a dashboard or rule counts as read now."""
    begins: datetime | None
    """Time of the oldest query in the log: nothing is known about earlier ones; None if there is no log."""
    notes: tuple[str, ...] = ()
    """What could not be read, and why."""


def sql_texts(contract: Contract) -> dict[str, str]:
    """Return how SQL names fields (`x`: `'x'`) and slices (`region=`: `'region=`, which begins `'region=north'`)."""
    fields = {field.name: f"'{field.name}'" for field in contract.fields}
    return fields | {f"{dimension.name}=": f"'{dimension.name}=" for dimension in contract.slices}


def read_names(
    settings: Settings, client: Client, contracts: Iterable[Contract], start: datetime, at: datetime
) -> NameReads:
    """Read when queries from `start` to `at`, dashboards and rules last named the fields and slices of contracts."""
    texts = {text for contract in contracts for text in sql_texts(contract).values()}
    last: dict[str, datetime] = {}
    begins: datetime | None = None
    notes: list[str] = []
    try:
        last, begins = last_reads(client, sorted(texts), start, at)
        notes += filter(None, (roles_note(client),))
    except QueryLogMissing as error:
        notes.append(str(error))
    if settings.grafana is None:
        notes.append("No Grafana is set, so dashboards count only by their queries in the query log: set grafana.url.")
    else:
        with Grafana(settings.grafana) as grafana:
            for reader in read_grafana(grafana, client):
                last |= {text: at for text in texts if any(text in each for each in reader.texts)}
    return NameReads(last, begins, tuple(notes))
