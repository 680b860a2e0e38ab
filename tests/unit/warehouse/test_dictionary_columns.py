"""Dictionary-encoded text: ClickHouse rejects a dictionary with duplicate texts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from warehouse.dictionary_columns import dictionary_column


def test_repeated_names_are_sent_once() -> None:
    column = dictionary_column(np.array([0, 1, 2, 3, 1]), pa.array(["a", "b", "a", ""]))
    assert column.to_pylist() == ["a", "b", "a", "", "b"]
    assert column.dictionary.to_pylist() == ["a", "b", ""]


def test_distinct_names_are_sent_unchanged() -> None:
    names = pa.array(["b", "a"])
    column = dictionary_column(np.array([1, 0, 1]), names)
    assert column.to_pylist() == ["a", "b", "a"]
    assert column.dictionary.equals(names)
