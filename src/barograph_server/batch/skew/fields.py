"""Pairs the columns of the two sides by field, and reads their values for comparison."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from barograph.contract import Contract, Field
from barograph.publisher.pii import KEY_VARIABLE, PREVIOUS_KEY_VARIABLE, FieldHash, PiiKeyError, read_key, truncate_text
from barograph.validation.rows import time_ms
from barograph.validation.tables import MEMBERS, source_columns
from numpy.typing import NDArray

from barograph_server.batch.skew.sources import SkewError
from barograph_server.profiling.infer.columns import (
    NULL_CODE,
    FloatArray,
    TextColumn,
    TooManyValues,
    read_numbers,
    read_texts,
)
from barograph_server.profiling.infer.tables import Table, is_text, plain_type

ValueType = Literal["number", "time", "text"]

MAX_TEXTS = 1_000_000
"""Largest number of distinct texts of a compared column; all of them are in memory."""
_OUTPUTS = ("score", "class")


@dataclass(frozen=True, slots=True)
class FieldPair:
    """One field with its columns on both sides."""

    name: str
    served: str
    recomputed: str
    kind: ValueType
    exact: bool
    """Whether numbers must be equal without tolerance: integers, flags or times."""
    show: bool
    """Whether values may be shown: they are not personal data."""
    field: Field | None


@dataclass(frozen=True, slots=True)
class SkippedField:
    name: str
    reason: str


def pair_fields(
    served: Table,
    recomputed: Table,
    contract: Contract | None,
    *,
    excluded: Sequence[str],
    only: Sequence[str] = (),
    is_production: bool = False,
) -> tuple[list[FieldPair], list[SkippedField]]:
    """Find the fields that both sides have.

    With a contract: its features, the score and the class. Without: the common columns.

    Args:
        contract: determines types and which fields are personal data.
        excluded: columns that are not fields: the id, the entity, the time.
        only: the fields to compare; empty for all.
        is_production: whether `served` comes from ClickHouse, where personal data is hashed, truncated or dropped.
    """
    pairs: list[FieldPair] = []
    skipped: list[SkippedField] = []
    for name, field, left, right in _candidates(served, recomputed, contract, excluded):
        if only and name not in only:
            continue
        if left is None or right is None:
            sides = [table.name for table, column in ((served, left), (recomputed, right)) if column is None]
            what = "not" if field is not None and name in _OUTPUTS else "no column"
            skipped.append(SkippedField(name, f"{what} in {' nor in '.join(sides)}"))
        elif is_production and field is not None and field.pii == "drop":
            skipped.append(SkippedField(name, "personal data, dropped before it was published"))
        else:
            types = plain_type(served.columns[left]), plain_type(recomputed.columns[right])
            kind = _value_type(field, *types)
            exact = kind == "time" or any(map(_is_integral, types))
            show = field is None or field.pii == "keep"
            pairs.append(FieldPair(name, left, right, kind, exact, show, field))
    missing = set(only) - {pair.name for pair in pairs} - {field.name for field in skipped}
    if missing:
        raise SkewError(f"No field is named {sorted(missing)[0]!r} on both sides; correct --field.")
    if not pairs:
        columns = ", ".join([name for name in recomputed.columns if name not in excluded][:8])
        raise SkewError(
            f"{served.name} and {recomputed.name} have no field in common. The columns of the latter are {columns}: "
            "use the same names on both sides, or those of the contract's fields."
        )
    return pairs, skipped


def _candidates(
    served: Table, recomputed: Table, contract: Contract | None, excluded: Sequence[str]
) -> list[tuple[str, Field | None, str | None, str | None]]:
    """List field names, with their entry in the contract and their column on either side."""
    if contract is None:
        by_bare = {name.removeprefix("features."): name for name in served.columns}
        return [
            (bare, None, by_bare[bare], name)
            for name in recomputed.columns
            if (bare := name.removeprefix("features.")) in by_bare
            and not {name, by_bare[bare]} & set(excluded)
            and (bare in _OUTPUTS or bare not in MEMBERS)
        ]
    left, right = source_columns(contract, served.columns), source_columns(contract, recomputed.columns)
    return [
        (field.name, field, left.get(field.source), right.get(field.source))
        for field in contract.fields
        if field.source.partition(".")[0] in ("features", "context", *_OUTPUTS)
    ]


def _value_type(field: Field | None, *types: pa.DataType) -> ValueType:
    if field is not None and field.type == "timestamp":
        return "time"
    if field is not None and field.type == "category":
        return "text"
    if all(pa.types.is_timestamp(type_) or pa.types.is_date(type_) for type_ in types):
        return "time"
    if any(map(is_text, types)):
        return "text"
    return "number"


def _is_integral(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_boolean(type_) or pa.types.is_temporal(type_))


# --- values -----------------------------------------------------------------------------------------------------------


def read_as_numbers(table: Table, column: str, kind: ValueType) -> FloatArray | None:
    """Read numbers or times as doubles, NaN for null, shape (rows,).

    Text is parsed as numbers, or as times if the field is a timestamp. If a text is neither, returns None.
    """
    if not is_text(plain_type(table.columns[column])):
        return read_numbers(table, column)
    texts = read_as_texts(table, column)
    parsed = np.array([*(_parse_number(text, kind) for text in texts.values), np.nan])
    if np.isposinf(parsed).any():
        return None
    return parsed[texts.codes]


def _parse_number(text: str, kind: ValueType) -> float:
    """Parse text as a number or a time; infinity if it is neither."""
    try:
        return float(text)
    except ValueError:
        moment = time_ms(text) if kind == "time" else None
        return np.inf if moment is None else moment


def read_as_texts(table: Table, column: str) -> TextColumn:
    """Read text; numbers and flags are written as in JSON."""
    try:
        return read_texts(table, column, MAX_TEXTS)
    except TooManyValues as error:
        raise SkewError(
            f"{table.name}: {column} has {error}; exclude it by naming the other fields with --field."
        ) from error


def protect_personal_data(
    served: TextColumn, recomputed: TextColumn, field: Field, contract: Contract
) -> tuple[TextColumn, TextColumn]:
    """Make the two sides of a field comparable: hash or truncate the recomputed side as the publisher does.

    Served values that were hashed with the previous key are replaced by the hashes of the current key, if
    BAROGRAPH_PII_PREVIOUS_KEY is set. That is possible for values that the recomputed side has; others differ anyway.
    """
    if field.pii == "truncate":
        return served, _replace(recomputed, truncate_text)
    if field.pii != "hash":
        return served, recomputed
    try:
        key = read_key(contract)
        previous = read_key(contract, variable=PREVIOUS_KEY_VARIABLE) if os.environ.get(PREVIOUS_KEY_VARIABLE) else b""
    except PiiKeyError as error:
        variable = PREVIOUS_KEY_VARIABLE if PREVIOUS_KEY_VARIABLE in str(error) else KEY_VARIABLE
        raise SkewError(f"{field.name} is hashed in production; set {variable} to compare it.") from error
    hash_text = FieldHash(key, contract.model, field.source)
    if previous:
        hash_previous = FieldHash(previous, contract.model, field.source)
        renewed = {hash_previous(text): hash_text(text) for text in recomputed.values}
        served = _replace(served, lambda hashed: renewed.get(hashed, hashed))
    return served, _replace(recomputed, hash_text)


def _replace(texts: TextColumn, replacement: Callable[[str], str]) -> TextColumn:
    """Replace each distinct value. Values that become equal share a code."""
    replaced = [replacement(text) for text in texts.values]
    distinct = {text: code for code, text in enumerate(dict.fromkeys(replaced))}
    codes = np.array([*(distinct[text] for text in replaced), NULL_CODE], np.int32)
    return TextColumn.from_codes(codes[texts.codes], distinct)


def entities(table: Table, columns: Sequence[str]) -> NDArray[np.int64]:
    """Number the distinct combinations of columns, shape (rows,). A row with a null is an entity of its own."""
    numbers = np.zeros(table.rows, np.int64)
    has_null = np.zeros(table.rows, np.bool_)
    for column in columns:
        if column not in table.columns:
            raise SkewError(f"{table.name} has no column {column!r}; correct --by.")
        texts = read_texts(table, column, limit=table.rows + 1)
        has_null |= texts.codes == NULL_CODE
        combined = numbers * (len(texts.values) + 1) + texts.codes + 1
        numbers = np.unique(combined, return_inverse=True)[1].astype(np.int64)
    numbers[has_null] = numbers.max(initial=0) + 1 + np.arange(int(has_null.sum()))
    return np.unique(numbers, return_inverse=True)[1].astype(np.int64)
