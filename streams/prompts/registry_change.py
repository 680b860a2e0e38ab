"""A change of the registry of prompts: in Kafka, which clients follow, and then in ClickHouse."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from barograph.prompts.catalogue import PromptCatalogue
from barograph.prompts.records import PromptLabel, PromptRecord, decode_prompt_record, encode_prompt_record
from barograph.topic_reader import check_sequence

from barograph_server.streams.broker.compacted_log import CompactedLog
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.prompts.changes import Author
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


class PromptLog:
    """The topic, as a command reads and writes it."""

    def __init__(self, settings: ProcessorSettings) -> None:
        self._topic = settings.topics.prompts
        self._compacted = CompactedLog(
            settings,
            "prompts",
            self._topic,
            partitions_error="and the order of changes needs one: delete the topic, run `barograph apply`, which "
            "creates it again, and register the prompts again.",
            fenced_error=f"Another process wrote to {self._topic} at the same time, and this change was not "
            "written: repeat it.",
        )
        self.records: list[PromptRecord] = []
        """All records that were read and written, in order. Several may be of one label, until Kafka compacts them."""
        self.unreadable = 0
        """How many records could not be read. They are ignored."""
        self.problem = ""
        """What is wrong with the last of them."""

    def read(self) -> PromptCatalogue:
        # Reading alone would wait for a broker that is down.
        self._compacted.require_one_partition()
        return self._catalogue(self._compacted.read())

    def lead(self) -> PromptCatalogue:
        """Read the topic as its only writer: a command that decided from an older state can write no more."""
        return self._catalogue(self._compacted.lead())

    def publish(self, records: Sequence[PromptRecord]) -> None:
        """Write records: all of them or none."""
        if not records:
            return
        messages = [{"key": record.key, "value": encode_prompt_record(record)} for record in records]
        if not self._compacted.publish(messages):
            raise ProcessorError(
                f"Kafka did not confirm that it has the change of {self._topic}: repeat the change, which "
                "then continues from what Kafka has."
            )
        self.records += records

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to say about records that could not be read."""
        if not self.unreadable:
            return ()
        return (f"{self.unreadable} unreadable records of the topic are ignored; the last: {self.problem}.",)

    def close(self) -> None:
        """Stop writing."""
        self._compacted.close()

    def _catalogue(self, messages: Iterable[Any]) -> PromptCatalogue:
        for message in messages:
            if message.value() is None:
                continue
            try:
                record = decode_prompt_record(message.key(), message.value())
                if isinstance(record, PromptLabel):
                    check_sequence(record.sequence, message)
                self.records.append(record)
            except ValueError as error:
                self.unreadable += 1
                self.problem = f"offset {message.offset()}: {error}"
        return PromptCatalogue(self.records)
