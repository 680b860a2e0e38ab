from dataclasses import fields

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from barograph_server.sketches.baseline.levels import Level
from barograph_server.sketches.drift.psi import PsiVerdicts, psi_verdicts
from barograph_server.sketches.drift.rates import rate_verdicts

IntArray = NDArray[np.int64]
Case = tuple[IntArray, IntArray, IntArray, NDArray[np.float64]]
COUNT = st.one_of(st.just(0), st.integers(0, 20), st.integers(0, 10**7))
NAMES = [field.name for field in fields(PsiVerdicts)]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    sizes = draw(st.lists(st.integers(1, 14), min_size=1, max_size=6))
    width = sum(sizes)
    counts = st.lists(COUNT, min_size=width, max_size=width)
    base = np.array(draw(counts), np.int64)
    window = np.array(draw(st.lists(counts, min_size=1, max_size=5)), np.int64)
    phi = np.array(draw(st.lists(st.floats(1.0, 500.0), min_size=len(sizes), max_size=len(sizes))))
    return base, window, np.cumsum([0, *sizes[:-1]]), phi


@settings(max_examples=40)
@given(cases())
def test_nothing_is_nan_and_all_is_in_range(case: Case) -> None:
    base, window, starts, phi = case
    verdicts = psi_verdicts(base, window, starts, phi=phi)
    for name in NAMES:
        assert not np.isnan(getattr(verdicts, name).astype(float)).any(), name
    sizes = np.diff([*starts, len(base)])
    assert (verdicts.psi >= 0.0).all()
    assert np.isfinite(verdicts.psi).all()
    assert (verdicts.low >= 0.0).all()
    assert (verdicts.low <= verdicts.high).all()
    assert ((verdicts.p_value >= 0.0) & (verdicts.p_value <= 1.0)).all()
    assert ((verdicts.df >= 1) & (verdicts.df <= np.maximum(1, sizes - 1))).all()
    assert (verdicts.visible_shift > 0.0).all()
    known = (verdicts.n > 0) & (np.add.reduceat(base, starts) > 0)
    assert np.array_equal(verdicts.top_bin >= 0, known)
    assert (verdicts.top_bin < sizes).all()
    assert np.array_equal(verdicts.level == Level.insufficient, ~verdicts.enough & (verdicts.level != Level.major))


@settings(max_examples=40)
@given(cases())
def test_a_window_or_a_group_alone_gets_the_same_bits(case: Case) -> None:
    base, window, starts, phi = case
    together = psi_verdicts(base, window, starts, phi=phi)
    for w in range(len(window)):
        alone = psi_verdicts(base, window[w : w + 1], starts, phi=phi)
        for name in NAMES:
            assert np.array_equal(getattr(together, name)[w], getattr(alone, name)[0]), name
    for g, (start, end) in enumerate(zip(starts, [*starts[1:], len(base)], strict=True)):
        alone = psi_verdicts(base[start:end], window[:, start:end], [0], phi=phi[g])
        for name in NAMES:
            assert np.array_equal(getattr(together, name)[:, g], getattr(alone, name)[:, 0]), name


def test_a_large_batch_gets_the_same_bits() -> None:
    """More cells than are worked on at a time, in any memory order."""
    rng = np.random.default_rng(70)
    base, starts = rng.integers(0, 10_000, 5_000), np.arange(0, 5_000, 8)
    window = rng.integers(0, 50, (40, 5_000))
    together = psi_verdicts(base, window, starts)
    by_column = psi_verdicts(base, np.asfortranarray(window), starts)
    for w in (0, 5, 6, 39):
        alone = psi_verdicts(base, window[w], starts)
        for name in NAMES:
            assert np.array_equal(getattr(together, name)[w], getattr(alone, name)[0]), name
            assert np.array_equal(getattr(together, name)[w], getattr(by_column, name)[w]), name


@settings(max_examples=40)
@given(cases(), st.floats(1.0, 20.0))
def test_more_overdispersion_never_makes_a_verdict_surer(case: Case, factor: float) -> None:
    base, window, starts, phi = case
    one, other = psi_verdicts(base, window, starts, phi=phi), psi_verdicts(base, window, starts, phi=phi * factor)
    assert np.array_equal(one.psi, other.psi)
    assert (other.p_value >= one.p_value).all()
    assert (other.enough <= one.enough).all()
    assert (other.low <= one.low + 1e-7 * (1.0 + one.low)).all()
    surer = (other.level == Level.major) & (one.level != Level.major)
    assert not surer.any()


@given(
    st.tuples(st.integers(0, 3_000), st.integers(0, 3_000)),
    st.tuples(st.integers(0, 50_000), st.integers(0, 50_000)),
    st.floats(1.0, 100.0),
)
def test_rate_verdicts_of_any_counts(window: tuple[int, int], base: tuple[int, int], phi: float) -> None:
    (k, n), (base_k, base_n) = sorted(window), sorted(base)
    verdict = rate_verdicts(k, n, base_k, base_n, phi=phi)
    assert -1.0 <= verdict.low.item() <= verdict.delta.item() <= verdict.high.item() <= 1.0
    assert 0.0 <= verdict.p_value.item() <= 1.0
    if n == 0 or base_n == 0:
        assert verdict.level.item() == Level.insufficient
    if verdict.level.item() in (Level.minor, Level.major):
        assert verdict.low.item() > 0.0
        assert verdict.delta.item() > 0.01
