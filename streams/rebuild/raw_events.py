"""Reads the events of a time range from raw rows, for ranges that Kafka's retention has deleted.

Raw rows hold slightly less than the original events: a flag in place of a number is recorded as a number, and an
invalid score is missing. So a rebuild compares the counts from raw rows with the old ones, and refuses lower counts.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest
from typing import Any

import numpy as np
from barograph.contract.file import parse_contract
from barograph.events import MAX_AHEAD_S
from confluent_kafka import KafkaException

from barograph_server.streams.broker.client import Admin, explain
from barograph_server.streams.events.batch import MessageBatch
from barograph_server.streams.events.columns import EventColumns
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.monitor.state.offset_ledger import OffsetLedger
from barograph_server.streams.rebuild.stopped_check import RebuildError
from barograph_server.streams.recorder.recorder import GROUP, known_epoch
from barograph_server.streams.registry.registry import Registry
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.history.raw_rows import RawPrediction, raw_predictions
from barograph_server.warehouse.queries import contract_history

RETENTION_S = 90 * 86_400
"""Retention of raw predictions after their receipt (the table's TTL)."""
CHUNK_S = 3600
"""Event time whose rows are in memory at once."""
EXACT = 2.0**53
"""Floats below this represent every integer exactly."""


class RawEvents:
    """Reads the events of one model from the table `predictions`."""

    def __init__(self, settings: ProcessorSettings, client: Client, *, clock: Callable[[], float] = time.time) -> None:
        self._settings, self._client, self._clock = settings, client, clock
        self.rows = 0

    def check(self, model: str, ledger: OffsetLedger, from_s: int) -> None:
        """Check that every counted event of the range has a raw row."""
        since_s = from_s - MAX_AHEAD_S
        if since_s < self._clock() - RETENTION_S:
            raise RebuildError(
                f"Raw predictions are kept {RETENTION_S // 86_400} days: some of this range may be deleted. Choose a "
                "later --from."
            )
        contracts = contract_history(self._client, model)
        for row, successor in zip_longest(contracts, contracts[1:]):
            end_s = math.inf if successor is None else successor.applied_at.timestamp()
            share = parse_contract(row.yaml, f"contract of {model}").raw_share
            if end_s > since_s and share < 1:
                raise RebuildError(
                    f"A contract of {model} that was in force then records a share of {share:g} of the predictions: "
                    "counts from raw rows would be a sample. Use --source kafka if Kafka still has the events."
                )
        self._check_recorded(ledger)

    def _check_recorded(self, ledger: OffsetLedger) -> None:
        topic, group = self._settings.topics.predictions, f"{self._settings.topics.prefix}{GROUP}"
        admin = Admin(self._settings.bootstrap_servers, self._settings.kafka)
        try:
            committed = admin.committed(group, [(topic, partition) for partition in ledger.rows])
        except KafkaException as error:
            raise explain(error, f"read the offsets of the group {group}") from error
        for each in committed:
            end = ledger.rows[each.partition].end
            if each.offset < end:
                raise RebuildError(
                    f"The recorder is at offset {max(each.offset, 0)} of {topic} partition {each.partition}, the "
                    f"monitor at {end}: let the recorder catch up first."
                )

    def events(
        self, registry: Registry, model: str, ledger: OffsetLedger, from_s: int, to_s: int
    ) -> Iterator[EventColumns]:
        """Yield the events of a model in [from, to) that the monitor has processed."""
        decoder = JsonDecoder(registry)
        topic = self._settings.topics.predictions
        ids = {row.source_topic_id for row in ledger.rows.values()}
        epochs = {known_epoch(self._client, topic, topic_id) for topic_id in ids}
        if len(epochs) != 1 or None in epochs:
            raise RebuildError(f"No raw rows of the topic {topic} that the monitor read are recorded.")
        (epoch,) = epochs
        assert epoch is not None
        for start_s in range(from_s, to_s, CHUNK_S):
            end_s = min(start_s + CHUNK_S, to_s)
            rows = raw_predictions(self._client, model, epoch, start_s * 1000, end_s * 1000)
            processed = [
                row for row in rows if row.partition in ledger.rows and row.offset < ledger.rows[row.partition].end
            ]
            if not processed:
                continue
            self.rows += len(processed)
            decoded = decoder.decode(
                MessageBatch(
                    [to_message(model, row) for row in processed],
                    np.array([row.partition for row in processed], dtype=np.int32),
                    np.array([row.offset for row in processed], dtype=np.int64),
                    np.array([row.received_ms for row in processed], dtype=np.int64),
                )
            )
            if decoded.rejected:
                raise RebuildError(
                    f"{len(decoded.rejected)} raw rows of {model} are not valid events by today's contract "
                    f"({decoded.rejected[0].reason}): rebuild from Kafka."
                )
            yield from decoded.events


def to_message(model: str, row: RawPrediction) -> bytes:
    """Convert a raw row back to the JSON event that it was recorded from."""
    features: dict[str, Any] = dict.fromkeys(row.nulls)
    features |= _numbers(row.numbers) | dict(row.strings)
    event = {
        "model": model,
        "version": row.version,
        "id": row.id,
        "at": row.at_ms,
        "arm": row.arm or None,
        "context": dict(row.context),
        "features": features,
        "score": _number(row.score),
        "class": row.label or None,
        "scores": _numbers(row.scores),
        "metrics": _numbers(row.metrics),
        "latency_ms": _number(row.latency_ms),
        "status": row.status or None,
        "error": row.error or None,
    }
    return json.dumps(event, allow_nan=False).encode()


def _numbers(values: Mapping[str, float | None]) -> dict[str, Any]:
    """Convert the numbers of a map; numbers that are not finite become their JSON spelling."""
    return {name: _json_number(value) for name, value in values.items() if value is not None}


def _number(value: float) -> Any:
    """Convert a number of a plain column, in which NaN means no value."""
    return None if math.isnan(value) else _json_number(value)


def _json_number(value: float) -> Any:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    # A flag may be an integer in JSON, but not a float.
    return int(value) if value.is_integer() and abs(value) < EXACT else value
