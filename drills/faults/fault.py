"""What a fault is: a transform of tables of events, its parameters, the fields that it fits, and the rules that see it.

Tables have the columns of `Publisher.predictions` and `Publisher.labels`. Their rows are in order of arrival; times are
timestamps in UTC with milliseconds.
"""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract import Contract, Field
from barograph.contract.model import FieldType
from numpy.typing import NDArray

from barograph_server.drills.errors import DrillError
from barograph_server.sketches.baseline.baseline import FieldBaseline

Mask = NDArray[np.bool_]
ANY_TYPE: frozenset[FieldType] = frozenset(("float", "int", "bool", "category", "timestamp"))


@dataclass(frozen=True, slots=True)
class EventTables:
    """The predictions and labels of one model version."""

    predictions: pa.Table
    labels: pa.Table
    """`id`, `label`, `at`; no rows without labels."""


@dataclass(frozen=True, slots=True)
class FaultPeriod:
    """The event times that a fault affects: [start_ms, end_ms), Unix milliseconds."""

    start_ms: int
    end_ms: int

    def mask(self, table: pa.Table) -> Mask:
        """Return which rows of a table are in the period, shape (n_rows,)."""
        at = epoch_ms(table)
        return (at >= self.start_ms) & (at < self.end_ms)


@dataclass(frozen=True, slots=True)
class FaultParameter:
    """A number that scales a fault."""

    default: float
    unit: str
    """The unit, with its article if it reads better: `standard deviations of training`."""
    at_least: float = -float("inf")
    at_most: float = float("inf")


@dataclass(frozen=True, slots=True)
class ExpectedRule:
    """A rule that should fire, or may."""

    rule: str
    """One of `barograph.contract.alerts.RULES`."""
    key: str | None = None
    """The field of the instance; None: any instance of the rule, which may have only one."""


@dataclass(frozen=True)
class Fault:
    name: str
    transform: Callable[[EventTables, Injection], EventTables]
    """Returns the events with the fault. Its docstring says which incident the fault stands for."""
    fires: Callable[[Injection], tuple[ExpectedRule, ...]]
    """Returns the rules that must fire. None: no rule sees the fault, and the drill proves that it causes no page."""
    may_fire: Callable[[Injection], tuple[ExpectedRule, ...]] = lambda _: ()
    """Returns the rules that the fault may fire as well."""
    types: frozenset[FieldType] = frozenset()
    """Types of the fields that it fits. Empty: it affects whole events and takes no field."""
    magnitude: FaultParameter | None = None
    rate: FaultParameter | None = None
    """The share of the period's rows that it affects, chosen at random; None: all."""
    problem: Callable[[Injection], str] = lambda _: ""
    """Returns why the fault does not fit a contract or a field, as a sentence; empty if it fits."""
    needs_labels: bool = False
    magnitude_is_identity: float = 0.0
    """The magnitude at which the fault would change nothing, which is rejected."""

    @cached_property
    def incident(self) -> str:
        """The incident that it stands for."""
        return (inspect.getdoc(self.transform) or "").partition("\n")[0]


@dataclass(frozen=True, slots=True)
class Injection:
    """One fault, ready to be applied."""

    fault: Fault
    contract: Contract
    period: FaultPeriod
    magnitude: float
    rate: float
    """1 for a fault without a rate."""
    affected: Field | None = None
    """None for a fault of whole events."""
    affected_baseline: FieldBaseline | None = None
    second: Field | None = None

    @property
    def field(self) -> Field:
        assert self.affected is not None, "only faults of fields use it"
        return self.affected

    @property
    def baseline(self) -> FieldBaseline:
        assert self.affected_baseline is not None, "only faults of fields use it"
        return self.affected_baseline

    @property
    def column(self) -> str:
        return self.field.source

    def apply(self, events: EventTables) -> EventTables:
        for field in filter(None, (self.affected, self.second)):
            if field.source not in events.predictions.column_names:
                raise DrillError(f"The events have no column {field.source}, which the fault {self.fault.name} needs.")
        if self.fault.needs_labels and not self.period.mask(events.labels).any():
            raise DrillError(
                f"There are no labels in the period of the fault {self.fault.name}; choose a range with labels."
            )
        if not self.period.mask(events.predictions).any():
            raise DrillError(f"There are no predictions in the period of the fault {self.fault.name}.")
        faulty = self.fault.transform(events, self)
        if faulty == events:
            what = "the events" if self.affected is None else f"the values of {self.affected.name}"
            raise DrillError(
                f"The fault {self.fault.name} changes nothing in its period: {what} are already what it makes of them. "
                "Choose another field, magnitude or rate, or a range with other events."
            )
        return faulty

    def rows(self, table: pa.Table) -> Mask:
        """Return the affected rows of a table, shape (n_rows,).

        They are `rate` of the rows in the period, rounded. The same injection chooses the same rows.
        """
        mask = self.period.mask(table)
        if self.rate >= 1:
            return mask
        inside = np.flatnonzero(mask)
        chosen = self.generator().choice(inside, round(self.rate * len(inside)), replace=False)
        mask = np.zeros(table.num_rows, bool)
        mask[chosen] = True
        return mask

    def generator(self) -> np.random.Generator:
        """Return a random generator; equal injections have equal ones."""
        name = self.affected.name if self.affected is not None else ""
        return np.random.default_rng(zlib.crc32(f"{self.fault.name} {name}".encode()))

    @property
    def fires(self) -> tuple[ExpectedRule, ...]:
        return self.fault.fires(self)

    @property
    def may_fire(self) -> tuple[ExpectedRule, ...]:
        return self.fault.may_fire(self)


def epoch_ms(table: pa.Table) -> NDArray[np.int64]:
    """Return the event times of a table's rows, shape (n_rows,), Unix milliseconds."""
    times: NDArray[np.int64] = table["at"].cast(pa.timestamp("ms", "UTC")).cast(pa.int64()).to_numpy()
    return times


def replace_column(table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    """Return a table with another column of a name, at the same position."""
    return table.set_column(table.column_names.index(name), name, column)


def changed_values(
    events: EventTables, injection: Injection, change: Callable[[pa.ChunkedArray], pa.Scalar | pa.ChunkedArray]
) -> EventTables:
    """Replace the affected values of the field by those that a function makes of its column."""
    table = events.predictions
    column = table[injection.column]
    new = pc.if_else(pa.array(injection.rows(table)), change(column), column)
    return EventTables(replace_column(table, injection.column, new), events.labels)


def moved_times(column: pa.ChunkedArray, delta_ms: int) -> pa.ChunkedArray:
    """Move times, which are epoch milliseconds or Arrow timestamps."""
    if not pa.types.is_timestamp(column.type):
        return pc.add(column, pa.scalar(delta_ms).cast(column.type))
    milliseconds = pa.timestamp("ms", column.type.tz)
    return pc.add(column.cast(milliseconds).cast(pa.int64()), delta_ms).cast(milliseconds).cast(column.type)


def with_plain_columns(table: pa.Table) -> pa.Table:
    """Replace dictionaries by their values, which faults change, and give times their zone."""
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(i, field.name, table[field.name].cast(field.type.value_type))
    return replace_column(table, "at", pa.array(epoch_ms(table)).cast(pa.timestamp("ms", "UTC")))
