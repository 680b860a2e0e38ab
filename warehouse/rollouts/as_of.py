"""Queries for the state of pairs as of Kafka offsets: which score windows changed since, and the rows up to them."""

from collections.abc import Mapping, Sequence

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.scoring import pairs
from barograph_server.warehouse.scoring.new_rows import EpochPartition, Offsets, Topic, is_after, read_checkpoints
from barograph_server.warehouse.scoring.rules import Rules

TopicOffsets = Mapping[Topic, Offsets]
"""Per topic and partition, the last offset that counts."""
OffsetRanges = dict[Topic, dict[EpochPartition, tuple[int, int]]]
"""Per topic and partition, the first and the last offset of the rows behind pairs."""

_ROWS: Mapping[Topic, tuple[str, str, str]] = {
    "predictions": ("predictions", "version = {of:String}", "at"),
    "shadow_predictions": ("shadow_predictions", "1", "at"),
    "labels": ("hour_labels", "1", "hour"),
}
"""Topic → table, condition for the rows behind pairs, and column of the event time. All shadows of
the model count: those of the candidate, of the copy of the primary, and of other versions."""
STORED_PAIRS = (
    "(SELECT * FROM shadow_pairs FINAL WHERE window_start >= toDateTime({since:UInt32}, 'UTC') "
    "AND window_start < toDateTime({until:UInt32}, 'UTC') "
    "AND window_start NOT IN {excluded:Array(DateTime('UTC'))})"
)
"""A source of stored pairs with the parameters `since`, `until` and `excluded`, the starts of left-out windows."""


def offset_ranges(client: Client, parameters: Mapping[str, object], since_s: int, until_s: int) -> OffsetRanges:
    """Return the offsets of the raw rows behind pairs that the scorer has processed.

    Args:
        parameters: `model` and `of`.
        since_s: start of the first score window, Unix seconds.
        until_s: end of the last one.
    """
    ranges: OffsetRanges = {}
    checkpoints = read_checkpoints(client)
    for topic, (table, condition, at) in _ROWS.items():
        rows = client.rows(
            f"SELECT epoch, partition, min(offset), max(offset) FROM {table} WHERE model = {{model:String}} "
            f"AND {condition} AND {at} >= toDateTime({{since:UInt32}}, 'UTC') - {pairs.NEAR_S} "
            f"AND {at} < toDateTime({{until:UInt32}}, 'UTC') + {pairs.NEAR_S} AND NOT ({is_after(checkpoints[topic])}) "
            "GROUP BY epoch, partition ORDER BY epoch, partition",
            {**parameters, "since": since_s, "until": until_s},
        )
        ranges[topic] = {EpochPartition(epoch, partition): (first, last) for epoch, partition, first, last in rows}
    return ranges


def processed_until_ms(client: Client, parameters: Mapping[str, object]) -> int:
    """Return the latest event time of the primary among processed rows, Unix milliseconds; 0 without raw rows."""
    condition = f"NOT ({is_after(read_checkpoints(client)['predictions'])})"
    ((latest_ms,),) = client.rows(
        "SELECT toUnixTimestamp64Milli(max(at)) FROM predictions WHERE model = {model:String} "
        f"AND version = {{of:String}} AND {condition}",
        parameters,
    )
    return int(latest_ms)


def first_window(client: Client, parameters: Mapping[str, object]) -> int:
    """Return the first stored window (start, Unix seconds) of a candidate, or 0.

    Args:
        parameters: `model`, `candidate`, `of` and `basis`.
    """
    ((start_s,),) = client.rows(
        f"SELECT toUnixTimestamp(min(window_start)) FROM shadow_pairs WHERE {pairs.OF_PAIRS}", parameters
    )
    return int(start_s)


def has_raw_rows(client: Client, parameters: Mapping[str, object]) -> bool:
    """Return whether there are raw predictions of the primary, processed or not."""
    return bool(
        client.rows(
            "SELECT 1 FROM predictions WHERE model = {model:String} AND version = {of:String} LIMIT 1", parameters
        )
    )


def up_to(offsets: TopicOffsets) -> str:
    """Return the SETTINGS clause that hides the raw rows after the offsets, which are whole numbers."""
    filters = ", ".join(f"'{table}': 'NOT ({is_after(offsets[topic])})'" for topic, (table, *_) in _ROWS.items())
    return f"SETTINGS additional_table_filters = {{{filters}}}"


def changed_windows(
    client: Client, rules: Rules, parameters: Mapping[str, object], offsets: TopicOffsets, since_s: int, until_s: int
) -> list[int]:
    """Return the windows (starts) whose pairs may have been changed by rows after the offsets, or by other settings.

    Args:
        parameters: `model`, `candidate`, `of`, `basis` and `settings`.
        offsets: the last offsets that count.
        since_s: the start of the first window, Unix seconds.
        until_s: the end of the last window, Unix seconds.
    """
    new = {
        topic: f"FROM {table} WHERE model = {{model:String}} AND {condition} AND {is_after(offsets[topic])}"
        for topic, (table, condition, _) in _ROWS.items()
    }
    # The earliest row of a prediction counts: a row in one hour changes the other hours of its id.
    moved = (
        "FROM duplicate_predictions WHERE model = {model:String} "
        f"AND hash IN (SELECT cityHash64(id) {new['predictions']})"
    )
    hours = [f"SELECT toStartOfHour({at}) AS changed {new[topic]}" for topic, (_, _, at) in _ROWS.items()]
    hours.append(f"SELECT hour AS changed {moved}")
    rows = client.rows(f"SELECT DISTINCT toUnixTimestamp(changed) FROM ({' UNION ALL '.join(hours)})", parameters)
    # A row within an hour of a window decides whether another one has a pair.
    steps = (-pairs.NEAR_S, 0, max(pairs.NEAR_S, rules.window_s))
    windows = rules.windows_of({int(hour) + step for (hour,) in rows for step in steps})
    other_settings = client.rows(
        "SELECT DISTINCT toUnixTimestamp(window_start) FROM shadow_pairs FINAL "
        f"WHERE {pairs.OF_PAIRS} AND settings != {{settings:String}}",
        parameters,
    )
    windows |= {int(window) for (window,) in other_settings}
    return sorted(window for window in windows if since_s <= window < until_s)


def expired_windows(client: Client, rules: Rules, parameters: Mapping[str, object], windows: Sequence[int]) -> set[int]:
    """Return the windows with more requests, or requests with an event, in `shadow_pairs` than in the raw rows.

    Requests and events of the candidate expire independently.

    Args:
        parameters: `model`, `candidate`, `of` and `basis`.
        windows: the windows (starts).
    """
    window = f"intDiv(toUnixTimestamp(at), {rules.window_s}) * {rules.window_s}"
    hours = rules.hours_of(list(windows))
    near = sorted({hour + step for hour in hours for step in (-pairs.NEAR_S, 0, pairs.NEAR_S)})
    values = {**parameters, "windows": list(windows), "hours": hours, "near": near}
    stored = client.rows(
        "SELECT toUnixTimestamp(window_start), requests, "
        "requests - missing['no-event'] - missing['primary-failed'] FROM shadow_pairs FINAL "
        f"WHERE {pairs.OF_PAIRS} AND slice = 'all' AND window_start IN {{windows:Array(DateTime('UTC'))}}",
        values,
    )
    raw = client.rows(
        f"SELECT {window} AS window, uniqExact(id), uniqExactIf(id, id IN (SELECT id FROM shadow_predictions "
        "WHERE model = {model:String} AND version = {candidate:String} "
        "AND toStartOfHour(at) IN {near:Array(DateTime('UTC'))})) FROM predictions WHERE model = {model:String} "
        "AND version = {of:String} AND toStartOfHour(at) IN {hours:Array(DateTime('UTC'))} GROUP BY window",
        values,
    )
    in_raw = {int(start): (requests, answered) for start, requests, answered in raw}
    return {
        int(start)
        for start, *counts in stored
        if any(count > n for count, n in zip(counts, in_raw.get(int(start), (0, 0)), strict=True))
    }
