"""Which columns of the two sides are one field, and how their values are read for comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from barograph.contract import Contract, Field
from barograph.publisher.pii import KEY_VARIABLE, TRUNCATED_CHARS, PiiKeyError, hash_text, read_key
from barograph.validation.rows import time_ms
from barograph.validation.tables import MEMBERS, source_columns
from numpy.typing import NDArray

from cli.infer.columns import NULL_CODE, FloatArray, Texts, TooManyTexts, read_numbers, read_texts
from cli.infer.tables import Table, is_text, plain_type
from cli.skew.sources import SkewError

Kind = Literal["number", "time", "text"]

MAX_TEXTS = 1_000_000
"""Distinct texts of a column up to which it is compared: all of them are held."""
_OUTPUTS = ("score", "class")


@dataclass(frozen=True, slots=True)
class Compared:
    """One field and its columns."""

    name: str
    served: str
    recomputed: str
    kind: Kind
    exact: bool
    """Whether numbers must agree to the last digit: they are whole numbers, flags or times."""
    show: bool
    """Whether values may be shown."""
    field: Field | None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A field that is not compared, and why."""

    name: str
    why: str


def pair_fields(
    served: Table,
    recomputed: Table,
    contract: Contract | None,
    *,
    apart: Sequence[str],
    only: Sequence[str] = (),
    is_production: bool = False,
) -> tuple[list[Compared], list[LeftOut]]:
    """Find the fields that both sides hold.

    With a contract these are its features, the score and the class; without, the columns that both sides have.

    Args:
        served: what was served.
        recomputed: what training computes.
        contract: says types and which fields are personal data.
        apart: columns that are no fields: the id, the entity, the time.
        only: compare these fields alone, all where empty.
        is_production: whether `served` is what ClickHouse recorded, where personal data is hashed, cut or dropped.

    Raises:
        SkewError: there is nothing to compare.
    """
    found: list[Compared] = []
    left_out: list[LeftOut] = []
    for name, field, left, right in _candidates(served, recomputed, contract, apart):
        if only and name not in only:
            continue
        why = _why_not(name, field, left, right, served, recomputed, is_production)
        if why is not None:
            left_out.append(LeftOut(name, why))
            continue
        assert left is not None
        assert right is not None
        kinds = served.columns[left], recomputed.columns[right]
        kind = _kind(field, *map(plain_type, kinds))
        exact = kind == "time" or any(_is_whole(plain_type(each)) for each in kinds)
        show = field is None or field.pii == "keep"
        found.append(Compared(name, left, right, kind, exact, show, field))
    missing = set(only) - {each.name for each in found} - {each.name for each in left_out}
    if missing:
        raise SkewError(f"No field is called {sorted(missing)[0]!r} on both sides; correct --field.")
    if not found:
        columns = ", ".join([name for name in recomputed.columns if name not in apart][:8])
        raise SkewError(
            f"{served.name} and {recomputed.name} have no field in common. The latter's columns are {columns}: name "
            "them alike, or as the contract's fields."
        )
    return found, left_out


def _candidates(
    served: Table, recomputed: Table, contract: Contract | None, apart: Sequence[str]
) -> list[tuple[str, Field | None, str | None, str | None]]:
    """Field name, its contract's entry, and its column on either side."""
    if contract is None:
        by_bare = {name.removeprefix("features."): name for name in served.columns}
        return [
            (bare, None, by_bare[bare], name)
            for name in recomputed.columns
            if (bare := name.removeprefix("features.")) in by_bare
            and not {name, by_bare[bare]} & set(apart)
            and (bare in _OUTPUTS or bare not in MEMBERS)
        ]
    left, right = source_columns(contract, served.columns), source_columns(contract, recomputed.columns)
    return [
        (field.name, field, left.get(field.source), right.get(field.source))
        for field in contract.fields
        if field.source.partition(".")[0] in ("features", "context", *_OUTPUTS)
    ]


def _why_not(
    name: str,
    field: Field | None,
    left: str | None,
    right: str | None,
    served: Table,
    recomputed: Table,
    is_production: bool,
) -> str | None:
    if left is None or right is None:
        sides = [table.name for table, column in ((served, left), (recomputed, right)) if column is None]
        if field is not None and name in _OUTPUTS:
            return f"not in {' nor in '.join(sides)}"
        return f"no column in {' nor in '.join(sides)}"
    if is_production and field is not None and field.pii == "drop":
        return "personal data, dropped before it was published"
    return None


def _kind(field: Field | None, *kinds: pa.DataType) -> Kind:
    if field is not None and field.type == "timestamp":
        return "time"
    if field is not None and field.type == "category":
        return "text"
    if all(pa.types.is_timestamp(kind) or pa.types.is_date(kind) for kind in kinds):
        return "time"
    if any(is_text(kind) for kind in kinds):
        return "text"
    return "number"


def _is_whole(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_temporal(kind))


# --- values -----------------------------------------------------------------------------------------------------------


def numbers(table: Table, column: str, kind: Kind) -> FloatArray | None:
    """Read numbers or times as doubles, NaN for null, shape (rows,); None where text is none of them.

    Text is read as numbers, and where the field is a timestamp as moments, if every one of them is one.
    """
    if not is_text(plain_type(table.columns[column])):
        return read_numbers(table, column)
    texts = texts_of(table, column)
    parsed = np.array([*(_number(text, kind) for text in texts.values), np.nan])
    if np.isposinf(parsed).any():
        return None
    values: FloatArray = parsed[texts.codes]
    return values


def _number(text: str, kind: Kind) -> float:
    """Read text as a number or a moment; an infinity where it is none."""
    try:
        return float(text)
    except ValueError:
        moment = time_ms(text) if kind == "time" else None
        return np.inf if moment is None else moment


def texts_of(table: Table, column: str) -> Texts:
    """Read text; numbers and flags become the text that JSON has for them.

    Raises:
        SkewError: there are more distinct texts than can be held.
    """
    try:
        return read_texts(table, column, MAX_TEXTS)
    except TooManyTexts as error:
        raise SkewError(
            f"{table.name}: {column} holds {error}; leave it out with --field, naming the others."
        ) from error


def published(texts: Texts, field: Field, contract: Contract) -> Texts:
    """What the publisher makes of personal data: hashed, or cut.

    Raises:
        SkewError: the contract hashes it, and there is no key.
    """
    if field.pii == "hash":
        try:
            key = read_key(contract)
        except PiiKeyError as error:
            raise SkewError(f"{field.name} is hashed in production; set {KEY_VARIABLE} to compare it.") from error
        made = [hash_text(key, text) for text in texts.values]
    elif field.pii == "truncate":
        made = [text[:TRUNCATED_CHARS] for text in texts.values]
    else:
        return texts
    distinct = {text: code for code, text in enumerate(dict.fromkeys(made))}
    codes = np.array([*(distinct[text] for text in made), NULL_CODE], np.int32)
    return Texts.of(codes[texts.codes], distinct)


def entities(table: Table, columns: Sequence[str]) -> NDArray[np.int64]:
    """Number the entities that columns name together, shape (rows,); a row with a null is an entity of its own.

    Raises:
        SkewError: there is no such column.
    """
    joint = np.zeros(table.rows, np.int64)
    alone = np.zeros(table.rows, np.bool_)
    for column in columns:
        if column not in table.columns:
            raise SkewError(f"{table.name} has no column {column!r}; correct --by.")
        texts = read_texts(table, column, limit=table.rows + 1)
        alone |= texts.codes == NULL_CODE
        joint = np.unique(joint * (len(texts.values) + 1) + texts.codes + 1, return_inverse=True)[1].astype(np.int64)
    joint[alone] = joint.max(initial=0) + 1 + np.arange(int(alone.sum()))
    return np.unique(joint, return_inverse=True)[1].astype(np.int64)
