import pyarrow as pa
import pytest

from sketches.sketch.categorical import MAX_CHARS, FrequentValue, UnseenCategories


def _exactly(value: str, count: int) -> FrequentValue:
    return FrequentValue(value, count, count, count)


def test_counts_have_values_and_ties_are_ordered_by_value() -> None:
    sketch = UnseenCategories()
    sketch.update(["b", "a", "c", "never"], [2, 2, 5, 0])
    sketch.update(["c"])
    assert sketch.top(10) == [_exactly("c", 6), _exactly("a", 2), _exactly("b", 2)]
    assert sketch.top(1) == [_exactly("c", 6)]
    assert sketch.top(0) == []
    assert sketch.n == 10


def test_an_empty_sketch_has_no_top() -> None:
    sketch = UnseenCategories()
    sketch.update([])
    assert sketch.top(5) == []


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["a", None, "b", "a", ""]),
        pa.array(["a", None, "b", "a", ""], pa.large_string()),
        pa.array(["a", None, "b", "a", ""]).dictionary_encode(),
        pa.chunked_array([["a", None], ["b", "a", ""]]),
        pa.chunked_array([pa.array(["a", None]).dictionary_encode(), pa.array(["b", "a", ""]).dictionary_encode()]),
    ],
    ids=["string", "large", "dictionary", "chunks", "dictionary chunks"],
)
def test_arrow_strings_are_counted_and_nulls_passed_over(values: pa.Array) -> None:
    sketch = UnseenCategories()
    sketch.update_array(values)
    assert sketch.top(9) == [_exactly("a", 2), _exactly("", 1), _exactly("b", 1)]


def test_nothing_but_nulls_adds_nothing() -> None:
    sketch = UnseenCategories()
    for values in (pa.nulls(3), pa.array([], pa.string()), pa.array([None], pa.string())):
        sketch.update_array(values)
    assert sketch.is_empty


def test_characters_that_utf8_cannot_encode_are_replaced() -> None:
    sketch = UnseenCategories()
    sketch.update(["\ud800x", "ok", "é\0"])
    assert {item.value for item in sketch.top(9)} == {"?x", "ok", "é\0"}


def test_arrow_bytes_that_are_not_utf8_are_replaced() -> None:
    broken = pa.Array.from_buffers(pa.string(), 1, [None, *pa.array([b"a\xff"]).buffers()[1:]])
    sketch = UnseenCategories()
    sketch.update_array(broken)
    assert sketch.top(1) == [_exactly("a�", 1)]


def test_long_values_are_truncated() -> None:
    sketch = UnseenCategories()
    sketch.update(["é" * 1_000, "é" * MAX_CHARS + "other end"])
    sketch.update_array(pa.array(["é" * 500]))
    assert sketch.top(9) == [_exactly("é" * MAX_CHARS, 3)]


def test_counts_must_fit_values() -> None:
    sketch = UnseenCategories()
    with pytest.raises(ValueError, match="2 values have 1 counts"):
        sketch.update(["a", "b"], [1])
    with pytest.raises(ValueError, match="negative"):
        sketch.update(["a", "b"], [1, -1])
    assert sketch.is_empty
