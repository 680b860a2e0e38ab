"""Shares of a field's bins after a change of its values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from barograph_server.sketches.baseline.baseline import ALL, QUANTILE_RANKS, FieldBaseline, SliceCounts
from barograph_server.sketches.detection import effects
from barograph_server.sketches.detection.psi_power import mixed_psi

EDGES = tuple(ndtri(np.arange(1, 10) / 10).tolist())


def normal_field() -> FieldBaseline:
    """A standard normal field of 10,000 rows, a tenth of them null, without values above 4."""
    quantiles = ndtri(np.linspace(0.0005, 0.9995, QUANTILE_RANKS))
    cells = (*[900] * 10, 1_000)
    return FieldBaseline(
        name="x",
        kind="numeric",
        edges=EDGES,
        low=-4.0,
        high=4.0,
        mean=0.0,
        std=1.0,
        quantiles=tuple(quantiles.tolist()),
        slices={ALL: SliceCounts(cells=cells)},
    )


def category_field() -> FieldBaseline:
    cells = (600, 300, 50, 30, 20)
    return FieldBaseline(
        name="c", kind="category", categories=("a", "b", "c"), slices={ALL: SliceCounts(cells=cells, singletons=10)}
    )


def test_a_shift_a_factor_and_a_constant_are_those_of_the_distribution() -> None:
    field = normal_field()
    trained, same = effects.trained_shares(field), effects.shifted(field, 0.0)
    assert same.bins == pytest.approx(trained.bins, abs=1e-12)
    assert same.rates == pytest.approx(trained.rates)
    after = effects.shifted(field, 1.0)
    valid = np.diff(ndtr(np.array(EDGES) - 1.0), prepend=0.0, append=1.0)
    assert after.bins[:-1] == pytest.approx(0.9 * valid, abs=2e-3)
    assert after.bins[-1] == pytest.approx(0.1)
    assert after.bins.sum() == pytest.approx(1.0)
    assert after.rates["above"] == pytest.approx(0.9 * (1.0 - ndtr(3.0)), abs=5e-4)
    assert after.rates["below"] == 0.0
    wide = effects.scaled(field, 1.8)
    valid = np.diff(ndtr(np.array(EDGES) / 1.8), prepend=0.0, append=1.0)
    assert wide.bins[:-1] == pytest.approx(0.9 * valid, abs=2e-3)
    hangs = effects.stuck(field, 0.05)
    assert hangs.bins[5] == pytest.approx(0.9)
    assert mixed_psi(trained.bins, hangs.bins, 1.0) > 5.0


def test_whole_numbers_have_no_values_between_them_and_open_limits_are_not_passed() -> None:
    field = FieldBaseline(
        name="i",
        kind="numeric",
        integer=True,
        edges=tuple(np.arange(9) + 0.5),
        std=1.0,
        quantiles=tuple(np.minimum(np.arange(QUANTILE_RANKS) // 100, 9.0).tolist()),
        slices={ALL: SliceCounts(cells=(*[100] * 10, 0))},
    )
    trained, less, one = (effects.shifted(field, sd) for sd in (0.0, 0.45, 1.0))
    assert less.bins == pytest.approx(trained.bins, abs=1e-12)
    assert one.bins == pytest.approx([0.0, *[0.1] * 8, 0.2, 0.0], abs=1e-12)
    assert one.rates == effects.trained_shares(field).rates


def test_a_rate_grows_at_the_cost_of_all_others() -> None:
    field = category_field()
    before = effects.trained_shares(field)
    for kind, column in (("null", -1), ("unseen", -2)):
        after = effects.with_rate(field, kind, 0.5)
        assert after.rates[kind] == pytest.approx(0.5)
        assert after.bins.sum() == pytest.approx(1.0)
        assert after.bins[column] > before.bins[column]
        assert after.bins[0] / after.bins[1] == pytest.approx(2.0)
    # Invalid values are in no bin.
    numbers = normal_field()
    after = effects.with_rate(numbers, "invalid", 0.3)
    assert after.bins == pytest.approx(effects.trained_shares(numbers).bins)
    assert (after.rates["invalid"], after.rates["null"], after.valid) == pytest.approx((0.3, 0.07, 0.63))
    # Events move between the frequent categories.
    assert effects.moved_share(field, 0.1).bins[:2] == pytest.approx([0.5, 0.4])
    assert effects.moved_share(field, 0.9).bins[0] == 0.0


def test_counted_events_have_the_bins_of_training_and_unfit_changes_are_rejected() -> None:
    field = category_field()
    after = effects.observed_shares(field, SliceCounts(cells=(10, 20, 30, 20, 20), invalid=25))
    assert after.bins == pytest.approx([0.1, 0.2, 0.3, 0.2, 0.2])
    assert (after.rates["invalid"], after.rates["unseen"]) == pytest.approx((0.2, 0.16))
    assert effects.observed_shares(field, field.slices[ALL]).rates == effects.trained_shares(field).rates
    with pytest.raises(ValueError, match="no numbers in training"):
        effects.shifted(field, 1.0)
    with pytest.raises(ValueError, match="does not change alone"):
        effects.with_rate(field, "below", 0.1)
    with pytest.raises(ValueError, match="lies in"):
        effects.with_rate(field, "null", 1.5)
    empty = FieldBaseline(name="e", kind="category", categories=("a",), slices={ALL: SliceCounts(cells=(0, 0, 0))})
    with pytest.raises(ValueError, match="no row"):
        effects.trained_shares(empty)
