"""Counts of joined predictions: the state of each score window and slice, as SQL.

A first query counts rows into cells (window, slice, score bin); a second one turns the cells into the arrays of one
row. Sums use whole numbers (values times 2^50), so they do not depend on the order in which rows are read: the same
rows give bit-identical state.
"""

from collections.abc import Sequence
from typing import Any

from barograph_server.sketches.baseline.loss_trees import NO_CELL
from barograph_server.warehouse.scoring import label_join
from barograph_server.warehouse.scoring.rules import Rules, ScoreDimension
from barograph_server.warehouse.tables import SCHEMAS

SCALE = 2**50
"""Factor of the numbers while they are added up."""


def whole(value: str, integer: str = "toInt128") -> str:
    """Return a value as a whole number; `integer` is the SQL function that converts it."""
    return f"{integer}(round({value} * {SCALE}))"


def sum_if(value: str, condition: str = "1", integer: str = "toInt128") -> str:
    """Return a sum in whole numbers; the value is finite under the condition."""
    return f"sum({whole(f'if({condition}, {value}, 0.)', integer)})"


def unscaled(total: str) -> str:
    """Return a sum in whole numbers as a number with decimals."""
    return f"toFloat64({total}) / {SCALE}"


SCORE_FLOOR = 2.0**-52
"""Minimum probability in the log loss; the same as in `sketches.performance.binary`."""
SUM_TOLERANCE = 1e-3
"""Tolerance of the sum of all class scores, which allows for single precision and rounding to four digits."""
ERROR_STEP = 1.01
"""Relative width of the error bins of numbers: one percent."""
ERROR_ZERO = 1 << 17
"""Offset of an error's bin number, so that its sign can be the sign of the error."""
VALUE_ZERO = 1 << 20
"""Bin number of a prediction of 0. A prediction of x has the number of an error of x, plus this."""
MIN_VALUE_BIN = 1 << 19
"""Numbers from this on are bins of predictions, by their value, or near `loss_trees.LOSS_ZERO` by their expected error.
Those of errors are below, as doubles have 146,100 steps of 1 %."""
END_OF_BINS = 1 << 21
"""Numbers from this on are no bins; earlier versions stored sums of fourth powers there."""
_OCTAVE = 70
"""Steps of 1 % by which the errors of a sum of shares differ at most: about a factor of two."""
_MIN_MAGNITUDE = -1016 * _OCTAVE
"""Smallest magnitude of a sum of shares; 1.01 to this power is still a normal double."""

COLUMNS = tuple(SCHEMAS["performance_state"].names)

BIN_SUMS = ("bin_predictions", "bin_scores", "bin_labelled", "bin_labelled_scores", "bin_positives")
_CELL = {name: i for i, name in enumerate(("bins", *BIN_SUMS), 1)}
"""Columns of `performance_state` that are members of the cells, with their index."""
_LISTS = frozenset({"confusion", "sums", *_CELL})
REFERENCE_COLUMNS = ("version", "slice", "predictions", "labelled", "confusion", *_CELL, "sums")

_NOW = "fromUnixTimestamp64Milli({now_ms:Int64}, 'UTC')"
_COUNTS = COLUMNS[COLUMNS.index("predictions") : COLUMNS.index("confusion")]
_KEY = "version, window_start, slice"


def state_query(rules: Rules, dimensions: Sequence[ScoreDimension], *, has_repeats: bool) -> str:
    """Return the query for the rows of `performance_state`."""
    rows = _KINDS[rules.kind](rules, _joined(rules, dimensions, has_repeats=has_repeats))
    names = [*map(_column, COLUMNS)]
    names[COLUMNS.index("window_start")] = "counts.window_start AS window_start"
    return (
        f"SELECT {', '.join(names)} FROM ({rows}) AS counts "
        f"INNER JOIN ({label_join.records(rules)}) AS evidence ON counts.window_start = evidence.window_start"
    )


def reference_query(rules: Rules, dimensions: Sequence[ScoreDimension], *, has_repeats: bool) -> str:
    """Return the query for `REFERENCE_COLUMNS`, with all hours counted as one window."""
    source = _joined(rules, dimensions, has_repeats=has_repeats)
    rows = _KINDS[rules.kind](
        rules, f"SELECT * EXCEPT window_start, toDateTime(0, 'UTC') AS window_start FROM ({source})"
    )
    return f"SELECT {', '.join(map(_column, REFERENCE_COLUMNS))} FROM ({rows})"


def _joined(rules: Rules, dimensions: Sequence[ScoreDimension], *, has_repeats: bool) -> str:
    return label_join.join_query(rules, dimensions, has_repeats=has_repeats, extra=("loss_cell",))


def _column(name: str) -> str:
    return f"cells.{i} AS {name}" if (i := _CELL.get(name)) else name


def emptied_rows_query(rules: Rules) -> str:
    """Return the query for empty rows that replace rows of an earlier state without a successor.

    If an earlier row of a prediction arrives later, the prediction moves to that row's window and slices, and may have
    been the only prediction of its former ones.
    """
    values = {
        **{name: name for name in ("model", "version", "basis", "slice", "window_s")},
        "window_start": "state.window_start AS window_start",
        "records": "evidence.records AS records",
        "scored_at": f"{_NOW} AS scored_at",
        "ages": "map()::Map(UInt16, UInt64) AS ages",
    }
    empty = [values.get(name, f"[] AS {name}" if name in _LISTS else f"0 AS {name}") for name in COLUMNS]
    return (
        f"SELECT {', '.join(empty)} FROM performance_state AS state FINAL "
        f"INNER JOIN ({label_join.records(rules)}) AS evidence ON state.window_start = evidence.window_start "
        "WHERE model = {model:String} AND basis = {basis:String} "
        "AND state.window_start IN {windows:Array(DateTime('UTC'))} AND state.records < evidence.records"
    )


def parameters(rules: Rules, dimensions: Sequence[ScoreDimension], hours: Sequence[int], now_ms: int) -> dict[str, Any]:
    """Return the parameters of the queries; `hours` are those of whole score windows."""
    return {
        **label_join.parameters(rules, dimensions, hours),
        "basis": rules.basis,
        "windows": sorted(rules.windows_of(set(hours))),
        "window_s": rules.window_s,
        "threshold": rules.threshold,
        "edges": [0.0, *rules.edges],
        "ages": rules.age_edges_s,
        "k": len(rules.classes),
        "now_ms": now_ms,
    }


_EDGE = "roundDown({value}, {{edges:Array(Float64)}})"
_BIN = "toInt32(indexOf({{edges:Array(Float64)}}, {edge})) - 1"
_AGES = (
    "sumMapIf(map(toUInt16(indexOf({{ages:Array(Float64)}}, roundDown(age_s, {{ages:Array(Float64)}})) - 1), "
    "toUInt64(1)), labelled AND slice = 'all'{once}) AS ages"
)


def _counts(conditions: dict[str, str], once: str = "1") -> str:
    """Return counts of rows, each row once: by a condition, or the sum of the column of that name."""
    conditions = {"predictions": "1", **conditions}
    return ", ".join(f"sumIf(toUInt64({conditions.get(name, name)}), {once}) AS n_{name}" for name in _COUNTS)


def _row(arrays: str) -> str:
    """Return the SELECT of a row, with the given arrays."""
    totals = ", ".join(f"toUInt64(sum(n_{name})) AS {name}" for name in _COUNTS)
    return (
        "SELECT {model:String} AS model, version, {basis:String} AS basis, slice, window_start, "
        f"{{window_s:UInt32}} AS window_s, {totals}, {arrays}, "
        "sumMap(ages) AS ages, "
        f"{_NOW} AS scored_at"
    )


_LOSS_SUMS = (
    f"[toFloat64(sum(sum_n)), {unscaled('sum(sum_loss)')}, {unscaled('sum(sum_loss_2)')}, "
    f"toFloat64(sum(sum_n)), {unscaled('sum(sum_brier)')}, {unscaled('sum(sum_brier_2)')}] AS sums"
)


def _losses(condition: str) -> str:
    """Return n, Σ and Σ² of the losses of the rows that meet a condition."""
    return (
        f"countIf({condition}) AS sum_n, {sum_if('loss', condition)} AS sum_loss, "
        f"{sum_if('loss * loss', condition)} AS sum_loss_2, {sum_if('brier', condition)} AS sum_brier, "
        f"{sum_if('brier * brier', condition)} AS sum_brier_2"
    )


def outcomes(rules: Rules, source: str) -> str:
    """Return the query that adds to joined predictions what was predicted and how wrong it was.

    The added columns are `usable` (whether the scores are measured), and `predicted` (1 or 0, a class index, or −1),
    `loss` and `brier`, or for numbers `size` (|error|) and `measured`. `loss` and `brier` are 0 if unusable. Without
    labels `predicted` is a hash of the class.
    """
    return _OUTCOMES[rules.kind](rules, source)


def _binary_outcomes(rules: Rules, source: str) -> str:
    class_value = label_join.value_of("toString(class)", is_open=rules.has_open_classes)
    return (
        "SELECT *, NOT failed AND score >= 0 AND score <= 1 AS usable, "
        f"{class_value} AS class_value, "
        "NOT failed AND class != '' AND class_value = '' AS undeclared_class, "
        "multiIf(failed OR undeclared_class, -1, class != '', toInt8(class_value = {positive:String}), "
        "usable, toInt8(score >= {threshold:Float64}), -1) AS predicted, "
        f"if(usable, -log(greatest(if(truth = 1, score, 1 - score), {SCORE_FLOOR!r})), 0.) AS loss, "
        f"if(usable, (score - truth) * (score - truth), 0.) AS brier FROM ({source})"
    )


def _binary(rules: Rules, source: str) -> str:
    prepared = (
        f"SELECT *, arrayJoin(slices) AS slice, if(usable, {_EDGE.format(value='score')}, -1.) AS edge "
        f"FROM ({_binary_outcomes(rules, source)})"
    )
    conditions = {
        "unscored": "NOT failed AND class = '' AND isNaN(score)",
        "out_of_range": "NOT failed AND NOT isNaN(score) AND NOT usable",
        "invalid_sum": "0",
    }
    cells_of = {
        "tp": "predicted = 1 AND truth = 1",
        "fp": "predicted = 1 AND truth = 0",
        "fn": "predicted = 0 AND truth = 1",
        "tn": "predicted = 0 AND truth = 0",
    }
    cells = (
        f"SELECT {_KEY}, edge, {_counts(conditions)}, "
        f"{', '.join(f'countIf(labelled AND {outcome}) AS {name}' for name, outcome in cells_of.items())}, "
        f"{sum_if('score', 'usable')} AS sum_score, {sum_if('score', 'usable AND labelled')} AS sum_labelled_score, "
        f"countIf(labelled AND truth = 1) AS positives, {_losses('usable AND labelled')}, {_AGES.format(once='')} "
        f"FROM ({prepared}) GROUP BY {_KEY}, edge"
    )
    arrays = (
        f"arraySort(groupArrayIf(({_BIN.format(edge='edge')}, n_predictions, toFloat64(sum_score) / {SCALE}, "
        f"n_labelled, toFloat64(sum_labelled_score) / {SCALE}, toUInt64(positives)), edge >= 0)) AS cells"
    )
    confusion = f"[{', '.join(f'toUInt64(sum({name}))' for name in cells_of)}] AS confusion"
    return f"{_row(f'{confusion}, {arrays}, {_LOSS_SUMS}')} FROM ({cells}) GROUP BY {_KEY}"


def _classes_outcomes(_rules: Rules, source: str) -> str:
    class_value = label_join.value_of("toString(class)", is_open=False)
    return (
        "SELECT *, arrayMap(p -> if(isNaN(p), 0., p), probabilities) AS filled, "
        "NOT failed AND has_scores AND NOT arrayAll(p -> p >= 0 AND p <= 1, filled) AS out_of_range, "
        "NOT failed AND has_scores AND NOT out_of_range "
        f"AND abs(arraySum(filled) - 1) > {SUM_TOLERANCE!r} AS invalid_sum, "
        "NOT failed AND has_scores AND NOT out_of_range AND NOT invalid_sum AS usable, "
        f"toInt32(indexOf({{classes:Array(String)}}, {class_value})) - 1 AS class_index, "
        "NOT failed AND class != '' AND class_index < 0 AS undeclared_class, "
        "multiIf(failed, -1, class != '', class_index, usable, toInt32(indexOf(filled, arrayMax(filled))) - 1, -1) "
        "AS predicted, "
        "if(usable AND labelled, filled[toInt32(truth) + 1], 0.) AS true_score, "
        f"if(usable AND labelled, -log(greatest(true_score, {SCORE_FLOOR!r})), 0.) AS loss, "
        "if(usable AND labelled, arraySum(p -> p * p, filled) - 2 * true_score + 1, 0.) AS brier "
        f"FROM ({source})"
    )


def _classes(rules: Rules, source: str) -> str:
    prepared = (
        "SELECT *, arrayJoin(slices) AS slice, "
        "arrayJoin(arrayConcat([(toUInt32(0), 0.)], if(usable, arrayMap((i, p) -> (toUInt32(i), p), "
        "arrayEnumerate(filled), filled), []), "
        "if(usable AND predicted >= 0, [(toUInt32({k:Int32} + predicted + 1), filled[predicted + 1])], []))) AS cell "
        f"FROM ({_classes_outcomes(rules, source)})"
    )
    # Cell 0 is the row itself, cell 1 + i the probability of class i, cell 1 + K + i the same if class i is predicted.
    conditions = {"unscored": "NOT failed AND class = '' AND NOT has_scores"}
    once = "cell.1 = 0"
    cells = (
        f"SELECT {_KEY}, cell.1 AS class_number, if(class_number = 0, -1., {_EDGE.format(value='cell.2')}) AS edge, "
        f"if({once} AND labelled AND predicted >= 0, toInt32(truth) * {{k:Int32}} + predicted, -1) AS confusion_index, "
        f"{_counts(conditions, once)}, count() AS n_cell, countIf(labelled) AS n_cell_labelled, "
        f"{sum_if('cell.2')} AS sum_score, {sum_if('cell.2', 'labelled')} AS sum_labelled_score, "
        "countIf(labelled AND toInt32(truth) = toInt32(cell.1 - 1) % {k:Int32}) AS positives, "
        f"{_losses(f'{once} AND usable AND labelled')}, {_AGES.format(once=f' AND {once}')} "
        f"FROM ({prepared}) GROUP BY {_KEY}, class_number, edge, confusion_index"
    )
    bins = "toInt32(length({edges:Array(Float64)}))"
    number = (
        f"if(class_number <= {{k:Int32}}, toInt32(class_number - 1) * {bins} + {_BIN.format(edge='edge')}, "
        f"-1 - toInt32(class_number - {{k:Int32}} - 1) * {bins} - ({_BIN.format(edge='edge')}))"
    )
    arrays = (
        f"arraySort(groupArrayIf(({number}, toUInt64(n_cell), toFloat64(sum_score) / {SCALE}, "
        f"toUInt64(n_cell_labelled), toFloat64(sum_labelled_score) / {SCALE}, toUInt64(positives)), "
        "class_number > 0)) AS cells"
    )
    confusion = (
        "sumMapIf(map(confusion_index, toUInt64(n_cell)), confusion_index >= 0) AS confusion_counts, "
        "arrayMap(i -> confusion_counts[toInt32(i)], range({k:UInt32} * {k:UInt32})) AS confusion"
    )
    return f"{_row(f'{confusion}, {arrays}, {_LOSS_SUMS}')} FROM ({cells}) GROUP BY {_KEY}"


def _number_outcomes(_rules: Rules, source: str) -> str:
    return (
        "SELECT *, NOT failed AND isFinite(score) AS usable, "
        "if(usable AND labelled, score - truth, 0.) AS error, abs(error) AS size, "
        f"usable AND labelled AND isFinite(size) AS measured FROM ({source})"
    )


def _number(rules: Rules, source: str) -> str:
    step = f"log({ERROR_STEP!r})"

    def bin_of(value: str, step_number: str) -> str:
        return f"if({value} = 0, 0, toInt32(sign({value})) * ({step_number} + {ERROR_ZERO}))"

    prepared = (
        "SELECT *, arrayJoin(slices) AS slice, "
        f"if(size > 0 AND isFinite(size), toInt32(floor(log(size) / {step})), 0) AS step, "
        f"if(measured, {bin_of('error', 'step')}, 0) AS bin, "
        "if(usable, score, 0.) AS value, "
        f"if(value = 0, 0, toInt32(floor(log(abs(value)) / {step}))) AS value_step, "
        f"if(loss_cell = {NO_CELL}, {VALUE_ZERO} + {bin_of('value', 'value_step')}, loss_cell) AS loss_bin, "
        # Each row counts in the bin of its error, and by the magnitude of the error in that of its expected error, or
        # of its prediction if there is none.
        "arrayJoin(arrayConcat([(bin, step)], if(usable, [(loss_bin, "
        f"greatest(toInt32(floor(step / {_OCTAVE})) * {_OCTAVE}, {_MIN_MAGNITUDE}))], []))) AS cell, "
        f"cell.1 < {MIN_VALUE_BIN} AS is_error, "
        # Errors of a cell are summed as multiples of its lower end, which are near 1 in any unit.
        f"if(measured AND size > 0, size / exp(cell.2 * {step}), 0.) AS share FROM ({_number_outcomes(rules, source)})"
    )
    unused = dict.fromkeys(("out_of_range", "undeclared_class", "invalid_sum"), "0")
    conditions = {"unscored": "NOT usable AND NOT failed", **unused}
    cells = (
        f"SELECT {_KEY}, cell.1 AS number, cell.2 AS magnitude, {_counts(conditions, 'is_error')}, "
        "count() AS n_cell, countIf(measured) AS n_measured, "
        f"{sum_if('share')} AS share_1, {sum_if('share * share')} AS share_2, {sum_if('pow(share, 4)')} AS share_4, "
        f"{_AGES.format(once=' AND is_error')} FROM ({prepared}) GROUP BY {_KEY}, number, magnitude"
    )
    arrays = (
        "arraySort(groupArrayIf((number, magnitude, toUInt64(n_cell), toUInt64(n_measured), "
        f"toFloat64(share_1) / {SCALE}, toFloat64(share_2) / {SCALE}, toFloat64(share_4) / {SCALE}), "
        f"number >= {MIN_VALUE_BIN} OR n_measured > 0)) AS counted, "
        f"arrayFilter(c -> c.1 < {MIN_VALUE_BIN}, counted) AS occupied, "
        f"arrayFilter(c -> c.1 >= {MIN_VALUE_BIN}, counted) AS predicted, "
        f"arrayMap(c -> if(c.1 = 0, 0., exp(c.2 * {step})), occupied) AS ends, "
        f"arrayMap(c -> exp(c.2 * {step}), predicted) AS magnitudes, "
        "[toFloat64(arraySum(c -> c.4, occupied)), "
        "arraySum((c, e) -> sign(c.1) * e * c.5, occupied, ends), arraySum((c, e) -> e * c.5, occupied, ends), "
        "arraySum((c, e) -> e * e * c.6, occupied, ends), "
        "arraySum((c, e) -> pow(e, 4) * c.7, occupied, ends)] AS sums, "
        "arrayReduce('sumMap', arrayMap(c -> [c.1], predicted), arrayMap(c -> [c.3], predicted), "
        "arrayMap((c, e) -> [e * e * c.6], predicted, magnitudes), arrayMap(c -> [c.4], predicted), "
        "arrayMap((c, e) -> [e * c.5], predicted, magnitudes)) AS values, "
        "arrayConcat(arrayMap(c -> (c.1, toUInt64(0), 0., c.4, 0., toUInt64(0)), occupied), "
        "arrayMap((number, n, squares, n_labelled, sizes) -> (number, n, squares, n_labelled, sizes, toUInt64(0)), "
        "values.1, values.2, values.3, values.4, values.5)) AS cells"
    )
    return f"{_row(f'[]::Array(UInt64) AS confusion, {arrays}')} FROM ({cells}) GROUP BY {_KEY}"


def _unlabelled_outcomes(_rules: Rules, source: str) -> str:
    # Classes are only compared with each other, so a hash that is not negative stands for each.
    return (
        "SELECT *, NOT failed AND isFinite(score) AS usable, if(failed OR class = '', toInt64(-1), "
        "toInt64(bitShiftRight(cityHash64(toString(class)), 1))) AS predicted, 0. AS loss, 0. AS brier "
        f"FROM ({source})"
    )


_OUTCOMES = {
    "binary": _binary_outcomes,
    "classes": _classes_outcomes,
    "number": _number_outcomes,
    "unlabelled": _unlabelled_outcomes,
}
_KINDS = {"binary": _binary, "classes": _classes, "number": _number}
