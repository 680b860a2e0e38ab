"""Changes of the registry: in Kafka, which clients follow, and then in ClickHouse."""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from barograph.prompts.catalogue import PromptCatalogue
from barograph.prompts.records import PromptRecord

from cli.errors import CommandError
from cli.settings import Settings
from streams.prompts.changes import Author
from streams.prompts.prompt_log import PromptLog
from warehouse.client import WarehouseBusy, WarehouseError, connect
from warehouse.prompts import StoredPrompts, store_missing

Clock = Callable[[], float]
CLICKHOUSE_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class RegistryState:
    """What is registered."""

    catalogue: PromptCatalogue
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RegistryOutcome:
    """What a command did."""

    catalogue: PromptCatalogue
    """What is registered now."""
    records: tuple[PromptRecord, ...]
    """What Kafka received."""
    stored: StoredPrompts
    """The rows that ClickHouse received, those of earlier commands included."""
    failure: str
    """Why ClickHouse did not receive them; empty if it did."""
    warnings: tuple[str, ...]


def read_registry(settings: Settings) -> RegistryState:
    """Read what is registered, from Kafka.

    Raises:
        ProcessorError: Kafka refuses or does not answer.
    """
    log = PromptLog(settings.processor())
    catalogue = log.read()
    return RegistryState(catalogue, _warnings(log))


def change_registry(
    settings: Settings,
    plan: Callable[[PromptCatalogue, Author], Sequence[PromptRecord]],
    by: str | None,
    *,
    clock: Clock = time.time,
) -> RegistryOutcome:
    """Change the registry, as the only command that does at this time.

    Kafka receives all records or none. Clients follow them at once, also if ClickHouse does not answer; then each later
    command adds the rows that are missing, so the failed one can be repeated.

    Args:
        settings: where Kafka and ClickHouse are.
        plan: returns the records to write; it may raise.
        by: who makes the change; None for the user of the operating system.
        clock: the current time, Unix seconds.

    Raises:
        ProcessorError: the change is not possible, or Kafka refuses or does not answer.
    """
    author = Author(author_name(by), int(clock() * 1000))
    log = PromptLog(settings.processor())
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
        with connect(settings.warehouse, timeout_s=CLICKHOUSE_TIMEOUT_S) as client:
            stored = store_missing(client, log.records)
    except (WarehouseBusy, WarehouseError) as error:
        failure = str(error)
    return RegistryOutcome(catalogue, records, stored, failure, _warnings(log))


def author_name(by: str | None) -> str:
    """Return who makes a change: the name, or the user of the operating system."""
    if by is not None:
        if not by.strip():
            raise CommandError("--by is empty: write your name, or leave it out.")
        return " ".join(by.split())
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


def raise_failure(outcome: RegistryOutcome) -> None:
    """Raise an error if ClickHouse did not receive the rows.

    Raises:
        CommandError: it did not; the text says what holds and what to do.
    """
    if outcome.failure:
        done = "Kafka has the change, and clients follow it" if outcome.records else "Nothing had to change in Kafka"
        raise CommandError(
            f"{done}, but ClickHouse does not have all rows: {outcome.failure} Run the same command again later: it "
            "adds the rows that are missing and changes nothing else."
        )


def _warnings(log: PromptLog) -> tuple[str, ...]:
    if not log.unreadable:
        return ()
    return (f"{log.unreadable} unreadable records of the topic are ignored; the last: {log.problem}.",)
