"""What each column of a training table is: a field of some type, an output, the label, or nothing to watch.

This is decided from names and column types alone; what depends on the values (ids, too many texts) is decided in
`cli.infer.fields`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
from barograph.contract import CONFIDENCE, CROSS, Field, FieldType, SketchKind
from barograph.contract.check import OUTPUT_TYPES
from barograph.contract.kinds import name_fault
from barograph.events import SCORES

from cli.infer.errors import OptionError
from cli.infer.tables import Table, is_number, is_text, plain_type

_CLOSE = 0.6
SCORES_PREFIX = f"{SCORES}."
"""What columns of class probabilities are called by where the user says nothing, and how their fields are called."""


@dataclass(frozen=True, slots=True)
class Roles:
    """Which columns are what, as the user said."""

    time: str | None = None
    score: str | None = None
    class_: str | None = None
    label: str | None = None
    latency: str | None = None
    slices: tuple[str, ...] = ()
    """Columns, or several of them crossed: `origin * carrier`."""
    critical: frozenset[str] = frozenset()
    scores: str | None = None
    """What the names of columns of class probabilities begin with; None: `scores.`, where there are any."""

    @property
    def sliced(self) -> list[str]:
        """The columns that slices are made of, crossed or not, each as often as it is named."""
        return [column for cut in self.slices for column in cut.split(CROSS)]

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
        named += [("--slice", column) for column in self.sliced]
        return named + [("--critical", column) for column in sorted(self.critical)]


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """A column that is to become a field."""

    column: str
    """Empty for the confidence, which is made of the columns of scores."""
    name: str
    source: str
    type: FieldType
    unit: str = ""
    sketch: SketchKind = "kll"
    critical: bool = False
    is_required: bool = False
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
class TablePlan:
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
    for option, columns in (("--slice", roles.sliced), ("--critical", list(roles.critical))):
        for column in columns:
            if taken.get(column) in ("--time", "--label"):
                raise OptionError(f"{option} {column}: the column is no field, it is given as {taken[column]}")
            if option == "--slice" and column in taken:
                raise OptionError(f"--slice {column}: the column is given as {taken[column]}; slice by a feature")
    for cut in roles.slices:
        if roles.slices.count(cut) > 1:
            raise OptionError(f"--slice {cut} is given twice; leave one out")


def plan_columns(table: Table, roles: Roles) -> TablePlan:
    """Decide what becomes of every column, in the table's order, outputs last.

    Raises:
        OptionError: a column that an option names cannot play its role.
    """
    plan = TablePlan()
    for column, kind in table.unreadable.items():
        plan.left_out[column] = f"holds {kind}; only numbers, texts, booleans and moments are watched"
    outputs = {roles.score, roles.class_, roles.latency}
    scores = _scores(table, roles)
    outputs |= {planned.column for planned in scores}
    taken = {*OUTPUT_TYPES, *(planned.name for planned in scores)}
    for column in table.columns:
        if column in outputs or column in (roles.time, roles.label):
            continue
        fault = name_fault(column)
        if fault is not None:
            plan.left_out[column] = f"its name {fault}"
            continue
        result = _feature(table, column, roles, taken)
        if isinstance(result, FieldPlan):
            plan.fields.append(result)
            taken.add(result.name)
        else:
            plan.left_out[column] = result
    plan.fields += _outputs(table, roles)
    plan.fields += scores
    return plan


def score_columns(table: Table, roles: Roles) -> dict[str, str]:
    """Find the columns of class probabilities: class → column, in the table's order."""
    prefix = SCORES_PREFIX if roles.scores is None else roles.scores
    named = {column for option, column in roles.named() if option != "--critical"}
    return {
        column.removeprefix(prefix): column
        for column, kind in table.columns.items()
        if column.startswith(prefix)
        and column not in named
        and name_fault(column.removeprefix(prefix)) is None
        and name_fault(column) is None
        and is_number(plain_type(kind))
    }


def _scores(table: Table, roles: Roles) -> list[FieldPlan]:
    """Plan the probabilities of classes, and the largest of them.

    Raises:
        OptionError: the user named a prefix that no column of numbers has.
    """
    columns = score_columns(table, roles)
    if not columns:
        if roles.scores is not None:
            raise OptionError(
                f"--scores {roles.scores}: {table.name} has no column of numbers whose name begins so; "
                f"{_meant(roles.scores, table.columns)}"
            )
        return []
    planned = [
        FieldPlan(
            column=column,
            name=f"{SCORES_PREFIX}{name}",
            source=f"{SCORES_PREFIX}{name}",
            type="float",
            critical=column in roles.critical,
            is_required=True,
        )
        for name, column in columns.items()
    ]
    largest = FieldPlan(
        column="",
        name=CONFIDENCE,
        source=CONFIDENCE,
        type="float",
        is_required=True,
        note=f"the largest of {len(columns)}",
    )
    return [*planned, largest]


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
        is_required=column in roles.critical or (column in roles.sliced and type_ != "category"),
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
            type_, expected = "category", "texts, booleans or whole numbers"
        else:
            fits = is_number(kind) or pa.types.is_null(kind)
            type_, expected = ("int" if pa.types.is_integer(kind) else "float"), "numbers"
        if not fits:
            raise OptionError(f"{option} {column}: the column holds {kind}, and a {name} holds {expected}")
        yield FieldPlan(
            column=column,
            name=name,
            source=name,
            type=type_,
            unit="ms" if name == "latency_ms" else "",
            sketch="req" if name == "latency_ms" else "kll",
            critical=column in roles.critical,
            is_required=True,
        )


def _meant(column: str, known: Sequence[str] | Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(column, names, n=3, cutoff=_CLOSE)
    if not close:
        folded = {name.casefold(): name for name in names}
        close = [folded[column.casefold()]] if column.casefold() in folded else []
    if close:
        return f"did you mean {' or '.join(close)}?"
    subset = ", ".join(names[:12])
    return f"it has {subset}{' and more' if len(names) > 12 else ''}"
