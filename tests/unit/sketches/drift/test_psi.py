from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from scipy.special import chdtrc, chdtri, chndtr, chndtrinc, ndtr, ndtri
from scipy.stats import ncx2

from barograph_server.sketches.baseline.levels import REASON_NAMES, Level
from barograph_server.sketches.drift.noncentral import _Inverse, chi2_quantile, lambda_high, lambda_low
from barograph_server.sketches.drift.power import n_star, visible_shift
from barograph_server.sketches.drift.psi import psi_values, psi_verdicts

TEN = [1_000_000] * 10


def test_value_and_interval_follow_the_definition_on_ragged_groups() -> None:
    rng = np.random.default_rng(20)
    sizes = rng.integers(1, 40, 30)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    base = np.concatenate([rng.multinomial(20_000, rng.dirichlet(np.full(size, 0.3))) for size in sizes])
    window = np.concatenate(
        [[rng.multinomial(n, rng.dirichlet(np.full(size, 0.5))) for n in (1, 30, 1_000, 70_000)] for size in sizes], 1
    )
    phi = rng.uniform(1.0, 3.0, 30)
    verdicts = psi_verdicts(base, window, starts, phi=phi)
    for g, start in enumerate(starts):
        cells = slice(start, start + sizes[g])
        for w in range(len(window)):
            psi, df, low, high, top = plain_verdict(base[cells], window[w, cells], phi[g])
            assert verdicts.psi[w, g] == pytest.approx(psi, rel=1e-12, abs=1e-15)
            assert verdicts.df[w, g] == df
            assert verdicts.low[w, g] == pytest.approx(low, rel=1e-7, abs=1e-7)
            assert verdicts.high[w, g] == pytest.approx(high, rel=1e-7, abs=1e-7)
            assert verdicts.top_bin[w, g] == top


def plain_verdict(b: np.ndarray, c: np.ndarray, phi: float) -> tuple[float, int, float, float, int]:
    m, n = b.sum(), c.sum()
    p_plain = (b + 0.5) / (m + len(b) / 2)
    p = np.maximum(1e-4, p_plain)
    a = np.minimum(0.5, n * p)
    q_plain = (c + a) / (n + a.sum())
    q = np.maximum(1e-4, q_plain)
    part = (q - p) * np.log(q / p)
    psi = float(part.sum())
    df = max(1, int(((b / m >= 1e-4) & (n * p >= 0.5)).sum()) - 1)
    n_h = n * m / (n + m) / phi
    t = n_h * psi
    low0 = chndtrinc(t, df, 0.975) / n_h if t > chdtri(df, 0.025) else 0.0
    high0 = chndtrinc(max(t, chdtri(df, 0.5)), df, 0.025) / n_h
    d = max(0.0, psi - df / n_h)
    g = np.where(q_plain < 1e-4, 0.0, np.log(q / p) + 1 - p / q)
    h = np.where(p_plain < 1e-4, 0.0, np.log(p / q) + 1 - q / p)
    v = phi * (((q * g**2).sum() - (q * g).sum() ** 2) / n + ((p * h**2).sum() - (p * h).sum() ** 2) / m)
    r = max(1.0, n_h * v / (4 * psi)) if psi > 1e-20 else 1.0
    low = max(0.0, d - np.sqrt(r) * (d - low0))
    return psi, df, float(low), float(d + np.sqrt(r) * (high0 - d)), int(part.argmax())


def scaled(rest: int, first: int) -> list[int]:
    return [first, *[rest] * 9]


def test_level_of_a_window() -> None:
    for name, window, level in (
        ("equal", scaled(1_000, 1_000), Level.stable),
        ("PSI 0.080", scaled(890, 1_990), Level.stable),
        ("PSI 0.107", scaled(870, 2_170), Level.minor),
        ("PSI 0.225", scaled(800, 2_800), Level.major),
        ("40 events", scaled(4, 4), Level.insufficient),
        ("PSI 0.27 of 40 events: the interval reaches down to 0", scaled(3, 13), Level.insufficient),
        ("100 events, far beyond doubt", scaled(2, 82), Level.major),
    ):
        assert psi_verdicts(TEN, window, [0]).level.item() == level, name
    rng = np.random.default_rng(22)
    shares = np.stack([rng.dirichlet(np.full(10, alpha)) for alpha in np.geomspace(2, 200, 300)])
    drawn = np.stack([rng.multinomial(5_000, share) for share in shares])
    verdicts = psi_verdicts(TEN, drawn, [0], thresholds=(0.07, 0.3))
    assert verdicts.enough.all()
    assert set(np.unique(verdicts.level)) == {Level.stable, Level.minor, Level.major}
    expected = np.where(verdicts.psi > 0.3, Level.major, np.where(verdicts.psi > 0.07, Level.minor, Level.stable))
    assert np.array_equal(verdicts.level, expected)


def test_an_insufficient_verdict_has_a_reason() -> None:
    same, far, few, none = scaled(1_000, 1_000), scaled(2, 82), scaled(4, 4), scaled(0, 0)
    for base, window, phi, completeness, reason in (
        (TEN, same, 1.0, 1.0, ""),
        (TEN, far, 1.0, 1.0, ""),  # too few events for the thresholds, yet major
        (TEN, none, 1.0, 1.0, "no events"),
        (TEN, few, 1.0, 1.0, "too few events"),
        (TEN, few, 1.0, 0.9, "too few events"),
        (TEN, few, 1.0, 0.01, "lost events"),
        (TEN, same, 1_000.0, 1.0, "correlated events"),
        ([5] * 10, same, 1.0, 1.0, "few training rows"),
    ):
        verdicts = psi_verdicts(base, window, [0], phi=phi, completeness=completeness)
        assert REASON_NAMES[verdicts.reason.item()] == reason
        assert (verdicts.level.item() == Level.insufficient) == bool(reason), reason


def test_enough_data_begins_at_n_star() -> None:
    df, minor, major = np.array([[1], [9], [150]]), np.array([0.0, 0.1, 0.02]), np.array([0.1, 0.2, 0.021])
    solved = n_star(df, minor, major)
    assert solved.shape == (3, 3)
    assert ncx2.sf(major * solved, df, minor * solved) == pytest.approx(np.full((3, 3), 0.025), rel=1e-6)
    m = 10**9
    needed = n_star(9).item()
    n = np.array([10 * int(needed * m / (m - needed) / 10), 10 * (int(needed / 10) + 1)])
    window = np.repeat(n[:, None] // 10, 10, axis=1)
    assert psi_verdicts([m // 10] * 10, window, [0]).enough[:, 0].tolist() == [False, True]


def test_thresholds_and_phi_are_per_group() -> None:
    window = scaled(870, 2_170) * 3
    thresholds = ([0.1, 0.05, 0.1], [0.2, 0.1, 0.2])
    verdicts = psi_verdicts(TEN * 3, window, [0, 10, 20], phi=[1, 1, 500], thresholds=thresholds)
    assert verdicts.level[0].tolist() == [Level.minor, Level.major, Level.insufficient]
    per_window = psi_verdicts(TEN, np.stack([window[:10]] * 2), [0], phi=[[1.0], [500.0]])
    assert per_window.level[:, 0].tolist() == [Level.minor, Level.insufficient]


def test_an_empty_side_gives_no_verdict() -> None:
    unknown = {"psi": 0, "low": 0, "high": np.inf, "p_value": 1, "df": 1, "top_bin": -1}
    unknown |= {"level": Level.insufficient, "enough": False, "visible_shift": np.inf}
    for base, window in ((TEN, [0] * 10), ([0] * 10, [5] * 10), ([0] * 10, [0] * 10)):
        verdicts = psi_verdicts([*base, 50, 50], [*window, 100, 100], [0, 10])
        assert verdicts.n[0].tolist() == [sum(window), 200]
        assert {name: getattr(verdicts, name)[0, 0] for name in unknown} == unknown
        assert verdicts.level[0, 1] == psi_verdicts([50, 50], [100, 100], [0]).level.item()
        assert psi_values(base, window, [0])[2].item() == 0.0


def test_a_single_bin_never_drifts_and_the_first_of_equal_contributions_is_named() -> None:
    verdicts = psi_verdicts([7, 1000], [900, 20], [0, 1])
    assert verdicts.psi[0].tolist() == [0.0, 0.0]
    assert verdicts.df[0].tolist() == [1, 1]
    # halving a bin's share contributes more than adding a half to it
    assert psi_verdicts([100] * 4, [100, 300, 100, 300], [0]).top_bin.item() == 0
    assert psi_verdicts([100] * 4, [300, 100, 300, 100], [0]).top_bin.item() == 1
    verdicts = psi_verdicts([1, 2, 3], np.empty((0, 3), np.int64), [0, 2])
    assert verdicts.level.shape == verdicts.high.shape == verdicts.top_bin.shape == (0, 2)


def test_invalid_arguments_are_rejected() -> None:
    right = {"base": [1, 2], "window": [1, 2], "starts": [0]}
    for wrong, message in (
        ({"window": [1, 2, 3]}, "do not fit"),
        ({"starts": [1]}, "ascend from 0"),
        ({"base": [1, -2]}, "baseline count is negative"),
        ({"window": [1, -2]}, "window count is negative"),
        ({"window": [1.5, 2]}, "whole numbers"),
        ({"base": [[1, 2]]}, "one-dimensional"),
        ({"phi": 0.5}, "at least 1"),
        ({"thresholds": ([0.1, 0.1], 0.2)}, "one threshold for all groups or one for each of 1"),
        ({"thresholds": (0.2, 0.2)}, "below its major threshold"),
    ):
        arguments: dict[str, Any] = {**right, **wrong}
        with pytest.raises(ValueError, match=message):
            psi_verdicts(**arguments)


def test_visible_shift_is_seen_with_80_percent_power() -> None:
    """A normal field in ten bins, shifted by the visible shift: four in five windows have p < 0.001."""
    n = 1_000
    shift = visible_shift(np.array([9]), np.array([float(n)])).item()
    shares = np.diff(ndtr(ndtri(np.linspace(0, 1, 11)) - shift))
    window = np.random.default_rng(24).multinomial(n, shares, size=4_000)
    detected = (psi_verdicts(TEN, window, [0]).p_value < 0.001).mean()
    assert detected == pytest.approx(0.8, abs=0.03)
    # No shift is visible to a handful of events.
    assert visible_shift(np.array([9, 9]), np.array([0.0, 1.0])).tolist() == [np.inf, np.inf]


def test_the_error_of_a_sketched_baseline_is_part_of_n_h() -> None:
    """1/n_h = φ/n + φ/m + 1/n_eff, here for n = 5,000 and m = 10⁶: φ does not multiply the sketch's error."""
    base, window = [100_000] * 10, [520, 480] * 5
    for noise, phi, n_h in (
        (0.0, 1.0, 4975.12437811),
        (11 / 143_000, 1.0, 3598.11790756),
        (1e-4, 1.0, 3322.25913621),
        (1e-4, 50.0, 1 / (50 / 5_000 + 50 / 1_000_000 + 1e-4)),
    ):
        verdicts = psi_verdicts(base, window, [0], phi=phi, noise=noise)
        t = n_h * verdicts.psi.item()
        assert verdicts.p_value.item() == pytest.approx(chdtrc(9, t), rel=1e-9)
        centre = max(0.0, verdicts.psi.item() - 9 / n_h)
        assert verdicts.low.item() <= centre <= verdicts.high.item()
        assert verdicts.visible_shift.item() == pytest.approx(visible_shift(np.array([9]), np.array([n_h])).item())
    # It can be too rough for any window.
    verdicts = psi_verdicts(base, [[10_000] * 10, [0] * 9 + [100_000]], [0], noise=1.0)
    assert verdicts.level.ravel().tolist() == [Level.insufficient] * 2
    assert [REASON_NAMES[reason] for reason in verdicts.reason.ravel()] == ["few training rows"] * 2


SEED = 31


def random_df(rng: np.random.Generator, count: int) -> list[int]:
    return sorted({1, 2, 3, 9, 400, *rng.integers(1, 401, count).tolist()})


def test_both_ends_agree_with_scipy() -> None:
    rng = np.random.default_rng(SEED)
    for df in random_df(rng, 12):
        start, median = chdtri(df, 0.025), chdtri(df, 0.5)
        near = 1.0 + 10.0 ** rng.uniform(-6.0, 0.0, 12)
        t = np.concatenate([10.0 ** rng.uniform(-4.0, 5.0, 16), start * near, median * near])
        # scipy's inverse takes a second start where λ is 0
        low = np.where(t > start, chndtrinc(t, df, 0.975), 0.0)
        high = chndtrinc(np.maximum(t, median), df, 0.025)
        assert lambda_low(t, df) == pytest.approx(low, rel=1e-7, abs=1e-7), f"df {df}, seed {SEED}"
        assert lambda_high(t, df) == pytest.approx(high, rel=1e-7, abs=1e-7), f"df {df}, seed {SEED}"


def test_large_values_lie_on_the_distribution() -> None:
    """Up to 10⁷ scipy's inverse takes milliseconds; its distribution function is enough to check."""
    rng = np.random.default_rng(SEED)
    for df in random_df(rng, 10):
        t = 10.0 ** rng.uniform(5.0, 7.0, 4)
        # √T is nearly normal with variance 1: 10⁻⁵ in p is 2·10⁻⁴ in √λ, 10⁻⁷ of it at λ = 10⁶ and more
        assert chndtr(t, df, lambda_low(t, df)) == pytest.approx(np.full(4, 0.975), abs=1e-6)
        assert chndtr(t, df, lambda_high(t, df)) == pytest.approx(np.full(4, 0.025), abs=1e-6)


def test_below_the_start_the_lower_end_is_zero_and_the_upper_that_of_the_median() -> None:
    share = np.array([0.0, 0.5, 1.0 - 1e-12])
    for df in (1, 2, 9, 77):
        start, median = float(chdtri(df, 0.025)), float(chdtri(df, 0.5))
        assert lambda_low(share * start, df).tolist() == [0.0, 0.0, 0.0]
        assert lambda_high(share * median, df) == pytest.approx(np.full(3, chndtrinc(median, df, 0.025)), rel=1e-9)
    # Shapes broadcast, and scalars work.
    assert lambda_high([[1.0], [50.0]], [1, 9, 20]).shape == (2, 3)
    assert lambda_low(40.0, 9).shape == ()
    assert lambda_low(np.empty((0, 4)), np.empty((0, 4), np.int64)).shape == (0, 4)
    assert chi2_quantile(np.array([[1, 9]]), 0.5) == pytest.approx(np.array([[0.454936, 8.342833]]), abs=5e-7)
    with pytest.raises(ValueError, match="at least 1"):
        lambda_low(3.0, 0)


def test_threads_that_build_curves_at_once_agree() -> None:
    inverse = _Inverse(0.025)
    orders = [np.random.default_rng(seed).permutation(np.arange(1, 60)) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        verdicts = list(pool.map(lambda order: inverse(np.full(59, 80.0), order)[np.argsort(order)], orders))
    for other in verdicts[1:]:
        assert np.array_equal(verdicts[0], other)
