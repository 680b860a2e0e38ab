"""Finds the rows that arrived since the scorer's checkpoints, and the hours that they change.

Rows of one Kafka partition become visible in the order of their offsets, with short exceptions: an insert that spans
two weeks creates two parts, and a replica fetches parts in any order. So the checkpoints stay some minutes behind. The
scorer rereads the rows between a checkpoint and the newest row, and skips hours whose rows are unchanged (`HourRows`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.scoring.rules import Rules
from barograph_server.warehouse.tables import insert_rows

Topic = Literal["predictions", "labels", "shadow_predictions"]
"""A table of raw rows, whose rows the scorer reads in the order of their Kafka positions."""
TOPICS: tuple[Topic, ...] = ("predictions", "labels", "shadow_predictions")
_MEASURED: tuple[Topic, ...] = ("predictions", "labels")

LABELS_AT_ONCE = 1_000_000
"""Maximum number of labels that one statement looks up; more labels are split by the hash of their ids."""

_LABEL = ("id", "at", "epoch", "partition", "offset", "message_index", "label", "label_type", "received_at")


class EpochPartition(NamedTuple):
    """A partition of one incarnation of a topic."""

    epoch: int
    partition: int


Offsets = Mapping[EpochPartition, int]
"""The last processed offset of each partition; a partition without an entry is unprocessed."""


class HourRows(NamedTuple):
    """The new rows of an hour: their number, and a hash of their Kafka positions."""

    rows: int
    positions_hash: int


@dataclass(frozen=True, slots=True)
class NewRows:
    """New rows by the hour of their predictions (start, Unix seconds); labels without a prediction are at 0."""

    by_hour: dict[int, HourRows]
    """Rows after the current checkpoint."""
    by_hour_after_next: dict[int, HourRows]
    """Rows after the next checkpoint."""

    def more_than(self, known: Mapping[int, HourRows]) -> int:
        """Return how many more rows there are than those that an earlier pass found after the current checkpoint."""
        return max(0, sum(hour.rows for hour in self.by_hour.values()) - sum(hour.rows for hour in known.values()))


class PartitionEnd(NamedTuple):
    """The newest offset of a partition, and its number of rows after the checkpoint."""

    offset: int
    rows: int


def partition_ends(client: Client, topic: Topic, start: Offsets) -> dict[EpochPartition, PartitionEnd]:
    """Find the end of each partition that has rows after a checkpoint; call it before the rows are read."""
    rows = client.rows(
        f"SELECT epoch, partition, max(offset), count() FROM {topic} WHERE {is_after(start)} GROUP BY epoch, partition"
    )
    return {EpochPartition(epoch, partition): PartitionEnd(offset, n) for epoch, partition, offset, n in rows}


def models_with_new_rows(client: Client, topic: Topic, start: Offsets) -> dict[str, int]:
    """Find the models that have rows after a checkpoint, with their latest event time (Unix milliseconds)."""
    rows = client.rows(
        f"SELECT model, toUnixTimestamp64Milli(max(at)) FROM {topic} WHERE {is_after(start)} GROUP BY model"
    )
    return {str(model): int(latest_ms) for model, latest_ms in rows}


def read_until_s(client: Client, rules: Rules) -> float:
    """Find the event time (Unix seconds) up to which every partition with rows of a model has been read.

    It is the minimum over the partitions of their latest event time, for the current epoch of both topics; −∞ if a
    topic has no rows. While a recorder catches up with one partition, the rows of the others are not the whole traffic.
    """
    latest_s: list[float] = []
    for topic in _MEASURED:
        rows = client.rows(
            f"SELECT epoch, toUnixTimestamp64Milli(max(at)) / 1000 FROM {topic} WHERE model = {{model:String}} "
            "GROUP BY epoch, partition",
            rules.parameters(),
        )
        current = max((epoch for epoch, _ in rows), default=0)
        latest_s += [second for epoch, second in rows if epoch == current] or [-math.inf]
    return min(latest_s)


def is_after(start: Offsets) -> str:
    """Return a condition for the rows after a checkpoint, of whole numbers only, so that the index serves it."""
    if not start:
        return "1"
    known = ", ".join(f"({partition.epoch}, {partition.partition})" for partition in sorted(start))
    conditions = [
        f"(epoch = {partition.epoch} AND partition = {partition.partition} AND offset > {offset})"
        for partition, offset in sorted(start.items())
    ]
    return f"((epoch, partition) NOT IN ({known}) OR {' OR '.join(conditions)})"


def read_new_predictions(
    client: Client,
    rules: Rules,
    start: Offsets,
    next_start: Offsets,
    table: Literal["predictions", "shadow_predictions"] = "predictions",
) -> NewRows:
    """Count a model's predictions after a checkpoint, by hour."""
    rows = client.rows(
        f"SELECT toUnixTimestamp(toStartOfHour(at)) AS hour, {_row_counts(next_start)} FROM {table} "
        f"WHERE model = {{model:String}} AND {is_after(start)} GROUP BY hour",
        rules.parameters(),
    )
    return _new_rows(rows)


def index_hours(client: Client, rules: Rules, start: Offsets, hours: Sequence[int]) -> None:
    """Add the predictions after a checkpoint to `prediction_hours`, the index from ids to hours."""
    client.insert_selected(
        "prediction_hours",
        ("model", "hash", "version", "hour", "received_on"),
        "SELECT model, cityHash64(id), version, toStartOfHour(at), toDate(received_at) FROM predictions "
        f"WHERE {_new_predictions(start)}",
        _hours(rules, hours),
    )


def assign_earlier_labels(
    client: Client, rules: Rules, start: Offsets, hours: Sequence[int], *, detected_on: int
) -> set[int]:
    """Assign labels that arrived before their predictions to the hours of new predictions.

    These are pending labels, and labels of ids that have predictions in other hours: of another version, or duplicates.
    Call it after `index_hours`.

    Args:
        start: the current checkpoint of the predictions.
        detected_on: the day (since 1970) to store with duplicates.

    Returns:
        Further hours that duplicates change, because the earliest row of a prediction counts, whatever its hour.
    """
    parameters = _hours(rules, hours)
    new_ids = f"SELECT cityHash64(id) FROM predictions WHERE {_new_predictions(start)}"
    pending = (
        f"SELECT * FROM pending_labels FINAL WHERE model = {{model:String}} AND matched = 0 AND hash IN ({new_ids})"
    )
    if client.rows("SELECT 1 FROM pending_labels WHERE model = {model:String} AND matched = 0 LIMIT 1", parameters):
        label = ", ".join(f"w.{name}" for name in _LABEL)
        client.insert_selected(
            "hour_labels",
            ("model", "hour", *_LABEL),
            f"SELECT w.model, p.hour, {label} FROM ({pending}) AS w "
            f"INNER JOIN ({_hours_of(new_ids)}) AS p ON w.hash = p.hash",
            parameters,
        )
        # After the labels are assigned: if the process stops in between, they are still pending.
        client.insert_selected(
            "pending_labels",
            ("model", "hash", *_LABEL, "matched"),
            f"SELECT model, hash, {', '.join(_LABEL)}, 1 FROM ({pending})",
            parameters,
        )
    in_several_hours = (
        "SELECT hash FROM prediction_hours WHERE model = {model:String} "
        f"AND hash IN ({new_ids}) GROUP BY hash HAVING uniqExact(hour) > 1"
    )
    if not client.rows(f"SELECT 1 FROM ({in_several_hours}) LIMIT 1", parameters):
        return set()
    label = ", ".join(f"l.{name}" for name in _LABEL)
    hours_of_ids = _hours_of(in_several_hours)
    client.insert_selected(
        "hour_labels",
        ("model", "hour", *_LABEL),
        f"SELECT l.model, p.hour, {label} FROM hour_labels AS l "
        f"INNER JOIN ({hours_of_ids}) AS p ON cityHash64(l.id) = p.hash "
        f"WHERE l.model = {{model:String}} AND l.hour IN (SELECT hour FROM ({hours_of_ids})) AND l.hour != p.hour",
        parameters,
    )
    duplicates = (
        "SELECT model, version, hash, arrayJoin(groupUniqArray(hour)) AS hour FROM prediction_hours "
        f"WHERE model = {{model:String}} AND hash IN ({in_several_hours}) GROUP BY model, version, hash "
        "HAVING uniqExact(prediction_hours.hour) > 1"
    )
    client.insert_selected(
        "duplicate_predictions",
        ("model", "version", "hash", "hour", "detected_on"),
        f"SELECT model, version, hash, hour, toDate({int(detected_on)}) FROM ({duplicates})",
        parameters,
    )
    rows = client.rows(f"SELECT DISTINCT toUnixTimestamp(hour) FROM ({duplicates})", parameters)
    return {int(hour) for (hour,) in rows}


def assign_new_labels(
    client: Client, rules: Rules, start: Offsets, next_start: Offsets, assigned: Mapping[int, HourRows]
) -> NewRows:
    """Assign a model's labels after a checkpoint to the hours of their predictions; the others become pending.

    If a model records a share of predictions, labels of unrecorded ids are ignored.

    Args:
        start: the current checkpoint of the labels.
        assigned: the labels after this checkpoint that are already assigned; if they are unchanged, nothing is written.
    """
    after_start = f"model = {{model:String}} AND {is_after(start)}"
    [(count,)] = client.rows(f"SELECT count() FROM labels WHERE {after_start}", rules.parameters())
    batches = -(-int(count) // LABELS_AT_ONCE)
    totals: tuple[dict[int, HourRows], dict[int, HourRows]] = {}, {}
    for batch in range(batches):
        condition = after_start if batches == 1 else f"{after_start} AND cityHash64(id) % {batches} = {batch}"
        new = _new_rows(_count_labels(client, rules, condition, next_start))
        for total, by_hour in zip(totals, (new.by_hour, new.by_hour_after_next), strict=True):
            for hour, content in by_hour.items():
                before = total.get(hour, HourRows(0, 0))
                total[hour] = HourRows(before.rows + content.rows, before.positions_hash ^ content.positions_hash)
        if batches > 1 or new.by_hour != assigned:
            _assign(client, rules, condition, new)
    return NewRows(*totals)


def _count_labels(client: Client, rules: Rules, condition: str, next_start: Offsets) -> list[tuple[int, ...]]:
    """Count labels by hour; an older contract may have recorded predictions of ids that are unrecorded now."""
    return client.rows(
        f"SELECT toUnixTimestamp(p.hour) AS hour, {_row_counts(next_start)} "
        f"FROM (SELECT cityHash64(id) AS hash, {rules.is_recorded} AS is_recorded, epoch, partition, offset, "
        f"message_index FROM labels WHERE {condition}) AS l "
        f"LEFT JOIN ({_hours_of(f'SELECT cityHash64(id) FROM labels WHERE {condition}')}) AS p ON l.hash = p.hash "
        "WHERE is_recorded OR toUnixTimestamp(p.hour) != 0 GROUP BY hour",
        rules.parameters(),
    )


def _assign(client: Client, rules: Rules, condition: str, new: NewRows) -> None:
    label = ", ".join(f"l.{name}" for name in _LABEL)
    hours = _hours_of(f"SELECT cityHash64(id) FROM labels WHERE {condition}")
    source = f"(SELECT *, cityHash64(id) AS hash FROM labels WHERE {condition}) AS l"
    if any(new.by_hour):
        client.insert_selected(
            "hour_labels",
            ("model", "hour", *_LABEL),
            f"SELECT l.model, p.hour, {label} FROM {source} INNER JOIN ({hours}) AS p ON l.hash = p.hash",
            rules.parameters(),
        )
    if 0 in new.by_hour:
        source = f"(SELECT *, cityHash64(id) AS hash FROM labels WHERE {condition} AND {rules.is_recorded}) AS l"
        client.insert_selected(
            "pending_labels",
            ("model", "hash", *_LABEL, "matched"),
            f"SELECT l.model, l.hash, {label}, 0 FROM {source} LEFT ANTI JOIN ({hours}) AS p ON l.hash = p.hash",
            rules.parameters(),
        )


def read_checkpoints(client: Client) -> dict[Topic, dict[EpochPartition, int]]:
    checkpoints: dict[Topic, dict[EpochPartition, int]] = {topic: {} for topic in TOPICS}
    for topic, epoch, partition, offset in client.rows(
        "SELECT topic, epoch, partition, offset FROM scorer_checkpoints FINAL"
    ):
        if topic in checkpoints:
            checkpoints[topic][EpochPartition(epoch, partition)] = offset
    return checkpoints


def write_checkpoints(client: Client, topic: Topic, offsets: Offsets, now_ms: int) -> None:
    """Write checkpoints; the last step of a pass, after everything up to them is done."""
    rows = [
        {
            "topic": topic,
            "epoch": partition.epoch,
            "partition": partition.partition,
            "offset": offset,
            "committed_at": now_ms,
        }
        for partition, offset in sorted(offsets.items())
    ]
    insert_rows(client, "scorer_checkpoints", rows)


def rows_by_hour(client: Client, rules: Rules, hours: Sequence[int]) -> dict[int, int]:
    """Count a model's raw predictions in each of these hours that has any."""
    rows = client.rows(
        "SELECT toUnixTimestamp(toStartOfHour(at)) AS hour, count() FROM predictions "
        "WHERE model = {model:String} AND toStartOfHour(at) IN {hours:Array(DateTime('UTC'))} GROUP BY hour",
        _hours(rules, hours),
    )
    return {int(hour): int(count) for hour, count in rows}


def _new_predictions(start: Offsets) -> str:
    return f"model = {{model:String}} AND toStartOfHour(at) IN {{hours:Array(DateTime('UTC'))}} AND {is_after(start)}"


def _hours_of(hashes: str) -> str:
    """Return the query for the distinct hours of the ids whose hashes a query selects."""
    return (
        "SELECT hash, hour FROM prediction_hours WHERE model = {model:String} "
        f"AND hash IN ({hashes}) GROUP BY hash, hour"
    )


def _row_counts(next_start: Offsets) -> str:
    position = "cityHash64(epoch, partition, offset, message_index)"
    after = is_after(next_start)
    return f"count(), groupBitXor({position}), countIf({after}), groupBitXorIf({position}, {after})"


def _new_rows(counts: Sequence[tuple[int, ...]]) -> NewRows:
    by_hour, by_hour_after_next = {}, {}
    for hour, rows, positions_hash, next_rows, next_positions_hash in counts:
        by_hour[int(hour)] = HourRows(rows, positions_hash)
        if next_rows:
            by_hour_after_next[int(hour)] = HourRows(next_rows, next_positions_hash)
    return NewRows(by_hour, by_hour_after_next)


def _hours(rules: Rules, hours: Sequence[int]) -> dict[str, object]:
    return {**rules.parameters(), "hours": list(hours)}
