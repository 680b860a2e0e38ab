"""Roles of the columns of a training table: a field of some type, an output, the label, or ignored.

This module uses only names and column types; `profiling.infer.fields` decides on the values (ids, high cardinality).
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import pyarrow as pa
from barograph.contract import CONFIDENCE, CROSS, Columns, Field, FieldType, SketchKind
from barograph.contract.check import OUTPUT_TYPES
from barograph.contract.kinds import name_fault
from barograph.events import CONTEXT, FEATURES, MAPS, METRICS, SCORES

from barograph_server.profiling.infer.errors import OptionError
from barograph_server.profiling.infer.tables import Table, is_number, is_text, plain_type
from barograph_server.profiling.table_columns import named_columns

_MIN_SIMILARITY = 0.6
ARM = "arm"
SCORES_PREFIX = f"{SCORES}."
"""Default prefix of columns of class probabilities, and the prefix of their fields."""


@dataclass(frozen=True, slots=True)
class Roles:
    """Roles of columns, from the options of the command."""

    id: str | None = None
    """The prediction ids, which are not a field."""
    time: str | None = None
    score: str | None = None
    class_: str | None = None
    label: str | None = None
    latency: str | None = None
    slices: tuple[str, ...] = ()
    """Columns, or crossed columns: `origin * carrier`."""
    critical: frozenset[str] = frozenset()
    scores: str | None = None
    """Prefix of the columns of class probabilities; None for the default `scores.`, which no column needs to have."""

    @property
    def slice_columns(self) -> list[str]:
        """The columns of all slice expressions, each as often as it is named."""
        return [column for expression in self.slices for column in expression.split(CROSS)]

    @property
    def contract_columns(self) -> Columns:
        """The columns for the contract; empty for those with the name of the member of events."""
        columns = Columns(
            id=self.id or "",
            time=self.time or "",
            score=self.score or "",
            class_=self.class_ or "",
            label=self.label or "",
            latency=self.latency or "",
        )
        named = named_columns(columns)
        others = {name: "" for name in columns.__struct_fields__ if getattr(columns, name) not in named}
        prefix = self.scores if self.scores is not None and self.scores != SCORES_PREFIX else ""
        return msgspec.structs.replace(columns, **others | {"scores": prefix})

    def list_options(self) -> list[tuple[str, str]]:
        """Return pairs of an option and the column that it names."""
        single = (
            ("--id", self.id),
            ("--time", self.time),
            ("--score", self.score),
            ("--class", self.class_),
            ("--label", self.label),
            ("--latency", self.latency),
        )
        named = [(option, column) for option, column in single if column is not None]
        named += [("--slice", column) for column in self.slice_columns]
        return named + [("--critical", column) for column in sorted(self.critical)]


@dataclass(frozen=True, slots=True)
class FieldPlan:
    column: str
    """Empty for the confidence, which is derived from the score columns."""
    name: str
    source: str
    type: FieldType
    unit: str = ""
    sketch: SketchKind = "kll"
    critical: bool = False
    is_required: bool = False
    """Whether the user named it: it is then a field even if its values look like ids."""
    note: str = ""
    """Remark on how its values are read."""
    declared: Field | None = None
    """The field as the contract in force has it."""

    @property
    def contract_field(self) -> Field:
        if self.declared is not None:
            return msgspec.structs.replace(self.declared, critical=self.critical)
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
    fields: list[FieldPlan] = field(default_factory=list)
    ignored: dict[str, str] = field(default_factory=dict)
    """Columns that are not monitored, each with the reason."""


def check_roles(table: Table, roles: Roles) -> None:
    """Check that the columns that options name exist, can be read, and have one role each.

    Raises:
        OptionError: a column violates this; the text suggests similar names.
    """
    option_of: dict[str, str] = {}
    for option, column in roles.list_options():
        if column in table.unreadable:
            raise OptionError(f"{option} {column}: the column contains {table.unreadable[column]}; name another one")
        if column not in table.columns:
            raise OptionError(
                f"{option} {column}: {table.name} has no such column; {_suggest_columns(column, table.columns)}"
            )
        if option in ("--slice", "--critical"):
            continue
        if column in option_of:
            raise OptionError(f"{option} {column}: the column is already used as {option_of[column]}; name another one")
        option_of[column] = option
    for option, columns in (("--slice", roles.slice_columns), ("--critical", list(roles.critical))):
        for column in columns:
            if option_of.get(column) in ("--id", "--time", "--label"):
                raise OptionError(
                    f"{option} {column}: the column is not a field, because it is used as {option_of[column]}"
                )
            if option == "--slice" and column in option_of:
                raise OptionError(f"--slice {column}: the column is used as {option_of[column]}; slice by a feature")
    for expression in roles.slices:
        if roles.slices.count(expression) > 1:
            raise OptionError(f"--slice {expression} is given twice; remove one")


def source_of(column: str, maps: Sequence[str] = (CONTEXT, METRICS)) -> str:
    """Return the member of events that a column holds: in one of the maps, as `metrics.tokens`, else a feature."""
    map_name, _, member = column.partition(".")
    return column if member and map_name in maps else f"{FEATURES}.{column}"


def plan_columns(table: Table, roles: Roles, declared: Mapping[str, Field] | None = None) -> TablePlan:
    """Plan all columns, in the order of the table, outputs last.

    Args:
        declared: The fields of the contract in force by source, which stay as they are, if the columns are members of
            events.

    Raises:
        OptionError: a column named by an option does not have the type for its role.
    """
    plan = TablePlan()
    for column, kind in table.unreadable.items():
        plan.ignored[column] = f"contains {kind}; only numbers, texts, booleans and timestamps are monitored"
    outputs = {roles.score, roles.class_, roles.latency}
    scores = _plan_scores(table, roles)
    outputs |= {planned.column for planned in scores}
    attributes = (roles.id, roles.time, roles.label, None if declared is None else ARM)
    maps = (CONTEXT, METRICS) if declared is None else MAPS
    declared = declared or {}
    field_names = {*OUTPUT_TYPES, *(planned.name for planned in scores), *(field.name for field in declared.values())}
    for column in table.columns:
        if column in outputs or column in attributes:
            continue
        fault = name_fault(column)
        if fault is not None:
            plan.ignored[column] = f"its name {fault}"
            continue
        source = source_of(column, maps)
        if source in declared:
            result: FieldPlan | str = _plan_declared(column, declared[source])
        else:
            result = _plan_feature(table, column, roles, field_names, source)
        if isinstance(result, FieldPlan):
            plan.fields.append(result)
            field_names.add(result.name)
        else:
            plan.ignored[column] = result
    plan.fields += _plan_outputs(table, roles)
    plan.fields += scores
    plan.fields = [
        each if each.source not in declared else _plan_declared(each.column, declared[each.source])
        for each in plan.fields
    ]
    return plan


def _plan_declared(column: str, field: Field) -> FieldPlan:
    return FieldPlan(
        column=column,
        name=field.name,
        source=field.source,
        type=field.type,
        critical=field.critical,
        is_required=True,
        declared=field,
    )


def score_columns(table: Table, roles: Roles) -> dict[str, str]:
    """Find the columns of class probabilities: class → column, in the order of the table."""
    prefix = SCORES_PREFIX if roles.scores is None else roles.scores
    named = {column for option, column in roles.list_options() if option != "--critical"}
    return {
        column.removeprefix(prefix): column
        for column, kind in table.columns.items()
        if column.startswith(prefix)
        and column not in named
        and name_fault(column.removeprefix(prefix)) is None
        and name_fault(column) is None
        and is_number(plain_type(kind))
    }


def _plan_scores(table: Table, roles: Roles) -> list[FieldPlan]:
    """Plan the class probabilities, and the largest of them as confidence.

    Raises:
        OptionError: no numeric column has the prefix that the user gave.
    """
    columns = score_columns(table, roles)
    if not columns:
        if roles.scores is not None:
            raise OptionError(
                f"--scores {roles.scores}: {table.name} has no numeric column with this prefix; "
                f"{_suggest_columns(roles.scores, table.columns)}"
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


def _plan_feature(table: Table, column: str, roles: Roles, field_names: set[str], source: str) -> FieldPlan | str:
    """Plan a member of events, or return the reason to ignore the column."""
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
            return "a timestamp is monitored by its age, but --time names no event time"
        type_, unit, note = "timestamp", "s", "monitored by its age at the event"
    elif pa.types.is_duration(kind) or pa.types.is_time(kind):
        type_, unit = "float", "s"
        note = "publish it in seconds" if pa.types.is_duration(kind) else "publish it in seconds since midnight"
    else:
        type_ = "float"
    is_metric = source.startswith(f"{METRICS}.")
    if (source.startswith(f"{CONTEXT}.") and type_ not in ("category", "timestamp")) or (
        is_metric and type_ not in ("float", "int")
    ):
        return f"{source.partition('.')[0]} has no {type_}"
    name = source.partition(".")[2] if source == column else column
    if name in field_names:
        name = source
    while name in field_names:
        name = f"{FEATURES}.{name}"
    return FieldPlan(
        column=column,
        name=name,
        source=source,
        type=type_,
        unit=unit,
        sketch="req" if is_metric else "kll",
        critical=column in roles.critical,
        is_required=column in roles.critical or (column in roles.slice_columns and type_ != "category"),
        note=note,
    )


def _plan_outputs(table: Table, roles: Roles) -> Iterable[FieldPlan]:
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
            fits = is_text(kind) or pa.types.is_boolean(kind) or is_number(kind)
            type_, expected = "category", "texts, booleans or whole numbers"
        else:
            fits = is_number(kind) or pa.types.is_null(kind)
            type_, expected = ("int" if pa.types.is_integer(kind) else "float"), "numbers"
        if not fits:
            raise OptionError(f"{option} {column}: the column has type {kind}, but a {name} needs {expected}")
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


def _suggest_columns(column: str, known: Sequence[str] | Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(column, names, n=3, cutoff=_MIN_SIMILARITY)
    if not close:
        folded = {name.casefold(): name for name in names}
        close = [folded[column.casefold()]] if column.casefold() in folded else []
    if close:
        return f"did you mean {' or '.join(close)}?"
    subset = ", ".join(names[:12])
    return f"its columns: {subset}{' and more' if len(names) > 12 else ''}"
