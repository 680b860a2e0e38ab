"""Faults of categories."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract.model import FieldType

from barograph_server.drills.faults.expected import RATES, always, drift, estimates, field_rates, of_field
from barograph_server.drills.faults.fault import EventTables, Fault, FaultParameter, Injection, changed_values

NEW_CATEGORY = "drill: new category"
_COMMON = 0.05
"""Smallest share of training of a category whose share rises."""


def rename_category(events: EventTables, injection: Injection) -> EventTables:
    """A team renames a category, or its spelling changes: the most frequent value gets another name."""
    frequent = most_frequent(injection)

    def rename(column: pa.ChunkedArray) -> pa.ChunkedArray:
        renamed = pc.fill_null(pc.equal(column, frequent), False)
        return pc.if_else(renamed, pa.scalar(f"{frequent} (renamed)", column.type), column)

    return changed_values(events, injection, rename)


def add_category(events: EventTables, injection: Injection) -> EventTables:
    """A market, a product or a partner is added that training does not know."""
    return changed_values(events, injection, lambda column: pa.scalar(NEW_CATEGORY, column.type))


def shift_category(events: EventTables, injection: Injection) -> EventTables:
    """People ask more about one topic, or in one language: a category that training knows takes over other events."""
    return changed_values(events, injection, lambda column: pa.scalar(rising_category(injection), column.type))


def lose_slice(events: EventTables, injection: Injection) -> EventTables:
    """A region or a client stops sending: all events with the most frequent value of the field are lost."""
    table, rows = events.predictions, injection.rows(events.predictions)
    lost = pc.fill_null(pc.equal(table[injection.column], most_frequent(injection)), False)
    return EventTables(table.filter(pc.invert(pc.and_(pa.array(rows), lost))), events.labels)


def most_frequent(injection: Injection) -> str:
    trained = injection.baseline
    cells = trained.slices["all"].cells[: len(trained.categories)]
    return trained.categories[int(np.argmax(cells))]


def rising_category(injection: Injection) -> str:
    """Return the least frequent category of training that has at least 5 % of its rows, else the second most frequent.

    It is never the most frequent one, which most events have already.
    """
    trained = injection.baseline
    cells = np.array(trained.slices["all"].cells[: len(trained.categories)])
    others = np.argsort(-cells, kind="stable")[1:]
    common = others[cells[others] >= _COMMON * cells.sum()]
    return trained.categories[int(common[-1] if len(common) else others[0])]


_unseen = of_field("unseen-rate")
_other_fields = always("psi-major", "output-shift", *RATES)
"""Without the slice every field that depends on it has other values, nulls included."""


def _category_problem(injection: Injection) -> str:
    if injection.baseline.categories:
        return ""
    return f"The baseline of {injection.field.name} has no categories; choose another field."


def _shift_problem(injection: Injection) -> str:
    if len(injection.baseline.categories) > 1:
        return ""
    return f"The baseline of {injection.field.name} has fewer than two categories; choose another field."


_CATEGORY: frozenset[FieldType] = frozenset(("category",))

FAULTS = (
    Fault("category-renamed", rename_category, _unseen, field_rates, _CATEGORY, problem=_category_problem),
    Fault(
        "category-new",
        add_category,
        _unseen,
        field_rates,
        _CATEGORY,
        rate=FaultParameter(0.2, "of the values", 0.0, 1.0),
        problem=_category_problem,
    ),
    Fault(
        "category-shift",
        shift_category,
        drift,
        estimates,
        _CATEGORY,
        rate=FaultParameter(0.3, "of the values", 0.0, 1.0),
        problem=_shift_problem,
    ),
    Fault("slice-lost", lose_slice, drift, _other_fields, _CATEGORY, problem=_category_problem),
)
