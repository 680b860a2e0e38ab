"""Counts of pairs: a candidate's predictions beside those of the version that answers the same requests, as SQL.

A pair is a prediction of the primary and a prediction with the role `shadow` of the candidate, with one id and
event times at most an hour apart. Of several such candidate predictions the earliest counts. A request of the primary
that has no pair is counted by the reason. Sums use whole numbers (values times 2^50), so the same rows give
bit-identical counts. A pair belongs to the score window and to the slices of the primary.
"""

from __future__ import annotations

from collections.abc import Sequence

from warehouse.client import Client
from warehouse.scoring import cell_counts, label_join
from warehouse.scoring.rules import Rules, ScoreDimension
from warehouse.tables import SCHEMAS

COLUMNS = tuple(SCHEMAS["shadow_pairs"].names)
"""The columns of `shadow_pairs`, in the order of the queries."""
NEAR_S = 3600
"""Largest difference between the event times of a pair. Mirrors outside the serving process have their own clocks."""

_NEAR_MS = NEAR_S * 1000
_SCALE = 2**50
_KEYS = ("model", "candidate", "of", "basis", "slice", "window_start", "window_s")
_PAIRED, _MEASURED = "reason = ''", "reason = '' AND is_labelled AND predicted_0 >= 0 AND predicted_1 >= 0"
_LOST = "reason != '' AND is_labelled AND predicted_0 >= 0"


def pair_windows(
    client: Client,
    rules: Rules,
    dimensions: Sequence[ScoreDimension],
    windows: Sequence[int],
    now_ms: int,
    *,
    has_repeats: bool,
) -> None:
    """Recount the pairs of score windows (starts, Unix seconds) from raw rows.

    Of two rows of a window and slice the one with more records counts, so a row stays after its raw rows expire.

    Args:
        client: the warehouse.
        rules: the model's scoring rules; they name a candidate.
        dimensions: the slice dimensions.
        windows: the windows.
        now_ms: the scorer's clock.
        has_repeats: the result of `warehouse.scoring.state.has_repeated_ids` for the windows.
    """
    assert rules.shadow is not None
    hours = rules.hours_of(list(windows))
    near = sorted({hour + step * NEAR_S for hour in hours for step in (-1, 0, 1)})
    parameters = {
        **cell_counts.parameters(rules, dimensions, hours, now_ms),
        "near": near,
        "candidate": rules.shadow.candidate,
        "of": rules.shadow.of,
    }
    for query in (_counts_query(rules, dimensions, has_repeats=has_repeats), _emptied_rows_query(rules)):
        client.insert_selected("shadow_pairs", COLUMNS, query, parameters)


def uncounted_hours(client: Client, rules: Rules) -> set[int]:
    """Return the hours (starts, Unix seconds) of the candidate's predictions whose window no row counts.

    They are all hours when the contract names the candidate for the first time, and the rest of them after a pass that
    broke off. A window without requests whose pairs all belong to a neighbor has no row either: counting it again
    changes nothing.
    """
    assert rules.shadow is not None
    parameters = {"model": rules.model, "basis": rules.basis, **rules.shadow._asdict()}
    counted = (
        "SELECT window_start FROM shadow_pairs WHERE model = {model:String} AND candidate = {candidate:String} "
        "AND of = {of:String} AND basis = {basis:String}"
    )
    rows = client.rows(
        "SELECT DISTINCT toUnixTimestamp(toStartOfHour(at)) FROM shadow_predictions WHERE model = {model:String} "
        f"AND version = {{candidate:String}} AND {_window(rules, 'at')} NOT IN ({counted})",
        parameters,
    )
    return {int(hour) for (hour,) in rows}


def _counts_query(rules: Rules, dimensions: Sequence[ScoreDimension], *, has_repeats: bool) -> str:
    """Return the query for the rows of `shadow_pairs`."""
    requests = _pairs(rules, dimensions, has_repeats=has_repeats)
    sums = _SUMS if rules.kind != "number" else _NUMBER_SUMS
    values = {**_COUNTS, **{name: _scaled_sum(value, condition) for name, (value, condition) in sums.items()}}
    counted = {name: f"{values.get(name, _ZERO.get(name, '0'))} AS {name}" for name in _VALUES}
    of_requests = (
        f"SELECT window_start, slice, {', '.join(counted.values())} "
        f"FROM (SELECT *, arrayJoin(slices) AS slice FROM ({requests})) GROUP BY window_start, slice"
    )
    unpaired = {name: f"{_ZERO.get(name, '0')} AS {name}" for name in _VALUES} | {
        "unpaired": "uniqExact(id) AS unpaired"
    }
    of_candidates = (
        f"SELECT {_window(rules, 'at')} AS window_start, 'all' AS slice, {', '.join(unpaired.values())} "
        f"FROM ({_unpaired()}) GROUP BY window_start"
    )
    totals = {name: f"sumMap(t.{name})" if name == "missing" else f"sum(t.{name})" for name in _VALUES}
    columns = {
        **_key_columns("t.slice", "t.window_start"),
        **{name: _stored(name, total) for name, total in totals.items()},
        "records": "any(evidence.records)",
        "counted_at": _NOW,
    }
    return (
        f"SELECT {', '.join(f'{columns[name]} AS {name}' for name in COLUMNS)} "
        f"FROM ({of_requests} UNION ALL {of_candidates}) AS t "
        f"INNER JOIN ({_records(rules)}) AS evidence ON t.window_start = evidence.window_start "
        "GROUP BY t.window_start, t.slice"
    )


def _emptied_rows_query(rules: Rules) -> str:
    """Return the query for empty rows that replace rows of earlier counts without a successor.

    If an earlier row of a prediction arrives later, the prediction moves to that row's window and slices.
    """
    columns = {name: f"{_ZERO.get(name, '0')}" for name in _VALUES} | {
        **_key_columns("pairs.slice", "pairs.window_start"),
        "records": "evidence.records",
        "counted_at": _NOW,
    }
    return (
        f"SELECT {', '.join(f'{columns[name]} AS {name}' for name in COLUMNS)} FROM shadow_pairs AS pairs FINAL "
        f"INNER JOIN ({_records(rules)}) AS evidence ON pairs.window_start = evidence.window_start "
        "WHERE pairs.model = {model:String} AND pairs.candidate = {candidate:String} AND pairs.of = {of:String} "
        "AND pairs.basis = {basis:String} AND pairs.window_start IN {windows:Array(DateTime('UTC'))} "
        "AND pairs.records < evidence.records"
    )


_NOW = "fromUnixTimestamp64Milli({now_ms:Int64}, 'UTC')"
_COUNTS = {
    "requests": "count()",
    "pairs": f"countIf({_PAIRED})",
    "missing": "sumMapIf(map(reason, toUInt64(1)), reason != '')",
    "compared": f"countIf({_PAIRED} AND predicted_0 >= 0 AND predicted_1 >= 0)",
    "agreed": f"countIf({_PAIRED} AND predicted_0 >= 0 AND predicted_0 = predicted_1)",
    "labelled": f"countIf({_MEASURED})",
    "both_right": f"countIf({_MEASURED} AND predicted_0 = truth AND predicted_1 = truth)",
    "primary_right": f"countIf({_MEASURED} AND predicted_0 = truth AND predicted_1 != truth)",
    "candidate_right": f"countIf({_MEASURED} AND predicted_0 != truth AND predicted_1 = truth)",
    "missing_labelled": f"countIf({_LOST})",
    "missing_right": f"countIf({_LOST} AND predicted_0 = truth)",
    "scored": f"countIf({_PAIRED} AND is_labelled AND usable_0 AND usable_1)",
    "score_pairs": f"countIf({_PAIRED} AND isFinite(score_0) AND isFinite(score_1))",
    "timed": f"countIf({_PAIRED} AND latency_0 > 0 AND latency_1 > 0)",
}
_SCORED = f"{_PAIRED} AND is_labelled AND usable_0 AND usable_1"
_ALWAYS = {
    "score_difference": ("score_1 - score_0", f"{_PAIRED} AND isFinite(score_0) AND isFinite(score_1)"),
    "log_latency": ("log(latency_1) - log(latency_0)", f"{_PAIRED} AND latency_0 > 0 AND latency_1 > 0"),
}
_SUMS = _ALWAYS | {
    f"{name}_{side}": (f"{name}_{i}", _SCORED)
    for name in ("loss", "brier")
    for i, side in enumerate(("primary", "candidate"))
}
_NUMBER_SUMS = _ALWAYS | {f"error_{side}": (f"size_{i}", _SCORED) for i, side in enumerate(("primary", "candidate"))}
_VALUES = tuple(name for name in COLUMNS if name not in (*_KEYS, "records", "counted_at"))
_FLOATS = frozenset(_SUMS) | frozenset(_NUMBER_SUMS)
_ZERO = {"missing": "map()::Map(String, UInt64)", **dict.fromkeys(_FLOATS, "toInt128(0)")}


def _scaled_sum(value: str, condition: str) -> str:
    return f"sum(toInt128(round(if({condition}, {value}, 0.) * {_SCALE})))"


def _stored(name: str, total: str) -> str:
    return f"toFloat64({total}) / {_SCALE}" if name in _FLOATS else total


def _key_columns(slice_name: str, window_start: str) -> dict[str, str]:
    return {
        "model": "{model:String}",
        "candidate": "{candidate:String}",
        "of": "{of:String}",
        "basis": "{basis:String}",
        "slice": slice_name,
        "window_start": window_start,
        "window_s": "{window_s:UInt32}",
    }


def _window(rules: Rules, time: str) -> str:
    return f"toDateTime(intDiv(toUnixTimestamp({time}), {rules.window_s}) * {rules.window_s}, 'UTC')"


_NEAR = "toStartOfHour(at) IN {near:Array(DateTime('UTC'))}"
_OF_CANDIDATE = f"model = {{model:String}} AND version = {{candidate:String}} AND {_NEAR}"
_OF_PRIMARY = f"model = {{model:String}} AND version = {{of:String}} AND {_NEAR}"


def _pairs(rules: Rules, dimensions: Sequence[ScoreDimension], *, has_repeats: bool) -> str:
    """Return the query for the requests of the primary, each with both sides' outcomes.

    The columns of the primary end in `_0`, those of the candidate in `_1`.
    """
    extra = ("id", "at_ms", "latency_ms")
    primary = label_join.join_query(rules, dimensions, has_repeats=has_repeats, extra=extra)
    probabilities, has_scores = label_join.probability_columns(rules)
    answers = (
        "SELECT id, arraySort(groupArray((toUnixTimestamp64Milli(at), epoch, partition, offset, message_index, "
        f"toString(error), score, toString(class), {probabilities}, toUInt8({has_scores}), latency_ms))) AS answers "
        f"FROM shadow_predictions WHERE {_OF_CANDIDATE} GROUP BY id"
    )
    joined = (
        f"SELECT p.*, arrayFilter(a -> abs(a.1 - p.at_ms) <= {_NEAR_MS}, s.answers) AS near, near[1] AS answer, "
        "multiIf(p.failed, 'primary-failed', empty(near), 'no-event', answer.6 = '', '', "
        "startsWith(answer.6, 'shadow-'), substring(answer.6, 8), 'error') AS reason "
        f"FROM (SELECT * FROM ({primary}) WHERE version = {{of:String}}) AS p LEFT JOIN ({answers}) AS s ON p.id = s.id"
    )
    sides = (
        "SELECT id, window_start, slices, labelled, truth, reason, arrayJoin([(0, toUInt8(j.failed), j.score, "
        "toString(j.class), j.probabilities, toUInt8(j.has_scores), j.latency_ms), (1, toUInt8(reason != ''), "
        "answer.7, answer.8, answer.9, answer.10, answer.11)]) AS side, side.1 AS side_number, side.2 AS failed, "
        "side.3 AS score, side.4 AS class, side.5 AS probabilities, side.6 AS has_scores, side.7 AS latency_ms "
        f"FROM ({joined}) AS j"
    )
    measured = ("usable", "score", "latency_ms")
    names = (*measured, "size") if rules.kind == "number" else (*measured, "predicted", "loss", "brier")
    by_side = [f"anyIf({name}, side_number = {i}) AS {name.removesuffix('_ms')}_{i}" for name in names for i in (0, 1)]
    if rules.kind == "number":
        by_side += ["-1 AS predicted_0", "-1 AS predicted_1"]
    return (
        "SELECT id, any(window_start) AS window_start, any(slices) AS slices, any(labelled) AS is_labelled, "
        f"any(truth) AS truth, any(reason) AS reason, {', '.join(by_side)} "
        f"FROM ({cell_counts.outcomes(rules, sides)}) GROUP BY id"
    )


def _unpaired() -> str:
    """Return the query for the candidate's predictions that answer no request of the primary."""
    requests = (
        f"SELECT id, groupArray(toUnixTimestamp64Milli(at)) AS times FROM predictions WHERE {_OF_PRIMARY} GROUP BY id"
    )
    return (
        "SELECT c.id AS id, c.at AS at FROM (SELECT id, at, toUnixTimestamp64Milli(at) AS at_ms "
        f"FROM shadow_predictions WHERE {_OF_CANDIDATE} "
        "AND toStartOfHour(at) IN {hours:Array(DateTime('UTC'))}) AS c "
        f"LEFT JOIN ({requests}) AS r ON c.id = r.id "
        f"WHERE NOT arrayExists(t -> abs(t - c.at_ms) <= {_NEAR_MS}, r.times)"
    )


def _records(rules: Rules) -> str:
    """Return the query that counts the raw rows behind each window, as `label_join.records` does.

    Rows within `NEAR_S` of a window decide which of its rows have a pair.
    """
    near = ", ".join(_window(rules, f"addSeconds(at, {step})") for step in (-NEAR_S, 0, NEAR_S))
    position = "cityHash64(epoch, partition, offset, message_index) AS position"
    return (
        f"SELECT window_start, toUInt64(sum(records)) AS records FROM ({label_join.records(rules)} UNION ALL "
        f"SELECT arrayJoin(arrayDistinct([{near}])) AS window_start, uniqExact(position) AS records "
        f"FROM (SELECT at, {position} FROM shadow_predictions WHERE {_OF_CANDIDATE} "
        f"UNION ALL SELECT at, {position} FROM predictions WHERE {_OF_PRIMARY}) GROUP BY window_start) "
        "GROUP BY window_start"
    )


def rows_by_hour(client: Client, rules: Rules, hours: Sequence[int]) -> dict[int, int]:
    """Count a model's raw predictions, of the role `shadow` too, in each of these hours that has any."""
    rows = client.rows(
        "SELECT toUnixTimestamp(toStartOfHour(at)) AS hour, count() FROM "
        "(SELECT model, at FROM predictions UNION ALL SELECT model, at FROM shadow_predictions) "
        "WHERE model = {model:String} AND toStartOfHour(at) IN {hours:Array(DateTime('UTC'))} GROUP BY hour",
        {"model": rules.model, "hours": list(hours)},
    )
    return {int(hour): int(count) for hour, count in rows}
