from fractions import Fraction
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binomtest, false_discovery_control, fisher_exact

from barograph_server.alerts.templates.fields import RATE_RULES
from barograph_server.profiling.baseline.from_production import _learn_field
from barograph_server.sketches.baseline.baseline import Baseline, SliceCounts, dump_baseline, load_baseline
from barograph_server.sketches.baseline.columns import COLUMN_KEYS, FieldColumn
from barograph_server.sketches.baseline.layout import Layout
from barograph_server.sketches.baseline.levels import REASON_NAMES, Level
from barograph_server.sketches.detection.effects import changed_values, trained_shares
from barograph_server.sketches.drift.fdr import q_values
from barograph_server.sketches.drift.fisher import fisher_p
from barograph_server.sketches.drift.rate_cells import RateCells
from barograph_server.sketches.drift.rates import RATE_KIND_NAMES, RATE_KINDS, newcombe, rate_verdicts, wilson
from barograph_server.warehouse import migrate
from barograph_server.warehouse.governance import major_verdicts
from barograph_server.warehouse.tables import SCHEMAS
from tests.support.baselines import baseline as of_fields
from tests.support.baselines import numeric

ROWS = 100_000
"""Of the baselines."""


def level(k: float, n: float, base_k: float = 0, base_n: float = ROWS, **options: Any) -> Level:
    return Level(rate_verdicts(k, n, base_k, base_n, **options).level.item())


def test_wilson_agrees_with_scipy() -> None:
    rng = np.random.default_rng(40)
    n = rng.integers(1, 5_000, 60)
    k = rng.binomial(n, rng.uniform(0.0, 1.0, 60))
    k[:10], k[10:20] = 0, n[10:20]
    for confidence in (0.95, 0.99):
        low, high = wilson(k, n, confidence)
        for i in range(60):
            interval = binomtest(int(k[i]), int(n[i])).proportion_ci(confidence, method="wilson")
            assert (low[i], high[i]) == pytest.approx((interval.low, interval.high), abs=1e-12)


def test_intervals_stay_within_range_and_are_open_without_data() -> None:
    assert [end.item() for end in wilson(0, 0)] == [0.0, 1.0]
    lowest, _ = wilson(0, 20)
    _, highest = wilson(20, 20)
    assert (lowest.item(), highest.item()) == (0.0, 1.0)
    for arguments in ((0, 0, 5, 10), (5, 10, 0, 0), (0, 0, 0, 0)):
        assert [part.item() for part in newcombe(*arguments)] == [0.0, -1.0, 1.0]
    delta, low, high = newcombe(10, 10, 0, 10)
    assert (delta.item(), high.item()) == (1.0, 1.0)
    assert 0.0 < low.item() < 1.0
    # Newcombe's interval is antisymmetric.
    one, two = newcombe(56, 70, 48, 80), newcombe(48, 80, 56, 70)
    assert [part.item() for part in one] == pytest.approx([-two[0].item(), -two[2].item(), -two[1].item()])


def test_level_of_a_rate() -> None:
    for k, n, expected in (
        (0, 1_000, Level.stable),
        (1, 1_000, Level.stable),  # p = 0.01, and no more than one null in 1,000
        (9, 1_000, Level.stable),
        (11, 1_000, Level.minor),
        (50, 1_000, Level.minor),  # five points are not more than five points
        (51, 1_000, Level.major),
        (1_000, 1_000, Level.major),
        (0, 380, Level.insufficient),
        (0, 381, Level.stable),
        (20, 380, Level.insufficient),  # 5.3 %, down to 3.4 %
        (20, 200, Level.major),  # 10 %, down to 6.5 %
        (3, 10, Level.major),
        (1, 10, Level.insufficient),
    ):
        assert level(k, n) == expected, (k, n)
    # Thresholds are the user's. Wilson's upper end of 0 of n passes under 0.1 % at n = 3,838.
    assert level(20, 1_000, thresholds=(0.03, 0.05)) == Level.stable
    assert level(20, 1_000, thresholds=(0.005, 0.015)) == Level.major
    assert level(0, 3_837, thresholds=(0.001, 0.05)) == Level.insufficient
    assert level(0, 3_838, thresholds=(0.001, 0.05)) == Level.stable
    # A Zipf field always brings a few new values: 300 of 100,000 rows were the only ones of theirs.
    assert level(8, 1_000, base_k=300) == Level.stable
    assert level(60, 1_000, base_k=300) == Level.major
    fell = rate_verdicts(0, 1_000, 50_000, ROWS)
    assert (fell.delta.item(), fell.level.item()) == (-0.5, Level.stable)
    assert fell.p_value.item() < 1e-100


def test_a_rise_that_may_be_chance_is_not_enough() -> None:
    """3.0 % against 1.5 % of a baseline of 200: over the minor threshold, but the interval reaches below 0."""
    verdict = rate_verdicts(30, 1_000, 3, 200)
    assert verdict.delta.item() == pytest.approx(0.015)
    assert verdict.low.item() < 0.0
    assert verdict.level.item() == Level.stable
    verdict = rate_verdicts(93, 1_000, 6, 150)
    assert verdict.delta.item() > 0.05
    assert 0.0 < verdict.low.item() < 0.01, "major needs more than one point for sure"
    assert verdict.level.item() == Level.minor


def test_an_insufficient_verdict_has_a_reason() -> None:
    for k, n, base_n, phi, completeness, reason in (
        (0, 1_000, ROWS, 1.0, 1.0, ""),
        (50, 100, ROWS, 1.0, 1.0, ""),  # too few events for the thresholds, yet major
        (0, 0, ROWS, 1.0, 1.0, "no events"),
        (0, 100, ROWS, 1.0, 1.0, "too few events"),
        (0, 100, ROWS, 1.0, 0.9, "too few events"),
        (0, 100, ROWS, 1.0, 0.2, "lost events"),
        (0, 1_000, ROWS, 3.0, 1.0, "correlated events"),
        (0, 1_000, 0, 1.0, 1.0, "few training rows"),
    ):
        verdicts = rate_verdicts(k, n, 0, base_n, phi=phi, completeness=completeness)
        assert REASON_NAMES[verdicts.reason.item()] == reason
        assert (verdicts.level.item() == Level.insufficient) == bool(reason), reason


def test_overdispersion_divides_counts_and_not_rates() -> None:
    plain, phi = rate_verdicts(40, 1_000, 500, ROWS), rate_verdicts(40, 1_000, 500, ROWS, phi=2.0)
    same = rate_verdicts(20, 500, 500, ROWS)
    assert phi.rate == plain.rate == 0.04
    for name in ("delta", "low", "high", "p_value", "level", "enough"):
        assert getattr(phi, name) == getattr(same, name)
    assert phi.low < plain.low
    assert rate_verdicts(40, 1_000, 500, ROWS, phi=3.0).level.item() == Level.insufficient
    # That of the baseline reduces its rows.
    paid = rate_verdicts(40, 1_000, 300, 10_000, base_phi=3.0)
    same = rate_verdicts(40, 1_000, 100, 10_000 / 3)
    assert paid.baseline_rate == 0.03
    for name in ("low", "high", "p_value", "level"):
        assert getattr(paid, name) == pytest.approx(getattr(same, name))
    assert paid.low < rate_verdicts(40, 1_000, 300, 10_000).low
    # Divided counts are rounded for Fisher's test alone.
    scaled = rate_verdicts(50, 1_000, 10, ROWS, phi=1.7)
    assert scaled.p_value == rate_verdicts(29, 588, 10, ROWS).p_value
    assert scaled.low == newcombe(50 / 1.7, 1_000 / 1.7, 10, ROWS)[1]


def test_rates_without_events() -> None:
    verdicts = rate_verdicts([0, 5, 0], [0, 10, 0], [5, 0, 0], [10, 0, 0])
    assert verdicts.rate.tolist() == [0.0, 0.5, 0.0]
    assert verdicts.baseline_rate.tolist() == [0.5, 0.0, 0.0]
    unknown = {"delta": 0.0, "low": -1.0, "high": 1.0, "p_value": 1.0, "level": Level.insufficient, "enough": False}
    for name, value in unknown.items():
        assert getattr(verdicts, name).tolist() == [value] * 3, name


def test_invalid_arguments_are_rejected() -> None:
    right: dict[str, Any] = {"k": 1, "n": 10, "base_k": 0, "base_n": 10}
    for wrong, message in (
        ({"k": -1}, "window count"),
        ({"base_k": 11}, "baseline count"),
        ({"phi": 0.9}, "at least 1"),
        ({"thresholds": (0.0, 0.05)}, "above 0"),
        ({"thresholds": (0.05, 0.05)}, "below its major threshold"),
    ):
        with pytest.raises(ValueError, match=message):
            rate_verdicts(**right | wrong)
    with pytest.raises(ValueError, match="between 0 and 1"):
        wilson(1, 2, 95)


DOCS = Path(__file__).parents[4] / "docs"


def test_every_list_of_kinds_has_each_kind() -> None:
    assert {kind.rule for kind in RATE_KINDS} - {None} == RATE_RULES.keys()
    judged = sorted(kind.name for kind in RATE_KINDS if kind.rule)
    assert sorted(name for names, _ in RATE_RULES.values() for name in names) == judged
    assert major_verdicts._CELLS.keys() == {"psi", "error", *RATE_KIND_NAMES}
    (views,) = (migration for migration in migrate.load() if migration.number == migrate.VIEWS)
    (shown,) = (view for view in views.statements if view.startswith("CREATE OR REPLACE VIEW all_panes\n"))
    for key in (column.key for column in FieldColumn):
        assert key in SCHEMAS["panes"].names, key
        assert key in SCHEMAS["rollups"].names, key
        assert f"\n    {key} " in shown, key
    order = [name for name in SCHEMAS["panes"].names if name in COLUMN_KEYS]
    assert sorted(order) == sorted(COLUMN_KEYS)
    statistics = (DOCS / "statistics.md").read_text()
    rates = statistics[statistics.index("\n## Rates") :]
    assert [name for name in RATE_KIND_NAMES if f"`{name}`" not in rates] == []
    assert [name for name in REASON_NAMES[1:] if f"\n| {name} |" not in statistics] == []


def baseline(below: int | None, above: int | None = 0) -> Baseline:
    quantiles = tuple(np.linspace(0, 1, 1001).tolist())
    trained = SliceCounts(cells=(400, 500, 50), invalid=50, below=below, above=above)
    return of_fields(numeric("x", 0.5, counts=trained, low=0.0, high=1.0, std=0.3, quantiles=quantiles))


def test_a_count_that_a_baseline_lacks_is_unknown_and_its_rate_is_not_judged() -> None:
    known, older = baseline(below=3, above=7), load_baseline(dump_baseline(baseline(below=3, above=None)), "older")
    assert older.fields[0].slices["all"].above is None
    cells, all_cells = RateCells(Layout(older)), RateCells(Layout(known))
    retained = all_cells.kind_index != RATE_KIND_NAMES.index("above")
    assert cells.n_groups == all_cells.n_groups - 1
    others = all_cells.select(retained)
    counts = np.arange(Layout(known).width, dtype=np.int64)[None, None]
    for name in ("kind_index", "base_k", "base_n", "base_phi"):
        assert getattr(cells, name).tolist() == getattr(others, name).tolist(), name
    assert cells.k(counts).tolist() == others.k(counts).tolist()
    trained = trained_shares(older.fields[0]).rates
    assert trained | {"above": trained_shares(known.fields[0]).rates["above"]} == trained_shares(known.fields[0]).rates
    assert "above" not in trained
    assert changed_values(older.fields[0], lambda values: values + 2).rates.keys() == trained.keys()
    # Panes from before the count existed have 0: `baseline accept` does not learn it from them.
    layout = Layout(older)
    accepted = _learn_field(layout, 0, layout.empty_counts(), layout.empty_moments()[0], None).slices["all"]
    assert (accepted.below, accepted.above) == (0, None)
    # A known count is part of the id and checked.
    assert len({baseline(below=below).id for below in (None, 0, 3)}) == 3
    with pytest.raises(ValueError, match="above is 901, only 900 rows have a valid value"):
        dump_baseline(baseline(below=0, above=901))


SEED = 50


def exact(k: int, n: int, base_k: int, base_n: int) -> float:
    """The sum over all tables of the same margins that are at most as likely, in whole numbers."""
    marked = k + base_k
    ways = {x: comb(n, x) * comb(base_n, marked - x) for x in range(max(0, marked - base_n), min(n, marked) + 1)}
    return float(Fraction(sum(w for w in ways.values() if w <= ways[k]), comb(n + base_n, marked)))


def test_tables_are_exact() -> None:
    tables = np.array(
        [(k, n, b, m) for n in range(9) for m in range(0, 12, 3) for k in range(n + 1) for b in range(m + 1)]
    )
    expected = [exact(*row) if row[1] and row[3] else 1.0 for row in tables.tolist()]
    assert fisher_p(*tables.T) == pytest.approx(expected, rel=1e-12)
    rng = np.random.default_rng(SEED)
    for _ in range(50):
        n, m = int(10 ** rng.uniform(0, 3.2)), int(10 ** rng.uniform(1, 4.5))
        rate = 10 ** rng.uniform(-3, 0)
        k, b = int(rng.binomial(n, min(1.0, rate * rng.lognormal(0, 0.7)))), int(rng.binomial(m, rate))
        assert fisher_p(k, n, b, m).item() == pytest.approx(exact(k, n, b, m), rel=1e-9), f"{k, n, b, m}"


def test_tables_of_millions() -> None:
    """Long enough for the tails of the likelihood: within 2 %; hopeless ones are 0."""
    n, m, rate = 4_000_000, 20_000_000, 0.3
    for deviation in (0, 0.5, -2, 4, -8, 15):
        k, b = int(n * rate + deviation * np.sqrt(n * rate * (1 - rate) * (1 + n / m))), int(m * rate)
        expected = fisher_exact(np.array([[k, n - k], [b, m - b]])).pvalue
        assert fisher_p(k, n, b, m).item() == pytest.approx(expected, rel=0.02), deviation
    assert fisher_p(10**6, 10**6, 0, 10**8).item() == 0.0
    assert fisher_p(50_000, 50_000, 10, 10**6).item() == 0.0


def test_an_empty_margin_is_not_tested() -> None:
    assert fisher_p([0, 0, 5, 0, 3], [0, 10, 5, 8, 3], [3, 0, 7, 0, 0], [9, 10, 7, 0, 0]).tolist() == [1.0] * 5
    assert fisher_p(np.empty((2, 0)), 1, 1, 2).shape == (2, 0)


def test_golden() -> None:
    weights = [3, 1, 1, 1, 0.5, 0.5]
    q = [0.002333, 0.042, 0.046667, 0.0525, 0.56, 1.0]
    p = [0.001, 0.012, 0.02, 0.03, 0.2, 0.6]
    np.testing.assert_allclose(q_values(p, weights), [q], atol=5e-7)
    # Only the proportions of weights count.
    np.testing.assert_allclose(q_values(p, [7 * w for w in weights]), q_values(p, weights), rtol=1e-12)
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


def test_wrong_p_values_and_weights_are_rejected() -> None:
    for p in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="a p-value is not in"):
            q_values([0.5, p])
        assert q_values([0.5, p], compared=[True, False])[0, 0] == 0.5
    for weight in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="a weight of a field"):
            q_values([0.5, 0.5], [1.0, weight])
