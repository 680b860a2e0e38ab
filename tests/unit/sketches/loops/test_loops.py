from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import entropy, linregress

from barograph_server.sketches.loops.diversity import diversity
from barograph_server.sketches.loops.effect import LoopEffect, estimate_effect, follow
from barograph_server.sketches.loops.measure import RETURNS, LoopRows, decide, measure_loop
from tests.reference.feedback_loops import DAY_MS, coverage, measured


def pairs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    entity = np.sort(rng.integers(0, 120, 600))
    before = rng.standard_normal(120)[entity] + rng.standard_normal(600)
    chance = 1.0 / (1.0 + np.exp(-before))
    output = (rng.random(600) < chance).astype(np.float64)
    later = 0.5 * before + 0.4 * output + rng.standard_normal(600)
    propensity = np.where(output == 1.0, chance, 1.0 - chance)
    return {"output": output, "propensity": propensity, "before": before, "later": later, "entity": entity}


def test_the_estimate_is_a_weighted_regression_and_its_error_that_of_a_jackknife_by_entity() -> None:
    data = pairs()

    def by_hand(rows: np.ndarray) -> float:
        root = np.sqrt(1.0 / data["propensity"][rows])
        design = np.column_stack((np.ones(len(root)), data["output"][rows], data["before"][rows]))
        slope = np.linalg.lstsq(design * root[:, None], data["later"][rows] * root)[0][1]
        rest = data["later"][rows] - slope * data["output"][rows]
        return float(slope / np.sqrt(np.average((rest - np.average(rest, weights=root**2)) ** 2, weights=root**2)))

    effect = estimate_effect(**data, is_class=True)
    assert effect.value == pytest.approx(by_hand(np.ones(600, bool)), rel=1e-9)
    jackknife = np.array([by_hand(data["entity"] != each) for each in np.unique(data["entity"])])
    error = np.sqrt((len(jackknife) - 1) * jackknife.var())
    assert (effect.high - effect.low) / 2 / 1.98 == pytest.approx(error, rel=0.05)
    weights = 1.0 / data["propensity"]
    spread = np.sqrt(np.average((data["output"] - np.average(data["output"], weights=weights)) ** 2, weights=weights))
    assert estimate_effect(**data, is_class=False).value == pytest.approx(effect.value * spread, rel=1e-9)


def test_too_little_data_has_no_effect_but_a_reason() -> None:
    data = pairs()
    cases = {
        "effective pairs": {"later": np.where(np.arange(600) < 90, data["later"], np.nan)},
        "entities": {"entity": data["entity"] // 12},
        "all equal": {"output": np.ones(600)},
        "of one action": {"output": (np.arange(600) < 10) * 1.0},
    }
    for reason, changed in cases.items():
        effect = estimate_effect(**data | changed, is_class=True)
        assert reason in effect.reason
        assert np.isnan(effect.value)
    with pytest.raises(ValueError, match="propensity"):
        estimate_effect(**data | {"propensity": np.full(600, 1.5)}, is_class=True)
    for later in (np.full(600, 7.1), data["before"]):
        unchanged = estimate_effect(**data | {"later": later}, is_class=True)
        assert (unchanged.value, unchanged.low, unchanged.high, unchanged.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_a_prediction_is_followed_by_the_first_of_its_entity_after_the_lag() -> None:
    entity, at = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 5, 10, 99, 10, 20])
    assert follow(entity, at, 10, 70).tolist() == [2, -1, -1, -1, 5, -1]
    assert follow(entity[:0], at[:0], 10, 70).tolist() == []


def test_verdicts() -> None:
    nothing = LoopEffect(0.01, -0.05, 0.07, 0.7, 900, 90)
    loop, wide = replace(nothing, value=0.3, low=0.2, high=0.4, p_value=1e-9), replace(nothing, high=0.12)
    small = replace(nothing, value=0.03, low=0.02, high=0.04, p_value=1e-9)
    assert decide({"a": nothing, "b": loop}, {}, 1).fields == ("b",)
    assert decide({"a": nothing, "b": small}, {}, 1).name == "not seen", "an effect too small to be relevant"
    assert "a: its interval" in decide({"a": wide, "b": nothing}, {}, 1).reason
    assert decide({"a": loop}, {}, 0).reason == "no exploration"
    assert "propensities are wrong" in decide({"a": loop}, {"a": loop}, 1).reason
    assert decide({"a": replace(wide, p_value=0.006), "b": nothing}, {}, 1).name == "cannot tell", "Holm"


@pytest.mark.long
def test_planted_loops_on_real_flights() -> None:
    """Of 30 repetitions at a coverage of 95 %, fewer than 25 cover with a probability of 0.3 %."""
    for strength in (0.0, 0.3):
        row = coverage(strength, 30, is_class=False)
        assert row["coverage"] >= 25 / 30
        assert row["estimate"] == pytest.approx(strength, abs=0.02)
        assert row["naive"] > strength + 0.04, "all predictions together are confounded"
        assert row["likely" if strength else "not seen"] >= 0.8


def test_an_output_after_which_entities_stay_away_is_a_loop() -> None:
    rng, n = np.random.default_rng(2), 2_000
    output = rng.integers(0, 2, n).astype(np.float64)
    returns = rng.random(n) < 0.9 - 0.4 * output
    entity = np.repeat(np.arange(n), 1 + returns)
    is_first = np.append(True, np.diff(entity) > 0)
    propensity = np.where(is_first, 0.5, np.nan)
    values = {"x": rng.standard_normal(len(entity))}
    rows = LoopRows(entity, np.where(is_first, 0, DAY_MS), output[entity], propensity, values)
    measurement = measured(rows, is_class=True)
    assert (measurement.verdict.name, measurement.recent) == ("cannot tell", n), "their week is not over"
    measurement = measure_loop(rows, DAY_MS, 7 * DAY_MS, is_class=True)
    assert measurement.verdict.fields == (RETURNS,)
    expected = (returns[output == 1].mean() - returns[output == 0].mean()) / np.sqrt(0.17)
    assert measurement.effects[RETURNS].value == pytest.approx(expected, rel=0.05)
    assert measurement.effects["x"].pairs == returns.sum()


def test_diversity_against_scipy() -> None:
    counts = np.random.default_rng(5).integers(0, 50, (8, 6))
    result = diversity(counts)
    assert result.entropy == pytest.approx([entropy(week, base=2) for week in counts])
    gini = [np.abs(week[:, None] - week).sum() / (2 * len(week) * week.sum()) for week in counts]
    assert result.gini == pytest.approx(gini)
    line = linregress(np.arange(6), gini[1:-1])
    assert result.gini_trend.slope == pytest.approx(line.slope)
    assert (result.gini_trend.high - line.slope) / line.stderr == pytest.approx(2.776, abs=1e-3)
    assert np.isnan(diversity(counts[:5]).entropy_trend.slope)
    assert diversity([[4, 0], [0, 0], [2, 2]]).entropy == pytest.approx([0.0, np.nan, 1.0], nan_ok=True)
