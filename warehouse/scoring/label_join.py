"""Predictions of some hours with the label of each that holds: the join, as SQL.

Every prediction comes once. Nearly all ids have one row and at most one label: these go by a plain join (`_plain`).
Ids that have more of either (`_odd`) are put in order first: the earliest row of a prediction counts, and of labels
within the horizon the last, by (at, epoch, offset, message_index).

The columns of the result:

| column | what it is |
|---|---|
| version, window_start, slices | where the prediction is counted |
| failed, score, class, probabilities | what came out; probabilities in the contract's order, NaN where there is none |
| has_scores | whether the event held probabilities |
| duplicates | further rows of it |
| labelled, truth, age_s | whether a label holds; 1 or 0, a class's index, a number; age of its first label |
| early, corrections, late, wrong_type, undeclared_label | labels of these kinds |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from barograph.contract import CROSS

from warehouse.scoring.rules import Rules, ScoreDimension

_AGE = "greatest({label}.{at} - at_ms, {label}.{received} - received_ms)"
"""How long after its prediction a label came, in milliseconds: by event times, or by received times where that is
longer. Where history is replayed received times are close together, and event times tell."""

_COUNTED = (
    "version, window_start, slices, failed, score, class, probabilities, has_scores, duplicates, labelled, truth, "
    "age_s, early, corrections, late, wrong_type, undeclared_label"
)


def joined(rules: Rules, dimensions: Sequence[ScoreDimension], *, odd: bool) -> str:
    """Write the query.

    Args:
        rules: of the model.
        dimensions: by which predictions are cut into slices.
        odd: whether there are ids of more than one row or label; without, the query is simpler.
    """
    plain = f"SELECT {_COUNTED} FROM ({_plain(rules, dimensions, odd=odd)})"
    return f"{plain} UNION ALL SELECT {_COUNTED} FROM ({_ordered(rules, dimensions)})" if odd else plain


def bound(rules: Rules, dimensions: Sequence[ScoreDimension], hours: Sequence[int]) -> dict[str, Any]:
    """What the queries of this module bind: `hours` are those of whole score windows."""
    values: dict[str, Any] = {
        **rules.parameters(),
        "hours": list(hours),
        "horizon": rules.horizon_ms,
        "label_type": rules.label_type,
        "positive": rules.positive,
        "positive_label": rules.positive_label,
        "classes": rules.classes,
        "registered": rules.registered,
    }
    for i, dimension in enumerate(dimensions):
        values[f"name_{i}"] = dimension.name
        values[f"versions_{i}"] = dimension.versions
        values[f"kept_{i}"] = list(dimension.kept)
        for j, source in enumerate(dimension.sources):
            values[f"source_{i}_{j}"] = source.partition(".")[2]
    return values


def odd_ids() -> str:
    """Hashes of the ids that have more than one row or label in the hours, or rows in further hours."""
    return (
        "SELECT hash FROM (SELECT version, cityHash64(id) AS hash FROM predictions WHERE model = {model:String} "
        f"AND {_IN_HOURS} GROUP BY version, hash HAVING count() > 1) "
        "UNION DISTINCT SELECT cityHash64(id) AS hash FROM hour_labels FINAL WHERE model = {model:String} "
        "AND hour IN {hours:Array(DateTime('UTC'))} GROUP BY hash HAVING count() > 1 "
        "UNION DISTINCT SELECT hash FROM duplicate_predictions WHERE model = {model:String} "
        "AND hour IN {hours:Array(DateTime('UTC'))}"
    )


def records(rules: Rules) -> str:
    """Count per score window the raw rows that its state rests on, as the query of window_start and records.

    Whatever changes a window adds one: a row or a label of it, or a further hour of an id of it. So of two states of
    a window that of more records is the later one, and the count does not depend on when it is taken.
    """
    hour = f"toDateTime(intDiv(toUnixTimestamp(hour), {rules.window_s}) * {rules.window_s}, 'UTC') AS window_start"
    mine = "model = {model:String}"
    hours = "hour IN {hours:Array(DateTime('UTC'))}"
    repeats = (
        f"SELECT version, hash, uniqExact(hour) AS n FROM duplicate_predictions WHERE {mine} GROUP BY version, hash"
    )
    return (
        f"SELECT window_start, toUInt64(sum(n)) AS records FROM ("
        f"SELECT {hour.replace('(hour)', '(at)')}, uniqExact(cityHash64(epoch, partition, offset, message_index)) AS n "
        f"FROM predictions WHERE {mine} AND {_IN_HOURS} GROUP BY window_start "
        f"UNION ALL SELECT {hour}, count() AS n FROM hour_labels FINAL WHERE {mine} AND {hours} GROUP BY window_start "
        f"UNION ALL SELECT {hour}, sum(spread.n) AS n FROM (SELECT DISTINCT version, hash, hour "
        f"FROM duplicate_predictions WHERE {mine} AND {hours}) AS own INNER JOIN ({repeats}) AS spread "
        "ON own.version = spread.version AND own.hash = spread.hash GROUP BY window_start) GROUP BY window_start"
    )


_IN_HOURS = "toStartOfHour(at) IN {hours:Array(DateTime('UTC'))}"


def _plain(rules: Rules, dimensions: Sequence[ScoreDimension], *, odd: bool) -> str:
    even = f" AND cityHash64(id) NOT IN ({odd_ids()})" if odd else ""
    predictions = (
        f"SELECT {_outcome(rules, dimensions)} FROM predictions WHERE model = {{model:String}} AND {_IN_HOURS}{even}"
    )
    # Labels of odd ids find no prediction here; to leave them out would cost more than they do.
    labels = (
        f"SELECT id, 1 AS given, {_label(rules)} FROM hour_labels FINAL WHERE model = {{model:String}} "
        "AND hour IN {hours:Array(DateTime('UTC'))}"
    )
    age = _AGE.format(label="l", at="label_ms", received="label_received_ms")
    return (
        f"SELECT p.*, 0 AS duplicates, {age} AS age_ms, "
        "l.given AND l.fits AND NOT l.strange AND age_ms <= {horizon:Int64} AS labelled, l.truth AS truth, "
        "greatest(age_ms, 0) / 1000 AS age_s, "
        "labelled AND l.label_ms < p.at_ms AS early, 0 AS corrections, "
        "l.given AND l.fits AND NOT l.strange AND NOT labelled AS late, l.given AND NOT l.fits AS wrong_type, "
        "l.given AND l.fits AND l.strange AS undeclared_label "
        f"FROM ({predictions}) AS p LEFT JOIN ({labels}) AS l ON p.id = l.id"
    )


def _ordered(rules: Rules, dimensions: Sequence[ScoreDimension]) -> str:
    odd = odd_ids()
    # Of a prediction with rows in several hours all are needed to know the earliest.
    reach = (
        f"({_IN_HOURS} OR toStartOfHour(at) IN (SELECT hour FROM duplicate_predictions WHERE model = {{model:String}} "
        "AND hash IN (SELECT hash FROM duplicate_predictions WHERE model = {model:String} "
        "AND hour IN {hours:Array(DateTime('UTC'))})))"
    )
    rows = (
        f"SELECT {_outcome(rules, dimensions)}, at, epoch, partition, offset, message_index FROM predictions "
        f"WHERE model = {{model:String}} AND {reach} AND cityHash64(id) IN ({odd}) "
        "LIMIT 1 BY epoch, partition, offset, message_index"
    )
    firsts = (
        f"SELECT *, count() OVER (PARTITION BY version, id) - 1 AS duplicates FROM ({rows}) "
        "ORDER BY at, epoch, partition, offset, message_index LIMIT 1 BY version, id"
    )
    each = (
        f"SELECT id, epoch, partition, offset, message_index, {_label(rules)} FROM hour_labels "
        "WHERE model = {model:String} AND hour IN {hours:Array(DateTime('UTC'))} "
        f"AND cityHash64(id) IN ({odd}) LIMIT 1 BY id, epoch, partition, offset, message_index"
    )
    labels = (
        "SELECT id, groupArray((label_ms, epoch, offset, message_index, partition, label_received_ms, truth, fits, strange)) "
        f"AS given FROM ({each}) GROUP BY id"
    )
    age = _AGE.format(label="x", at="1", received="6")
    return (
        "SELECT p.*, l.given AS given, arrayFilter(x -> x.8 AND NOT x.9, given) AS good, "
        f"arrayFilter(x -> {age} <= {{horizon:Int64}}, good) AS holding, "
        "notEmpty(holding) AS labelled, "
        "if(labelled, arraySort(holding)[-1].7, 0) AS truth, "
        f"greatest(arrayMin(x -> {age}, holding), 0) / 1000 AS age_s, "
        "arrayCount(x -> x.1 < at_ms, holding) AS early, "
        "greatest(length(holding), 1) - 1 AS corrections, length(good) - length(holding) AS late, "
        "arrayCount(x -> NOT x.8, given) AS wrong_type, arrayCount(x -> x.8 AND x.9, given) AS undeclared_label "
        f"FROM ({firsts}) AS p LEFT JOIN ({labels}) AS l ON p.id = l.id "
        "WHERE toStartOfHour(p.at) IN {hours:Array(DateTime('UTC'))}"
    )


def _outcome(rules: Rules, dimensions: Sequence[ScoreDimension]) -> str:
    probabilities, has_scores = "[]::Array(Float64)", "0"
    if rules.kind == "classes":
        probabilities = "arrayMap(c -> ifNull(scores[c], nan), {classes:Array(String)})"
        has_scores = "notEmpty(mapKeys(scores))"
    return (
        f"version, id, toDateTime(intDiv(toUnixTimestamp(at), {rules.window_s}) * {rules.window_s}, 'UTC') "
        "AS window_start, "
        "toUnixTimestamp64Milli(at) AS at_ms, toUnixTimestamp64Milli(received_at) AS received_ms, "
        f"{_slices(dimensions)} AS slices, error != '' AS failed, score, class, "
        f"{probabilities} AS probabilities, {has_scores} AS has_scores"
    )


def _label(rules: Rules) -> str:
    fits, strange = "label_type = {label_type:String}", "0"
    if rules.kind == "binary":
        truth = "toFloat64(label = {positive_label:String})"
    elif rules.kind == "classes":
        truth = "toFloat64(indexOf({classes:Array(String)}, label)) - 1"
        strange = "truth < 0"
    else:
        truth = "toFloat64OrZero(label)"
    return (
        "toUnixTimestamp64Milli(at) AS label_ms, toUnixTimestamp64Milli(received_at) AS label_received_ms, "
        f"{truth} AS truth, {fits} AS fits, {strange} AS strange"
    )


def _slices(dimensions: Sequence[ScoreDimension]) -> str:
    """The names of a prediction's slices: `all`, and one of each dimension that its version has."""
    parts = ["['all']"]
    for i, dimension in enumerate(dimensions):
        key = "if(version IN {registered:Array(String)}, toString(version), '')"
        values = [_value(source, f"source_{i}_{j}") for j, source in enumerate(dimension.sources)]
        members = ", ".join([key, *values])
        kinds = ", ".join(["String"] * (1 + len(values)))
        name = f" , '{CROSS}', ".join(values)
        text = f"concat({name})" if len(values) > 1 else name
        kept = f"({members}) IN {{kept_{i}:Array(Tuple({kinds}))}}"
        parts.append(
            f"if({key} IN {{versions_{i}:Array(String)}}, "
            f"[concat({{name_{i}:String}}, '=', if({kept}, {text}, 'other'))], [])"
        )
    return f"arrayConcat({', '.join(parts)})" if len(parts) > 1 else parts[0]


def _value(source: str, parameter: str) -> str:
    """The value of a source as text, as slices are named: flags are 1 and 0."""
    room = source.partition(".")[0]
    name = f"{{{parameter}:String}}"
    if room == "arm":
        return "toString(arm)"
    if room == "context":
        return f"context[{name}]"
    return f"ifNull(toString(numbers[{name}]), strings[{name}])"
