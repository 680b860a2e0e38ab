"""Slice dimensions of a training table: their values and which slice each row belongs to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from barograph.contract import Slice
from barograph.yaml_kinds import name_fault
from numpy.typing import NDArray

from cli.infer.columns import MAX_SLICE_TEXTS, NULL_CODE, TooManyTexts, read_texts
from cli.infer.errors import OptionError
from cli.infer.tables import Table, is_text, plain_type
from sketches.baseline import OTHER, SliceValues

TOP = 20
_FLAGS = {"true": "1", "false": "0"}
"""A slice of a boolean field is named by the number that the field's value is counted as."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """One slice dimension of n training rows."""

    column: str
    values: SliceValues
    codes: NDArray[np.int16]
    """Shape (n,): index into `values.values`, or their number for the slice `other`."""

    @property
    def slice_names(self) -> list[str]:
        return [f"{self.values.name}={value}" for value in (*self.values.values, OTHER)]

    @property
    def declared(self) -> Slice:
        """The dimension as the contract has it."""
        return Slice(name=self.values.name, source=self.values.source, top=TOP)


def read_dimension(table: Table, column: str) -> Dimension:
    """Read a slice column: its most frequent values get a slice each, everything else and null is `other`.

    Raises:
        OptionError: the column is no text, boolean or whole number, or has too many distinct values.
    """
    kind = plain_type(table.columns[column])
    if not (is_text(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise OptionError(f"--slice {column}: the column holds {kind}; slice by texts, booleans or whole numbers")
    name = column.replace("=", "_")
    fault = name_fault(name)
    if fault is not None:
        raise OptionError(f"--slice {column!r}: the name {fault}")
    try:
        texts = read_texts(table, column, MAX_SLICE_TEXTS)
    except TooManyTexts as error:
        raise OptionError(f"--slice {column}: {error}; slice by a column with fewer values") from error
    named = [_FLAGS[text] if pa.types.is_boolean(kind) else text for text in texts.values]
    # A value that no slice can be called by belongs to `other`.
    ranked = [code for code in texts.by_frequency() if named[code] != OTHER and name_fault(named[code]) is None]
    kept = ranked[:TOP]
    lookup = np.full(len(named) + 1, len(kept), dtype=np.int16)
    lookup[kept] = np.arange(len(kept))
    # Code −1, null, reads the last entry.
    assert NULL_CODE == -1
    values = SliceValues(
        name=name, source=f"features.{column}", values=tuple(named[code] for code in kept), trained=True
    )
    return Dimension(column, values, lookup[texts.codes])
