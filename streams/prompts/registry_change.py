"""A change of the registry of prompts: in Kafka, which clients follow, and then in ClickHouse."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from barograph.prompts.catalogue import PromptCatalogue
from barograph.prompts.records import PromptRecord

from barograph_server.streams.prompts.changes import Author
from barograph_server.streams.prompts.prompt_log import PromptLog
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError
from barograph_server.warehouse.rollouts.prompts import StoredPrompts, store_missing


@dataclass(frozen=True, slots=True)
class RegistryOutcome:
    """What a change did."""

    catalogue: PromptCatalogue
    """What is registered now."""
    records: tuple[PromptRecord, ...]
    """What Kafka received."""
    stored: StoredPrompts
    """The rows that ClickHouse received, those of earlier changes included."""
    failure: str
    """Why ClickHouse did not receive them; empty if it did."""
    warnings: tuple[str, ...]


def change_registry(
    settings: ProcessorSettings,
    plan: Callable[[PromptCatalogue, Author], Sequence[PromptRecord]],
    author: Author,
    connect_to: Callable[[], Client],
) -> RegistryOutcome:
    """Change the registry, as the only writer at this time.

    Kafka receives all records or none. Clients follow them at once, also if ClickHouse does not answer; then each later
    change adds the rows that are missing, so the failed one can be repeated.

    Args:
        plan: returns the records to write, from all that is registered; it may raise.
        author: who makes the change, and when.
    """
    log = PromptLog(settings)
    try:
        catalogue = log.lead()
        records = tuple(plan(catalogue, author))
        log.publish(records)
    finally:
        log.close()
    for record in records:
        catalogue.add(record)
    stored, failure = StoredPrompts(0, 0), ""
    try:
        with connect_to() as client:
            stored = store_missing(client, log.records)
    except (WarehouseBusy, WarehouseError) as error:
        failure = str(error)
    return RegistryOutcome(catalogue, records, stored, failure, log.warnings)
