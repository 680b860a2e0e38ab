import itertools
import zlib

import numpy as np
import pyarrow as pa
import pytest
from barograph.contract import SketchKind
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from barograph_server.sketches.sketch import envelope, merge
from barograph_server.sketches.sketch.categorical import MAX_CHARS, FrequentValue, UnseenCategories
from barograph_server.sketches.sketch.envelope import SketchType
from barograph_server.sketches.sketch.numeric import MIN_VALUES, NumericSketch, numeric_sketch, numeric_sketch_type
from tests.support.sketches import sketch_of

FLOAT32_MAX = float(np.finfo(np.float32).max)


def test_the_contract_and_the_baseline_choose_the_sketch() -> None:
    types: tuple[tuple[bool, SketchKind, SketchType], ...] = (
        (False, "kll", SketchType.KLL_FLOATS),
        (True, "kll", SketchType.KLL_DOUBLES),
        (False, "req", SketchType.REQ_FLOATS),
        (True, "req", SketchType.REQ_FLOATS),
    )
    for integer, kind, expected in types:
        assert numeric_sketch_type(integer, kind) is expected
        sketch = numeric_sketch(integer, kind)
        assert sketch.sketch_type is expected
        # An update leaves its argument in order.
        values = np.array([3.0, 1.0])
        sketch.update(values)
        sketch.update(np.array([]))
        assert values.tolist() == [3.0, 1.0]
        assert numeric_sketch(integer, kind, sketch.to_bytes()).n == 2
    with pytest.raises(ValueError, match="FREQUENT_STRINGS is no numeric sketch type"):
        NumericSketch(SketchType.FREQUENT_STRINGS)


def test_wrong_values_ranks_and_sketches_are_rejected_and_nothing_is_added() -> None:
    sketch, doubles = numeric_sketch(False, "kll"), numeric_sketch(True, "kll")
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="finite values only"):
            sketch.update(np.array([1.0, bad, 2.0]))
    doubles.update(np.array([2.0]))
    with pytest.raises(envelope.MixedSketches, match="KLL_DOUBLES cannot be merged into KLL_FLOATS"):
        sketch.merge(doubles)
    assert sketch.is_empty
    for rank in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="ranks must be in"):
            sketch.quantiles([0.5, rank])
    with pytest.raises(ValueError, match="NaN has no rank"):
        sketch.cdf([np.nan])


def test_a_cdf_takes_points_in_any_order_with_repeats_and_infinities() -> None:
    sketch = numeric_sketch(False, "kll")
    sketch.update(np.array([1.0, 2.0, 3.0, 4.0]))
    points = [3.0, -np.inf, 1.0, np.inf, 3.0, 0.5, 2.5]
    assert sketch.cdf(points).tolist() == [0.75, 0, 0.25, 1, 0.75, 0, 0.5]
    assert sketch.cdf([2.0])[0] == 0.5
    # A point counts the value that it equals, although both are rounded.
    rounded = numeric_sketch(False, "kll")
    rounded.update(np.array([0.1, 0.2, 0.3]))
    assert rounded.cdf([0.1, 0.1 + 1e-12]).tolist() == [1 / 3, 1 / 3]


def test_doubles_add_large_batches_to_one_sketch_and_tell_neighbouring_large_integers_apart() -> None:
    sketch = numeric_sketch(True, "kll")
    for batch in np.split(np.arange(3.0 * MIN_VALUES), 3):
        sketch.update(batch)
    assert sketch.n == 3 * MIN_VALUES
    assert sketch.quantiles([0.0, 1.0]).tolist() == [0.0, 3.0 * MIN_VALUES - 1]
    assert sketch.quantiles([0.5])[0] == pytest.approx(1.5 * MIN_VALUES, abs=0.03 * 3 * MIN_VALUES)
    large = 2.0**53
    sketch = numeric_sketch(True, "kll")
    sketch.update(np.array([large - 1, large]))
    assert sketch.quantiles([0.0, 1.0]).tolist() == [large - 1, large]
    assert sketch.cdf([large - 1])[0] == 0.5


@pytest.mark.parametrize("kind", ["kll", "req"])
def test_floats_beyond_their_range_become_their_largest_number(kind: SketchKind) -> None:
    sketch = numeric_sketch(False, kind)
    sketch.update(np.array([-1e300, 0.0, 1e300]))
    assert sketch.quantiles([0.0, 0.5, 1.0]).tolist() == [-FLOAT32_MAX, 0, FLOAT32_MAX]
    assert sketch.cdf([1e200, 1e301]).tolist() == [1, 1]


def test_req_reads_the_tail_more_closely_than_kll() -> None:
    values = np.random.default_rng(3).lognormal(size=100_000)
    exact = np.sort(values)
    kll, req = numeric_sketch(False, "kll"), numeric_sketch(False, "req")
    for sketch, error in ((kll, 0.0133), (req, 0.000327)):
        sketch.update(values)
        assert sketch.rank_error_at(0.99) == pytest.approx(error, rel=0.01)
    assert np.searchsorted(exact, req.quantiles([0.99])[0]) / exact.size == pytest.approx(0.99, abs=0.001)


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


def test_what_is_not_utf8_is_replaced_and_long_values_truncated() -> None:
    sketch = UnseenCategories()
    sketch.update(["\ud800x", "ok", "é\0"])
    sketch.update_array(pa.Array.from_buffers(pa.string(), 1, [None, *pa.array([b"a\xff"]).buffers()[1:]]))
    assert {item.value for item in sketch.top(9)} == {"?x", "ok", "é\0", "a�"}
    sketch = UnseenCategories()
    sketch.update(["é" * 1_000, "é" * MAX_CHARS + "other end"])
    sketch.update_array(pa.array(["é" * 500]))
    assert sketch.top(9) == [_exactly("é" * MAX_CHARS, 3)]


PAYLOAD = bytes(range(40))


def _with_checksum(prefix: bytes, payload: bytes) -> bytes:
    return prefix + zlib.crc32(prefix + payload).to_bytes(4, "little") + payload


@given(st.sampled_from(SketchType), st.binary(max_size=300))
def test_a_payload_survives_sealing(sketch_type: SketchType, payload: bytes) -> None:
    sealed = envelope.seal(sketch_type, payload)
    assert len(sealed) == envelope.HEADER_BYTES + len(payload)
    assert envelope.unseal(sealed) == (sketch_type, payload)
    assert envelope.unseal_as(sketch_type, sealed) == payload


def test_the_stored_form_is_stable() -> None:
    # Written down by hand: envelopes stored by earlier releases must stay readable.
    prefix = b"BS" + bytes([1, 3]) + (3).to_bytes(4, "little")
    assert envelope.seal(SketchType.REQ_FLOATS, b"abc") == _with_checksum(prefix, b"abc")
    types = {"KLL_FLOATS": 1, "KLL_DOUBLES": 2, "REQ_FLOATS": 3, "FREQUENT_STRINGS": 4}
    assert {kind.name: kind.value for kind in SketchType} == types


def test_every_bit_flip_truncation_and_extension_is_rejected() -> None:
    sealed = envelope.seal(SketchType.KLL_FLOATS, PAYLOAD)
    flips = (int.from_bytes(sealed, "little") ^ 1 << bit for bit in range(len(sealed) * 8))
    cuts = {sealed[start:end] for start in range(len(sealed)) for end in (start, len(sealed) - 1, len(sealed))}
    for data in (*(number.to_bytes(len(sealed), "little") for number in flips), *(cuts - {sealed})):
        with pytest.raises(envelope.EnvelopeError):
            envelope.unseal(data)
    with pytest.raises(envelope.EnvelopeError, match="announces 40 bytes and has 41"):
        envelope.unseal(sealed + b"\0")


@given(st.data(), st.sampled_from(SketchType), st.binary(max_size=300))
def test_any_burst_of_up_to_32_bits_and_random_bytes_are_rejected(
    data: st.DataObject, sketch_type: SketchType, payload: bytes
) -> None:
    with pytest.raises(envelope.EnvelopeError):
        envelope.unseal(payload)
    sealed = envelope.seal(sketch_type, payload)
    start = data.draw(st.integers(0, len(sealed) * 8 - 1))
    burst = data.draw(st.integers(1, 2**32 - 1)) << start
    changed = int.from_bytes(sealed, "little") ^ burst % (1 << len(sealed) * 8)
    tampered = changed.to_bytes(len(sealed), "little")
    if tampered != sealed:
        with pytest.raises(envelope.EnvelopeError):
            envelope.unseal(tampered)


def test_an_unknown_header_or_another_type_is_rejected_despite_a_valid_checksum() -> None:
    for prefix, message in (
        (b"XY" + bytes([envelope.FORMAT, 1]), "it is no sketch"),
        (b"BS" + bytes([envelope.FORMAT + 1, 1]), "format 2"),
        (b"BS" + bytes([envelope.FORMAT, 99]), "sketch type 99 is unknown"),
    ):
        with pytest.raises(envelope.EnvelopeError, match=message):
            envelope.unseal(_with_checksum(prefix + len(PAYLOAD).to_bytes(4, "little"), PAYLOAD))
    with pytest.raises(envelope.MixedSketches, match="expected a REQ_FLOATS sketch, got KLL_FLOATS"):
        envelope.unseal_as(SketchType.REQ_FLOATS, envelope.seal(SketchType.KLL_FLOATS, PAYLOAD))


def moments_of(values: NDArray[np.float64], center: float = 0.0) -> NDArray[np.float64]:
    shifted = values - center
    return np.array([shifted.sum(), (shifted**2).sum(), values.min(), values.max()])


def summary_of(*values: float, integer: bool = False) -> merge.NumberSummary:
    array = np.array(values, dtype=np.float64)
    return merge.NumberSummary(moments_of(array), sketch_of(array, integer=integer))


def merge_summaries(*summaries: merge.NumberSummary) -> merge.NumberSummary:
    merged = merge.NumberSummary()
    for summary in summaries:
        merged.merge(summary)
    return merged


def test_moments_merge_to_those_of_all_values() -> None:
    into, other = moments_of(np.array([1.0, 2.0])), moments_of(np.array([-4.0, 8.0, 3.0]))
    before = other.copy()
    merge.merge_moments(into, other)
    assert into.tolist() == [10.0, 94.0, -4.0, 8.0]
    assert (other == before).all()
    # Empty ones are neutral in any shape.
    moments = merge.empty_moments(2, 3)
    assert moments.shape == (2, 3, merge.N_MOMENTS)
    merge.merge_moments(moments, np.broadcast_to(into, (2, 3, merge.N_MOMENTS)))
    assert (moments == into).all()
    # Sums beyond the range become infinite without a warning.
    large = np.array([1e308, 1e308, 0.0, 1.0])
    merge.merge_moments(large, large.copy())
    assert np.isinf(large[:2]).all()
    values = np.array([1.0, 4.0, 9.0])
    assert merge.recenter_moments(moments_of(values, 2.0), 3, 2.0 - 5.0) == pytest.approx(moments_of(values, 5.0))


def test_one_incomplete_summary_makes_the_merge_incomplete_and_moments_merge_anyway() -> None:
    unsketched = merge.NumberSummary(moments_of(np.array([5.0])), None, complete=False)
    for order in itertools.permutations((summary_of(1.0, 2.0), unsketched, summary_of(-3.0))):
        merged = merge_summaries(*order)
        assert not merged.complete
        assert (merged.sketch, merged.n) == (None, 0)
        assert merged.moments.tolist() == [5.0, 39.0, -3.0, 5.0]
    # So do sketches of different types, which do not merge.
    floats = sketch_of(np.ones(2))
    with pytest.raises(envelope.MixedSketches):
        merge.merge_sketch(floats, sketch_of(np.ones(3), integer=True))
    assert floats.n == 2
    merged = merge_summaries(summary_of(1.0), summary_of(2.0, integer=True))
    assert (merged.complete, merged.sketch) == (False, None)
    assert merged.moments.tolist() == [3.0, 5.0, 1.0, 2.0]


def test_a_summary_is_complete_if_its_sketch_has_all_counted_values() -> None:
    values = np.arange(3.0)
    for counted, complete in ((3, True), (4, False), (2, False)):
        summary = merge.NumberSummary.counted(counted, moments_of(values), sketch_of(values))
        assert summary.complete is complete
        assert (summary.sketch is not None) is complete
    # No counted value needs no sketch, and an incomplete summary has none.
    assert merge.NumberSummary.counted(0, merge.empty_moments(), None).complete
    assert not merge.NumberSummary.counted(1, moments_of(np.ones(1)), None).complete
    assert merge.NumberSummary(merge.empty_moments(), sketch_of(values), complete=False).sketch is None
