"""Time to detection."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from sketches.detection.delay import DetectionCurve, share_at
from sketches.detection.psi_power import exceedance, level_threshold, mixed_psi
from tests.unit.sketches.detection.test_psi_power import deciles


def detection(after: NDArray[np.float64], n_eff: float) -> Callable[[float], float]:
    threshold = level_threshold(n_eff, 9, 0.1, 0.2)
    return lambda share: float(exceedance(mixed_psi(deciles(), after, share), n_eff, 9, threshold))


@pytest.mark.parametrize(
    ("after", "n_eff", "hours"),
    [
        pytest.param(deciles(1.0), 500, (9.30419489622, 10.8829741833, 12.4585640144), id="shift-1"),
        pytest.param(deciles(0.0, 1.8), 500, (14.0892547447, 16.4914671608, 18.9058176911), id="scale-1.8"),
        pytest.param(deciles(0.75), 1000, (13.3185792632, 14.7274307827, 16.1225206412), id="shift-0.75"),
    ],
)
def test_golden_hours(after: NDArray[np.float64], n_eff: float, hours: tuple[float, ...]) -> None:
    curve = DetectionCurve(24.0, 0.0, detection(after, n_eff))
    assert [curve.reached_s(u) for u in (0.1, 0.5, 0.9)] == pytest.approx(hours, abs=1e-9)


def test_the_wait_for_the_next_window_is_added() -> None:
    probability = detection(deciles(1.0), 500)
    plain, hopping = DetectionCurve(24.0, 0.0, probability), DetectionCurve(24.0, 6.0, probability)
    assert hopping.reached_s(0.5) == pytest.approx(plain.reached_s(0.5) + 3.0)


def test_reached_within_a_time_agrees_with_the_time() -> None:
    curve = DetectionCurve(24.0, 1.0, detection(deciles(1.0), 500))
    at = curve.reached_s(0.8)
    assert curve.is_reached(0.8, at + 1e-6)
    assert not curve.is_reached(0.8, at - 1e-6)
    assert not curve.is_reached(0.8, 0.5)


def test_a_change_that_is_too_small_is_never_detected() -> None:
    assert DetectionCurve(24.0, 1.0, detection(deciles(0.25), 500)).reached_s(0.5) == math.inf


def test_what_is_always_detected_takes_no_share() -> None:
    assert share_at(lambda share: 1.0, 0.5) == 0.0


@pytest.mark.parametrize("quantile", [0.0, 1.0])
def test_a_quantile_lies_between_0_and_1(quantile: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        share_at(lambda share: share, quantile)
