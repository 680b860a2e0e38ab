"""What few windows of training leave open about φ, against simulation."""

import numpy as np
import pytest
from scipy.special import chdtri

from barograph_server.sketches.drift.few_windows import exceeding_share, upper_factor
from barograph_server.sketches.drift.overdispersion import learn_phi

DRAWS, DF = 20_000, 9


@pytest.mark.parametrize("windows", [5, 8, 19])
def test_the_share_beyond_a_value_and_the_upper_limit_are_those_of_windows_that_vary_in_one_direction(
    windows: int,
) -> None:
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
