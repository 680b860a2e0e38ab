"""Slice dimensions of a training table: their values and the slice of each row."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from barograph.contract import CROSS, Arms, Slice
from barograph.contract.kinds import name_fault
from numpy.typing import NDArray

from barograph_server.profiling.infer.columns import MAX_SLICE_VALUES, NULL_CODE, TooManyValues, read_texts
from barograph_server.profiling.infer.errors import OptionError
from barograph_server.profiling.infer.profile import ARM, FieldPlan, source_of
from barograph_server.profiling.infer.tables import Table, is_text, plain_type
from barograph_server.sketches.baseline.baseline import OTHER, SliceValues

CodeArray = NDArray[np.int64]

TOP = 20
_FLAGS = {"true": "1", "false": "0"}
"""Slice names of booleans, which events count as numbers."""


@dataclass(frozen=True, slots=True)
class SliceDimension:
    """One slice dimension of n training rows."""

    expression: str
    """The column, or several joined by `CROSS`."""
    values: SliceValues
    codes: NDArray[np.int16]
    """Shape (n,): index into `values.values`, or its length for the slice `other`."""

    @property
    def slice_names(self) -> list[str]:
        return [f"{self.values.name}={value}" for value in (*self.values.values, OTHER)]

    @property
    def contract_slice(self) -> Slice:
        return Slice(name=self.values.name, source=self.values.source, top=TOP)


def read_dimension(table: Table, expression: str, declared: Slice | None = None) -> SliceDimension:
    """Read a slice column, or several crossed: the most frequent values get a slice each, the rest is `other`.

    A row with a null, or with a value that is not a valid slice name, belongs to `other`.

    Args:
        expression: A column, or several joined by `CROSS`.
        declared: The slice as the contract in force has it.

    Raises:
        OptionError: a column is not text, boolean or integer, or has too many distinct values.
    """
    columns = expression.split(CROSS)
    name = expression.replace("=", "_") if declared is None else declared.name
    top = TOP if declared is None else declared.top
    fault = name_fault(name)
    if fault is not None:
        raise OptionError(f"--slice {expression!r}: the name {fault}")
    members = [_read_members(table, column, crossed=len(columns) > 1) for column in columns]
    names, codes = members[0]
    for more, more_codes in members[1:]:
        names, codes = _cross(names, codes, more, more_codes)
    if declared is not None and declared.values:
        names = [*names, *(value for value in declared.values if value not in names)]
    counts = np.bincount(codes + 1, minlength=len(names) + 1)[1:].tolist()
    ranked = [code for code in range(len(names)) if names[code] != OTHER and name_fault(names[code]) is None]
    retained = sorted(ranked, key=lambda code: (-counts[code], names[code]))[:top]
    if declared is not None and declared.values:
        retained = [names.index(value) for value in declared.values]
    lookup = np.full(len(names) + 1, len(retained), dtype=np.int16)
    lookup[retained] = np.arange(len(retained))
    # Code −1, null, reads the last entry.
    assert NULL_CODE == -1
    values = SliceValues(
        name=name,
        source=CROSS.join(map(source_of, columns)) if declared is None else declared.source,
        values=tuple(names[code] for code in retained),
        trained=True,
    )
    return SliceDimension(expression, values, lookup[codes])


SKETCHED = ("score", "latency_ms", "confidence")
"""Outputs whose sketches are stored per arm."""


def arm_slice(arms: Arms | None, fields: Iterable[tuple[FieldPlan, str]]) -> tuple[Slice, ...]:
    """Return the dimension of the arms for the contract; none without arms."""
    if arms is None:
        return ()
    names = {planned.name for planned, _ in fields}
    sketches = tuple(name for name in SKETCHED if name in names)
    return (Slice(name=ARM, source=ARM, values=tuple(arms.shares), sketches=sketches),)


def arm_values(arms: Arms | None) -> tuple[SliceValues, ...]:
    """Return the dimension of the arms for the baseline: without training data, arms are compared with `all`."""
    return () if arms is None else (SliceValues(name=ARM, source=ARM, values=tuple(arms.shares), trained=False),)


def _read_members(table: Table, column: str, *, crossed: bool) -> tuple[list[str], CodeArray]:
    """Read a column as slice names and the code of each row."""
    kind = plain_type(table.columns[column])
    if not (is_text(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise OptionError(f"--slice {column}: the column has type {kind}; slice by texts, booleans or integers")
    try:
        texts = read_texts(table, column, MAX_SLICE_VALUES)
    except TooManyValues as error:
        raise OptionError(f"--slice {column}: {error}; slice by a column with fewer values") from error
    names = [_FLAGS[text] if pa.types.is_boolean(kind) else text for text in texts.values]
    codes = texts.codes.astype(np.int64)
    if crossed:
        # A value that contains the separator would be ambiguous.
        lookup = np.array([NULL_CODE if CROSS in name else code for code, name in enumerate(names)] + [NULL_CODE])
        codes = lookup[codes]
    return names, codes


def _cross(
    left: list[str], left_codes: CodeArray, right: list[str], right_codes: CodeArray
) -> tuple[list[str], CodeArray]:
    """Cross two columns: the pairs that occur, and the code of each row; null if one side is null."""
    both = (left_codes != NULL_CODE) & (right_codes != NULL_CODE)
    pairs, code = np.unique(left_codes[both] * len(right) + right_codes[both], return_inverse=True)
    codes = np.full(len(left_codes), NULL_CODE, dtype=np.int64)
    codes[both] = code
    names = [f"{left[pair // len(right)]}{CROSS}{right[pair % len(right)]}" for pair in pairs.tolist()]
    if len(names) > MAX_SLICE_VALUES:
        raise OptionError(
            f"--slice: more than {MAX_SLICE_VALUES:,} distinct values when crossed; cross columns with fewer values"
        )
    return names, codes
