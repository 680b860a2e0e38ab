"""The scorer on ClickHouse: its counts and metrics equal those of plain Python and scikit-learn on the raw rows."""

import math
import random
import zlib
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from barograph.contract import Arms, Contract, LabelSpec, Slice

from barograph_server.profiling.infer.training import infer
from barograph_server.sketches.baseline.baseline import dump_baseline, load_baseline
from barograph_server.sketches.baseline.loss_trees import LOSS_ZERO, MAX_STEPS, NO_CELL
from barograph_server.sketches.performance.bins import score_edges
from barograph_server.sketches.performance.metric import MetricEstimate, difference
from barograph_server.streams.registry.registry import RegisteredBaseline, Registry
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.history import event_counts
from barograph_server.warehouse.tables import insert_rows
from tests.support import scoring
from tests.support.scoring import DAY_MS, HOUR_MS, START_MS, Expected, Score, expected, label, prediction, shown, stored
from tests.support.warehouse import emptied, insert

metrics = pytest.importorskip("sklearn.metrics")

COUNTS = (
    *("predictions", "failed", "duplicates", "unscored", "out_of_range", "undeclared_class", "invalid_sum"),
    *("labelled", "early", "corrections", "late", "wrong_type", "undeclared_label"),
)
THRESHOLD = 0.4
LATENCIES_MS = (math.nan, 0.0, 2.5, 40.0, math.inf)

BINARY = Contract(
    model="m",
    slices=(
        Slice(name="country", source="context.country", values=("de", "fr")),
        Slice(name="k", source="features.k", values=("1", "2")),
        Slice(name="both", source="context.country * features.k", values=("de * 1",)),
    ),
    arms=Arms(shares={"a": 0.5, "b": 0.5}),
    label=LabelSpec(type="bool", positive=True, threshold=THRESHOLD, horizon_s=3 * 86400),
)


def binary_slices(event: Any) -> tuple[str, ...]:
    country, k = dict(event["context"]).get("country", ""), dict(event["numbers"]).get("k")
    return (
        "all",
        f"country={country if country in ('de', 'fr') else 'other'}",
        f"k={k:g}" if k in (1, 2) else "k=other",
        "both=de * 1" if (country, k) == ("de", 1) else "both=other",
        f"arm={event['arm'] if event['arm'] in ('a', 'b') else 'other'}",
    )


def binary_rows(rng: random.Random, n: int = 1500) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Two days of predictions with all anomalies, and labels: late, early, repeated, missing, unmatched, mistyped."""
    predictions: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    offset = 0
    for i in range(n):
        at_ms = START_MS + rng.randrange(2 * DAY_MS)
        truth = rng.random()
        values: dict[str, Any] = {
            "score": rng.choice([truth, truth, truth, rng.random(), 0.0, 1.0]),
            "version": rng.choice(["1", "1", "2"]),
            "arm": rng.choice(["a", "b", ""]),
            "context": {"country": rng.choice(["de", "fr", "us"])} if rng.random() < 0.9 else {},
            "numbers": {"k": float(rng.randrange(4))} if rng.random() < 0.9 else {},
            "latency_ms": LATENCIES_MS[i % len(LATENCIES_MS)],
        }
        odd = rng.random()
        if odd < 0.02:
            values |= {"error": "timeout", "score": math.nan}
        elif odd < 0.04:
            values["score"] = rng.choice([1.5, -0.1, math.inf])
        elif odd < 0.06:
            values["score"] = math.nan
        elif odd < 0.1:
            values["class"] = rng.choice(["true", "false", "maybe"])
        rows = [prediction(i, at_ms, offset, **values)]
        if rng.random() < 0.1:
            rows.append(prediction(i, at_ms, offset := offset + 1, **values))
        if rng.random() < 0.05:  # the same prediction, repeated at another time
            moved = at_ms + rng.randrange(-20 * HOUR_MS, 20 * HOUR_MS)
            rows.append(prediction(i, moved, offset := offset + 1, **{**values, "score": rng.random()}))
        if rng.random() < 0.1:  # a shadow
            rows.append(prediction(i, at_ms + 40, offset := offset + 1, **{**values, "version": "shadow"}))
        predictions += rows
        offset += 1
        if rng.random() < 0.15:
            continue
        positive = "true" if rng.random() < truth else "false"
        delay_ms = int(rng.expovariate(1 / (5 * HOUR_MS)))
        labels.append(label(i, at_ms + delay_ms, len(labels), positive))
        if rng.random() < 0.1:
            for _ in range(rng.choice([1, 10])):
                later_ms = at_ms + delay_ms + rng.randrange(4) * HOUR_MS
                labels.append(label(i, later_ms, len(labels), rng.choice(["true", "false"])))
        if rng.random() < 0.05:
            labels.append(label(i, at_ms - rng.randrange(HOUR_MS), len(labels), positive))
        if rng.random() < 0.05:
            labels.append(label(i, at_ms + 5 * DAY_MS, len(labels), rng.choice(["true", "false"])))
        if rng.random() < 0.05:
            labels.append(label(i, at_ms + delay_ms + 1, len(labels), "2", "number"))
        if rng.random() < 0.05:
            labels.append(label(n + i, at_ms, len(labels), positive))
    return predictions, labels


def compare_counts(client: Client, targets: dict[tuple[str, str, int], Expected]) -> dict[tuple[str, str, int], Any]:
    result = stored(client)
    assert result.keys() == targets.keys()
    for key, own in targets.items():
        assert {name: result[key][name] for name in COUNTS} == {name: own.counts[name] for name in COUNTS}, key
    return result


def scored_by(outcome: tuple[Any, Any, Any]) -> tuple[bool, bool | None, float | None]:
    of_class, score, truth = outcome
    usable = 0 <= score <= 1
    predicted = score >= THRESHOLD if usable else None
    if of_class:
        predicted = {"true": True, "false": False}.get(of_class)
    return truth == "true", predicted, score if usable else None


def compare_binary_metrics(client: Client, targets: dict[tuple[str, str, int], Expected]) -> int:
    """Compare all metrics of hours and days with scikit-learn on the raw values; return the number of comparisons."""
    result = shown(client, "value, n, predictions")
    days: dict[tuple[str, str, int], Expected] = {}
    for (version, name, start), own in targets.items():
        day = days.setdefault((version, name, start // 86400 * 86400), Expected())
        day.outcomes += own.outcomes
        day.counts["predictions"] += own.counts["predictions"]
    compared = 0
    for window, windows in (("1h", targets), ("1d", days)):
        for (version, name, start), own in windows.items():
            outcomes = [scored_by(each) for each in own.outcomes]
            decided = [(truth, predicted) for truth, predicted, _ in outcomes if predicted is not None]
            scores = [(truth, score) for truth, _, score in outcomes if score is not None]
            for metric, value in binary_truth(decided, scores).items():
                got, n, predictions = result[version, name, metric, "", window, start]
                assert predictions == own.counts["predictions"]
                assert n == len(scores if metric in ("auc", "log_loss", "brier") else decided)
                near = 2e-3 if metric == "auc" else 1e-9
                assert got == pytest.approx(value, abs=near, nan_ok=True), (version, name, metric, window, start)
                compared += 1
    return compared


def binary_truth(decided: list[tuple[bool, Any]], scores: list[tuple[bool, float]]) -> dict[str, float]:
    truth, predicted = (np.array([each[i] for each in decided], dtype=bool) for i in range(2))

    def ratio(part: Any, whole: Any) -> float:
        return float(part.sum() / whole.sum()) if whole.any() else math.nan

    result = {
        "accuracy": ratio(truth == predicted, np.ones_like(truth)),
        "precision": ratio(truth & predicted, predicted),
        "recall": ratio(truth & predicted, truth),
        "f1": ratio(2 * (truth & predicted), truth.astype(int) + predicted),
    }
    if not scores:
        return result | dict.fromkeys(("auc", "log_loss", "brier"), math.nan)
    y, p = (np.array([each[i] for each in scores]) for i in range(2))
    came = np.maximum(np.where(y, p, 1 - p), np.finfo(float).eps)
    result |= {"log_loss": float(np.mean(-np.log(came))), "brier": float(np.mean((p - y) ** 2))}
    # The histogram does not order the rows within a bin, so AUC is compared only for many rows.
    if len(y) > 200 and 0 < y.sum() < len(y):
        result["auc"] = metrics.roc_auc_score(y, p)
        assert result["f1"] == pytest.approx(metrics.f1_score(truth, predicted))
        assert result["log_loss"] == pytest.approx(metrics.log_loss(y, p))
    return result


@pytest.mark.smoke
def test_all_counts_and_metrics_of_two_classes(client: Client, score: Score) -> None:
    predictions, labels = binary_rows(random.Random(1))
    insert(client, predictions=predictions, labels=labels)
    score(BINARY).score_once()
    targets = expected(BINARY, predictions, labels, binary_slices)
    compare_counts(client, targets)
    assert compare_binary_metrics(client, targets) > 2000
    compare_calibration(client, targets)
    known = {each["id"] for each in predictions}
    unknown = [each["at"] // HOUR_MS for each in labels if each["id"] not in known]
    counted = dict(client.rows("SELECT kind, sum(n) FROM label_counts GROUP BY kind"))
    assert counted["unlabelled"] == counted["predictions"] - counted["labelled"] > 0
    assert {"early", "corrections", "late", "wrong_type", "undeclared_class", "unmatched"} <= {
        k for k in counted if counted[k]
    }
    assert client.rows("SELECT sum(labels), uniqExact(hour) FROM unmatched_labels") == [(len(unknown), len({*unknown}))]
    compare_arms(client)


def compare_arms(client: Client) -> None:
    parts = shown(client, "value, low, high, sufficient, n, mature")
    names = "difference, difference_low, difference_high, sufficient, mature, n, other_n"
    rows = client.rows(
        "SELECT version, other_version, metric, class, window, toUnixTimestamp(window_start), arm, other_arm, "
        f"value, other_value, {names} FROM arm_performance"
    )
    # Three lengths, both directions, and all pairs of versions that serve in the arms.
    assert len({(window, arm, other) for _, _, _, _, window, _, arm, other, *_ in rows}) == 6
    answering = ("1", "2", "shadow")
    assert {(version, other) for version, other, *_ in rows} == {(a, b) for a in answering for b in answering}
    levels = set()
    for version, other_version, metric, of_class, window, start, arm, other, value, other_value, *columns in rows:
        sides = ((version, arm), (other_version, other))
        keys = [(of, f"arm={each}", metric, of_class, window, start) for of, each in sides]
        own, against = (MetricEstimate(*map(np.array, parts[key][:4])) for key in keys)
        expected_difference = difference(own, against)
        ends = [expected_difference.value, expected_difference.low, expected_difference.high]
        assert [value, other_value] == pytest.approx([parts[key][0] for key in keys], nan_ok=True)
        assert columns[:3] == pytest.approx([each.item() for each in ends], nan_ok=True), keys
        assert columns[3] == expected_difference.enough.item(), keys
        assert columns[4:] == [all(parts[key][5] for key in keys), *(parts[key][4] for key in keys)]
        levels.add((window, columns[3]))
    assert {("1d", True), ("1h", False)} <= levels


def compare_calibration(client: Client, targets: dict[tuple[str, str, int], Expected]) -> None:
    """Compare the curve with the mean score and the rate of positives of the raw values in each of its bins."""
    scored = [scored_by(each) for (_, name, _), own in targets.items() if name == "all" for each in own.outcomes]
    truth, scores = np.array([(truth, score) for truth, _, score in scored if score is not None]).T
    numbers = np.digitize(scores, score_edges(THRESHOLD))
    curve = client.rows(
        "SELECT bin, sum(n) AS rows, sum(score_sum) / rows, sum(positives) / rows FROM calibration_curve "
        "WHERE slice = 'all' GROUP BY bin ORDER BY bin"
    )
    bins = [(number, numbers == number) for number in np.unique(numbers)]
    means = [(number, own.sum(), scores[own].mean(), truth[own].mean()) for number, own in bins]
    np.testing.assert_allclose(curve, means, rtol=1e-6, atol=1e-9)


@pytest.mark.long
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_passes_in_any_order_of_arrival_give_the_rows_of_one_pass(client: Client, score: Score, seed: int) -> None:
    rng = random.Random(seed)
    predictions, labels = binary_rows(rng, 400)
    insert(client, predictions=predictions, labels=labels)
    score(BINARY).score_once()
    once = scoring.everything(client)
    emptied(client)
    scoring.arrive(client, rng, {"predictions": predictions, "labels": labels}, partial(score, BINARY))
    result = scoring.everything(client)
    for table, rows in once.items():
        assert result[table] == rows, table
    compare_counts(client, expected(BINARY, predictions, labels, binary_slices))


@pytest.mark.long
def test_a_pass_killed_at_any_point_is_repeated_into_the_same_rows(client: Client, score: Score) -> None:
    rng = random.Random(21)
    whole = msgspec.structs.replace(BINARY, slices=(), arms=None)
    predictions, labels = binary_rows(rng, 150)
    halves = [(predictions[:100], labels[:60]), (predictions[100:], labels[60:])]

    def fill(half: int) -> None:
        insert(client, predictions=halves[half][0], labels=halves[half][1])

    fill(0)
    score(whole).score_once()
    fill(1)
    score(whole).score_once()
    revisions = "SELECT * EXCEPT revised_at FROM performance FINAL ORDER BY ALL"
    targets, revisions_before = scoring.everything(client), client.rows(revisions)
    assert client.rows("SELECT max(revision) FROM performance") == [(2,)]
    emptied(client)
    fill(0)
    score(whole).score_once()
    fill(1)

    def check() -> None:
        assert scoring.everything(client) == targets
        assert repr(client.rows(revisions)) == repr(revisions_before)

    assert scoring.kill_everywhere(client, partial(score, whole), check) >= 10


def test_a_row_that_is_inserted_again_while_its_window_is_counted_counts_once(
    client: Client, score: Score, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [prediction(i, START_MS, 2 * i, score=0.5) for i in range(4)]
    insert_rows(client, "predictions", rows)
    query = client.rows

    def repeats(sql: str, *arguments: Any) -> Any:
        result = query(sql, *arguments)
        if sql.startswith("SELECT 1 FROM (SELECT hash FROM (SELECT version"):
            insert_rows(client, "predictions", rows[:1])
        return result

    monkeypatch.setattr(client, "rows", repeats)
    score(BINARY, connect_to=lambda _: client).score_once()
    counts = query("SELECT predictions, duplicates FROM performance_state FINAL WHERE slice = 'all'")
    assert counts == [(4, 0)]


def test_a_row_that_becomes_visible_after_later_ones_of_its_partition_is_read(client: Client, score: Score) -> None:
    now_s = (START_MS + 6 * DAY_MS) / 1000
    working = score(BINARY, clock=lambda: now_s, grace_s=60.0)

    def counted() -> Any:
        return client.rows("SELECT sum(predictions), sum(labelled) FROM performance_state FINAL WHERE slice = 'all'")[0]

    at_ms = START_MS + HOUR_MS
    insert_rows(client, "predictions", [prediction(i, at_ms, 2 * i, score=0.5) for i in (1, 2, 4, 5)])
    working.score_once()
    assert counted() == (4, 0)
    now_s += 30
    insert_rows(client, "predictions", [prediction(3, at_ms, 6, score=0.5)])
    insert_rows(client, "labels", [label(3 * i, at_ms, i, "true") for i in (0, 2)])
    assert working.score_once().scored == 1
    assert counted() == (5, 0)
    now_s += 31  # the marks come to the end of the first pass, and later ones of it are looked at again
    insert_rows(client, "labels", [label(3, at_ms, 1, "true")])
    assert working.score_once().scored == 1
    assert counted() == (5, 1)
    for _ in range(4):
        assert working.score_once().scored == 0
        now_s += 61
    assert client.rows("SELECT topic, partition, offset FROM scorer_checkpoints FINAL ORDER BY ALL") == [
        ("labels", 0, 2),
        ("predictions", 0, 5),
    ]


def test_a_label_waits_for_its_prediction_and_counts_once_it_arrives(client: Client, score: Score) -> None:
    at_ms = START_MS + HOUR_MS
    insert_rows(client, "labels", [label(i, at_ms + i, i, "true") for i in range(5)])
    working = score(BINARY)
    working.score_once()
    assert client.rows("SELECT model, labels FROM unmatched_labels") == [("m", 5)]
    assert client.rows("SELECT count() FROM performance_state") == [(0,)]

    def outcomes() -> tuple[int, int, int]:
        since = datetime.fromtimestamp(START_MS / 1000, UTC)
        of_load = event_counts.label_outcomes(client, "m", {i: (0, 5) for i in range(5)}, since)
        return of_load.recorded, of_load.matched, of_load.unmatched

    assert outcomes() == (5, 0, 5)
    insert_rows(client, "predictions", [prediction(i, at_ms + 3, i, score=0.9) for i in range(3)])
    # Until the next pass, the account of a load says neither matched nor unmatched.
    assert outcomes() == (5, 0, 2)
    working.score_once()
    assert client.rows("SELECT model, labels FROM unmatched_labels") == [("m", 2)]
    assert outcomes() == (5, 3, 2)
    # A version that responds later, in another hour, has the same labels.
    late = [prediction(1, at_ms + 2 * HOUR_MS, 10, score=0.1, version="2")]
    insert_rows(client, "predictions", late)
    working.score_once()
    rows = (
        "SELECT version, sum(n) FROM label_counts WHERE kind = {kind:String} AND version != '' "
        "GROUP BY version ORDER BY version"
    )
    assert client.rows(rows, {"kind": "labelled"}) == [("1", 3), ("2", 1)]
    assert client.rows(rows, {"kind": "early"}) == [("1", 3), ("2", 1)]
    assert client.rows("SELECT sum(n) FROM label_counts WHERE kind = 'unmatched'") == [(2,)]


CLASSES = ("cat", "dog", "fish")
MANY = Contract(
    model="m",
    slices=(Slice(name="country", source="context.country", values=("de",)),),
    label=LabelSpec(type="category", classes=CLASSES, horizon_s=2 * 86400),
)


def class_rows(rng: random.Random, n: int = 900) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    predictions: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    for i in range(n):
        at_ms = START_MS + rng.randrange(6 * HOUR_MS)
        weights = [rng.expovariate(1) for _ in CLASSES]
        scores = {name: weight / sum(weights) for name, weight in zip(CLASSES, weights, strict=True)}
        truth = rng.choices(CLASSES, list(scores.values()))[0]
        values: dict[str, Any] = {"scores": dict(scores), "context": {"country": rng.choice(["de", "fr"])}}
        odd = rng.random()
        if odd < 0.05:
            values["scores"] = {**scores, "cat": scores["cat"] + 0.5}  # does not sum to 1
        elif odd < 0.1:
            values["scores"] = {**scores, "cat": -0.2}
        elif odd < 0.15:
            values["scores"] = {}
        elif odd < 0.2:
            values["scores"] = {"dog": 1.0}  # the others are 0
        if rng.random() < 0.3:
            values["class"] = rng.choice([*CLASSES, "bird"])
        values["latency_ms"] = LATENCIES_MS[i % len(LATENCIES_MS)]
        predictions.append(prediction(i, at_ms, i, **values))
        if rng.random() < 0.9:
            labels.append(label(i, at_ms + rng.randrange(HOUR_MS), len(labels), truth, "string"))
        if rng.random() < 0.1:
            labels.append(label(i, at_ms + 2 * HOUR_MS, len(labels), "whale", "string"))
        if rng.random() < 0.1:
            labels.append(label(i, at_ms + 2 * HOUR_MS, len(labels), "true", "bool"))
    return predictions, labels


def test_all_counts_and_metrics_of_three_classes(client: Client, score: Score) -> None:
    predictions, labels = class_rows(random.Random(3))
    insert(client, predictions=predictions, labels=labels)
    score(MANY).score_once()

    def slices(event: Any) -> tuple[str, ...]:
        return "all", "country=de" if event["context"]["country"] == "de" else "country=other"

    targets = expected(MANY, predictions, labels, slices)
    state = compare_counts(client, targets)
    for kind in ("unscored", "out_of_range", "undeclared_class", "invalid_sum"):
        assert sum(each[kind] for each in state.values()) > 0, kind

    def are_usable(scores: dict[str, float]) -> bool:
        return bool(scores) and all(0 <= p <= 1 for p in scores.values()) and abs(sum(scores.values()) - 1) <= 1e-3

    usable_labels = sum(
        are_usable(scores) for (_, name, _), own in targets.items() for _, scores, _ in own.outcomes if name == "all"
    )
    in_curve = client.rows("SELECT sum(n) FROM calibration_curve WHERE slice = 'all'")
    assert in_curve == [(3 * usable_labels,)], "each label counts once per class"
    result = shown(client, "value, n")
    for name in ("all", "country=de"):
        outcomes = [each for (_, of, _), own in targets.items() if of == name for each in own.outcomes]
        usable = [
            (np.array([scores.get(k, 0.0) for k in CLASSES]), CLASSES.index(truth))
            for _, scores, truth in outcomes
            if are_usable(scores)
        ]
        decided = []
        for of_class, scores, truth in outcomes:
            if of_class in CLASSES:
                decided.append((CLASSES.index(of_class), CLASSES.index(truth)))
            elif not of_class and are_usable(scores):
                decided.append((max(range(3), key=lambda k: scores.get(CLASSES[k], 0.0)), CLASSES.index(truth)))
        predicted, true = (np.array([each[i] for each in decided]) for i in range(2))
        p, y = np.stack([each[0] for each in usable]), np.array([each[1] for each in usable])

        def hold(metric: str, value: float, n: int, of: str = "", near: float = 1e-9, name: str = name) -> None:
            got, rows = result["1", name, metric, of, "1d", START_MS // 1000]
            assert (got, rows) == (pytest.approx(value, abs=near), n), (name, metric, of)

        hold("accuracy", metrics.accuracy_score(true, predicted), len(decided))
        for metric in ("precision", "recall", "f1"):
            of_sklearn = getattr(metrics, f"{metric}_score")
            for average in ("macro", "micro"):
                hold(f"{metric}_{average}", of_sklearn(true, predicted, average=average), len(decided))
            for k, each in enumerate(of_sklearn(true, predicted, average=None)):
                hold(metric, each, len(decided), CLASSES[k])
        aucs = [metrics.roc_auc_score(y == k, p[:, k]) for k in range(3)]
        for k, auc in enumerate(aucs):
            hold("auc", auc, len(usable), CLASSES[k], near=2e-3)
        hold("auc_macro", float(np.mean(aucs)), len(usable), near=2e-3)
        hold("log_loss", metrics.log_loss(y, p, labels=range(3)), len(usable), near=1e-6)
        hold("brier", float(np.mean(np.sum((p - np.eye(3)[y]) ** 2, axis=1))), len(usable))


NUMBER = Contract(model="m", label=LabelSpec(type="float", horizon_s=2 * 86400))


def test_all_metrics_of_numbers(client: Client, score: Score) -> None:
    rng = random.Random(4)
    predictions: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    errors: list[float] = []
    for i in range(3000):
        at_ms = START_MS + rng.randrange(6 * HOUR_MS)
        truth = rng.gauss(100, 30)
        guess = rng.choice([truth + rng.gauss(1, 5), truth + 10 ** rng.uniform(-8, 3), truth, math.nan])
        predictions.append(prediction(i, at_ms, i, score=guess, latency_ms=LATENCIES_MS[i % len(LATENCIES_MS)]))
        if rng.random() < 0.8:
            labels.append(label(i, at_ms + 1000, len(labels), repr(truth), "number"))
            if not math.isnan(guess):
                errors.append(guess - truth)
    insert(client, predictions=predictions, labels=labels)
    score(NUMBER).score_once()
    compare_counts(client, expected(NUMBER, predictions, labels))
    e = np.array(errors)
    result = {key[2]: value for key, value in shown(client, "value, n").items() if key[4] == "1d"}
    assert {n for _, n in result.values()} == {len(e)}
    exact = np.abs(e).mean(), (e**2).mean() ** 0.5, e.mean()
    assert [result[metric][0] for metric in ("mae", "rmse", "bias")] == pytest.approx(exact)
    for p in (50, 90, 99):
        # Quantiles come from bins of one percent.
        low, high = (np.quantile(np.abs(e), p / 100, method=method) for method in ("lower", "higher"))
        assert low * 0.99 <= result[f"error_p{p}"][0] <= high * 1.01, p


def test_numbers_count_in_the_bins_of_the_error_that_trees_expect(client: Client, score: Score) -> None:
    rng, n = np.random.default_rng(5), 4000
    a, kind, guess = rng.normal(size=n), rng.choice(["", "x", "y"], n), rng.normal(size=n)
    truth = guess + np.exp(a) * (1 + 2 * (kind == "y")) * rng.normal(size=n)
    a[rng.random(n) < 0.2] = np.nan
    features = {"a": pa.array(a, from_pandas=True), "kind": pa.array(kind, mask=kind == "")}
    result = infer(pa.table({**features, "p": guess, "y": truth}), model="m", version="1", score="p", label="y")
    baseline = load_baseline(dump_baseline(result.baseline), "b")
    trees = baseline.loss
    assert trees is not None
    texts = next(each.categories for each in trees.features if each.categories)
    codes = np.array([texts.index(text) if text else np.nan for text in kind])
    values = {"features.a": a, "features.kind": codes, "score": guess}
    cells = trees.cells(np.stack([values[each.source] for each in trees.features], axis=1))
    outputs = [{"score": guess[i], "strings": {"kind": kind[i]}} for i in range(n)]
    numbers = [{} if np.isnan(value) else {"a": value} for value in a.tolist()]
    rows = [prediction(i, START_MS + i, i, **outputs[i], numbers=numbers[i]) for i in range(n)]
    # A repeated id is counted by another query.
    insert_rows(client, "predictions", [*rows, prediction(0, START_MS, n, score=0.0)])
    score(NUMBER, baselines=[RegisteredBaseline(baseline, baseline.id, 0, 1)]).score_once()
    [(bins, counts)] = client.rows("SELECT bins, bin_predictions FROM performance_state FINAL WHERE slice = 'all'")
    counted = {number: rows for number, rows in zip(bins, counts, strict=True) if number > LOSS_ZERO - MAX_STEPS}
    has_features = cells != NO_CELL
    assert counted == Counter(cells[has_features].tolist())
    assert sum(counts) - sum(counted.values()) == np.count_nonzero(~has_features) > 0


def test_a_flag_label_means_the_named_positive_class(client: Client, score: Score) -> None:
    contract = Contract(model="m", label=LabelSpec(type="bool", positive="late", horizon_s=86400))
    answers = [("late", "true")] * 5 + [("late", "false")] * 3 + [("on time", "true")] * 2 + [("on time", "false")] * 7
    events = [prediction(i, START_MS + i, i, **{"class": c}) for i, (c, _) in enumerate(answers)]
    labels = [label(i, START_MS + HOUR_MS, i, answer) for i, (_, answer) in enumerate(answers)]
    insert(client, predictions=events, labels=labels)
    score(contract).score_once()
    [(result,)] = client.rows("SELECT confusion FROM performance_state FINAL WHERE slice = 'all'")
    assert result == [5, 3, 2, 7]  # tp, fp, fn, tn
    assert client.rows("SELECT sum(n) FROM label_counts WHERE kind = 'undeclared_class'") == [(0,)]


FORMS = [
    *[("true", "bool"), ("1", "number"), ("1", "string"), ("1.0", "string"), ("yes", "string"), ("True", "string")],
    *[("false", "bool"), ("0", "number"), ("0", "string"), ("0.0", "string"), ("no", "string"), ("False", "string")],
]


def test_every_form_of_a_label_and_of_a_class_counts(client: Client, score: Score) -> None:
    for spec, names in (
        (LabelSpec(type="bool", positive=True, horizon_s=86400), ()),
        (LabelSpec(type="bool", positive="bad", negative="good", horizon_s=86400), ("bad", "good")),
        (LabelSpec(type="category", positive="1", horizon_s=86400), ()),
    ):
        forms = [*FORMS, *((name, "string") for name in names)]
        is_true = [text.lower() in ("true", "1", "1.0", "yes", "bad") for text, _ in forms]
        # Each form as label and as class: the class of a row is the form of its neighbor.
        classes = [text for text, _ in [*forms[1:], forms[0]]]
        predicted = [*is_true[1:], is_true[0]]
        emptied(client)
        events = [prediction(i, START_MS + i, i, **{"class": each}) for i, each in enumerate(classes)]
        insert_rows(client, "predictions", events)
        insert_rows(client, "labels", [label(i, START_MS + HOUR_MS, i, *form) for i, form in enumerate(forms)])
        score(Contract(model="m", label=spec)).score_once()
        [(result,)] = client.rows("SELECT confusion FROM performance_state FINAL WHERE slice = 'all'")
        outcomes = Counter(zip(predicted, is_true, strict=True))
        pairs = ((True, True), (True, False), (False, True), (False, False))
        assert result == [outcomes[pair] for pair in pairs], spec
        odd = "SELECT sum(n) FROM label_counts WHERE kind IN ('wrong_type', 'undeclared_class', 'undeclared_label')"
        assert client.rows(odd) == [(0,)], spec


def test_numbers_as_text_and_integers_as_classes_count(client: Client, score: Score) -> None:
    number = Contract(model="m", label=LabelSpec(type="float", horizon_s=86400))
    insert_rows(client, "predictions", [prediction(i, START_MS + i, i, score=2.0) for i in range(3)])
    answers = [("2", "number"), ("4", "string"), ("true", "bool")]
    insert_rows(client, "labels", [label(i, START_MS + HOUR_MS, i, *answer) for i, answer in enumerate(answers)])
    score(number).score_once()
    kinds = "SELECT kind, sum(n) FROM label_counts WHERE kind IN ('labelled', 'wrong_type') GROUP BY 1 ORDER BY 1"
    assert client.rows(kinds) == [("labelled", 2), ("wrong_type", 1)]
    classes = Contract(model="m", label=LabelSpec(type="category", classes=("2", "4", "7"), horizon_s=86400))
    score(classes).score_once()
    counts = "SELECT labelled, wrong_type FROM performance_state FINAL WHERE notEmpty(confusion)"
    assert client.rows(counts) == [(2, 1)]


def test_labels_of_ids_outside_the_raw_share_are_skipped(client: Client, score: Score) -> None:
    contract = msgspec.structs.replace(BINARY, raw_share=0.3, slices=(), arms=None)
    sampled = [i for i in range(1000) if zlib.crc32(f"e{i}".encode()) < 0.3 * 2**32]
    predictions = [prediction(i, START_MS + i, i, score=(i % 100) / 100) for i in sampled]
    labels = [label(i, START_MS + i + 5, i, "true" if i % 100 > 50 else "false") for i in range(1000)]
    insert(client, predictions=predictions, labels=labels)
    score(contract).score_once()
    sql = "SELECT value, n, predictions, coverage, raw_share FROM latest_performance WHERE metric = 'accuracy'"
    right = sum((i % 100 >= 40) == (i % 100 > 50) for i in sampled)
    assert {*client.rows(sql)} == {(right / len(sampled), len(sampled), len(sampled), 1.0, 0.3)}
    for table in ("unmatched_labels", "pending_labels"):
        assert client.rows(f"SELECT count() FROM {table}") == [(0,)]


def test_a_slice_value_of_a_megabyte_counts_as_other(client: Client, score: Score) -> None:
    long = prediction(1, START_MS, 1, score=0.5, context={"country": "d" * 1_000_000}, strings={"k": "1" * 1_000_000})
    insert_rows(client, "predictions", [long, prediction(2, START_MS, 2, score=0.5, context={"country": "de"})])
    score(BINARY).score_once()
    slices = {name: each["predictions"] for (_, name, _), each in stored(client).items()}
    assert slices["country=other"] == slices["country=de"] == 1
    assert all(len(name) < 20 for name in slices)


def test_an_unmeasurable_model_is_skipped_with_a_reason(client: Client, score: Score) -> None:
    for contract, why in (
        (msgspec.structs.replace(BINARY, raw_share=0.0), "raw: none"),
        (msgspec.structs.replace(BINARY, label=None), "names no label"),
        (msgspec.structs.replace(BINARY, label=LabelSpec(type="category")), "without `positive`"),
    ):
        insert_rows(emptied(client), "predictions", [prediction(1, START_MS, 1, score=0.5)])
        score(contract).score_once()
        ((state, reason),) = client.rows("SELECT state, reason FROM scorer_models FINAL")
        assert state == "skipped", why
        assert why in reason
        assert client.rows("SELECT count() FROM performance_state") == [(0,)], why


def test_rows_that_arrive_while_the_contract_cannot_be_read_are_scored_once_it_can(
    client: Client, score: Score, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = msgspec.structs.replace(BINARY, slices=(), arms=None)
    window = "1", "all", "accuracy", "", "1h", START_MS // 1000
    insert_rows(client, "predictions", [prediction(i, START_MS + i, i, score=0.9) for i in range(50)])
    insert_rows(client, "labels", [label(i, START_MS + i + 5, i, "true") for i in range(20)])
    score(contract).score_once()
    older = score(contract)
    monkeypatch.setattr(older, "_registry", lambda: Registry(unreadable={"m": "unknown key"}))
    insert_rows(client, "predictions", [prediction(i, START_MS + i, i, score=0.9) for i in range(50, 100)])
    insert_rows(client, "labels", [label(i, START_MS + i + 5, i, "true") for i in range(20, 80)])
    older.score_once()
    [(state, reason)] = client.rows("SELECT state, reason FROM scorer_models FINAL")
    assert state == "skipped"
    assert "unknown key" in reason
    assert shown(client, "n, predictions")[window] == (20, 50), "what was measured before is still shown"
    score(contract).score_once()
    assert shown(client, "n, predictions")[window] == (80, 100)
    assert client.rows("SELECT state FROM scorer_models FINAL") == [("scored",)]


def test_a_contract_with_other_rules_recounts_everything(client: Client, score: Score) -> None:
    contract = msgspec.structs.replace(BINARY, slices=(), arms=None)
    insert_rows(client, "predictions", [prediction(i, START_MS + i, i, score=i / 100) for i in range(100)])
    insert_rows(client, "labels", [label(i, START_MS + i, i, "true") for i in range(100)])
    score(contract).score_once()
    assert shown(client)["1", "all", "recall", "", "1h", START_MS // 1000] == 0.6
    assert contract.label is not None
    stricter = msgspec.structs.replace(contract, label=msgspec.structs.replace(contract.label, threshold=0.9))
    assert score(stricter).score_once().scored == 1
    assert shown(client)["1", "all", "recall", "", "1h", START_MS // 1000] == 0.1
    assert client.rows("SELECT sum(n) FROM label_counts WHERE kind = 'labelled'") == [(100,)]
    assert client.rows("SELECT sum(n), sum(positives) FROM calibration_curve") == [(100, 100)]


def test_a_window_is_measured_when_it_has_ended(client: Client, score: Score) -> None:
    now_s = START_MS / 1000 + 1800
    working = score(BINARY, clock=lambda: now_s)
    insert_rows(client, "predictions", [prediction(i, START_MS + i, i, score=0.5) for i in range(10)])
    assert working.score_once().scored == 0
    now_s += 1800
    assert working.score_once().scored == 1
    assert {key[4] for key in shown(client)} == {"1h"}
    # Another process resumes the day, although no more rows arrive.
    now_s = START_MS / 1000 + 86400 + 1
    assert score(BINARY, clock=lambda: now_s).score_once().revised > 0
    # A week that began six days earlier has ended too.
    assert {key[4] for key in shown(client)} - {"7d"} == {"1h", "1d"}


def test_on_the_replay_clock_a_window_ends_with_later_events_or_the_replay(client: Client, score: Score) -> None:
    working = score(BINARY, clock_kind="replay")
    insert_rows(client, "predictions", [prediction(1, START_MS + 1, 1, score=0.5)])
    assert working.score_once().scored == 0
    insert_rows(client, "predictions", [prediction(2, START_MS + HOUR_MS + 1, 2, score=0.5)])
    assert working.score_once().scored == 1
    done = working.score_once()
    assert (done.scored, {key[4] for key in shown(client)}) == (1, {"1h", "1d", "7d"})
    assert working.score_once().scored == 0
