"""One contract that every sketch keeps, and the accuracy that the numeric ones state.

The sketches flip coins that cannot be seeded. So a single answer is compared with `MARGIN` times its stated 99 %
bound: among 3,000 sketches the largest error was 0.96 times the bound. The bound itself is tested as a
frequency, with a limit that chance passes once in 10⁵ runs. Sketches built from sorted values are read by datasketches.
"""

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import datasketches as ds
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from barograph_server.sketches.sketch.categorical import LG_MAX_K, UnseenCategories
from barograph_server.sketches.sketch.envelope import EnvelopeError, MixedSketches, SketchType, seal
from barograph_server.sketches.sketch.numeric import (
    KLL_K,
    MIN_VALUES,
    FloatArray,
    NumericSketch,
    _capacities,
    sorted_kll,
)

Sketch = TypeVar("Sketch", NumericSketch, UnseenCategories)
MARGIN = 1.5
SIZES = (1, 2, 10, 150, 1_000, 30_000)
RANKS = (0.0, 0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1.0)

GENERATORS: dict[str, Callable[[np.random.Generator, int], FloatArray]] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "ascending": lambda rng, n: np.arange(n, dtype=np.float64),
    "descending": lambda rng, n: -np.arange(n, dtype=np.float64),
    "zoom in": lambda rng, n: np.where(np.arange(n) % 2, 1.0, -1.0) * (n - np.arange(n)),
    "lognormal": lambda rng, n: rng.lognormal(3, 2, size=n),
    "pareto": lambda rng, n: rng.pareto(0.5, size=n),
    "constant": lambda rng, n: np.full(n, 7.25),
    "few values": lambda rng, n: rng.integers(0, 4, size=n).astype(np.float64),
    "mostly zero": lambda rng, n: np.where(rng.random(n) < 0.9, 0.0, rng.exponential(size=n)),
}


class SketchContract(ABC, Generic[Sketch]):
    @abstractmethod
    def empty(self) -> Sketch: ...

    @abstractmethod
    def fill(self, sketch: Sketch, n: int, seed: int) -> None: ...

    @abstractmethod
    def open(self, data: bytes) -> Sketch: ...

    @abstractmethod
    def answers(self, sketch: Sketch) -> list[Any]: ...

    def filled(self, n: int, seed: int = 1) -> Sketch:
        sketch = self.empty()
        self.fill(sketch, n, seed)
        return sketch

    def test_serialization_preserves_all_answers(self) -> None:
        empty = self.empty()
        assert empty.is_empty
        assert (empty.n, empty.to_bytes()) == (0, b"")
        assert self.open(b"").is_empty
        for n in SIZES:
            sketch = self.filled(n)
            twin = self.open(sketch.to_bytes())
            assert twin.n == sketch.n == n
            assert self.answers(twin) == self.answers(sketch)
            twin.merge(sketch)
            assert twin.n == 2 * n

    def test_merges_and_copies_are_independent(self) -> None:
        sketch, other = self.filled(5_000), self.filled(3_000, seed=2)
        before, others = self.answers(sketch), other.to_bytes()
        sketch.merge(self.empty())
        twin = sketch.copy()
        assert self.answers(sketch) == self.answers(twin) == before
        fresh = self.empty()
        fresh.merge(sketch)
        assert fresh.n == 5_000
        sketch.merge(other)
        assert sketch.n == 8_000
        self.fill(sketch, 100, seed=3)
        assert other.to_bytes() == others
        assert self.answers(twin) == before
        twin.merge(twin)
        assert twin.n == 10_000

    def test_corrupt_bytes_are_rejected_before_they_are_opened(self) -> None:
        # Opened, a few such changes end the process: the test would not fail but vanish.
        data = self.filled(5_000).to_bytes()
        rng = np.random.default_rng(4)
        for _ in range(300):
            changed = bytearray(data)
            changed[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
            with pytest.raises(EnvelopeError):
                self.open(bytes(changed))
        for length in rng.integers(1, len(data), size=100):
            with pytest.raises(EnvelopeError):
                self.open(data[:length])

    def test_the_bytes_of_every_other_sketch_type_are_rejected(self) -> None:
        ours = self.filled(100).to_bytes()
        for sketch_type in SketchType:
            if sketch_type is SketchType.FREQUENT_STRINGS:
                unseen = UnseenCategories()
                unseen.update(["x"])
                foreign = unseen.to_bytes()
            else:
                numeric = NumericSketch(sketch_type)
                numeric.update(np.arange(100.0))
                foreign = numeric.to_bytes()
            if foreign[:4] != ours[:4]:
                with pytest.raises(MixedSketches, match=r"expected a .* sketch, got"):
                    self.open(foreign)

    @abstractmethod
    def foreign_payloads(self) -> list[tuple[SketchType, bytes]]:
        """Sound payloads of this sketch's type with another size parameter."""

    def test_another_size_parameter_or_a_short_preamble_is_rejected(self) -> None:
        payloads = self.foreign_payloads()
        assert payloads
        for sketch_type, payload in payloads:
            with pytest.raises(MixedSketches):
                self.open(seal(sketch_type, payload))
        for payload in (b"", b"\x02", b"\x05\x01\x0f\x00\xc8", b"\x05\x01\x0f\x00\xc8\x00\x08\x00"):
            with pytest.raises((EnvelopeError, MixedSketches)):
                self.open(seal(payloads[0][0], payload))


class NumericContract(SketchContract[NumericSketch]):
    sketch_type: SketchType
    dtype: type[np.floating[Any]]

    def empty(self) -> NumericSketch:
        return NumericSketch(self.sketch_type)

    def fill(self, sketch: NumericSketch, n: int, seed: int) -> None:
        sketch.update(np.random.default_rng(seed).normal(size=n))

    def open(self, data: bytes) -> NumericSketch:
        return NumericSketch.from_bytes(self.sketch_type, data)

    def answers(self, sketch: NumericSketch) -> list[Any]:
        points = np.linspace(-4, 4, 50)
        return [sketch.n, sketch.quantiles(RANKS).tolist(), sketch.cdf(points).tolist(), sketch.rank_error]

    def check(self, sketch: NumericSketch, values: NDArray[np.floating[Any]]) -> None:
        exact = np.sort(values.astype(self.dtype)).astype(np.float64)
        assert sketch.n == exact.size
        frequent = sketch.quantiles(RANKS)
        assert frequent[0] == exact[0]
        assert frequent[-1] == exact[-1]
        assert np.isin(frequent, exact).all()
        for rank, value in zip(RANKS, frequent.tolist(), strict=True):
            allowed = MARGIN * sketch.rank_error_at(rank) + 1 / exact.size
            # Equal values share a range of ranks: the rank of the returned value must reach the requested rank.
            first = np.searchsorted(exact, value, side="left") / exact.size
            last = np.searchsorted(exact, value, side="right") / exact.size
            assert first - allowed <= rank <= last + allowed, (rank, value, first, last)
        points = np.unique(exact[:: max(1, exact.size // 40)])
        true = np.searchsorted(exact, points, side="right") / exact.size
        allowances = np.array([MARGIN * sketch.rank_error_at(rank) + 1e-9 for rank in true])
        assert (np.abs(sketch.cdf(points) - true) <= allowances).all()

    @pytest.mark.parametrize("name", GENERATORS)
    def test_answers_are_within_the_stated_error(self, name: str) -> None:
        for n in SIZES:
            values = GENERATORS[name](np.random.default_rng(7), n)
            self.check(sketched(self.sketch_type, values), values)

    @pytest.mark.parametrize("name", GENERATORS)
    def test_merges_keep_the_stated_error(self, name: str) -> None:
        rng = np.random.default_rng(8)
        values = GENERATORS[name](rng, 40_000)
        sketch = self.empty()
        for piece in np.split(values, np.sort(rng.integers(0, values.size, size=60))):
            sketch.merge(self.open(sketched(self.sketch_type, piece).to_bytes()))
        self.check(sketch, values)

    @pytest.mark.long
    def test_the_stated_error_holds_in_99_of_100_sketches(self) -> None:
        sketches = (sketched(self.sketch_type, np.arange(20_000.0)) for _ in range(200))
        misses = sum(abs(sketch.cdf([9_999.0])[0] - 0.5) > sketch.rank_error_at(0.5) for sketch in sketches)
        # Binomial(200, 0.01) exceeds 10 with probability 10⁻⁵.
        assert misses <= 10

    def test_small_sketches_are_exact_and_report_it(self) -> None:
        empty = self.empty()
        assert np.isnan([*empty.quantiles(RANKS), *empty.cdf([0.0, 1.0])]).all()
        assert empty.quantiles([]).shape == (0,)
        assert empty.rank_error == 0
        values = np.random.default_rng(9).normal(size=60)
        sketch = sketched(self.sketch_type, values)
        assert sketch.rank_error == 0
        exact = np.sort(values.astype(self.dtype)).astype(np.float64)
        assert sketch.quantiles((np.arange(60) + 0.5) / 60).tolist() == exact.tolist()


class KllContract(NumericContract):
    library: Any

    def foreign_payloads(self) -> list[tuple[SketchType, bytes]]:
        """Sketches of k = 100, and one of k = 200 that has swallowed one and still calls itself 200."""
        small = [self.library(100) for _ in range(3)]
        for sketch, n in zip(small, (1, 50, 5_000), strict=True):
            sketch.update(np.arange(float(n)))
        mixed = self.library(200)
        mixed.update(np.arange(5_000.0))
        mixed.merge(small[-1])
        assert mixed.k == 200
        return [(self.sketch_type, sketch.serialize()) for sketch in (*small, mixed)]


class TestKllFloats(KllContract):
    sketch_type, dtype, library = SketchType.KLL_FLOATS, np.float32, ds.kll_floats_sketch


class TestKllDoubles(KllContract):
    sketch_type, dtype, library = SketchType.KLL_DOUBLES, np.float64, ds.kll_doubles_sketch


class TestReqFloats(NumericContract):
    sketch_type, dtype = SketchType.REQ_FLOATS, np.float32

    def foreign_payloads(self) -> list[tuple[SketchType, bytes]]:
        payloads = []
        for k, high in ((24, True), (12, False)):
            for n in (1, 30, 5_000):
                sketch = ds.req_floats_sketch(k, high)
                sketch.update(np.arange(float(n)))
                payloads.append((self.sketch_type, sketch.serialize()))
        return payloads


class TestUnseenCategories(SketchContract[UnseenCategories]):
    def empty(self) -> UnseenCategories:
        return UnseenCategories()

    def fill(self, sketch: UnseenCategories, n: int, seed: int) -> None:
        sketch.update(_zipf_words(n, seed))

    def open(self, data: bytes) -> UnseenCategories:
        return UnseenCategories.from_bytes(data)

    def answers(self, sketch: UnseenCategories) -> list[Any]:
        return [sketch.n, sketch.top(300)]

    def foreign_payloads(self) -> list[tuple[SketchType, bytes]]:
        sketch = ds.frequent_strings_sketch(6)
        sketch.update("x")
        other_family = TestKllFloats().filled(1_000).to_bytes()[12:]
        return [(SketchType.FREQUENT_STRINGS, payload) for payload in (sketch.serialize(), other_family)]

    @pytest.mark.parametrize("n", [100, 5_000, 50_000])
    def test_bounds_hold_and_every_frequent_value_is_found(self, n: int) -> None:
        words = _zipf_words(n, seed=5)
        pieces = [words[i::7] for i in range(7)]
        sketch = self.empty()
        for piece in pieces:
            part = self.empty()
            part.update(piece)
            sketch.merge(self.open(part.to_bytes()))
        true = dict(zip(*np.unique(words, return_counts=True), strict=True))
        assert sketch.n == n
        error = 3.5 / 2**LG_MAX_K * n
        frequent = sketch.top(1_000)
        for item in frequent:
            assert item.lower <= true[item.value] <= item.upper
            assert item.lower <= item.estimate <= item.upper
            assert item.upper - item.lower <= error
        assert {word for word, count in true.items() if count > error} <= {item.value for item in frequent}
        if n == 100:
            assert {item.value: item.estimate for item in frequent} == true


NUMERIC_TYPES = (SketchType.KLL_FLOATS, SketchType.KLL_DOUBLES, SketchType.REQ_FLOATS)


@pytest.mark.parametrize("sketch_type", NUMERIC_TYPES)
@settings(max_examples=30)
@given(pieces=st.lists(st.lists(st.floats(-1e6, 1e6), max_size=20), min_size=3, max_size=3))
def test_merging_commutes_and_associates_exactly_where_nothing_is_compacted(
    sketch_type: SketchType, pieces: list[list[float]]
) -> None:
    a, b, c = (sketched(sketch_type, np.array(piece)) for piece in pieces)
    left, right = a.copy(), c.copy()
    for into, others in ((left, (b, c)), (right, (b, a))):
        for other in others:
            into.merge(other)
    ranks = np.linspace(0, 1, 21)
    assert left.n == right.n == sum(map(len, pieces))
    assert left.rank_error == 0
    np.testing.assert_array_equal(left.quantiles(ranks), right.quantiles(ranks))


def sketched(sketch_type: SketchType, values: FloatArray) -> NumericSketch:
    sketch = NumericSketch(sketch_type)
    sketch.update(values)
    return sketch


def _zipf_words(n: int, seed: int) -> list[str]:
    ranks = np.random.default_rng(seed).zipf(1.3, size=n) % 10_000
    return [f"word {rank}" for rank in ranks.tolist()]


LEVELS_AT, FIRST_LEVEL_AT = 18, 20


def test_capacities_are_those_of_datasketches() -> None:
    for n in (201, 500, 5000, 100_000, 3_000_000):
        sketch = ds.kll_floats_sketch(KLL_K)
        sketch.update(np.random.default_rng(n).random(n).astype(np.float32))
        data = sketch.serialize()
        levels = data[LEVELS_AT]
        (first,) = struct.unpack_from("<I", data, FIRST_LEVEL_AT)
        assert first + sketch.num_retained == _capacities(KLL_K)[levels - 1], n
    with pytest.raises(ValueError, match="retains all of them"):
        sorted_kll(np.arange(KLL_K, dtype=np.float32), KLL_K, np.float32)


@settings(max_examples=40)
@given(n=st.integers(KLL_K + 1, 60_000))
def test_every_rank_is_within_one_group(n: int) -> None:
    ordered = np.arange(n, dtype=np.float32)
    sketch = ds.kll_floats_sketch.deserialize(sorted_kll(ordered, KLL_K, np.float32))
    assert sketch.n == n
    assert sketch.num_retained <= 640
    assert (sketch.get_min_value(), sketch.get_max_value()) == (0, n - 1)
    # Weights add up to all of the values, or the last rank would not be 1.
    assert np.array(sketch.get_cdf(np.array([n], dtype=np.float32), True))[0] == 1
    group = 1 << next(h for h in range(60) if (n >> h) + h <= _capacities(KLL_K)[h])
    errors = np.array(sketch.get_cdf(ordered, True))[:-1] - np.arange(1, n + 1) / n
    assert np.abs(errors).max() <= group / n + 1e-9
    assert n < MIN_VALUES or group / n <= 1 / 166


@settings(max_examples=40)
@given(
    values=st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=MIN_VALUES, max_size=2 * MIN_VALUES),
    kind=st.sampled_from([SketchType.KLL_FLOATS, SketchType.KLL_DOUBLES]),
)
def test_repeated_values_and_both_widths(values: list[float], kind: SketchType) -> None:
    sketch = NumericSketch(kind)
    sketch.update(np.array(values))
    ordered = np.sort(np.array(values))
    assert sketch.n == len(values)
    assert sketch.quantiles([0, 1]).tolist() == [ordered[0], ordered[-1]]
    again = NumericSketch.from_bytes(kind, sketch.to_bytes())
    points = np.unique(ordered)
    share = np.searchsorted(ordered, points, side="right") / len(ordered)
    for each in (sketch, again):
        assert np.abs(each.cdf(points) - share).max() <= each.rank_error
