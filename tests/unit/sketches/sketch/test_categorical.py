import pyarrow as pa
import pytest

from barograph_server.sketches.sketch.categorical import MAX_CHARS, FrequentValue, UnseenCategories


def _exactly(value: str, count: int) -> FrequentValue:
    return FrequentValue(value, count, count, count)


def test_counts_have_values_and_ties_are_ordered_by_value() -> None:
    sketch = UnseenCategories()
    sketch.update([])
    assert sketch.top(5) == []
    sketch.update(["b", "a", "c", "never"], [2, 2, 5, 0])
    sketch.update(["c"])
    assert sketch.top(10) == [_exactly("c", 6), _exactly("a", 2), _exactly("b", 2)]
    assert sketch.top(1) == [_exactly("c", 6)]
    assert sketch.top(0) == []
    with pytest.raises(ValueError, match="2 values have 1 counts"):
        sketch.update(["a", "b"], [1])
    with pytest.raises(ValueError, match="a count is negative"):
        sketch.update(["a", "b"], [1, -1])
    assert sketch.n == 10


def test_arrow_strings_are_counted_and_nulls_passed_over() -> None:
    strings = ["a", None, "b", "a", ""]
    for values in (
        pa.array(strings),
        pa.array(strings, pa.large_string()),
        pa.array(strings).dictionary_encode(),
        pa.chunked_array([strings[:2], strings[2:]]),
        pa.chunked_array([pa.array(part).dictionary_encode() for part in (strings[:2], strings[2:])]),
    ):
        sketch = UnseenCategories()
        for nothing in (pa.nulls(3), pa.array([], pa.string()), pa.array([None], pa.string())):
            sketch.update_array(nothing)
        assert sketch.is_empty
        sketch.update_array(values)
        assert sketch.top(9) == [_exactly("a", 2), _exactly("", 1), _exactly("b", 1)], values.type


def test_what_is_not_utf8_is_replaced() -> None:
    sketch = UnseenCategories()
    sketch.update(["\ud800x", "ok", "é\0"])
    sketch.update_array(pa.Array.from_buffers(pa.string(), 1, [None, *pa.array([b"a\xff"]).buffers()[1:]]))
    assert {item.value for item in sketch.top(9)} == {"?x", "ok", "é\0", "a�"}


def test_long_values_are_truncated() -> None:
    sketch = UnseenCategories()
    sketch.update(["é" * 1_000, "é" * MAX_CHARS + "other end"])
    sketch.update_array(pa.array(["é" * 500]))
    assert sketch.top(9) == [_exactly("é" * MAX_CHARS, 3)]
