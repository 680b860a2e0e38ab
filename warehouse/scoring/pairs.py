"""Counts of pairs: a candidate's predictions beside those of the version that answers the same requests, as SQL.

A pair is a prediction of the primary and a prediction with the role `shadow` of the candidate, with one id and
event times at most an hour apart. Of several such candidate predictions the earliest counts. From the candidate's first
window on, a request of the primary that has no pair is counted by the reason. Sums use whole numbers (values times
2^50), so the same rows give bit-identical counts. With 256 bits, errors of numbers below 10^60 fit; larger ones are not
scored. A pair belongs to the score window and to the slices of the primary.
"""

import math
from collections.abc import Sequence
from typing import Any

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.scoring import cell_counts, label_join
from barograph_server.warehouse.scoring.cell_counts import sum_if, unscaled, whole
from barograph_server.warehouse.scoring.rules import Rules, ScoreDimension
from barograph_server.warehouse.tables import SCHEMAS

COLUMNS = tuple(SCHEMAS["shadow_pairs"].names)
OF_VERSIONS = "model = {model:String} AND candidate = {candidate:String} AND of = {of:String}"
OF_PAIRS = f"{OF_VERSIONS} AND basis = {{basis:String}}"
"""Conditions for the rows of a candidate: under any scoring rules, and under those of `basis`."""
NEAR_S = 3600
"""Largest difference between the event times of a pair. Mirrors outside the serving process have their own clocks."""

_NEAR_MS = NEAR_S * 1000
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
        rules: the model's scoring rules; they name a candidate.
        has_repeats: the result of `warehouse.scoring.state.has_repeated_ids` for the windows.
    """
    counts, parameters = pairs_query(rules, dimensions, windows, now_ms, has_repeats=has_repeats)
    for query in (counts, _emptied_rows_query(rules)):
        client.insert_selected("shadow_pairs", COLUMNS, query, parameters)


def pairs_query(
    rules: Rules, dimensions: Sequence[ScoreDimension], windows: Sequence[int], now_ms: int, *, has_repeats: bool
) -> tuple[str, dict[str, Any]]:
    """Return the query for the rows of `shadow_pairs` of score windows, and its parameters. See `pair_windows`."""
    settings = rules.pair_settings
    hours = rules.hours_of(list(windows))
    near = sorted({hour + step * NEAR_S for hour in hours for step in (-1, 0, 1)})
    parameters = {
        **cell_counts.parameters(rules, dimensions, hours, now_ms),
        **_shadow_parameters(rules),
        "near": near,
        "class_names": _class_names(rules),
        "cost_metrics": [name for name, _, _ in settings.prices],
        "priced_primary": [of_primary for _, of_primary, _ in settings.prices],
        "priced_candidate": [of_candidate for _, _, of_candidate in settings.prices],
        "slow_ms": settings.slow_ms,
    }
    return _counts_query(rules, dimensions, has_repeats=has_repeats), parameters


def first_window(client: Client, rules: Rules) -> int | None:
    """Return the first window to pair (start, Unix seconds): that of the candidate's earliest event; None without any.

    Earlier requests are not part of the test, whenever their labels arrive. A stored row counts as an event, because
    raw rows expire: no row is stored for an earlier window, so the result never increases.
    """
    ((start_s,),) = client.rows(
        "SELECT min(first) FROM (SELECT toUnixTimestamp(minOrNull(at)) AS first FROM shadow_predictions "
        "WHERE model = {model:String} AND version = {candidate:String} UNION ALL "
        f"SELECT toUnixTimestamp(minOrNull(window_start)) AS first FROM shadow_pairs WHERE {OF_VERSIONS})",
        {"model": rules.model, **_shadow_parameters(rules)},
    )
    return None if start_s is None else int(start_s) - int(start_s) % rules.window_s


def uncounted_hours(client: Client, rules: Rules, first_s: float) -> set[int]:
    """Return the hours (starts, Unix seconds) of requests and of the candidate's events whose window no row counts.

    They are all hours when the contract names the candidate for the first time or changes what is counted, those that
    an earlier first window adds, and the rest of them after a pass that broke off. A window whose requests and pairs
    all belong to others has no row either: counting it again changes nothing.

    Args:
        first_s: the candidate's first window (start, Unix seconds); infinite for none.
    """
    if math.isinf(first_s):
        return set()
    parameters = {"model": rules.model, "basis": rules.basis, "first": int(first_s), **_shadow_parameters(rules)}
    counted = f"SELECT window_start FROM shadow_pairs FINAL WHERE {OF_PAIRS} AND settings = {{settings:String}}"
    events = (
        f"SELECT at FROM {table} WHERE model = {{model:String}} AND version = {{{version}:String}} "
        "AND at >= toDateTime({first:UInt32}, 'UTC')"
        for table, version in (("shadow_predictions", "candidate"), ("predictions", "of"))
    )
    rows = client.rows(
        f"SELECT DISTINCT toUnixTimestamp(toStartOfHour(at)) FROM ({' UNION ALL '.join(events)}) "
        f"WHERE {rules.window_start_sql('at')} NOT IN ({counted})",
        parameters,
    )
    return {int(hour) for (hour,) in rows}


def _shadow_parameters(rules: Rules) -> dict[str, Any]:
    assert rules.shadow is not None
    shadows = [rules.shadow.candidate, *filter(None, [rules.pair_settings.copy])]
    settings = {"copy": rules.pair_settings.copy, "settings": rules.pair_settings.hash}
    return {**rules.shadow._asdict(), **settings, "shadows": shadows}


def _class_names(rules: Rules) -> list[str]:
    """Return the names of the values of `predicted`, from 0 on; the last one stands for all further classes."""
    if not rules.is_measured or rules.kind == "number":
        return []
    if rules.kind == "classes":
        return [*rules.classes[: _MOST_CLASSES - 1], "other"]
    negative = sorted({value for _, value in rules.forms} - {rules.positive})
    return [negative[0] if negative else f"not {rules.positive}", rules.positive]


def _counts_query(rules: Rules, dimensions: Sequence[ScoreDimension], *, has_repeats: bool) -> str:
    """Return the query for the rows of `shadow_pairs`."""
    requests = _pairs(rules, dimensions, has_repeats=has_repeats)
    sums = _SUMS if rules.kind != "number" else _NUMBER_SUMS
    values = {
        **_COUNTS,
        **_further_counts(rules),
        **{name: sum_if(*each, _integer(name)) for name, each in sums.items()},
    }
    counted = {name: f"{values.get(name, _ZERO.get(name, '0'))} AS {name}" for name in _VALUES}
    of_requests = (
        f"SELECT window_start, slice, {', '.join(counted.values())} "
        f"FROM (SELECT *, arrayJoin(slices) AS slice FROM ({requests})) GROUP BY window_start, slice"
    )
    unpaired = {name: f"{_ZERO.get(name, '0')} AS {name}" for name in _VALUES} | {
        "unpaired": "uniqExact(id) AS unpaired"
    }
    of_candidates = (
        f"SELECT {rules.window_start_sql('at')} AS window_start, 'all' AS slice, {', '.join(unpaired.values())} "
        f"FROM ({_unpaired()}) GROUP BY window_start"
    )
    columns = {
        **_CONSTANTS,
        **{name: _stored(name) for name in _VALUES},
        **{"slice": "t.slice", "window_start": "t.window_start", "records": "any(evidence.records)"},
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
    columns = {
        **_CONSTANTS,
        **{name: _ZERO.get(name, "0") for name in _VALUES},
        **{"slice": "pairs.slice", "window_start": "pairs.window_start", "records": "evidence.records"},
    }
    return (
        f"SELECT {', '.join(f'{columns[name]} AS {name}' for name in COLUMNS)} FROM shadow_pairs AS pairs FINAL "
        f"INNER JOIN ({_records(rules)}) AS evidence ON pairs.window_start = evidence.window_start "
        "WHERE pairs.model = {model:String} AND pairs.candidate = {candidate:String} AND pairs.of = {of:String} "
        "AND pairs.basis = {basis:String} AND pairs.window_start IN {windows:Array(DateTime('UTC'))} "
        "AND pairs.records < evidence.records"
    )


_MOST_CLASSES = 32
"""Classes that are counted by pair of classes; those after the 31st count as one."""
_MOST_KEYS = {"errors_primary": 20, "errors_candidate": 20, "class_pairs": _MOST_CLASSES**2}
"""Keys of a window's row, the most frequent ones; all others count as `other`."""
_MOST_ERROR = 1e60
"""Errors of numbers from this on are not scored: their sums do not fit whole numbers of 256 bits."""
_MOST_SCORE = 1e29
"""Scores from this size on belong to no score pair: the squares of their differences do not fit either."""
_MOST_SPENT = 1e15
"""Values of metrics from this on are left out: their sums do not fit whole numbers."""
_BIN_OFFSET = 512
_SCORE_STEPS = 8
"""Bins of scores per unit of log-odds, for AUC: as fine as those of `sketches.performance.bins`."""
_COMPARED = f"{_PAIRED} AND predicted_0 >= 0 AND predicted_1 >= 0"
_SCORED = f"{_PAIRED} AND is_labelled AND usable_0 AND usable_1"
_FINITE = f"{_PAIRED} AND abs(score_0) < {_MOST_SCORE!r} AND abs(score_1) < {_MOST_SCORE!r}"
_TIMED = f"{_PAIRED} AND latency_0 > 0 AND latency_1 > 0 AND isFinite(latency_0) AND isFinite(latency_1)"
_SCORED_NUMBERS = f"{_SCORED} AND size_0 < {_MOST_ERROR!r} AND size_1 < {_MOST_ERROR!r}"
_COUNTS = {
    "requests": "count()",
    "pairs": f"countIf({_PAIRED})",
    "missing": "sumMapIf(map(reason, toUInt64(1)), reason != '')",
    "compared": f"countIf({_COMPARED})",
    "agreed": f"countIf({_PAIRED} AND predicted_0 >= 0 AND predicted_0 = predicted_1)",
    "labelled": f"countIf({_MEASURED})",
    "both_right": f"countIf({_MEASURED} AND predicted_0 = truth AND predicted_1 = truth)",
    "primary_right": f"countIf({_MEASURED} AND predicted_0 = truth AND predicted_1 != truth)",
    "candidate_right": f"countIf({_MEASURED} AND predicted_0 != truth AND predicted_1 = truth)",
    "missing_labelled": f"countIf({_LOST})",
    "missing_right": f"countIf({_LOST} AND predicted_0 = truth)",
    "scored": f"countIf({_SCORED})",
    "score_pairs": f"countIf({_FINITE})",
    "timed": f"countIf({_TIMED})",
    "answered_alone": "countIf(reason = 'primary-failed' AND is_answered)",
}
_ALWAYS = {
    "score_difference": ("score_1 - score_0", _FINITE),
    "score_difference_2": ("(score_1 - score_0) * (score_1 - score_0)", _FINITE),
    "log_latency": ("log(latency_1) - log(latency_0)", _TIMED),
}
_SUMS = _ALWAYS | {
    f"{name}_{side}": (f"{name}_{i}", _SCORED)
    for name in ("loss", "brier")
    for i, side in enumerate(("primary", "candidate"))
}
_NUMBER_SUMS = _ALWAYS | {
    f"error_{side}": (f"size_{i}", _SCORED_NUMBERS) for i, side in enumerate(("primary", "candidate"))
}
_CONSTANTS = {
    "model": "{model:String}",
    "candidate": "{candidate:String}",
    "of": "{of:String}",
    "basis": "{basis:String}",
    "window_s": "{window_s:UInt32}",
    "cost_metrics": "{cost_metrics:Array(String)}",
    "settings": "{settings:String}",
    "slow_ms": "{slow_ms:Float64}",
    "counted_at": "fromUnixTimestamp64Milli({now_ms:Int64}, 'UTC')",
}
_VALUES = tuple(name for name in COLUMNS if name not in ("slice", "window_start", "records", *_CONSTANTS))
_FLOATS = frozenset(_SUMS) | frozenset(_NUMBER_SUMS)
_WIDE = frozenset({"score_difference", "score_difference_2", "error_primary", "error_candidate"})
"""Sums of values of any size, in 256 bits; the others have 128."""
_SPENT = frozenset({"spent_primary", "spent_candidate"})
_MAPS = {
    **dict.fromkeys(("missing", *_MOST_KEYS), "Map(String, UInt64)"),
    **dict.fromkeys(("scores_primary", "scores_candidate", "score_bins"), "Map(UInt32, UInt64)"),
    **dict.fromkeys(("latencies_primary", "latencies_candidate"), "Map(Int32, UInt64)"),
}


def _integer(name: str) -> str:
    """Return the SQL function that converts the values of a sum to whole numbers."""
    return "toInt256" if name in _WIDE else "toInt128"


_ZERO = {
    **{name: f"map()::{kind}" for name, kind in _MAPS.items()},
    **dict.fromkeys(_SPENT, "[]::Array(Int128)"),
    **{name: f"{_integer(name)}(0)" for name in _FLOATS},
}


def _further_counts(rules: Rules) -> dict[str, str]:
    """Return the counts that depend on the rules, and those by class, bin, bucket and kind of error."""
    by_side = [(0, "primary"), (1, "candidate")]
    counts = {}
    for i, side in by_side:
        bucket = f"toInt32(floor(greatest(least(8 * log2(latency_{i}), 320), -160)))"
        counts[f"latencies_{side}"] = _count_by(bucket, _TIMED)
        counts[f"errors_{side}"] = _count_by(f"error_{i}", f"error_{i} != ''")
        if rules.kind == "binary":
            number = f"toUInt32(2 * ({_log_odds_bin(f'score_{i}', _SCORE_STEPS)} + {12 * _SCORE_STEPS}) + truth)"
            counts[f"scores_{side}"] = _count_by(number, _SCORED)
        if rules.pair_settings.slow_ms:
            counts[f"slow_{side}"] = f"countIf({_TIMED} AND latency_{i} > {{slow_ms:Float64}})"
        if rules.pair_settings.prices:
            scaled = f"arrayMap(v -> {whole('if(isFinite(v), v, 0.)')}, spent_{i})"
            counts[f"spent_{side}"] = f"sumForEachIf({scaled}, {_COSTED})"
            counts["costed"] = f"countIf({_COSTED})"
    bins = [_score_bin(f"score_{i}", rules) for i, _ in by_side]
    number = f"toUInt32(({bins[0]} + {_BIN_OFFSET}) * {2 * _BIN_OFFSET} + {bins[1]} + {_BIN_OFFSET})"
    counts["score_bins"] = _count_by(number, _FINITE)
    if rules.kind == "unlabelled":
        counts["class_pairs"] = _count_by("concat(class_0, ' → ', class_1)", _COMPARED)
    elif rules.kind != "number":
        classes = [f"toUInt32(least(predicted_{i}, {_MOST_CLASSES - 1}))" for i, _ in by_side]
        by_number = _count_by(f"{classes[0]} * {_MOST_CLASSES} + {classes[1]}", _COMPARED)
        name = "{{class_names:Array(String)}}[{} + 1]"
        names = [name.format(f"intDiv(k, {_MOST_CLASSES})"), name.format(f"k % {_MOST_CLASSES}")]
        counts["class_pairs"] = f"mapApply((k, v) -> (concat({names[0]}, ' → ', {names[1]}), v), {by_number})"
    if rules.kind == "number":
        counts["scored"] = f"countIf({_SCORED_NUMBERS})"
    elif rules.pair_settings.copy:
        compared = f"{_COMPARED} AND predicted_2 >= 0"
        counts["copy_compared"] = f"countIf({compared})"
        counts["copy_agreed"] = f"countIf({compared} AND predicted_0 = predicted_2)"
        counts["copy_candidate_agreed"] = f"countIf({compared} AND predicted_0 = predicted_1)"
    return counts


def _count_by(number: str, condition: str) -> str:
    """Return the rows of the slice `all` that meet a condition, by a number or text."""
    return f"sumMapIf(map({number}, toUInt64(1)), slice = 'all' AND {condition})"


def _score_bin(score: str, rules: Rules) -> str:
    """Return the expression for a score's bin, from −512 to 511: see the comment of the column `score_bins`."""
    if rules.kind in ("number", "unlabelled"):
        steps = f"least(greatest(floor(8 * log2(abs({score}))), -254), 255) + 256"
        return f"toInt32(if({score} = 0, 0, sign({score}) * ({steps})))"
    return _log_odds_bin(score, 2)


def _log_odds_bin(score: str, steps: int) -> str:
    """Return the expression for the bin of a probability: whole steps of 1/`steps` in log-odds, cut at ±12.

    It is arithmetic because a search among 194 edges would take most of the time of a pairing.
    """
    inner = f"least(greatest({score}, 1e-9), 1 - 1e-9)"
    bound = 12 * steps
    scaled = f"{steps} * (log({inner}) - log(1 - {inner}))"
    return f"toInt32(floor(least(greatest({scaled}, -{bound}), {bound})))"


_COSTED = " AND ".join(
    (
        _PAIRED,
        *(
            f"arrayAll((v, p) -> NOT p OR abs(v) < {_MOST_SPENT!r}, spent_{i}, {{priced_{side}:Array(Bool)}})"
            for i, side in enumerate(("primary", "candidate"))
        ),
    )
)


def _stored(name: str) -> str:
    """Return the value of a column from the sums of requests and of unpaired predictions."""
    column = f"t.{name}"
    if name in _FLOATS:
        return unscaled(f"sum({column})")
    if name in _SPENT:
        return f"arrayMap(v -> {unscaled('v')}, sumForEach({column}))"
    if name in _MOST_KEYS:
        by_count = f"arraySort(e -> (-toInt64(e.2), e.1), sumMap({column})::Array(Tuple(String, UInt64)))"
        rest = f"arraySum(e -> e.2, arraySlice({by_count}, {_MOST_KEYS[name] + 1}))"
        most = f"arraySlice({by_count}, 1, {_MOST_KEYS[name]})"
        return f"CAST(arrayConcat({most}, if({rest} > 0, [('other', {rest})], [])), 'Map(String, UInt64)')"
    return f"sumMap({column})" if name in _MAPS else f"sum({column})"


_NEAR = "toStartOfHour(at) IN {near:Array(DateTime('UTC'))}"
_OF_CANDIDATE = f"model = {{model:String}} AND version = {{candidate:String}} AND {_NEAR}"
_OF_SHADOWS = f"model = {{model:String}} AND version IN {{shadows:Array(String)}} AND {_NEAR}"
_OF_PRIMARY = f"model = {{model:String}} AND version = {{of:String}} AND {_NEAR}"


def _pairs(rules: Rules, dimensions: Sequence[ScoreDimension], *, has_repeats: bool) -> str:
    """Return the query for the requests of the primary, each with both sides' outcomes.

    The columns of the primary end in `_0`, those of the candidate in `_1`.
    """
    extra = ("id", "at_ms", "latency_ms", "error_kind", "metrics")
    primary = label_join.join_query(rules, dimensions, has_repeats=has_repeats, extra=extra)
    spent = "[]::Array(Float64)"
    if rules.pair_settings.prices:
        spent = "arrayMap(m -> ifNull(metrics[m], nan), {cost_metrics:Array(String)})"
    near = "arrayFilter(a -> abs(a.1 - p.at_ms) <= {most_ms}, s.{side}) AS {name}"
    columns = [near.format(most_ms=_NEAR_MS, side="answers", name="near"), "near[1] AS answer"]
    sides = [
        "(0, toUInt8(j.failed), j.score, toString(j.class), j.probabilities, toUInt8(j.has_scores), j.latency_ms, "
        f"{spent})",
        "(1, toUInt8(reason != ''), answer.7, answer.8, answer.9, answer.10, answer.11, answer.12)",
    ]
    if rules.pair_settings.copy:
        columns += [near.format(most_ms=_NEAR_MS, side="copies", name="near_copy"), "near_copy[1] AS copied"]
        sides.append(
            "(2, toUInt8(reason != '' OR empty(near_copy) OR copied.6 != ''), copied.7, copied.8, copied.9, copied.10, "
            "copied.11, copied.12)"
        )
    joined = (
        f"SELECT p.*, {', '.join(columns)}, notEmpty(near) AND answer.6 = '' AS is_answered, "
        "startsWith(answer.6, 'shadow-') AS is_reserved, "
        "multiIf(p.failed, 'primary-failed', empty(near), 'no-event', answer.6 = '', '', "
        "is_reserved, substring(answer.6, 8), 'error') AS reason "
        f"FROM (SELECT * FROM ({primary}) WHERE version = {{of:String}}) AS p "
        f"LEFT JOIN ({_answers(rules, spent)}) AS s ON p.id = s.id"
    )
    names = ("number", "failed", "score", "class", "probabilities", "has_scores", "latency_ms", "spent")
    members = ", ".join(f"side.{i} AS {'side_number' if i == 1 else name}" for i, name in enumerate(names, 1))
    by_request = ("window_start", "slices", "labelled", "truth", "reason", "is_answered")
    outputs = (
        f"SELECT id, {', '.join(by_request)}, error_kind AS error_0, if(is_reserved, '', answer.6) AS error_1, "
        f"arrayJoin([{', '.join(sides)}]) AS side, {members} FROM ({joined}) AS j"
    )
    measured = ("usable", "score", "latency_ms", "spent")
    of_side = (*measured, "size") if rules.kind == "number" else (*measured, "predicted", "loss", "brier")
    by_side = [
        f"anyIf({name}, side_number = {i}) AS {name.removesuffix('_ms')}_{i}" for name in of_side for i in (0, 1)
    ]
    if rules.kind == "unlabelled":
        by_side += [f"anyIf(class, side_number = {i}) AS class_{i}" for i in (0, 1)]
    if rules.kind == "number":
        # ClickHouse rejects conditions on constants once it has compiled them.
        by_side += ["materialize(-1) AS predicted_0", "materialize(-1) AS predicted_1"]
    elif rules.pair_settings.copy:
        by_side.append("anyIf(predicted, side_number = 2) AS predicted_2")
    of_request = [f"any({name}) AS {name}" for name in (*by_request, "error_0", "error_1") if name != "labelled"]
    return (
        f"SELECT id, any(labelled) AS is_labelled, {', '.join((*of_request, *by_side))} "
        f"FROM ({cell_counts.outcomes(rules, outputs)}) GROUP BY id"
    )


def _answers(rules: Rules, spent: str) -> str:
    """Return the query for the predictions of the candidate and of the copy by id, the earliest first."""
    probabilities, has_scores = label_join.probability_columns(rules)
    answer = (
        "(toUnixTimestamp64Milli(at), epoch, partition, offset, message_index, "
        f"toString(error), score, toString(class), {probabilities}, toUInt8({has_scores}), latency_ms, {spent})"
    )
    by_version = (
        f"arraySort(groupArrayIf({answer}, version = {{{name}:String}})) AS {column}"
        for name, column in (("candidate", "answers"), ("copy", "copies"))
    )
    return f"SELECT id, {', '.join(by_version)} FROM shadow_predictions WHERE {_OF_SHADOWS} GROUP BY id"


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
    near = ", ".join(rules.window_start_sql(f"addSeconds(at, {step})") for step in (-NEAR_S, 0, NEAR_S))
    position = "cityHash64(epoch, partition, offset, message_index) AS position"
    return (
        f"SELECT window_start, toUInt64(sum(records)) AS records FROM ({label_join.records(rules)} UNION ALL "
        f"SELECT arrayJoin(arrayDistinct([{near}])) AS window_start, uniqExact(position) AS records "
        f"FROM (SELECT at, {position} FROM shadow_predictions WHERE {_OF_SHADOWS} "
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
