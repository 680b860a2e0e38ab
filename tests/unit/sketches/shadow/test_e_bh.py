"""False discovery rate of e-values."""

from __future__ import annotations

import numpy as np
import pytest

from sketches.shadow.e_bh import e_bh, log_mean_e

GOLDEN = np.log([900, 400, 130, 61, 20, 8, 3, 1, 0.5, 0.1])


def test_golden_rejections() -> None:
    for alpha, rejections in ((0.1, 5), (0.05, 4)):
        np.testing.assert_array_equal(e_bh(GOLDEN, alpha), np.arange(10) < rejections)
    # Families are separate; e-values may be huge, zero, or none.
    assert e_bh(np.stack([GOLDEN, np.zeros(10)])).sum(axis=1).tolist() == [5, 0]
    np.testing.assert_array_equal(e_bh([5_000.0, -np.inf]), [True, False])
    assert float(log_mean_e([5_000.0, -np.inf])) == pytest.approx(5_000.0 - np.log(2.0))
    assert e_bh([]).shape == (0,)
    assert float(log_mean_e([])) == 0.0


def test_invalid_arguments_are_rejected() -> None:
    with pytest.raises(ValueError, match="NaN"):
        e_bh([1.0, np.nan])
    with pytest.raises(ValueError, match="α"):
        e_bh([1.0], 0.0)
