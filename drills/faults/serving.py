"""Faults of the serving system: latency, errors, and scores that say nothing or too much."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract.check_alerts import is_output
from barograph.contract.model import FieldType

from barograph_server.drills.faults.expected import always, drift, field_rates
from barograph_server.drills.faults.fault import EventTables, Fault, FaultParameter, Injection, replace_column

LATENCY = "latency_ms"
ERROR = "drill"
"""The kind of the injected errors."""


def creep_latency(events: EventTables, injection: Injection) -> EventTables:
    """A dependency gets slower: the latency of predictions is a multiple of the usual one."""
    table, rows = events.predictions, injection.rows(events.predictions)
    if LATENCY not in table.column_names:
        return events
    column = table[LATENCY]
    slow = pc.multiply(column.cast(pa.float64()), injection.magnitude)
    new = pc.if_else(pa.array(rows), slow, column.cast(pa.float64()))
    return EventTables(replace_column(table, LATENCY, new), events.labels)


def burst_errors(events: EventTables, injection: Injection) -> EventTables:
    """A deployment or a dependency breaks a share of the predictions."""
    table, rows = events.predictions, pa.array(injection.rows(events.predictions))
    none = pa.nulls(table.num_rows, pa.string())
    before = table["error"].cast(pa.string()) if "error" in table.column_names else none
    new = pc.if_else(rows, ERROR, before)
    if "error" in table.column_names:
        return EventTables(replace_column(table, "error", new), events.labels)
    return EventTables(table.append_column("error", new), events.labels)


def collapse_score(events: EventTables, injection: Injection) -> EventTables:
    """The model loads without its weights, or a feature map is empty: every score is the same."""
    table, rows = events.predictions, pa.array(injection.rows(events.predictions))
    column = table[injection.column].cast(pa.float64())
    new = pc.if_else(rows, pa.scalar(injection.magnitude), column)
    return EventTables(replace_column(table, injection.column, new), events.labels)


def drift_calibration(events: EventTables, injection: Injection) -> EventTables:
    """Scores become too high or too low: their log odds move by a constant, and their order stays."""
    table, rows = events.predictions, injection.rows(events.predictions)
    column = table[injection.column].cast(pa.float64()).combine_chunks()
    valid = np.asarray(column.is_valid())
    scores = np.clip(column.fill_null(0.5).to_numpy(zero_copy_only=False), 1e-9, 1 - 1e-9)
    moved = 1 / (1 + np.exp(-np.log(scores / (1 - scores)) - injection.magnitude))
    new = pc.if_else(pa.array(rows & valid), pa.array(moved), column)
    return EventTables(replace_column(table, injection.column, new), events.labels)


def _latency_problem(injection: Injection) -> str:
    slo = injection.contract.slo
    if slo.latency_ms is not None and slo.latency_share is not None:
        return ""
    return f"The contract of {injection.contract.model} promises no latency; set slo.latency_ms and slo.latency_share."


def _output_problem(injection: Injection) -> str:
    if is_output(injection.field):
        return ""
    return f"The fault {injection.fault.name} affects scores, and {injection.field.name} is not an output of the model."


_SCORE: frozenset[FieldType] = frozenset(("float",))

FAULTS = (
    Fault(
        "latency-creep",
        creep_latency,
        always("latency"),
        magnitude=FaultParameter(20.0, "times the latency", 0.0, 1e6),
        magnitude_is_identity=1.0,
        problem=_latency_problem,
    ),
    Fault("error-burst", burst_errors, always("errors"), rate=FaultParameter(0.3, "of the predictions", 0.0, 1.0)),
    Fault(
        "score-collapse",
        collapse_score,
        drift,
        field_rates,
        _SCORE,
        FaultParameter(0.5, "as the score", 0.0, 1.0),
        problem=_output_problem,
        magnitude_is_identity=-1.0,
    ),
    Fault(
        "calibration-drift",
        drift_calibration,
        drift,
        field_rates,
        _SCORE,
        FaultParameter(2.0, "log odds", -20.0, 20.0),
        problem=_output_problem,
    ),
)
