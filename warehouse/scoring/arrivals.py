"""What came since the scorer looked last, and which hours it changes.

Rows of one Kafka partition become visible in the order of their offsets, but for moments: an insert that spans two
weeks makes two parts, and a replica fetches parts in any order. So marks are kept some minutes behind, what lies
between a mark and the newest row is looked at again, and hours whose rows there are the same as before are passed over
(`Arrivals`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from warehouse.client import Client
from warehouse.scoring.rules import Rules
from warehouse.tables import insert_rows

Topic = Literal["predictions", "labels"]
TOPICS: tuple[Topic, ...] = ("predictions", "labels")

LABELS_AT_ONCE = 1_000_000
"""So many labels are looked up by one statement; more are cut by the hash of their ids."""

_LABEL = ("id", "at", "epoch", "partition", "offset", "message_index", "label", "label_type", "received_at")


class Place(NamedTuple):
    """A partition of an incarnation of a topic."""

    epoch: int
    partition: int


Marks = Mapping[Place, int]
"""Up to which offset a partition has been looked at; what is not in it has not."""


class Seen(NamedTuple):
    """What an hour holds of rows beyond the marks: how many, and a hash of their places."""

    rows: int
    places: int


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Rows beyond the marks by hour of their predictions (starts, Unix seconds), 0 for labels of no known one."""

    seen: dict[int, Seen]
    """Beyond the present marks,"""
    later: dict[int, Seen]
    """… and beyond the next ones."""

    @property
    def rows(self) -> int:
        return sum(each.rows for each in self.seen.values())


class End(NamedTuple):
    """The newest rows of a partition beyond its mark."""

    offset: int
    rows: int


def ends(client: Client, topic: Topic, marks: Marks) -> dict[Place, End]:
    """Find how far the rows of each partition reach that lie beyond the marks; asked before they are looked at."""
    found = client.rows(
        f"SELECT epoch, partition, max(offset), count() FROM {topic} WHERE {beyond(marks)} GROUP BY epoch, partition"
    )
    return {Place(epoch, partition): End(offset, rows) for epoch, partition, offset, rows in found}


def models_of(client: Client, topic: Topic, marks: Marks) -> dict[str, int]:
    """Find the models that have rows beyond the marks, each with its newest event time (Unix milliseconds)."""
    found = client.rows(
        f"SELECT model, toUnixTimestamp64Milli(max(at)) FROM {topic} WHERE {beyond(marks)} GROUP BY model"
    )
    return {str(model): int(newest_ms) for model, newest_ms in found}


def read_until_s(client: Client, rules: Rules) -> float:
    """Find up to which event time (Unix seconds) every partition that holds rows of a model has been read.

    That is the least of the partitions' newest, of both topics as they are now; −∞ where one of them holds none. While
    a recorder catches up with one partition, what the others hold of a time is not all of it.
    """
    newest: list[float] = []
    for topic in TOPICS:
        found = client.rows(
            f"SELECT epoch, toUnixTimestamp64Milli(max(at)) / 1000 FROM {topic} WHERE model = {{model:String}} "
            "GROUP BY epoch, partition",
            rules.parameters(),
        )
        last = max((epoch for epoch, _ in found), default=0)
        newest += [second for epoch, second in found if epoch == last] or [-math.inf]
    return min(newest)


def beyond(marks: Marks) -> str:
    """A condition that holds for the rows beyond the marks; of whole numbers alone, so that the index serves it."""
    if not marks:
        return "1"
    known = ", ".join(f"({place.epoch}, {place.partition})" for place in sorted(marks))
    each = [
        f"(epoch = {place.epoch} AND partition = {place.partition} AND offset > {offset})"
        for place, offset in sorted(marks.items())
    ]
    return f"((epoch, partition) NOT IN ({known}) OR {' OR '.join(each)})"


def look_at_predictions(client: Client, rules: Rules, marks: Marks, later: Marks) -> Arrivals:
    """Count a model's predictions beyond the marks by hour."""
    found = client.rows(
        f"SELECT toUnixTimestamp(toStartOfHour(at)) AS hour, {_seen(later)} FROM predictions "
        f"WHERE model = {{model:String}} AND {beyond(marks)} GROUP BY hour",
        rules.parameters(),
    )
    return _arrivals(found)


def note_hours(client: Client, rules: Rules, marks: Marks, hours: Sequence[int]) -> None:
    """Note in which hours the ids of predictions beyond the marks are."""
    client.insert_selected(
        "prediction_hours",
        ("model", "hash", "version", "hour", "received_on"),
        "SELECT model, cityHash64(id), version, toStartOfHour(at), toDate(received_at) FROM predictions "
        f"WHERE {_new_predictions(marks)}",
        _hours(rules, hours),
    )


def spread_labels(client: Client, rules: Rules, marks: Marks, hours: Sequence[int], *, detected_on: int) -> set[int]:
    """Put labels that came earlier under the hours of predictions that came now.

    These are labels that waited, and those of ids that have predictions in other hours: of another version, or
    repeats. Call it after `note_hours`.

    Args:
        client: the warehouse.
        rules: of the model.
        marks: its predictions beyond them,
        hours: … in these hours are new.
        detected_on: the day (since 1970) to note with repeats.

    Returns:
        Hours beside those given that repeats change: the earliest row of a prediction counts, wherever it stands.
    """
    bound = _hours(rules, hours)
    new = f"SELECT cityHash64(id) FROM predictions WHERE {_new_predictions(marks)}"
    waiting = f"SELECT * FROM pending_labels FINAL WHERE model = {{model:String}} AND matched = 0 AND hash IN ({new})"
    if client.rows("SELECT 1 FROM pending_labels WHERE model = {model:String} AND matched = 0 LIMIT 1", bound):
        label = ", ".join(f"w.{name}" for name in _LABEL)
        client.insert_selected(
            "hour_labels",
            ("model", "hour", *_LABEL),
            f"SELECT w.model, p.hour, {label} FROM ({waiting}) AS w "
            f"INNER JOIN ({_hours_of(new)}) AS p ON w.hash = p.hash",
            bound,
        )
        # Only now: should this be broken off in between, they still wait.
        client.insert_selected(
            "pending_labels",
            ("model", "hash", *_LABEL, "matched"),
            f"SELECT model, hash, {', '.join(_LABEL)}, 1 FROM ({waiting})",
            bound,
        )
    spread = (
        "SELECT hash FROM prediction_hours WHERE model = {model:String} "
        f"AND hash IN ({new}) GROUP BY hash HAVING uniqExact(hour) > 1"
    )
    if not client.rows(f"SELECT 1 FROM ({spread}) LIMIT 1", bound):
        return set()
    label = ", ".join(f"l.{name}" for name in _LABEL)
    client.insert_selected(
        "hour_labels",
        ("model", "hour", *_LABEL),
        f"SELECT l.model, p.hour, {label} FROM hour_labels AS l "
        f"INNER JOIN ({_hours_of(spread)}) AS p ON cityHash64(l.id) = p.hash "
        f"WHERE l.model = {{model:String}} AND l.hour IN (SELECT hour FROM ({_hours_of(spread)})) AND l.hour != p.hour",
        bound,
    )
    repeated = (
        "SELECT model, version, hash, arrayJoin(groupUniqArray(hour)) AS hour FROM prediction_hours "
        f"WHERE model = {{model:String}} AND hash IN ({spread}) GROUP BY model, version, hash "
        "HAVING uniqExact(prediction_hours.hour) > 1"
    )
    client.insert_selected(
        "duplicate_predictions",
        ("model", "version", "hash", "hour", "detected_on"),
        f"SELECT model, version, hash, hour, toDate({int(detected_on)}) FROM ({repeated})",
        bound,
    )
    rows = client.rows(f"SELECT DISTINCT toUnixTimestamp(hour) FROM ({repeated})", bound)
    return {int(hour) for (hour,) in rows}


def place_labels(client: Client, rules: Rules, marks: Marks, later: Marks, known: Mapping[int, Seen]) -> Arrivals:
    """Put a model's labels beyond the marks under the hours of their predictions; those of none wait.

    Of a model that records a share the labels of ids that it does not record are passed over.

    Args:
        client: the warehouse.
        rules: of the model.
        marks: labels beyond them are new.
        later: the marks to come.
        known: what was placed before beyond these marks; where nothing changed nothing is written.
    """
    bound = rules.parameters()
    mine = f"model = {{model:String}} AND {beyond(marks)}"
    rows = client.rows(f"SELECT count() FROM labels WHERE {mine}", bound)[0][0]
    cuts = max(1, -(-int(rows) // LABELS_AT_ONCE))
    merged: tuple[dict[int, Seen], dict[int, Seen]] = {}, {}
    for cut in range(cuts if rows else 0):
        new = mine if cuts == 1 else f"{mine} AND cityHash64(id) % {cuts} = {cut}"
        found = _arrivals(_look_at_labels(client, rules, new, later))
        for total, part in zip(merged, (found.seen, found.later), strict=True):
            for hour, seen in part.items():
                before = total.get(hour, Seen(0, 0))
                total[hour] = Seen(before.rows + seen.rows, before.places ^ seen.places)
        if cuts > 1 or found.seen != known:
            _place(client, rules, new, found)
    return Arrivals(*merged)


def _look_at_labels(client: Client, rules: Rules, new: str, later: Marks) -> list[tuple[int, ...]]:
    """Count labels by hour. Of ids that are not recorded now an older contract may have recorded a prediction."""
    return client.rows(
        f"SELECT toUnixTimestamp(p.hour) AS hour, {_seen(later)} "
        f"FROM (SELECT cityHash64(id) AS hash, {rules.shared} AS shared, epoch, partition, offset, message_index "
        f"FROM labels WHERE {new}) AS l "
        f"LEFT JOIN ({_hours_of(f'SELECT cityHash64(id) FROM labels WHERE {new}')}) AS p ON l.hash = p.hash "
        "WHERE shared OR toUnixTimestamp(p.hour) != 0 GROUP BY hour",
        rules.parameters(),
    )


def _place(client: Client, rules: Rules, new: str, found: Arrivals) -> None:
    label = ", ".join(f"l.{name}" for name in _LABEL)
    hours = _hours_of(f"SELECT cityHash64(id) FROM labels WHERE {new}")
    source = f"(SELECT *, cityHash64(id) AS hash FROM labels WHERE {new}) AS l"
    if any(found.seen):
        client.insert_selected(
            "hour_labels",
            ("model", "hour", *_LABEL),
            f"SELECT l.model, p.hour, {label} FROM {source} INNER JOIN ({hours}) AS p ON l.hash = p.hash",
            rules.parameters(),
        )
    if 0 in found.seen:
        source = f"(SELECT *, cityHash64(id) AS hash FROM labels WHERE {new} AND {rules.shared}) AS l"
        client.insert_selected(
            "pending_labels",
            ("model", "hash", *_LABEL, "matched"),
            f"SELECT l.model, l.hash, {label}, 0 FROM {source} LEFT ANTI JOIN ({hours}) AS p ON l.hash = p.hash",
            rules.parameters(),
        )


def read_marks(client: Client) -> dict[Topic, dict[Place, int]]:
    """Read the marks, by topic."""
    found: dict[Topic, dict[Place, int]] = {topic: {} for topic in TOPICS}
    for topic, epoch, partition, offset in client.rows(
        "SELECT topic, epoch, partition, offset FROM scorer_checkpoints FINAL"
    ):
        if topic in found:
            found[topic][Place(epoch, partition)] = offset
    return found


def write_marks(client: Client, topic: Topic, marks: Marks, now_ms: int) -> None:
    """Write marks; last of a pass, when everything up to them is done."""
    rows = [
        {"topic": topic, "epoch": place.epoch, "partition": place.partition, "offset": offset, "committed_at": now_ms}
        for place, offset in sorted(marks.items())
    ]
    insert_rows(client, "scorer_checkpoints", rows)


def rows_by_hour(client: Client, rules: Rules, hours: Sequence[int]) -> dict[int, int]:
    """Count a model's raw predictions in each of these hours that has any."""
    found = client.rows(
        "SELECT toUnixTimestamp(toStartOfHour(at)) AS hour, count() FROM predictions "
        "WHERE model = {model:String} AND toStartOfHour(at) IN {hours:Array(DateTime('UTC'))} GROUP BY hour",
        _hours(rules, hours),
    )
    return {int(hour): int(rows) for hour, rows in found}


def _new_predictions(marks: Marks) -> str:
    return f"model = {{model:String}} AND toStartOfHour(at) IN {{hours:Array(DateTime('UTC'))}} AND {beyond(marks)}"


def _hours_of(hashes: str) -> str:
    """The hours of ids, each once, whose hashes a query gives."""
    return (
        "SELECT hash, hour FROM prediction_hours WHERE model = {model:String} "
        f"AND hash IN ({hashes}) GROUP BY hash, hour"
    )


def _seen(later: Marks) -> str:
    place = "cityHash64(epoch, partition, offset, message_index)"
    after = beyond(later)
    return f"count(), groupBitXor({place}), countIf({after}), groupBitXorIf({place}, {after})"


def _arrivals(found: Sequence[tuple[int, ...]]) -> Arrivals:
    seen, later = {}, {}
    for hour, rows, places, later_rows, later_places in found:
        seen[int(hour)] = Seen(rows, places)
        if later_rows:
            later[int(hour)] = Seen(later_rows, later_places)
    return Arrivals(seen, later)


def _hours(rules: Rules, hours: Sequence[int]) -> dict[str, object]:
    return {**rules.parameters(), "hours": list(hours)}
