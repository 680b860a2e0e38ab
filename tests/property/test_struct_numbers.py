"""Numbers read out of structs together, compared with members read one by one."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.events.struct_numbers import StructNumbers

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.sampled_from([-0.0, 5e-324, math.inf]),
)
WIDTHS = st.integers(1, 5)


def build_structs(rows: list[list[Any]], width: int) -> list[Any]:
    kind = msgspec.defstruct("kind", [(f"m{i}", Any, None) for i in range(width)], gc=False)
    return [kind(*row) for row in rows]


@given(data=st.data(), width=WIDTHS)
def test_members_read_together_equal_members_read_alone(data: st.DataObject, width: int) -> None:
    rows: list[list[Any]] = data.draw(st.lists(st.lists(VALUES, min_size=width, max_size=width), max_size=20))
    chosen = data.draw(st.lists(st.integers(0, width - 1), min_size=1, max_size=width, unique=True))
    all_members = chosen == list(range(width))
    result = StructNumbers([f"m{i}" for i in chosen], all_members=all_members).read(build_structs(rows, width))
    plain = [[math.nan if row[i] is None else float(row[i]) for i in chosen] for row in rows]
    expected = np.array(plain, dtype=np.float64).reshape(len(rows), len(chosen))
    assert result.shape == expected.shape
    assert np.array_equal(result, expected, equal_nan=True)
    assert np.array_equal(np.signbit(result), np.signbit(expected))


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("beside", [1.0, None])
def test_integers_beyond_floats_are_rejected(width: int, beside: float | None) -> None:
    rows = [[beside] * (width - 1) + [10**400]]
    with pytest.raises(OverflowError):
        StructNumbers([f"m{i}" for i in range(width)], all_members=True).read(build_structs(rows, width))
