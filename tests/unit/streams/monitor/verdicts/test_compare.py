"""Rows of `comparisons` equal figures computed from the events by numpy and scipy."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2, fisher_exact, ttest_ind

from sketches.baseline.levels import InsufficientReason
from streams.monitor.state.commit_rows import CommitRows, VerdictColumns
from streams.monitor.state.store import WarehouseStore
from streams.monitor.verdicts.compare import is_output
from streams.monitor.verdicts.sides import compared_ends
from tests.support.comparison_builder import MergedEvents, Row, one
from tests.support.outputs import CLASSES, output_baseline, output_contract, output_events

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


def numbers(events: list[Row], name: str) -> NDArray[np.float64]:
    values = (event["metrics"]["tokens"] if name == "tokens" else event.get(name) for event in events)
    return np.array([value for value in values if value is not None], dtype=np.float64)


def two_sample_psi(b: NDArray[np.float64], c: NDArray[np.float64]) -> float:
    """PSI of two samples on bins that need no merging."""
    p, q = (b + 0.5) / (b.sum() + len(b) / 2), (c + 0.5) / (c.sum() + len(c) / 2)
    return float(((q - p) * np.log(q / p)).sum())


def test_arms_of_one_version_are_compared_by_exact_counts(events: list[Row], end_s: int) -> None:
    """All events are of version 1, so both arms have the same bins."""
    events = [event | {"version": "1"} for event in events]
    baseline = output_baseline("1", 1, phi=1.5)
    rows = MergedEvents(output_contract(), [baseline], events).compare([end_s])
    assert {row["kind"] for row in rows} == {"arm"}
    left, right = of_window(events, end_s, arm="a"), of_window(events, end_s, arm="b")
    edges = np.array(baseline.fields[1].edges)
    b, c = (
        np.array(
            [
                *np.bincount(np.searchsorted(edges, numbers(side, "score"), side="right"), minlength=10),
                sum(event.get("score") is None for event in side),
            ],
            dtype=np.float64,
        )
        for side in (left, right)
    )
    row = one(rows, field="score", measure="psi")
    assert (row["left"], row["right"], row["source"]) == ("a", "b", "counts")
    assert (row["n_left"], row["n_right"]) == (len(left), len(right))
    assert row["difference"] == pytest.approx(two_sample_psi(b, c), rel=1e-9)
    n_h = 1.0 / (1.5 / len(left) + 1.5 / len(right))
    assert row["p_value"] == pytest.approx(chi2.sf(n_h * row["difference"], 10), rel=1e-6)
    assert row["df"] == 10
    assert row["level"] == "major"
    assert row["difference_low"] < row["difference"] < row["difference_high"]


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
    row = one(rows, field="class", measure="null_rate")
    assert (row["left_value"], row["right_value"]) == pytest.approx((k / m, j / n))
    row = one(rows, field="latency_ms", measure="slow_rate")
    slow = [np.mean(numbers(side, "latency_ms") > 100.0) for side in (one_side, other)]
    assert (row["left_value"], row["right_value"], row["source"]) == (*map(pytest.approx, slow), "counts")
    for category in CLASSES:
        row = one(rows, field="class", measure="share", category=category)
        shares = [sum(event.get("class") == category for event in side) / len(side) for side in (one_side, other)]
        assert (row["left_value"], row["right_value"]) == pytest.approx(shares)
    for field in ("score", "latency_ms"):
        values = numbers(one_side, field), numbers(other, field)
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
    left, right = (numbers(of_window(events, end_s, version=v), "score") for v in "12")
    reference = ttest_ind(right, left, equal_var=False)
    interval = reference.confidence_interval(0.95)
    assert row["p_value"] == pytest.approx(reference.pvalue, rel=1e-6)
    assert (row["difference_low"], row["difference_high"]) == pytest.approx((interval.low, interval.high), rel=1e-6)


def test_versions_with_different_bins(events: list[Row], rows: list[Row], end_s: int) -> None:
    """The older version is rebinned on the newer one's edges, within the sketch's error of exact counts."""
    row = one(rows, kind="version", field="score", measure="psi", end_s=end_s)
    left, right = of_window(events, end_s, version="1"), of_window(events, end_s, version="2")
    assert (row["left"], row["right"], row["source"]) == ("1", "2", "sketches")
    assert (row["n_left"], row["n_right"]) == (len(left), len(right))
    edges = np.array(output_baseline("2", 2).fields[1].edges)
    b, c = (
        np.array(
            [
                *np.bincount(np.searchsorted(edges, numbers(side, "score"), side="right"), minlength=10),
                sum(event.get("score") is None for event in side),
            ],
            dtype=np.float64,
        )
        for side in (left, right)
    )
    assert row["difference"] == pytest.approx(two_sample_psi(b, c), abs=0.02)
    # Only the share that was rebinned from a sketch is noisy; nulls are counted.
    noise = (len(numbers(left, "score")) / len(left)) ** 2 / 13_000
    n_h = 1.0 / (1.5 / len(left) + 2.5 / len(right) + noise)
    assert row["p_value"] == pytest.approx(chi2.sf(n_h * row["difference"], row["df"]), rel=1e-6)
    # Integers have the same bins in both versions, and classes are counted by name.
    assert one(rows, kind="version", field="tokens", measure="psi", end_s=end_s)["source"] == "counts"
    assert one(rows, kind="version", field="class", measure="psi", end_s=end_s)["source"] == "counts"


def test_only_outputs_are_compared(rows: list[Row]) -> None:
    assert {row["field"] for row in rows} == {"events", "score", "class", "latency_ms", "tokens"}
    assert is_output("scores.cat")
    assert is_output("confidence")
    assert not is_output("context.region")


def test_arms_without_sketches_are_compared_by_counts_alone(rows: list[Row], end_s: int) -> None:
    """`tokens` has no slice sketches, but the same bins everywhere."""
    of_tokens = [row for row in rows if row["kind"] == "arm" and row["field"] == "tokens" and row["end_s"] == end_s]
    assert {row["measure"] for row in of_tokens} == {"psi", "null_rate"}


def test_rows_do_not_depend_on_other_windows(monitor: MergedEvents, rows: list[Row], end_s: int) -> None:
    # Sketches are randomized; other tests check figures read from them.
    alone = [row for row in monitor.compare([end_s]) if row["source"] != "sketches"]
    among = [row for row in rows if row["end_s"] == end_s and row["source"] != "sketches"]
    assert [{k: str(v) for k, v in row.items()} for row in alone] == [
        {k: str(v) for k, v in row.items()} for row in among
    ]


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


def test_last_two_versions_with_traffic_are_compared(events: list[Row], end_s: int) -> None:
    """Version 3 is registered and silent, 9 is unregistered and the latest, 1 has events only in the first hours."""
    changed = []
    for i, event in enumerate(events):
        version = "1" if event["at"] // 1000 < START_S + 3600 else "29"[i % 2]
        changed.append(event | {"version": version})
    monitor = MergedEvents(output_contract(), [output_baseline(v, int(v)) for v in "123"], changed)
    first_s = {"1": START_S, "2": START_S + 3600, "9": START_S + 3600}
    for series in monitor.series.values():
        series.first_s = first_s[series.version]
    rows = monitor.compare([START_S + 3600, START_S + 2 * 3600, end_s])
    pairs = {(row["end_s"], row["left"], row["right"]) for row in rows if row["kind"] == "version"}
    assert pairs == {(START_S + 2 * 3600, "2", "9"), (end_s, "2", "9")}


def test_single_arm_is_not_compared(events: list[Row], end_s: int) -> None:
    only = [event | {"version": "1"} for event in events if event["arm"] == "b"]
    assert MergedEvents(output_contract(), [output_baseline("1", 1)], only).compare([end_s]) == []


def test_windows_are_compared_every_quarter_of_their_length() -> None:
    windows = output_contract().windows
    assert compared_ends(windows[0], range(0, 5 * 3600, 3600)) == [0, 3600, 7200, 10800, 14400]
    assert compared_ends(windows[1], range(0, 86400, 3 * 3600)) == [0, 6 * 3600, 12 * 3600, 18 * 3600]


def test_comparisons_are_written_before_progress() -> None:
    """After a crash between the two they are made again; in the opposite order they would be lost."""
    tables: list[str] = []

    class Client:
        def insert(self, table: str, rows: pa.Table) -> None:
            tables.append(table)

    monitor = MergedEvents(output_contract(), [output_baseline("1", 1)], output_events(2_000, START_S * 1000, 3))
    comparisons = monitor.columns([START_S + 3 * 3600])
    assert comparisons is not None
    progress = {
        "partials_partition": 0,
        "model": "toy",
        "watermark": 0,
        "sealed_until": 0,
        "updated_at": 0,
        "record_seq": 7,
    }
    store = WarehouseStore(Client())  # type: ignore[arg-type]
    commit = CommitRows()
    commit.add_rows("progress", [progress])
    commit.add_verdicts(VerdictColumns(comparisons=comparisons))
    store.write(commit)
    assert tables == ["comparisons", "progress"]


def test_arms_unknown_to_the_baseline_are_not_compared(events: list[Row], end_s: int) -> None:
    """The contract names arms, but the baselines were made before and have no slices of them."""
    baselines = [msgspec.structs.replace(output_baseline(version, int(version)), dimensions=()) for version in "12"]
    rows = MergedEvents(output_contract(), baselines, events).compare([end_s])
    assert {row["kind"] for row in rows} == {"version"}
    assert MergedEvents(output_contract(), baselines[:1], [e | {"version": "1"} for e in events]).compare([end_s]) == []
