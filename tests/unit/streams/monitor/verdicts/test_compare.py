from typing import Any

import numpy as np
import pytest
from barograph.contract import Arms, Contract, Field, Window
from numpy.typing import NDArray
from scipy.stats import chi2, fisher_exact, ttest_ind

from barograph_server.sketches.baseline.baseline import Baseline
from barograph_server.sketches.baseline.levels import InsufficientReason
from barograph_server.sketches.sketch.merge import NumberSummary
from barograph_server.sketches.sketch.numeric import NumericSketch
from barograph_server.streams.monitor.verdicts.compare import is_output
from barograph_server.streams.monitor.verdicts.side_counts import PooledMoments
from barograph_server.streams.monitor.verdicts.sides import arm_sides, compared_ends
from tests.support.comparison_builder import MergedEvents, Row, one
from tests.support.outputs import CLASSES, class_field, numeric_field, output_baseline, output_contract, output_events
from tests.support.sketches import sketch_of

START_S = 1_789_992_000
HOURS = 9


@pytest.fixture(scope="module")
def events() -> list[Row]:
    return output_events(24_000, START_S * 1000, HOURS)


@pytest.fixture(scope="module")
def monitor(events: list[Row]) -> MergedEvents:
    return MergedEvents(output_contract(), [output_baseline("1", 1, phi=1.5), output_baseline("2", 2, phi=2.5)], events)


@pytest.fixture(scope="module")
def end_s() -> int:
    return START_S + 5 * 3600


@pytest.fixture(scope="module")
def rows(monitor: MergedEvents, end_s: int) -> list[Row]:
    return monitor.compare([end_s - 3600, end_s, end_s + 3600])


def of_window(events: list[Row], end_s: int, **values: Any) -> list[Row]:
    return [
        event
        for event in events
        if end_s - 3 * 3600 <= event["at"] // 1000 < end_s and all(event[k] == v for k, v in values.items())
    ]


def answers(events: list[Row]) -> list[Row]:
    return [event for event in events if "error" not in event]


def numbers(events: list[Row], name: str) -> NDArray[np.float64]:
    values = (event["metrics"]["tokens"] if name == "tokens" else event.get(name) for event in events)
    return np.array([value for value in values if value is not None], dtype=np.float64)


def two_sample_psi(b: NDArray[np.float64], c: NDArray[np.float64]) -> float:
    p, q = (b + 0.5) / (b.sum() + len(b) / 2), (c + 0.5) / (c.sum() + len(c) / 2)
    return float(((q - p) * np.log(q / p)).sum())


def counts(sides: tuple[list[Row], list[Row]], edges: tuple[float, ...]) -> tuple[NDArray[np.float64], ...]:
    """Scores of each side by bin; no answer lacks one."""
    return tuple(
        np.bincount(np.searchsorted(np.array(edges), numbers(side, "score"), side="right"), minlength=10).astype(float)
        for side in sides
    )


def test_arms_of_one_version_are_compared_by_exact_counts(events: list[Row], end_s: int) -> None:
    """All events are of version 1, so both arms have the same bins."""
    events = [event | {"version": "1"} for event in events]
    baseline = output_baseline("1", 1, phi=1.5)
    rows = MergedEvents(output_contract(), [baseline], events).compare([end_s])
    assert {row["kind"] for row in rows} == {"arm"}
    left, right = (answers(of_window(events, end_s, arm=arm)) for arm in "ab")
    b, c = counts((left, right), baseline.fields[1].edges)
    row = one(rows, field="score", measure="psi")
    assert (row["left"], row["right"], row["source"]) == ("a", "b", "counts")
    assert (row["n_left"], row["n_right"]) == (len(left), len(right))
    assert row["difference"] == pytest.approx(two_sample_psi(b, c), rel=1e-9)
    n_h = 1.0 / (1.5 / len(left) + 1.5 / len(right))
    assert row["p_value"] == pytest.approx(chi2.sf(n_h * row["difference"], 9), rel=1e-6)
    assert (row["df"], row["level"]) == (9, "stable")
    assert row["difference_low"] < row["difference"] < row["difference_high"]


def test_an_arm_that_no_baseline_contains_is_a_side_without_members(monitor: MergedEvents) -> None:
    contract = output_contract(arms=Arms(shares={"a": 0.4, "b": 0.3, "new": 0.3}, unit="context.user"))
    sides = arm_sides(contract, list(monitor.series.values()))
    assert [(side.name, len(side.members)) for side in sides] == [("a", 2), ("b", 2), ("new", 0)]


@pytest.mark.parametrize(
    ("kind", "left", "right"), [("arm", {"arm": "a"}, {"arm": "b"}), ("version", {"version": "1"}, {"version": "2"})]
)
def test_rates_means_and_shares_equal_those_of_the_events(
    events: list[Row], rows: list[Row], end_s: int, kind: str, left: Row, right: Row
) -> None:
    rows = [row for row in rows if row["kind"] == kind and row["end_s"] == end_s]
    one_side, other = of_window(events, end_s, **left), of_window(events, end_s, **right)
    k, j = (sum("error" in event for event in side) for side in (one_side, other))
    m, n = len(one_side), len(other)
    row = one(rows, field="events", measure="error_rate")
    assert (row["n_left"], row["n_right"]) == (m, n)
    assert (row["left_value"], row["right_value"]) == pytest.approx((k / m, j / n))
    assert row["difference"] == pytest.approx(j / n - k / m)
    assert row["p_value"] == pytest.approx(fisher_exact(np.array([[k, m - k], [j, n - j]])).pvalue, rel=1e-6)
    assert row["level"] == ("major" if kind == "arm" else "minor")
    # A failed prediction has no class, and lacks none.
    answered = answers(one_side), answers(other)
    row = one(rows, field="class", measure="null_rate")
    assert (row["left_value"], row["right_value"]) == (0, 0)
    assert (row["n_left"], row["n_right"]) == tuple(map(len, answered))
    row = one(rows, field="latency_ms", measure="slow_rate")
    slow = [np.mean(numbers(side, "latency_ms") > 100.0) for side in (one_side, other)]
    assert (row["left_value"], row["right_value"], row["source"]) == (*map(pytest.approx, slow), "counts")
    for category in CLASSES:
        row = one(rows, field="class", measure="share", category=category)
        shares = [sum(event["class"] == category for event in side) / len(side) for side in answered]
        assert (row["left_value"], row["right_value"]) == pytest.approx(shares)
    for field in ("score", "latency_ms"):
        values = tuple(numbers(side, field) for side in answered)
        row = one(rows, field=field, measure="mean")
        assert (row["n_left"], row["n_right"]) == tuple(map(len, values))
        assert (row["left_value"], row["right_value"]) == pytest.approx(tuple(each.mean() for each in values))
        f, g = row["phi_left"], row["phi_right"]
        expected = (1.5, 2.5) if kind == "version" else (pytest.approx(1.9, abs=0.1),) * 2
        assert (f, g) == expected
        error = np.sqrt(values[0].var(ddof=1) * f / len(values[0]) + values[1].var(ddof=1) * g / len(values[1]))
        assert (row["difference_high"] - row["difference_low"]) / 2 == pytest.approx(1.96 * error, rel=2e-3)
        for measure, rank in (("p50", 0.5), ("p99", 0.99)):
            row = one(rows, field=field, measure=measure)
            for side, value in zip(values, (row["left_value"], row["right_value"]), strict=True):
                assert abs((side <= value).mean() - rank) < 0.0267
            truth = np.quantile(values[1], rank) - np.quantile(values[0], rank)
            assert row["difference_low"] <= truth <= row["difference_high"]
            assert np.isnan(row["p_value"])
            assert row["level"] == ""


def test_mean_without_overdispersion_matches_welch(events: list[Row], end_s: int) -> None:
    rows = MergedEvents(output_contract(), [output_baseline("1", 1)], events).compare([end_s])
    row = one(rows, kind="version", field="score", measure="mean")
    check_mean(row, *(numbers(of_window(events, end_s, version=v), "score") for v in "12"))


def test_versions_with_different_bins(events: list[Row], rows: list[Row], end_s: int) -> None:
    """The older version is rebinned on the newer one's edges, within the sketch's error of exact counts."""
    row = one(rows, kind="version", field="score", measure="psi", end_s=end_s)
    left, right = (answers(of_window(events, end_s, version=version)) for version in "12")
    assert (row["left"], row["right"], row["source"]) == ("1", "2", "sketches")
    assert (row["n_left"], row["n_right"]) == (len(left), len(right))
    b, c = counts((left, right), output_baseline("2", 2).fields[1].edges)
    assert row["difference"] == pytest.approx(two_sample_psi(b, c), abs=0.02)
    # Only the share that was rebinned from a sketch is noisy; nulls are counted.
    noise = (len(numbers(left, "score")) / len(left)) ** 2 / 13_000
    n_h = 1.0 / (1.5 / len(left) + 2.5 / len(right) + noise)
    assert row["p_value"] == pytest.approx(chi2.sf(n_h * row["difference"], row["df"]), rel=1e-6)
    # Integers have the same bins in both versions, and classes are counted by name.
    assert one(rows, kind="version", field="tokens", measure="psi", end_s=end_s)["source"] == "counts"
    assert one(rows, kind="version", field="class", measure="psi", end_s=end_s)["source"] == "counts"


def test_only_outputs_are_compared_every_quarter_of_a_window(rows: list[Row], end_s: int) -> None:
    assert {row["field"] for row in rows} == {"events", "score", "class", "latency_ms", "tokens"}
    assert [is_output(name) for name in ("scores.cat", "confidence", "context.region")] == [True, True, False]
    # `tokens` has no slice sketches, but the same bins everywhere.
    of_tokens = [row for row in rows if row["kind"] == "arm" and row["field"] == "tokens" and row["end_s"] == end_s]
    assert {row["measure"] for row in of_tokens} == {"psi", "null_rate"}
    windows = output_contract().windows
    assert compared_ends(windows[0], range(0, 5 * 3600, 3600)) == [0, 3600, 7200, 10800, 14400]
    assert compared_ends(windows[1], range(0, 86400, 3 * 3600)) == [0, 6 * 3600, 12 * 3600, 18 * 3600]


def test_windows_beyond_the_history_are_insufficient(monitor: MergedEvents, end_s: int) -> None:
    rows = monitor.compare(
        [end_s], gaps=np.array([InsufficientReason.partly_recorded], dtype=np.int8), lost=np.array([2_000.0])
    )
    assert {(row["level"], row["reason"]) for row in rows} == {("insufficient", "partly recorded"), ("", "")}
    n = one(rows, kind="arm", measure="error_rate")
    assert n["completeness"] == pytest.approx((n["n_left"] + n["n_right"]) / (n["n_left"] + n["n_right"] + 2_000))


def test_insufficient_levels_have_a_reason(rows: list[Row], end_s: int) -> None:
    assert {row["reason"] for row in rows} == {""}, "all levels have enough events"
    few = MergedEvents(
        output_contract(), [output_baseline("1", 1), output_baseline("2", 2)], output_events(900, START_S * 1000, HOURS)
    )
    of_few = few.compare([end_s])
    assert {(row["level"] == "insufficient", row["reason"] != "") for row in of_few} == {(True, True), (False, False)}
    assert "too few events" in {row["reason"] for row in of_few}
    # Had all events been counted, they would have sufficed.
    lossy = few.compare([end_s], lost=np.array([10**7]))
    assert {row["reason"] for row in lossy} == {"", "lost events"}


END_S = START_S + 3 * 3600
N = 3_000
ANIMALS = ("bird", "cat", "dog")
FloatArray = NDArray[np.float64]


def check_mean(row: Row, left: FloatArray, right: FloatArray) -> None:
    reference = ttest_ind(right, left, equal_var=False)
    interval = reference.confidence_interval(0.95)
    assert (row["n_left"], row["n_right"]) == (len(left), len(right))
    assert (row["left_value"], row["right_value"]) == pytest.approx((left.mean(), right.mean()), rel=1e-9)
    assert row["p_value"] == pytest.approx(reference.pvalue, rel=1e-6)
    assert (row["difference_low"], row["difference_high"]) == pytest.approx((interval.low, interval.high), rel=1e-6)


def test_scores_and_confidence_of_many_classes() -> None:
    rng = np.random.default_rng(3)
    scores = {"1": rng.dirichlet([2.0, 2.0, 2.0], N), "2": rng.dirichlet([2.0, 2.0, 4.0], N)}
    # A tenth of the second version's answers lack the score of `bird`: their confidence is the largest of the others.
    scores["2"][: N // 10, 0] = np.nan
    sent = []
    for version, of_version in scores.items():
        for i, row in enumerate(of_version.tolist()):
            known = {name: score for name, score in zip(ANIMALS, row, strict=True) if score == score}
            head = {
                "model": "m",
                "version": version,
                "id": f"{version}-{i}",
                "at": (START_S + i * 3 * 3600 // N) * 1000,
            }
            sent.append({**head, "scores": known, "class": ANIMALS[int(np.nanargmax(row))]})
    edges = np.linspace(0.1, 0.9, 9)
    trained = [numeric_field(f"scores.{name}", scores["1"][:, i], edges) for i, name in enumerate(ANIMALS)]
    trained.append(numeric_field("confidence", scores["1"].max(axis=1), edges))
    fields = [Field(name=field.name, type="float", source=field.name) for field in trained]
    fields.append(Field(name="class", type="category", source="class"))
    trained.append(class_field("class", ANIMALS, scores["1"].argmax(axis=1)))
    contract = Contract(model="m", pane_s=3600, windows=(Window(3 * 3600, 3600),), fields=tuple(fields))
    counts: dict[str, Any] = {"rows": N, "slice_rows": {"all": N}, "dimensions": (), "fields": tuple(trained)}
    baselines = [Baseline(model="m", version=version, **counts) for version in scores]
    rows = MergedEvents(contract, baselines, sent).compare([END_S])
    for i, name in enumerate(ANIMALS):
        left, right = (of_version[:, i] for of_version in scores.values())
        check_mean(one(rows, field=f"scores.{name}", measure="mean"), left, right[~np.isnan(right)])
        nulls = one(rows, field=f"scores.{name}", measure="null_rate")
        assert nulls["right_value"] == pytest.approx(np.isnan(right).mean())
        # An event without the score counts in the last bin, `null`.
        assert one(rows, field=f"scores.{name}", measure="psi")["n_right"] == N
        share = one(rows, field="class", measure="share", category=name)
        largest = [np.nanargmax(of_version, axis=1) for of_version in scores.values()]
        assert (share["left_value"], share["right_value"]) == pytest.approx([(at == i).mean() for at in largest])
    check_mean(
        one(rows, field="confidence", measure="mean"),
        *(np.nanmax(of_version, axis=1) for of_version in scores.values()),
    )
    assert one(rows, field="scores.dog", measure="psi")["level"] == "major"
    assert one(rows, field="scores.bird", measure="null_rate")["level"] == "major"


def summary_of(values: FloatArray, center: float, sketch: NumericSketch | None) -> NumberSummary:
    shifted = values - center
    moments = np.array([shifted.sum(), (shifted**2).sum(), values.min(), values.max()])
    return NumberSummary.counted(len(values), moments, sketch)


def test_pooling_two_series_equals_one_and_what_cannot_be_computed_is_nan() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(5.0, 2.0, 90), rng.normal(7.0, 1.0, 60)
    one, other = sketch_of(first), sketch_of(second)
    pooled = PooledMoments()
    pooled.add(90, 4.0, summary_of(first, 4.0, one))
    pooled.add(60, 9.0, summary_of(second, 9.0, other))
    both = np.concatenate((first, second))
    assert pooled.mean == pytest.approx(both.mean(), rel=1e-12)
    assert pooled.variance == pytest.approx(both.var(ddof=1), rel=1e-9)
    assert pooled.sketch is not None
    assert (pooled.n, pooled.sketch.n, one.n, other.n) == (150, 150, 90, 60), "the inputs stay as they are"
    assert PooledMoments().n == 0
    assert np.isnan([PooledMoments().mean, PooledMoments().variance]).all()
    # Sums out of range have no variance.
    pooled = PooledMoments()
    pooled.add(2, 0.0, NumberSummary.counted(2, np.array([np.inf, np.inf, 0.0, 1e308]), None))
    assert not np.isfinite(pooled.mean)
    assert np.isnan(pooled.variance)


def test_sketches_that_do_not_cover_all_numbers_or_differ_in_type_are_dropped() -> None:
    values = np.arange(10.0)
    whole, other_type = sketch_of(values), sketch_of(values, integer=True)
    for sketches in ([None], [sketch_of(values[:9])], [whole, None], [None, whole], [whole, other_type]):
        pooled = PooledMoments()
        for sketch in sketches:
            pooled.add(10, 0.0, summary_of(values, 0.0, sketch))
        assert pooled.sketch is None
        assert (pooled.mean, pooled.n) == (4.5, 10 * len(sketches))
