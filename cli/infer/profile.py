"""What each column of a training table is: a field of some type, an output, the label, or nothing to watch.

This is decided from names and column types alone; what depends on the values (ids, too many texts) is decided in
`cli.infer.fields`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
from barograph.contract import Field, FieldType, SketchKind
from barograph.contract_check import OUTPUT_TYPES
from barograph.yaml_kinds import name_fault

from cli.infer.errors import OptionError
from cli.infer.tables import Table, is_number, is_text, plain_type

_CLOSE = 0.6


@dataclass(frozen=True, slots=True)
class Roles:
    """Which columns are what, as the user said."""

    time: str | None = None
    score: str | None = None
    class_: str | None = None
    label: str | None = None
    latency: str | None = None
    slices: tuple[str, ...] = ()
    critical: frozenset[str] = frozenset()

    def named(self) -> list[tuple[str, str]]:
        """List the options and the columns that they name."""
        single = (
            ("--time", self.time),
            ("--score", self.score),
            ("--class", self.class_),
            ("--label", self.label),
            ("--latency", self.latency),
        )
        named = [(option, column) for option, column in single if column is not None]
        named += [("--slice", column) for column in self.slices]
        return named + [("--critical", column) for column in sorted(self.critical)]


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """A column that is to become a field."""

    column: str
    name: str
    source: str
    type: FieldType
    unit: str = ""
    sketch: SketchKind = "kll"
    critical: bool = False
    wanted: bool = False
    """Whether the user named it, so that it is a field even where its values look like ids."""
    note: str = ""
    """How its values are read, where that is not plain."""

    @property
    def declared(self) -> Field:
        """The field as the contract has it."""
        return Field(
            name=self.name,
            type=self.type,
            source=self.source,
            unit=self.unit,
            critical=self.critical,
            sketch=self.sketch,
        )


@dataclass(slots=True)
class Plan:
    """What is to be done with every column."""

    fields: list[FieldPlan] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """Columns that are not watched, each with the reason."""


def check_roles(table: Table, roles: Roles) -> None:
    """Check that the columns that options name exist, can be read, and have one role each.

    Raises:
        OptionError: one does not; the text names columns that were probably meant.
    """
    taken: dict[str, str] = {}
    for option, column in roles.named():
        if column in table.unreadable:
            raise OptionError(f"{option} {column}: the column holds {table.unreadable[column]}; name another one")
        if column not in table.columns:
            raise OptionError(f"{option} {column}: {table.name} has no such column; {_meant(column, table.columns)}")
        if option in ("--slice", "--critical"):
            continue
        if column in taken:
            raise OptionError(f"{option} {column}: the column is given as {taken[column]} already; name another one")
        taken[column] = option
    for option, columns in (("--slice", roles.slices), ("--critical", tuple(roles.critical))):
        for column in columns:
            if taken.get(column) in ("--time", "--label"):
                raise OptionError(f"{option} {column}: the column is no field, it is given as {taken[column]}")
            if option == "--slice" and column in taken:
                raise OptionError(f"--slice {column}: the column is given as {taken[column]}; slice by a feature")
            if columns.count(column) > 1:
                raise OptionError(f"--slice {column} is given twice; leave one out")


def plan_columns(table: Table, roles: Roles) -> Plan:
    """Decide what becomes of every column, in the table's order, outputs last.

    Raises:
        OptionError: a column that an option names cannot play its role.
    """
    plan = Plan()
    for column, kind in table.unreadable.items():
        plan.left_out[column] = f"holds {kind}; only numbers, texts, booleans and moments are watched"
    outputs = {roles.score, roles.class_, roles.latency}
    taken = set(OUTPUT_TYPES)
    for column in table.columns:
        if column in outputs or column in (roles.time, roles.label):
            continue
        fault = name_fault(column)
        if fault is not None:
            plan.left_out[column] = f"its name {fault}"
            continue
        found = _feature(table, column, roles, taken)
        if isinstance(found, FieldPlan):
            plan.fields.append(found)
            taken.add(found.name)
        else:
            plan.left_out[column] = found
    plan.fields += _outputs(table, roles)
    return plan


def _feature(table: Table, column: str, roles: Roles, taken: set[str]) -> FieldPlan | str:
    """Plan a feature, or say why it is none."""
    kind = plain_type(table.columns[column])
    note = unit = ""
    type_: FieldType
    if pa.types.is_boolean(kind):
        type_ = "bool"
    elif pa.types.is_integer(kind):
        type_ = "int"
    elif is_text(kind):
        type_ = "category"
    elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        if roles.time is None:
            return "a moment is judged by its age, and --time names no event time"
        type_, unit, note = "timestamp", "s", "judged by its age at the event"
    elif pa.types.is_duration(kind) or pa.types.is_time(kind):
        type_, unit = "float", "s"
        note = "publish it in seconds" if pa.types.is_duration(kind) else "publish it in seconds since midnight"
    else:
        type_ = "float"
    name = column
    while name in taken:
        name = f"features.{name}"
    return FieldPlan(
        column=column,
        name=name,
        source=f"features.{column}",
        type=type_,
        unit=unit,
        critical=column in roles.critical,
        wanted=column in roles.critical or (column in roles.slices and type_ != "category"),
        note=note,
    )


def _outputs(table: Table, roles: Roles) -> Iterable[FieldPlan]:
    """Plan the model's outputs."""
    for name, option, column in (
        ("score", "--score", roles.score),
        ("class", "--class", roles.class_),
        ("latency_ms", "--latency", roles.latency),
    ):
        if column is None:
            continue
        kind = plain_type(table.columns[column])
        type_: FieldType
        if name == "class":
            fits = is_text(kind) or pa.types.is_boolean(kind) or pa.types.is_integer(kind)
            type_, wanted = "category", "texts, booleans or whole numbers"
        else:
            fits = is_number(kind) or pa.types.is_null(kind)
            type_, wanted = ("int" if pa.types.is_integer(kind) else "float"), "numbers"
        if not fits:
            raise OptionError(f"{option} {column}: the column holds {kind}, and a {name} holds {wanted}")
        yield FieldPlan(
            column=column,
            name=name,
            source=name,
            type=type_,
            unit="ms" if name == "latency_ms" else "",
            sketch="req" if name == "latency_ms" else "kll",
            critical=column in roles.critical,
            wanted=True,
        )


def _meant(column: str, known: Sequence[str] | Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(column, names, n=3, cutoff=_CLOSE)
    if not close:
        folded = {name.casefold(): name for name in names}
        close = [folded[column.casefold()]] if column.casefold() in folded else []
    if close:
        return f"did you mean {' or '.join(close)}?"
    some = ", ".join(names[:12])
    return f"it has {some}{' and more' if len(names) > 12 else ''}"
