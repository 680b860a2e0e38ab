"""The events of a stretch from raw rows: what Kafka has forgotten and the recorder kept.

Raw rows are events as they were recorded, which is a little less than as they came: a flag that was given for a number
is a number there, and a score that was none is missing. So what is counted from them is held against what was counted
before, and refused where it is poorer.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from barograph.contract.file import parse_contract
from barograph.events import MAX_AHEAD_S
from confluent_kafka import KafkaException

from streams.broker.client import Admin, explain
from streams.events.batch import MessageBatch
from streams.events.columns import EventColumns
from streams.events.json_decoder import JsonDecoder
from streams.monitor.state.offset_ledger import OffsetLedger
from streams.rebuild.errors import RebuildError
from streams.recorder.recorder import GROUP
from streams.recorder.topic_epoch import known_epoch
from streams.registry.registry import Registry
from streams.settings import ProcessorSettings
from warehouse.client import Client

KEPT_S = 90 * 86_400
"""How long raw predictions are kept after their receipt (the table's TTL)."""
CHUNK_S = 3600
"""Rows of so much event time are in memory at once."""
EXACT = 2.0**53

_ROWS = (
    "SELECT partition, offset, version, id, toUnixTimestamp64Milli(at), toUnixTimestamp64Milli(received_at), arm, "
    "context, numbers, strings, nulls, score, class, scores, metrics, latency_ms, status, error "
    "FROM predictions FINAL WHERE model = {model:String} AND epoch = {epoch:UInt16} "
    "AND at >= fromUnixTimestamp64Milli({from_ms:Int64}) AND at < fromUnixTimestamp64Milli({to_ms:Int64})"
)


class RawSource:
    """Reads events of one model from the table `predictions`."""

    def __init__(self, settings: ProcessorSettings, client: Client, *, clock: Callable[[], float] = time.time) -> None:
        self._settings, self._client, self._clock = settings, client, clock
        self.rows = 0

    def check(self, model: str, ledger: OffsetLedger, from_s: int) -> None:
        """Make sure that every event of the stretch that was counted has a raw row.

        Raises:
            RebuildError: a share was recorded, rows are deleted by age, or the recorder has not come as far.
            ProcessorError: Kafka does not answer.
        """
        since_s = from_s - MAX_AHEAD_S
        if since_s < self._clock() - KEPT_S:
            raise RebuildError(
                f"Raw predictions are kept {KEPT_S // 86_400} days: some of this stretch may be deleted. Choose a "
                "later --from."
            )
        stored = self._client.rows(
            "SELECT yaml, toUnixTimestamp64Milli(applied_at) FROM contracts WHERE model = {model:String} "
            "ORDER BY applied_at",
            {"model": model},
        )
        for i, (text, _) in enumerate(stored):
            ended_s = stored[i + 1][1] / 1000 if i + 1 < len(stored) else math.inf
            share = parse_contract(text, f"contract of {model}").raw_share
            if ended_s > since_s and share < 1:
                raise RebuildError(
                    f"A contract of {model} that was in force then records a share of {share:g} of the predictions: "
                    "what is counted from raw rows would be a sample. Use --source kafka where it still holds them."
                )
        self._check_recorded(ledger)

    def _check_recorded(self, ledger: OffsetLedger) -> None:
        topic, group = self._settings.topics.predictions, f"{self._settings.topics.prefix}{GROUP}"
        admin = Admin(self._settings.bootstrap_servers, self._settings.kafka, log_level=3)
        try:
            found = admin.committed(group, [(topic, partition) for partition in ledger.rows])
        except KafkaException as error:
            raise explain(error, f"tell the offsets of the group {group}") from error
        for place in found:
            end = ledger.rows[place.partition].end
            if place.offset < end:
                raise RebuildError(
                    f"The recorder has come to offset {max(place.offset, 0)} of {topic} partition {place.partition}, "
                    f"the monitor to {end}: let it catch up first."
                )

    def events(
        self, registry: Registry, model: str, ledger: OffsetLedger, from_s: int, to_s: int
    ) -> Iterator[EventColumns]:
        """The events of a model in [from, to) that the monitor had come to.

        Raises:
            RebuildError: the rows are of no known incarnation of the topic, or no events.
        """
        decoder = JsonDecoder(registry)
        topic = self._settings.topics.predictions
        ids = {row.source_topic_id for row in ledger.rows.values()}
        epochs = {known_epoch(self._client, topic, topic_id) for topic_id in ids}
        if len(epochs) != 1 or None in epochs:
            raise RebuildError(f"No raw rows of the topic {topic} that the monitor read are recorded.")
        (epoch,) = epochs
        for start_s in range(from_s, to_s, CHUNK_S):
            bounds = {"from_ms": start_s * 1000, "to_ms": min(start_s + CHUNK_S, to_s) * 1000}
            found = self._client.rows(_ROWS, {"model": model, "epoch": epoch, **bounds})
            counted = [row for row in found if row[0] in ledger.rows and row[1] < ledger.rows[row[0]].end]
            if not counted:
                continue
            self.rows += len(counted)
            decoded = decoder.decode(
                MessageBatch(
                    [as_message(model, row) for row in counted],
                    np.array([row[0] for row in counted], dtype=np.int32),
                    np.array([row[1] for row in counted], dtype=np.int64),
                    np.array([row[5] for row in counted], dtype=np.int64),
                )
            )
            if decoded.rejected:
                raise RebuildError(
                    f"{len(decoded.rejected)} raw rows of {model} are no events by today's contract "
                    f"({decoded.rejected[0].reason}): rebuild from Kafka."
                )
            yield from decoded.events


def as_message(model: str, row: tuple[Any, ...]) -> bytes:
    """Write a raw row as the JSON event that it was made from."""
    _, _, version, event_id, at_ms, _, arm, context, numbers, strings, nulls, score, label, scores, metrics = row[:15]
    latency_ms, status, error = row[15:]
    features: dict[str, Any] = dict.fromkeys(nulls)
    features |= _numbers(numbers) | dict(strings)
    event = {
        "model": model,
        "version": version,
        "id": event_id,
        "at": at_ms,
        "arm": arm or None,
        "context": dict(context),
        "features": features,
        "score": _number(score),
        "class": label or None,
        "scores": _numbers(scores),
        "metrics": _numbers(metrics),
        "latency_ms": _number(latency_ms),
        "status": status or None,
        "error": error or None,
    }
    return json.dumps(event, allow_nan=False).encode()


def _numbers(values: Mapping[str, float | None]) -> dict[str, Any]:
    """Numbers of a map; those that are not finite as the texts that stand for them in events."""
    return {name: _spelled(value) for name, value in values.items() if value is not None}


def _number(value: float) -> Any:
    """A number of its own column, where NaN means that there is none."""
    return None if math.isnan(value) else _spelled(value)


def _spelled(value: float) -> Any:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    # A flag is a whole number in JSON.
    return int(value) if value.is_integer() and abs(value) < EXACT else value
