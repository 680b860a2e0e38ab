import math

import numpy as np
import pytest
from scipy.special import chdtri
from scipy.stats import norm

from barograph_server.sketches.baseline.baseline import Phi
from barograph_server.sketches.baseline.levels import Level
from barograph_server.sketches.drift.few_windows import exceeding_share, upper_factor
from barograph_server.sketches.drift.overdispersion import Overdispersion, learn_phi
from barograph_server.sketches.drift.psi import psi_values, psi_verdicts


def windows(phi: float, count: int, df: int = 9) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    t = phi * float(chdtri(df, 0.5)) * np.linspace(0.5, 1.5, count)[:, None]
    return t, np.full((count, 1), df), np.full((count, 1), 1_000)


def learned(phi: float, count: int, shorter: Overdispersion | None = None) -> tuple[float, int, str]:
    return parts(learn_phi(*windows(phi, count), shorter).of(0))


def parts(phi: Phi) -> tuple[float, int, str]:
    return round(phi.value, 9), phi.windows, phi.flag


def test_the_number_of_windows_decides_whose_phi_is_taken() -> None:
    """Many windows decide alone, some are never below the shorter length, few take the shorter one's."""
    shorter = learn_phi(*windows(8.0, 400))
    for count in (20, 21, 100):
        assert learned(3.0, count, shorter) == (3.0, count, "ok")
        assert learned(0.4, count) == (1.0, count, "ok")
    for count in (5, 19):
        assert learned(3.0, count, shorter) == (8.0, count, "rough")
        assert learned(11.0, count, shorter) == (11.0, count, "rough")
        assert learned(3.0, count) == (3.0, count, "rough")
    for count in (0, 1, 4):
        assert learned(30.0, count, shorter) == (8.0, count, "shorter")
        assert learned(30.0, count) == (1.0, count, "unknown")
        assert learned(30.0, count, learn_phi(*windows(9.0, 2))) == (1.0, count, "unknown")
        twice = learn_phi(*windows(9.0, 2), shorter)
        assert learned(30.0, count, twice) == (8.0, count, "shorter")
    # Windows without events are omitted.
    t, df, n = windows(3.0, 41)
    empty = np.zeros((60, 1))
    result = learn_phi(np.vstack([t, empty]), np.vstack([df, empty + 1]), np.vstack([n, empty]))
    assert parts(result.of(0)) == (3.0, 41, "ok")


def test_each_group_is_learned_by_itself() -> None:
    t, df, n = (np.hstack(parts) for parts in zip(windows(3.0, 40), windows(6.0, 40, df=1), strict=True))
    n[:38, 1] = 0
    value, nu, of_bins = np.array([[1.0, 2.5], [0.0, 1.5], [1.0, 2.0]])
    shorter = Overdispersion(value, nu, of_bins, np.array([90, 90]), np.array(["ok", "rough"], object))
    result = learn_phi(t, df, n, shorter)
    assert result.nu.tolist() == [0.0, 1.5]
    assert result.value == pytest.approx([3.0, 2.5])
    assert result.windows.tolist() == [40, 2]
    assert result.flag.tolist() == ["ok", "shorter"]
    with pytest.raises(ValueError, match=r"one shape \(W, G\), not \(40, 2\), \(40, 1\) and \(40, 2\)"):
        learn_phi(t, df[:, :1], n)
    with pytest.raises(ValueError, match="the shorter length has 2 groups, T has 1"):
        learn_phi(*windows(3.0, 40), result)


def test_the_quantiles_are_numpys() -> None:
    for count in (20, 21):
        t = np.random.default_rng(60).gamma(1.6, 10.0, (count, 6))
        result = learn_phi(t, np.full(t.shape, 4), np.ones(t.shape))
        ratios = [np.quantile(t, q, axis=0) / chdtri(4, 1 - q) for q in (0.5, 0.85)]
        assert result.of_bins == pytest.approx(np.maximum(*ratios), rel=1e-12)
        assert (ratios[0] > ratios[1]).any()
        assert (ratios[0] < ratios[1]).any()


def test_correlated_traffic_is_judged_correctly_with_its_phi() -> None:
    """Every value occurs four times: without φ most windows alarm, with φ at most the nominal share."""
    rng = np.random.default_rng(64)
    base = 4 * rng.multinomial(100_000, np.full(10, 0.1))
    history = 4 * rng.multinomial(400, np.full(10, 0.1), size=300)
    psi, df, t, n = psi_values(base, history, [0])
    phi = learn_phi(t, df, n)
    assert phi.value.item() == pytest.approx(4.0, rel=0.12)
    assert psi.shape == (300, 1)
    later = 4 * rng.multinomial(400, np.full(10, 0.1), size=2_000)
    assert (psi_verdicts(base, later, [0]).p_value < 0.05).mean() > 0.8
    assert (psi_verdicts(base, later, [0], phi=phi.value).p_value < 0.05).mean() == pytest.approx(0.05, abs=0.025)


def test_windows_that_share_a_level_have_few_degrees_of_freedom() -> None:
    """Independent fields keep those of their bins; the level's own interval covers what a later window measures."""
    rng = np.random.default_rng(67)
    edges = norm.ppf(np.arange(11) / 10)

    def windows_of(groups: int, count: int, level_sd: float) -> np.ndarray:
        levels = level_sd * rng.normal(size=(count, groups, 1))
        shares = np.diff(norm.cdf((edges - levels) / math.sqrt(1 - level_sd**2)), axis=2)
        return rng.multinomial(5_000, shares).reshape(count, -1)

    for level_sd, least, most in ((0.0, 0.0, 0.0), (0.3, 1.0, 2.5)):
        groups, starts = 100, np.arange(0, 1_000, 10)
        base = windows_of(groups, 2_000, level_sd).sum(axis=0)
        _, df, t, n = psi_values(base, windows_of(groups, 60, level_sd), starts)
        learned_phi = learn_phi(t, df, n)
        assert np.quantile(learned_phi.nu, 0.05) == least
        assert np.quantile(learned_phi.nu, 0.95) <= most
        nu = np.where(learned_phi.nu > 0, learned_phi.nu, np.inf)
        later = windows_of(groups, 200, level_sd)
        verdicts = psi_verdicts(base, later, starts, phi=learned_phi.value, nu=nu)
        assert (verdicts.p_value < 0.05).mean() < 0.08
        assert (verdicts.level == Level.major).mean() < 0.005


FULL = 2_000
"""Events of the windows that φ is learned from."""
LEVELS = np.full(10, 0.1)


def of_few_readings(n: int, count: int) -> np.ndarray:
    rng = np.random.default_rng([65, n])
    return rng.multinomial(n, rng.multinomial(400, LEVELS, size=count) / 400)


def of_users(n: int, count: int) -> np.ndarray:
    return 5 * np.random.default_rng([66, n]).multinomial(n // 5, LEVELS, size=count)


def test_phi_of_full_traffic_is_safe_for_less_and_a_smaller_one_only_where_events_are_thinned() -> None:
    """docs/decisions/0020-phi-at-lower-traffic.md."""
    for draw, shrinks in ((of_few_readings, True), (of_users, False)):
        base = np.full(10, 10**6)
        _, df, t, n = psi_values(base, draw(FULL, 2_000), [0])
        phi = learn_phi(t, df, n).value.item()
        for fewer in (2, 4):
            less = draw(FULL // fewer, 4_000)
            _, df, t, n = psi_values(base, less, [0])
            thinned = 1.0 + (phi - 1.0) / fewer
            assert learn_phi(t, df, n).value.item() == pytest.approx(thinned if shrinks else phi, rel=0.08)
            safe, smaller = (
                float((psi_verdicts(base, less, [0], phi=each).p_value < 0.05).mean()) for each in (phi, thinned)
            )
            assert safe <= 0.08
            assert (smaller <= 0.08) == shrinks
            assert smaller > (0.04 if shrinks else 0.25)


DRAWS, DF = 20_000, 9


def test_the_share_beyond_a_value_and_the_upper_limit_are_those_of_windows_that_vary_in_one_direction() -> None:
    for windows in (5, 8, 19):
        rng = np.random.default_rng(windows)
        scale = 100.0
        training = scale * rng.chisquare(1, (windows, DRAWS))
        phi = learn_phi(training, np.full(training.shape, DF), np.full(training.shape, 1_000)).value
        later = scale * rng.chisquare(1, DRAWS) / phi
        for value in (10.0, 40.0):
            stated = exceeding_share(value, windows, DF).item()
            assert (later > value).mean() <= stated + 0.01
            assert stated <= 1.6 * (later > value).mean() + 0.01
        true = scale * chdtri(1, 0.15) / chdtri(DF, 0.15)
        assert 0.94 <= (phi * upper_factor(windows, 1) >= true).mean() <= 0.985


def test_many_windows_leave_little_open() -> None:
    factors = upper_factor([8, 60, 1_440], [9, 9, 9])
    assert factors == pytest.approx([1.6, 1.16, 1.03], abs=0.1)
    assert exceeding_share([[40.0], [0.0]], 10**6, DF) == pytest.approx(np.array([[0.0125], [1.0]]), abs=0.002)
