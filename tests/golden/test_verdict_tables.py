"""Verdicts and intervals worked out by hand once, to every printed digit.

The last entries of some rows are special bins (null, `other`); they are bins like any other.
"""

from dataclasses import dataclass

import numpy as np
import pytest

from barograph_server.sketches.baseline.levels import LEVEL_NAMES
from barograph_server.sketches.drift.power import n_star, visible_shift
from barograph_server.sketches.drift.psi import psi_verdicts
from barograph_server.sketches.drift.rates import newcombe, wilson


@dataclass(frozen=True)
class Row:
    base: list[int]
    window: list[int]
    psi: float
    df: int
    low: float
    high: float
    level: str
    p_value: float | None = None
    phi: float = 1.0


TEN = [1000] * 10
SKEWED = [130, 120, 110, 105, 100, 95, 95, 90, 80, 75]
ROWS = {
    "same": Row([100] * 10, [100] * 10, 0, 9, 0, 0.025810, "stable"),
    "skewed": Row(TEN, SKEWED, 0.025676, 9, 0.002402, 0.040264, "stable", 0.005472),
    "forty events": Row(TEN, [10, 8, 6, 4, 3, 3, 2, 2, 1, 1], 0.395748, 9, 0, 0.641645, "insufficient", 0.071913),
    "four bins": Row(
        [5000, 3000, 1500, 500], [400, 350, 200, 50], 0.044515, 3, 0.019475, 0.073663, "stable", 8.4799e-9
    ),
    "an empty bin": Row([10_000] * 10, [0, 500, *[1000] * 6, 1500, 2000], 0.814210, 9, 0.776665, 0.850840, "major"),
    "skewed, φ 2": Row(TEN, SKEWED, 0.025676, 9, 0, 0.041222, "stable", 0.232496, phi=2.0),
    "special bins, empty": Row([*[10_000] * 10, 0, 0, 0], [*[10] * 10, 0, 0, 0], 0, 9, 0, 0.129178, "insufficient"),
    "special bins, one stray": Row(
        [*[10_000] * 10, 0, 0, 0], [*[100] * 9, 99, 1, 0, 0], 0.002389, 9, 0, 0.014512, "stable", 0.984281
    ),
    "5 % in a bin that was empty": Row([*[10_000] * 10, 0], [*[95] * 10, 50], 0.311545, 9, 0.211411, 0.407409, "major"),
    "3 % in a bin that was empty": Row([*[10_000] * 10, 0], [*[97] * 10, 30], 0.171100, 9, 0.098258, 0.239380, "minor"),
    "two bins": Row([9800, 200], [180, 20], 0.140454, 1, 0.050780, 0.271990, "insufficient"),
}


def test_psi_verdicts() -> None:
    rows = list(ROWS.values())
    starts = np.cumsum([0, *(len(row.base) for row in rows[:-1])])
    base, window = (np.concatenate([getattr(row, name) for row in rows]) for name in ("base", "window"))
    verdict = psi_verdicts(base, window, starts, phi=[row.phi for row in rows])
    for name in ("psi", "low", "high"):
        assert getattr(verdict, name)[0] == pytest.approx([getattr(row, name) for row in rows], abs=5e-7), name
    assert [LEVEL_NAMES[level] for level in verdict.level[0]] == [row.level for row in rows]
    assert verdict.df[0].tolist() == [row.df for row in rows]
    for (name, row), p_value in zip(ROWS.items(), verdict.p_value[0].tolist(), strict=True):
        if row.p_value is not None:
            rel, absolute = (1e-5, 0.0) if row.p_value < 1e-6 else (0.0, 5e-7)
            assert p_value == pytest.approx(row.p_value, rel=rel, abs=absolute), name


def test_enough_data_and_the_visible_shift() -> None:
    for df, expected in ((1, 223.90), (3, 262.90), (9, 367.99), (12, 416.65), (19, 524.45), (49, 943.00)):
        assert n_star(df).item() == pytest.approx(expected, abs=0.005), df
    assert n_star(9, 0.1, 0.25).item() == pytest.approx(208.31, abs=0.005), "other thresholds"
    for n, expected in ((100.0, 0.551), (1_000.0, 0.173), (10_000.0, 0.055)):
        assert visible_shift(np.array([9]), np.array([n])).item() == pytest.approx(expected, abs=0.0005), n


def test_intervals_of_rates() -> None:
    low, high = wilson(50, 1000)
    assert (low.item(), high.item()) == pytest.approx((0.038130, 0.065314), abs=5e-7)
    delta, low, high = newcombe(20, 1000, 0, 100_000)
    assert (delta.item(), low.item(), high.item()) == pytest.approx((0.020000, 0.012984, 0.030690), abs=5e-7)
