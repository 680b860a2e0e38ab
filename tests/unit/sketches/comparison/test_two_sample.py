"""Comparison of two samples: figures computed by hand, by scipy and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chi2

from barograph_server.sketches.baseline.levels import REASON_NAMES, Level
from barograph_server.sketches.comparison.two_sample import PsiDifferences, psi_differences
from tests.unit.sketches.drift.test_psi_simulated import RARE, TEN, psi
from tests.unit.sketches.drift.test_psi_simulated import SHARES as ONE_SIDED

FloatArray = NDArray[np.float64]

SHARES: dict[str, FloatArray] = {
    "two": np.array([0.5, 0.5]),
    "two, one rare": np.array([0.98, 0.02]),
    "five": np.array([0.5, 0.3, 0.15, 0.04, 0.01]),
    "ten and never null": np.array([*TEN, 0.0]),
    **{name: ONE_SIDED[name] for name in ("ten", "ten and 0.1 % null", "twenty")},
    **RARE,
}


GOLDEN_ALARMS: dict[str, tuple[int, int, int, int]] = {
    "two": (12, 0, 0, 0),
    "two, one rare": (17, 0, 0, 0),
    "five": (14, 0, 0, 0),
    "ten": (31, 0, 0, 0),
    "ten and never null": (29, 0, 0, 0),
    "ten and 0.1 % null": (26, 1, 0, 0),
    "ten and three of 0.03 %": (33, 1, 0, 0),
    "twenty": (29, 0, 0, 0),
    "twenty and three of 0.03 %": (29, 1, 0, 0),
    "integers, poisson tail": (28, 1, 0, 0),
    "integers, geometric tail": (15, 0, 0, 0),
}
"""`alarms` of 500 comparisons of 500 events with 50,000."""


def simulate(p: FloatArray, q: FloatArray, m: int, n: int, draws: int, phi: float = 1.0) -> PsiDifferences:
    """`draws` pairs with shares p on the left and q on the right, as groups of one pair."""
    rng = np.random.default_rng([m, n, len(p)])
    left, right = rng.multinomial(m, p, size=draws), rng.multinomial(n, q, size=draws)
    starts = np.arange(draws) * len(p)
    return psi_differences(left.reshape(1, -1), right.reshape(1, -1), starts, phi_left=phi, phi_right=phi)


def alarms(verdicts: PsiDifferences) -> tuple[int, int, int, int]:
    p, level = verdicts.p_value, verdicts.level
    return tuple(int(hits.sum()) for hits in (p < 0.05, p < 0.001, level == Level.minor, level == Level.major))  # type: ignore[return-value]


def test_golden_alarms_without_drift() -> None:
    counted = {name: alarms(simulate(p, p, 500, 50_000, draws=500)) for name, p in SHARES.items()}
    assert counted == GOLDEN_ALARMS


def test_a_pair_by_hand() -> None:
    """Bins are not pooled: the figures follow from plain arithmetic and scipy's χ²."""
    b, c = np.array([400, 300, 200, 100]), np.array([900, 600, 300, 200])
    verdicts = psi_differences(b, c, [0], phi_left=1.5, phi_right=2.0)
    p, q = (b + 0.5) / (1_000 + 2.0), (c + 0.5) / (2_000 + 2.0)
    expected = psi(p, q)
    n_h = 1.0 / (1.5 / 1_000 + 2.0 / 2_000)
    assert verdicts.psi.item() == pytest.approx(expected, rel=1e-12)
    assert verdicts.df.item() == 3
    assert verdicts.p_value.item() == pytest.approx(chi2.sf(n_h * expected, 3), rel=1e-9)
    assert (verdicts.n_left.item(), verdicts.n_right.item()) == (1_000, 2_000)
    assert verdicts.low.item() <= expected <= verdicts.high.item()
    assert verdicts.top_bin.item() == int(np.argmax((q - p) * np.log(q / p)))
    # Noise of sketches caps the sample.
    b, c = np.full(10, 10**6), np.full(10, 10**6) + np.array([20_000, -20_000] * 5)
    sketched = psi_differences(b, c, [0], noise=1.0 / 13_000)
    assert psi_differences(b, c, [0]).p_value.item() < 1e-9 < 0.5 < sketched.p_value.item()
    n_h = 1.0 / (2.0 / 10**7 + 1.0 / 13_000)
    assert sketched.p_value.item() == pytest.approx(chi2.sf(n_h * sketched.psi.item(), 9), rel=1e-9)


def test_rare_bins_are_one_bin() -> None:
    b, c = np.array([5_000, 4_997, 1, 1, 1]), np.array([51, 49, 0, 0, 0])
    verdicts = psi_differences(b, c, [0])
    merged = psi_differences(np.array([5_000, 4_997, 3]), np.array([51, 49, 0]), [0])
    assert verdicts.psi.item() == merged.psi.item()
    assert verdicts.df.item() == merged.df.item() == 1
    # The rest is named by the bin that differs most.
    assert psi_differences(np.array([100_000, 0, 0, 0]), np.array([4, 0, 1, 0]), [0]).top_bin.item() == 2


def test_an_empty_side_leaves_the_difference_unknown() -> None:
    verdicts = psi_differences([[0, 0, 3, 4]], [[5, 5, 0, 0]], [0, 2])
    assert verdicts.level.tolist() == [[Level.insufficient] * 2]
    assert verdicts.psi.tolist() == [[0.0, 0.0]]
    assert verdicts.low.tolist() == [[0.0, 0.0]]
    assert np.isinf(verdicts.high).all()
    assert verdicts.p_value.tolist() == [[1.0, 1.0]]
    assert verdicts.top_bin.tolist() == [[-1, -1]]


def test_reasons_of_insufficient_data() -> None:
    """With ten bins, two sides of 736 independent events each are enough."""
    for n, phi, completeness, reason in (
        (1_000, 1.0, 1.0, ""),
        (0, 1.0, 1.0, "no events"),
        (300, 1.0, 1.0, "too few events"),
        (300, 4.0, 1.0, "too few events"),
        (1_000, 4.0, 1.0, "correlated events"),
        (600, 1.0, 0.5, "lost events"),
        (600, 1.0, 0.95, "too few events"),
    ):
        counted = np.full(10, n // 10)
        verdicts = psi_differences(counted, counted, [0], phi_left=phi, phi_right=phi, completeness=completeness)
        assert REASON_NAMES[verdicts.reason.item()] == reason
        assert (verdicts.level.item() == Level.insufficient) == bool(reason), reason


counts = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=12)


@settings(max_examples=40)
@given(counts, counts, st.floats(1.0, 100.0), st.floats(1.0, 100.0))
def test_sides_are_symmetric_and_groups_independent(
    first: list[tuple[int, int]], second: list[tuple[int, int]], phi_left: float, phi_right: float
) -> None:
    pairs = np.array(first + second, np.int64).T
    starts = [0, len(first)]
    one = psi_differences(pairs[0], pairs[1], starts, phi_left=phi_left, phi_right=phi_right)
    other = psi_differences(pairs[1], pairs[0], starts, phi_left=phi_right, phi_right=phi_left)
    for name in ("psi", "low", "high", "p_value", "df"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-6, atol=1e-12)
        assert not np.isnan(getattr(one, name)).any()
    alone = psi_differences(pairs[0, len(first) :], pairs[1, len(first) :], [0], phi_left=phi_left, phi_right=phi_right)
    assert alone.psi[0, 0] == one.psi[0, 1]
    assert alone.top_bin[0, 0] == one.top_bin[0, 1] < len(second)
    assert (one.low <= one.high).all()


def test_invalid_arguments_are_rejected() -> None:
    for left, right, starts, phi in (
        ([1, 2], [1, 2, 3], [0], 1.0),
        ([1, 2], [1, -2], [0], 1.0),
        ([1, 2], [1, 2], [1], 1.0),
        ([1, 2], [1, 2], [0], 0.5),
        ([1.0, 2.0], [1.0, 2.0], [0], 1.0),
    ):
        with pytest.raises(ValueError):
            psi_differences(left, right, starts, phi_left=phi)
