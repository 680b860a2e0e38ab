"""The join of predictions with their effective labels, as SQL.

Every prediction occurs once. Nearly all ids have one row and at most one label, and use a plain join (`_simple_join`).
Ids with several rows or labels (`repeated_ids`) are ordered first (`_ordered_join`): the earliest row of a prediction
counts, and the last label within the horizon, by (at, epoch, offset, message_index).

The columns of the result:

| column | content |
|---|---|
| version, window_start, slices | where the prediction is counted |
| failed, score, class, probabilities | the output; probabilities in the contract's order, NaN if missing |
| has_scores | whether the event has probabilities |
| duplicates | additional rows of the prediction |
| labelled, truth, age_s | whether a label is accepted; 1 or 0, a class index, or a number; age of the first label |
| early, corrections, late, wrong_type, undeclared_label | labels of these kinds |
"""

from collections.abc import Sequence
from typing import Any

from barograph.contract import CROSS

from barograph_server.warehouse.scoring import loss_cells
from barograph_server.warehouse.scoring.rules import Rules, ScoreDimension

_AGE = "greatest({label}.{at} - at_ms, {label}.{received} - received_ms)"
"""Delay of a label after its prediction, in milliseconds: the larger of the delays by event time and by received time.
In a replay received times are close together, so event times decide."""

PREDICTIONS = "predictions FINAL"
"""Each raw row once. A recorder may insert rows again, and ClickHouse merges repeats at any time. Without FINAL, a
query that reads the table several times could meet a row once repeated and once single: it counts twice or never."""

UNIT_BUCKETS = 64
"""Buckets into which the units of an A/B test are hashed, to estimate how much their assignment varies the difference
of two arms: the standard error of such an estimate is 6 %."""

_COLUMNS = (
    "version, window_start, slices, failed, score, class, probabilities, has_scores, duplicates, labelled, truth, "
    "age_s, early, corrections, late, wrong_type, undeclared_label"
)


def join_query(
    rules: Rules, dimensions: Sequence[ScoreDimension], *, has_repeats: bool, extra: Sequence[str] = ()
) -> str:
    """Return the query.

    Args:
        has_repeats: whether any id has several rows or labels; otherwise the query is simpler.
        extra: further columns of the result: `id`, `at_ms`, `latency_ms`, `error_kind`, `metrics`, `status_text`,
            `loss_cell`; with `rules.arms` also `arm_name`, `arm_unit`, `unit_bucket`.
    """
    columns = ", ".join((_COLUMNS, *extra))
    simple = f"SELECT {columns} FROM ({_simple_join(rules, dimensions, has_repeats=has_repeats)})"
    if not has_repeats:
        return simple
    return f"{simple} UNION ALL SELECT {columns} FROM ({_ordered_join(rules, dimensions)})"


def parameters(rules: Rules, dimensions: Sequence[ScoreDimension], hours: Sequence[int]) -> dict[str, Any]:
    """Return the parameters of this module's queries; `hours` are those of whole score windows."""
    values: dict[str, Any] = {
        **rules.parameters(),
        **loss_cells.parameters(rules),
        "hours": list(hours),
        "horizon": rules.horizon_ms,
        "forms": [form for form, _ in rules.forms],
        "form_values": [value for _, value in rules.forms],
        "positive": rules.positive,
        "classes": rules.classes,
        "registered": rules.registered,
    }
    if rules.arms is not None:
        values["unit"] = rules.arms.unit.partition(".")[2]
    for i, dimension in enumerate(dimensions):
        values[f"name_{i}"] = dimension.name
        values[f"versions_{i}"] = dimension.versions
        values[f"own_slices_{i}"] = list(dimension.own_slices)
        for j, source in enumerate(dimension.sources):
            values[f"source_{i}_{j}"] = source.partition(".")[2]
    return values


def repeated_ids() -> str:
    """Return the query for the hashes of ids with several rows or labels in the hours, or with rows in other hours."""
    return (
        f"SELECT hash FROM (SELECT version, cityHash64(id) AS hash FROM {PREDICTIONS} WHERE model = {{model:String}} "
        f"AND {_IN_HOURS} GROUP BY version, hash HAVING count() > 1) "
        "UNION DISTINCT SELECT cityHash64(id) AS hash FROM hour_labels FINAL WHERE model = {model:String} "
        "AND hour IN {hours:Array(DateTime('UTC'))} GROUP BY hash HAVING count() > 1 "
        "UNION DISTINCT SELECT hash FROM duplicate_predictions WHERE model = {model:String} "
        "AND hour IN {hours:Array(DateTime('UTC'))}"
    )


def records(rules: Rules) -> str:
    """Return the query that counts the raw rows behind each score window: window_start and records.

    Every change of a window increases the count: a new row, a new label, or another hour of one of its ids. So of two
    states of a window the one with more records is the later one, and the count does not depend on its time.
    """
    hour = f"{rules.window_start_sql('hour')} AS window_start"
    of_model = "model = {model:String}"
    hours = "hour IN {hours:Array(DateTime('UTC'))}"
    duplicates = (
        f"SELECT version, hash, uniqExact(hour) AS n FROM duplicate_predictions WHERE {of_model} GROUP BY version, hash"
    )
    return (
        f"SELECT window_start, toUInt64(sum(n)) AS records FROM ("
        f"SELECT {hour.replace('(hour)', '(at)')}, count() AS n "
        f"FROM {PREDICTIONS} WHERE {of_model} AND {_IN_HOURS} GROUP BY window_start "
        f"UNION ALL SELECT {hour}, count() AS n FROM hour_labels FINAL WHERE {of_model} AND {hours} "
        "GROUP BY window_start "
        f"UNION ALL SELECT {hour}, sum(duplicate.n) AS n FROM (SELECT DISTINCT version, hash, hour "
        f"FROM duplicate_predictions WHERE {of_model} AND {hours}) AS own INNER JOIN ({duplicates}) AS duplicate "
        "ON own.version = duplicate.version AND own.hash = duplicate.hash GROUP BY window_start) GROUP BY window_start"
    )


_IN_HOURS = "toStartOfHour(at) IN {hours:Array(DateTime('UTC'))}"


def _simple_join(rules: Rules, dimensions: Sequence[ScoreDimension], *, has_repeats: bool) -> str:
    is_single = f" AND cityHash64(id) NOT IN ({repeated_ids()})" if has_repeats else ""
    predictions = (
        f"SELECT {_outcome(rules, dimensions)} FROM {PREDICTIONS} "
        f"WHERE model = {{model:String}} AND {_IN_HOURS}{is_single}"
    )
    # Labels of repeated ids match no prediction here; filtering them out would cost more.
    labels = (
        f"SELECT id, 1 AS is_present, {_label(rules)} FROM hour_labels FINAL WHERE model = {{model:String}} "
        "AND hour IN {hours:Array(DateTime('UTC'))}"
    )
    age = _AGE.format(label="l", at="label_ms", received="label_received_ms")
    return (
        f"SELECT p.*, 0 AS duplicates, {age} AS age_ms, "
        "l.is_present AND l.has_type AND NOT l.is_undeclared AND age_ms <= {horizon:Int64} AS labelled, "
        "l.truth AS truth, "
        "greatest(age_ms, 0) / 1000 AS age_s, "
        "labelled AND l.label_ms < p.at_ms AS early, 0 AS corrections, "
        "l.is_present AND l.has_type AND NOT l.is_undeclared AND NOT labelled AS late, "
        "l.is_present AND NOT l.has_type AS wrong_type, "
        "l.is_present AND l.has_type AND l.is_undeclared AS undeclared_label "
        f"FROM ({predictions}) AS p LEFT JOIN ({labels}) AS l ON p.id = l.id"
    )


def _ordered_join(rules: Rules, dimensions: Sequence[ScoreDimension]) -> str:
    repeated = repeated_ids()
    # A prediction with rows in several hours needs all of them, to find the earliest.
    in_any_hour = (
        f"({_IN_HOURS} OR toStartOfHour(at) IN (SELECT hour FROM duplicate_predictions WHERE model = {{model:String}} "
        "AND hash IN (SELECT hash FROM duplicate_predictions WHERE model = {model:String} "
        "AND hour IN {hours:Array(DateTime('UTC'))})))"
    )
    rows = (
        f"SELECT {_outcome(rules, dimensions)}, at, epoch, partition, offset, message_index FROM {PREDICTIONS} "
        f"WHERE model = {{model:String}} AND {in_any_hour} AND cityHash64(id) IN ({repeated})"
    )
    firsts = (
        f"SELECT *, count() OVER (PARTITION BY version, id) - 1 AS duplicates FROM ({rows}) "
        "ORDER BY at, epoch, partition, offset, message_index LIMIT 1 BY version, id"
    )
    label_rows = (
        f"SELECT id, epoch, partition, offset, message_index, {_label(rules)} FROM hour_labels "
        "WHERE model = {model:String} AND hour IN {hours:Array(DateTime('UTC'))} "
        f"AND cityHash64(id) IN ({repeated}) LIMIT 1 BY id, epoch, partition, offset, message_index"
    )
    labels = (
        "SELECT id, groupArray((label_ms, epoch, offset, message_index, partition, label_received_ms, truth, has_type, "
        f"is_undeclared)) AS labels FROM ({label_rows}) GROUP BY id"
    )
    age = _AGE.format(label="x", at="1", received="6")
    return (
        "SELECT p.*, l.labels AS labels, arrayFilter(x -> x.8 AND NOT x.9, labels) AS valid, "
        f"arrayFilter(x -> {age} <= {{horizon:Int64}}, valid) AS accepted, "
        "notEmpty(accepted) AS labelled, "
        "if(labelled, arraySort(accepted)[-1].7, 0) AS truth, "
        f"greatest(arrayMin(x -> {age}, accepted), 0) / 1000 AS age_s, "
        "arrayCount(x -> x.1 < at_ms, accepted) AS early, "
        "greatest(length(accepted), 1) - 1 AS corrections, length(valid) - length(accepted) AS late, "
        "arrayCount(x -> NOT x.8, labels) AS wrong_type, arrayCount(x -> x.8 AND x.9, labels) AS undeclared_label "
        f"FROM ({firsts}) AS p LEFT JOIN ({labels}) AS l ON p.id = l.id "
        "WHERE toStartOfHour(p.at) IN {hours:Array(DateTime('UTC'))}"
    )


def probability_columns(rules: Rules) -> tuple[str, str]:
    """Return the expressions for a prediction's probabilities, and for whether it has any."""
    if rules.kind != "classes":
        return "[]::Array(Float64)", "0"
    return "arrayMap(c -> ifNull(scores[c], nan), {classes:Array(String)})", "notEmpty(mapKeys(scores))"


def _outcome(rules: Rules, dimensions: Sequence[ScoreDimension]) -> str:
    probabilities, has_scores = probability_columns(rules)
    arms = ""
    if rules.arms is not None:
        unit = "context[{unit:String}]" if rules.arms.unit else "id"
        bucket = f"toUInt8(sipHash64({unit}) % {UNIT_BUCKETS})" if rules.arms.unit else "toUInt8(0)"
        arms = f", toString(arm) AS arm_name, {unit} AS arm_unit, {bucket} AS unit_bucket"
    return (
        f"version, id, {rules.window_start_sql('at')} AS window_start, "
        "toUnixTimestamp64Milli(at) AS at_ms, toUnixTimestamp64Milli(received_at) AS received_ms, "
        f"{_slices(dimensions)} AS slices, error != '' AS failed, toString(error) AS error_kind, score, class, "
        "latency_ms, metrics, toString(status) AS status_text, "
        f"{probabilities} AS probabilities, {has_scores} AS has_scores{arms}, "
        f"{loss_cells.loss_cell(rules)} AS loss_cell"
    )


def _label(rules: Rules) -> str:
    is_undeclared = "0"
    if rules.kind == "number":
        number = "ifNull(toFloat64OrNull(trimBoth(label)), nan)"
        has_type = f"label_type != 'bool' AND isFinite({number})"
        truth = f"if({has_type}, {number}, 0.)"
    else:
        value = value_of("label", is_open=rules.has_open_labels)
        has_type = f"{value} != ''"
        truth = f"toFloat64({value} = {{positive:String}})"
    if rules.kind == "classes":
        truth = f"toFloat64(indexOf({{classes:Array(String)}}, {value})) - 1"
        has_type, is_undeclared = f"(label_type = 'string' OR {has_type})", "truth < 0"
    return (
        "toUnixTimestamp64Milli(at) AS label_ms, toUnixTimestamp64Milli(received_at) AS label_received_ms, "
        f"{truth} AS truth, {has_type} AS has_type, {is_undeclared} AS is_undeclared"
    )


def value_of(column: str, *, is_open: bool) -> str:
    """Return the expression for the value of a label or class, by its form; empty if the text is no form.

    Args:
        is_open: Whether a text without a form is a value of its own.
    """
    known = "{forms:Array(String)}, {form_values:Array(String)}"
    folded = f"transform(lower(trimBoth({column})), {known}, '')"
    other = f"if({folded} != '', {folded}, {column})" if is_open else folded
    return f"transform({column}, {known}, {other})"


def _slices(dimensions: Sequence[ScoreDimension]) -> str:
    """Return the expression for a prediction's slices: `all`, and one per dimension of its version."""
    parts = ["['all']"]
    for i, dimension in enumerate(dimensions):
        key = "if(version IN {registered:Array(String)}, toString(version), '')"
        values = [_value(source, f"source_{i}_{j}") for j, source in enumerate(dimension.sources)]
        members = ", ".join([key, *values])
        types = ", ".join(["String"] * (1 + len(values)))
        name = f" , '{CROSS}', ".join(values)
        text = f"concat({name})" if len(values) > 1 else name
        has_own_slice = f"({members}) IN {{own_slices_{i}:Array(Tuple({types}))}}"
        parts.append(
            f"if({key} IN {{versions_{i}:Array(String)}}, "
            f"[concat({{name_{i}:String}}, '=', if({has_own_slice}, {text}, 'other'))], [])"
        )
    return f"arrayConcat({', '.join(parts)})" if len(parts) > 1 else parts[0]


def _value(source: str, parameter: str) -> str:
    """Return the expression for a source's value as text, as in slice names: flags are 1 and 0."""
    kind = source.partition(".")[0]
    name = f"{{{parameter}:String}}"
    if kind == "arm":
        return "toString(arm)"
    if kind == "context":
        return f"context[{name}]"
    return f"ifNull(toString(numbers[{name}]), strings[{name}])"
