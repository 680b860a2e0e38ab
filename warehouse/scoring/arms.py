"""Counts of the arms of an A/B test from raw rows, as SQL.

Units are hashed into buckets, whose sums show how much the assignment of units varies the difference of two arms
(`sketches.rollout.split_traffic`). Sums use whole numbers (values times 2^50), so the same rows give bit-identical
counts. With 256 bits, errors of numbers below 10^60 fit; larger ones are not scored.
"""

from collections.abc import Sequence

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.scoring import cell_counts, label_join
from barograph_server.warehouse.scoring.cell_counts import sum_if, unscaled
from barograph_server.warehouse.scoring.rules import Rules, ScoreDimension
from barograph_server.warehouse.tables import SCHEMAS

COLUMNS = tuple(SCHEMAS["arm_counts"].names)
PREDICTION = "prediction"
"""The unit if each prediction is assigned by itself."""

_NOW = "fromUnixTimestamp64Milli({now_ms:Int64}, 'UTC')"
_GROUP = ("slice", "window_start", "arm", "version", "bucket")
_CONSTANTS = {
    "model": "{model:String}",
    "basis": "{basis:String}",
    "unit": "{unit_name:String}",
    "window_s": "{window_s:UInt32}",
    "records": "evidence.records",
    "counted_at": _NOW,
}
_VALUES = tuple(name for name in COLUMNS if name not in (*_GROUP, *_CONSTANTS))
_TIMED = "latency_ms > 0 AND isFinite(latency_ms)"
REFUSALS = (
    *("content_filter", "content_filtered", "refusal", "safety", "guardrail_intervened", "prohibited_content"),
    *("blocklist", "recitation", "spii"),
)
"""Finish reasons with which providers say that the model, or a filter around it, refused to answer."""
_REFUSED = f"hasAny(arrayMap(each -> trimBoth(each), splitByChar(',', lower(status_text))), {list(REFUSALS)})"
_MAX_NUMBER = "1e12"
_MICRO = "1e6"
"""Millionths of a dollar in one: costs of a millionth still have exact squares."""


def _metric(name: str, condition: str) -> tuple[str, str]:
    """Return the expressions for a metric's value, and for whether an event has a usable one."""
    value = f"ifNull(metrics['{name}'], nan)"
    return value, f"{value} {condition} AND {value} <= {_MAX_NUMBER}"


_TTFT, _HAS_TTFT = _metric("ttft_ms", "> 0")
_TOKEN_TIME, _HAS_TOKEN_TIME = _metric("time_per_output_token_ms", "> 0")
_INPUT, _HAS_INPUT = _metric("input_tokens", ">= 0")
_OUTPUT, _HAS_OUTPUT = _metric("output_tokens", ">= 0")
_COST, _HAS_COST = _metric("cost_usd", ">= 0")
_FAULTY, _IS_EVALUATED = _metric("faulty", ">= 0")
_COUNTS = {
    "predictions": "count()",
    "failed": "countIf(failed)",
    "timed": f"countIf({_TIMED})",
    "with_status": "countIf(status_text != '')",
    "refused": f"countIf({_REFUSED})",
    "with_ttft": f"countIf({_HAS_TTFT})",
    "with_token_time": f"countIf({_HAS_TOKEN_TIME})",
    "with_input_tokens": f"countIf({_HAS_INPUT})",
    "with_output_tokens": f"countIf({_HAS_OUTPUT})",
    "with_cost": f"countIf({_HAS_COST})",
    "evaluated": f"countIf({_IS_EVALUATED})",
    "faulty": f"countIf({_FAULTY} > 0)",
}
_SUMS = {
    "log_latency": ("log(latency_ms)", _TIMED),
    "log_latency_squares": ("pow(log(latency_ms), 2)", _TIMED),
    "log_ttft": (f"log({_TTFT})", _HAS_TTFT),
    "log_ttft_squares": (f"pow(log({_TTFT}), 2)", _HAS_TTFT),
    "log_token_time": (f"log({_TOKEN_TIME})", _HAS_TOKEN_TIME),
    "log_token_time_squares": (f"pow(log({_TOKEN_TIME}), 2)", _HAS_TOKEN_TIME),
    "input_tokens": (_INPUT, _HAS_INPUT),
    "input_token_squares": (f"pow({_INPUT}, 2)", _HAS_INPUT),
    "output_tokens": (_OUTPUT, _HAS_OUTPUT),
    "output_token_squares": (f"pow({_OUTPUT}, 2)", _HAS_OUTPUT),
    "micro_cost": (f"{_COST} * {_MICRO}", _HAS_COST),
    "micro_cost_squares": (f"pow({_COST} * {_MICRO}, 2)", _HAS_COST),
}
_OF_CLASSES = {
    "labelled": "countIf(labelled AND predicted >= 0)",
    "right": "countIf(labelled AND predicted >= 0 AND predicted = truth)",
    "scored": "countIf(labelled AND usable)",
}
_SUMS_OF_CLASSES = {"loss": ("loss", "labelled AND usable"), "brier": ("brier", "labelled AND usable")}
_IS_COUNTED_ERROR = "measured AND size < 1e60"
_OF_NUMBERS = {"scored": f"countIf({_IS_COUNTED_ERROR})"}
_SUMS_OF_NUMBERS = {"error": ("size", _IS_COUNTED_ERROR)}
_FLOATS = frozenset({*_SUMS, *_SUMS_OF_CLASSES, *_SUMS_OF_NUMBERS})


def count_arms(
    client: Client,
    rules: Rules,
    dimensions: Sequence[ScoreDimension],
    windows: Sequence[int],
    now_ms: int,
    *,
    has_repeats: bool,
) -> None:
    """Recount the arms in score windows (starts, Unix seconds) from raw rows.

    Of two rows of a window the one with more records counts, so a row stays after its raw rows expire.

    Args:
        rules: the model's scoring rules; they have arms.
        has_repeats: the result of `warehouse.scoring.state.has_repeated_ids` for the windows.
    """
    test = rules.arms
    assert test is not None
    own = [each for each in dimensions if "arm" not in each.sources]
    parameters = {
        **cell_counts.parameters(rules, own, rules.hours_of(list(windows)), now_ms),
        "arms": test.arms,
        "unit_name": test.unit or PREDICTION,
    }
    for query in (_counts_query(rules, own, has_repeats=has_repeats), _emptied_rows_query(rules)):
        client.insert_selected("arm_counts", COLUMNS, query, parameters)


def uncounted_hours(client: Client, rules: Rules) -> set[int]:
    """Return the hours (starts, Unix seconds) with predictions of the arms whose window no row counts.

    They are all hours when the contract first states margins, and the rest of them after a pass that broke off.
    """
    test = rules.arms
    assert test is not None
    parameters = {
        "model": rules.model,
        "basis": rules.basis,
        "arms": test.arms,
        "unit_name": test.unit or PREDICTION,
        "unit": test.unit.partition(".")[2],
    }
    has_unit = " AND context[{unit:String}] != ''" if test.unit else ""
    counted = (
        "SELECT window_start FROM arm_counts WHERE model = {model:String} AND basis = {basis:String} "
        "AND unit = {unit_name:String}"
    )
    rows = client.rows(
        "SELECT DISTINCT toUnixTimestamp(toStartOfHour(at)) FROM predictions WHERE model = {model:String} "
        f"AND arm IN {{arms:Array(String)}}{has_unit} AND {rules.window_start_sql('at')} NOT IN ({counted})",
        parameters,
    )
    return {int(hour) for (hour,) in rows}


def _counts_query(rules: Rules, dimensions: Sequence[ScoreDimension], *, has_repeats: bool) -> str:
    """Return the query for the rows of `arm_counts`."""
    extra = ("latency_ms", "metrics", "status_text", "arm_name", "arm_unit", "unit_bucket")
    joined = label_join.join_query(rules, dimensions, has_repeats=has_repeats, extra=extra)
    counts, sums = (_OF_NUMBERS, _SUMS_OF_NUMBERS) if rules.kind == "number" else (_OF_CLASSES, _SUMS_OF_CLASSES)
    values = {
        **_COUNTS,
        **counts,
        **{name: unscaled(sum_if(*each, "toInt256")) for name, each in (_SUMS | sums).items()},
    }
    rows = (
        f"SELECT *, arrayJoin(slices) AS slice, if(slice = 'all', unit_bucket, 0) AS bucket "
        f"FROM ({cell_counts.outcomes(rules, joined)}) "
        "WHERE arm_name IN {arms:Array(String)} AND arm_unit != ''"
    )
    # The names of columns are those of rows as well, so totals have others until the last step.
    totals = ", ".join(f"{values.get(name, _zero(name))} AS total_{name}" for name in _VALUES)
    key = "slice, window_start, arm_name, version, bucket"
    columns = {
        **{name: f"counts.{name}" for name in _GROUP} | {"arm": "counts.arm_name"},
        **{name: f"counts.total_{name}" for name in _VALUES},
        **_CONSTANTS,
    }
    return (
        f"SELECT {', '.join(f'{columns[name]} AS {name}' for name in COLUMNS)} "
        f"FROM (SELECT {key}, {totals} FROM ({rows}) GROUP BY {key}) AS counts "
        f"INNER JOIN ({label_join.records(rules)}) AS evidence ON counts.window_start = evidence.window_start"
    )


def _emptied_rows_query(rules: Rules) -> str:
    """Return the query for empty rows that replace rows of earlier counts without a successor.

    If an earlier row of a prediction arrives later, the prediction moves to that row's window, slices and arm.
    """
    columns = {name: f"counts.{name}" for name in _GROUP} | {name: _zero(name) for name in _VALUES} | _CONSTANTS
    return (
        f"SELECT {', '.join(f'{columns[name]} AS {name}' for name in COLUMNS)} FROM arm_counts AS counts FINAL "
        f"INNER JOIN ({label_join.records(rules)}) AS evidence ON counts.window_start = evidence.window_start "
        "WHERE counts.model = {model:String} AND counts.basis = {basis:String} AND counts.unit = {unit_name:String} "
        "AND counts.window_start IN {windows:Array(DateTime('UTC'))} AND counts.records < evidence.records"
    )


def _zero(name: str) -> str:
    return "0." if name in _FLOATS else "0"
