"""With the sides exchanged, the criteria judge the new primary."""

import msgspec
import numpy as np
import pytest
from barograph.contract import ShadowTest

from barograph_server.sketches.rollout.criteria import SLICED, daily_costs, differences, missing_answers
from barograph_server.sketches.rollout.exceedances import BUCKETS
from barograph_server.sketches.rollout.mirror import mirrored, mirrored_prices
from barograph_server.sketches.rollout.shadow_days import COUNTED, HISTOGRAMS, SLO_TIMED, ShadowDays

SHADOW = ShadowTest(
    candidate="3", of="4", margins={"cost": 0.1}, prices={"in": 2.0}, candidate_prices={"in": 1.0, "out": 3.0}
)


def made_days() -> ShadowDays:
    rng = np.random.default_rng(5)
    sums = {name: rng.integers(50, 100, 3).astype(float) for name in (*COUNTED, SLO_TIMED)} | {
        "requests": np.full(3, 200.0)
    }
    missing = {"primary-failed": np.array([1.0, 0.0, 2.0]), "timeout": np.array([4.0, 5.0, 6.0])}
    return ShadowDays(
        slice="all",
        days=("a", "b", "c"),
        ended=np.ones(3, bool),
        mature=np.ones(3, bool),
        sums=sums,
        missing=missing,
        histograms={name: rng.random((3, BUCKETS)) for name in HISTOGRAMS},
        spent_primary={"in": rng.random(3), "out": rng.random(3)},
        spent_candidate={"in": rng.random(3), "out": rng.random(3)},
    )


@pytest.mark.parametrize("name", [*SLICED, "latency", "latency_slo"])
def test_differences_change_their_sign(name: str) -> None:
    days = made_days()
    sums, pairs = differences(name, days, SHADOW)
    other_sums, other_pairs = differences(name, mirrored(days), SHADOW)
    assert np.any(sums != 0.0)
    np.testing.assert_array_equal(other_sums, -sums)
    np.testing.assert_array_equal(other_pairs, pairs)


def test_only_failures_of_the_new_primary_count_against_it() -> None:
    sums, requests = missing_answers(mirrored(made_days()))
    assert sums.tolist() == [-1.0, 0.0, -2.0]
    assert requests.tolist() == [196.0, 195.0, 194.0]


def test_a_shadow_without_an_answer_is_no_loss_of_the_new_primary() -> None:
    other = mirrored(made_days())
    assert not other.sums["missing_labelled"].any()
    assert not other.sums["missing_right"].any()


def test_histograms_costs_and_prices_change_sides_and_agreement_stays() -> None:
    days = made_days()
    other = mirrored(days)
    for name in HISTOGRAMS:
        opposite = name.replace("primary", "*").replace("candidate", "primary").replace("*", "candidate")
        np.testing.assert_array_equal(other.histograms[name], days.histograms[opposite])
    primary, candidate, pairs = daily_costs(SHADOW, days)
    other_costs = daily_costs(mirrored_prices(SHADOW), other)
    np.testing.assert_array_equal(other_costs, (candidate, primary, pairs))
    for shadow in (SHADOW, msgspec.structs.replace(SHADOW, copy="4b")):
        np.testing.assert_array_equal(differences("agreement", other, shadow), differences("agreement", days, shadow))
