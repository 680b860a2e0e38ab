"""q-values over the fields of a window, against the golden row and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import false_discovery_control

from sketches.drift.fdr import q_values

P = [0.001, 0.012, 0.02, 0.03, 0.2, 0.6]
W = [3, 1, 1, 1, 0.5, 0.5]
Q = [0.002333, 0.042, 0.046667, 0.0525, 0.56, 1.0]


def test_golden() -> None:
    np.testing.assert_allclose(q_values(P, W), [Q], atol=5e-7)
    # Only the proportions of weights count.
    np.testing.assert_allclose(q_values(P, [7 * w for w in W]), q_values(P, W), rtol=1e-12)
    # A family without enough data has no q.
    assert np.isnan(q_values([[0.1, 0.2]], compared=False)).all()
    assert q_values(np.empty((3, 0))).shape == (3, 0)
    assert q_values(np.empty((0, 2)), [1, 2], family=[0, 0]).shape == (0, 2)


@settings(max_examples=30)
@given(arrays(float, st.integers(1, 30), elements=st.floats(0, 1, allow_subnormal=False)))
def test_without_weights_it_is_scipys(p: np.ndarray) -> None:
    np.testing.assert_allclose(q_values(p)[0], false_discovery_control(p), rtol=1e-12, atol=0)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_a_batch_of_windows_and_families_gives_the_same_results_as_each_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    windows, groups = int(rng.integers(1, 5)), int(rng.integers(1, 12))
    p = rng.random((windows, groups)) ** 3
    weights = rng.choice([0.5, 1.0, 2.0], groups)
    family = rng.integers(0, 3, groups)
    compared = rng.random((windows, groups)) < 0.7
    q = q_values(p, weights, family=family, compared=compared)
    assert np.array_equal(np.isnan(q), ~compared)
    for w in range(windows):
        for s in range(3):
            chosen = compared[w] & (family == s)
            alone = q_values(p[w, chosen], weights[chosen])[0]
            np.testing.assert_allclose(q[w, chosen], alone, rtol=1e-12)


def test_wrong_arguments_are_rejected() -> None:
    for p in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="a p-value is not in"):
            q_values([0.5, p])
        assert q_values([0.5, p], compared=[True, False])[0, 0] == 0.5
    for weight in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="a weight of a field"):
            q_values([0.5, 0.5], [1.0, weight])
