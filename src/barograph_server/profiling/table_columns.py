"""Names of columns in a model's tables → members of events, by `columns` in the contract."""

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

import msgspec
from barograph.contract import Columns, Contract
from barograph.events import FEATURES, SCORES

MEMBERS = {"id": "id", "time": "at", "score": "score", "class_": "class", "label": "label", "latency": "latency_ms"}
"""Attribute of `Columns` → member of events."""
_Value = TypeVar("_Value")


def with_columns(contract: Contract, **columns: str | None) -> Contract:
    """Return the contract with the columns that options name.

    Args:
        columns: Attributes of `Columns`; None keeps the contract's.
    """
    named = {attribute: column for attribute, column in columns.items() if column is not None}
    return msgspec.structs.replace(contract, columns=msgspec.structs.replace(contract.columns, **named))


def named_columns(columns: Columns) -> dict[str, str]:
    """Return the member of events of each column that the contract names, without class probabilities."""
    return {
        column: member
        for attribute, member in MEMBERS.items()
        if (column := getattr(columns, attribute)) not in ("", member)
    }


def event_names(columns: Columns, names: Sequence[str]) -> dict[str, str]:
    """Map the columns of a table that the contract names to members of events; columns not in the result keep theirs.

    A column that has the name of a member whose column is another one is a feature: `score` becomes `features.score` if
    the score is the column `p`.
    """
    renamed = {column: member for column, member in named_columns(columns).items() if column in names}
    if columns.scores:
        for name in names:
            if name.startswith(columns.scores) and name != columns.scores and name not in renamed:
                renamed[name] = f"{SCORES}.{name.removeprefix(columns.scores)}"
    taken = set(renamed.values())
    for name in names:
        if name in taken and name not in renamed:
            renamed[name] = f"{FEATURES}.{name}"
    return renamed


def declared_types(types: Mapping[str, _Value], columns: Columns) -> dict[str, _Value]:
    """Return the types of a CSV file's columns, also under the names that the contract gives the members of events."""
    return {**types, **{column: types[member] for column, member in named_columns(columns).items() if member in types}}


def table_types(types: Mapping[str, _Value], columns: Columns, names: Collection[str]) -> dict[str, _Value]:
    """Return the types of a CSV file's columns from the types of members and fields."""
    renamed = event_names(columns, list(names))
    return {name: types[renamed.get(name, name)] for name in names if renamed.get(name, name) in types}
