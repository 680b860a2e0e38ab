"""Faults of labels."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from barograph_server.drills.faults.expected import NONE, always, other_performance, performance
from barograph_server.drills.faults.fault import (
    ANY_TYPE,
    EventTables,
    ExpectedRule,
    Fault,
    FaultParameter,
    Injection,
    Mask,
    epoch_ms,
    replace_column,
)
from barograph_server.drills.faults.times import HOUR_MS

LABEL_STOP_H = 48.0
"""Delay, in hours, from which `label-stop` must fire: twice its shortest time without labels."""


def stop_labels(events: EventTables, injection: Injection) -> EventTables:
    """The job that joins outcomes fails: no labels arrive."""
    return EventTables(events.predictions, events.labels.filter(pa.array(~injection.period.mask(events.labels))))


def delay_labels(events: EventTables, injection: Injection) -> EventTables:
    """The job that joins outcomes runs later than usual: labels arrive with a delay."""
    labels = events.labels
    at = epoch_ms(labels) + np.where(injection.rows(labels), round(injection.magnitude * HOUR_MS), 0)
    moved = replace_column(labels, "at", pa.array(at).cast(pa.timestamp("ms", "UTC")))
    return EventTables(events.predictions, moved.take(np.argsort(at, kind="stable")))


def flip_labels(events: EventTables, injection: Injection) -> EventTables:
    """A change of the label pipeline inverts the outcome of a share of the predictions."""
    return _flipped(events, injection.rows(events.labels))


def change_concept(events: EventTables, injection: Injection) -> EventTables:
    """The world changes and the inputs do not: above the median of a field, the outcome is the other one."""
    table = events.predictions
    values = table[injection.column]
    above = pc.fill_null(pc.greater(values, pc.quantile(values, 0.5)[0]), False)
    changed = table["id"].filter(above)
    rows = injection.rows(events.labels) & np.asarray(pc.is_in(events.labels["id"], value_set=changed.combine_chunks()))
    return _flipped(events, rows)


def _flipped(events: EventTables, rows: Mask) -> EventTables:
    labels = events.labels
    column = labels["label"]
    if pa.types.is_boolean(column.type):
        other = pc.invert(column)
    else:
        classes = sorted(pc.unique(column.drop_null()).to_pylist())
        codes = pc.index_in(column, pa.array(classes, column.type)).to_numpy(zero_copy_only=False)
        following = np.where(np.isfinite(codes), (np.nan_to_num(codes) + 1) % max(1, len(classes)), 0).astype(np.int64)
        other = pa.array(classes, column.type).take(pa.array(following))
    return EventTables(events.predictions, replace_column(labels, "label", pc.if_else(pa.array(rows), other, column)))


_stopped = always("label-stop")


def _delayed(injection: Injection) -> tuple[ExpectedRule, ...]:
    return _stopped(injection) if injection.magnitude >= LABEL_STOP_H else NONE


def _class_problem(injection: Injection) -> str:
    label = injection.contract.label
    if label is not None and label.type != "float":
        return ""
    return (
        f"The fault {injection.fault.name} affects classes, and the labels of {injection.contract.model} are numbers."
    )


FAULTS = (
    Fault("label-stop", stop_labels, _stopped, other_performance, needs_labels=True),
    Fault(
        "label-delay",
        delay_labels,
        _delayed,
        _stopped,
        magnitude=FaultParameter(72.0, "hours", 0.0, 8760.0),
        needs_labels=True,
    ),
    Fault(
        "label-flip",
        flip_labels,
        performance,
        other_performance,
        rate=FaultParameter(0.5, "of the labels", 0.0, 1.0),
        needs_labels=True,
        problem=_class_problem,
    ),
    Fault(
        "concept-drift",
        change_concept,
        performance,
        other_performance,
        frozenset(ANY_TYPE - {"bool", "category"}),
        rate=FaultParameter(1.0, "of the labels above the median", 0.0, 1.0),
        needs_labels=True,
        problem=_class_problem,
    ),
)
