"""Signals on the real engine: the value of a rule at a time equals the value of its series at that time."""

import math
import random
import time
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.signals import EventTimeRange, FactTime, Signal, point_sql, series_sql, verdicts
from barograph_server.warehouse.signals.labels import expected_drop, label_age, measured_drop, performance
from barograph_server.warehouse.signals.pipeline import processor_age
from barograph_server.warehouse.signals.volume import broken_share, out_of_range, silence
from barograph_server.warehouse.tables import insert_rows
from tests.support.warehouse import add_row, add_rows, emptied, migrated, row

HOUR_S, DAY_S = 3600, 86_400
T0 = (int(time.time()) // DAY_S - 14) * DAY_S
"""Start of the history. Some tables keep rows for a month only."""
PANE = verdicts.PaneTiming(HOUR_S, 2 * HOUR_S, 600)
HOUR, DAY, WEEK = (
    verdicts.HoppingWindow("1h", HOUR_S),
    verdicts.HoppingWindow("1d", HOUR_S),
    verdicts.HoppingWindow("7d", DAY_S),
)
ODD = 'it\'s "50 %" {{ $__interval }} -- /* \\ 名前'

SIGNALS: dict[str, Signal] = {
    "psi": verdicts.psi(ODD, ["temp", "dewp", "never judged"], WEEK, DAY, PANE, 0.2),
    "fast psi": verdicts.psi(ODD, ["temp", "dewp"], WEEK, DAY, PANE, 0.2, fast=[HOUR], fast_threshold=0.3),
    "psi of one window": verdicts.psi(ODD, ["temp"], DAY, DAY, PANE, 0.1),
    "mean shift": verdicts.mean_shift(ODD, ["temp", "dewp"], DAY, PANE, 0.1),
    "rate": verdicts.rate(ODD, ["temp", "dewp"], ["below", "above"], DAY, PANE, 0.05),
    "loss": verdicts.loss(ODD, DAY, PANE, 0.01),
    "verdict age": verdicts.verdict_age(ODD, DAY, 7200),
    "errors": broken_share(ODD, "errors", 6 * HOUR_S, PANE, 0.05),
    "latency": broken_share(ODD, "latency", 6 * HOUR_S, PANE, 0.05),
    "out of range": out_of_range(ODD, "temp", 6 * HOUR_S, PANE, 0.05),
    "silence": silence(ODD, PANE, 2 * HOUR_S),
    "performance": performance(ODD, "auc", "1d", DAY_S, 3 * DAY_S, 0.7, "least"),
    "bias": performance(ODD, "bias", "1d", DAY_S, 3 * DAY_S, 0.05, "size"),
    "expected drop": expected_drop(ODD, ["auc", "accuracy"], "1d", DAY_S, 0.05),
    "expected growth": expected_drop(ODD, ["bias"], "1d", DAY_S, 0.2, relative=True),
    "measured drop": measured_drop(ODD, ["auc", "accuracy"], "1d", DAY_S, 3 * DAY_S, 0.05, relative=False),
    "measured growth": measured_drop(ODD, ["bias"], "1d", DAY_S, 3 * DAY_S, 0.2, relative=True),
    "large drop": measured_drop(ODD, ["auc"], "7d", 7 * DAY_S, 3 * DAY_S, -0.3, relative=False, day_s=DAY_S),
    "label age": label_age(ODD, 6 * HOUR_S),
    "processor age": processor_age(["sketcher", "monitor"], 60),
}

OF_MATURE_LABELS = ("performance", "bias", "measured drop", "measured growth", "large drop")


@pytest.fixture(scope="module")
def history(engine: LocalClickHouse) -> Iterator[Client]:
    with migrated(engine) as client:
        write_history(client, seed=7)
        yield client


def write_history(client: Client, seed: int, days: int = 12) -> None:
    """Write verdicts with revisions, two versions and a new baseline, traffic with gaps, labels and reports."""
    rng = random.Random(seed)
    print("seed", seed)
    drift, rates, scored = [], [], []
    for hour in range(days * 24):
        end = T0 + hour * HOUR_S
        for window, length_s, hop_s in (("1h", HOUR_S, HOUR_S), ("1d", DAY_S, HOUR_S), ("7d", 7 * DAY_S, DAY_S)):
            if end % hop_s:
                continue
            for version in ("1", "2") if hour > 100 else ("1",):
                baseline = "b2" if version == "1" and hour > 150 else "b1"
                for revision in range(1 if rng.random() < 0.7 else 3):
                    judged_ms = (end + 7200 + rng.randrange(1, 40_000 if revision else 300)) * 1000 + rng.randrange(999)
                    at = {"window": window, "window_start": end - length_s, "window_end": end, "slice": "all"}
                    who = {"model": ODD, "version": version, "baseline_id": baseline, "judged_at": judged_ms}
                    position = {"record_seq": hour * 10 + revision}
                    level = rng.choice(["stable", "minor", "major", "insufficient"])
                    n = rng.choice([0, 10, 1000])
                    for field in ("temp", "dewp"):
                        value = rng.random() / 2
                        observed = {"n": n, "psi": value, "psi_low": value / 2, "psi_high": value * 2, "level": level}
                        observed |= {"reason": "correlated events" if level == "insufficient" else ""}
                        observed |= {"mean_rank": 2 * value, "mean_p": rng.choice([1e-9, 0.01, 0.5])}
                        drift.append(row("drift", field=field, **at, **who, **position, **observed))
                    for field, kind in (("temp", "above"), ("temp", "below"), ("dewp", "above"), ("events", "error")):
                        delta = rng.random() / 5
                        observed = {"n": n, "delta": delta, "delta_low": delta - 0.05, "delta_high": delta + 0.05}
                        observed["p_value"] = rng.choice([0.01, 1e-9])
                        judged = {"kind": kind, "level": level, "completeness": rng.choice([1, 1, rng.random()])}
                        rates.append(row("rates", field=field, **at, **who, **position, **observed, **judged))
        if end % DAY_S == 0:
            for revision, age_s in enumerate((0, 2 * DAY_S, 3 * DAY_S), 1):
                for metric in ("auc", "accuracy", "bias"):
                    value = rng.random() - (0.5 if metric == "bias" else 0)
                    observed = {"value": value, "low": value - 0.05, "high": value + 0.05, "reference": 0.7}
                    guess = {"cbpe": value, "cbpe_low": value - 0.02, "cbpe_high": value + 0.02, "level": "stable"}
                    change = value - 0.7
                    observed |= {"difference": change, "difference_low": change - 0.1, "difference_high": change + 0.1}
                    observed |= {"sufficient": rng.random() < 0.9}
                    when = {"window": "1d", "window_end": end, "revised_at": (end + age_s + 60) * 1000}
                    who = {"model": ODD, "version": "1", "slice": "all", "metric": metric, "revision": revision}
                    known = {"n": 50, "predictions": 99, "mature": age_s == 3 * DAY_S}
                    scored.append(row("performance", **when, **who, **observed, **guess, **known))
    traffic, panes = [], []
    for hour in range(days * 24):
        for version in ("1", "2"):
            n = 0 if hour % 24 < 4 or 60 < hour < 75 or rng.random() < 0.1 else rng.randrange(200)
            pane: dict[str, Any] = {"model": ODD, "version": version, "slice": "all", "n": n, "sealed": True}
            pane |= {"pane_start": T0 + hour * HOUR_S, "pane_s": HOUR_S}
            slow, errors = n // rng.choice([5, 50]), n // rng.choice([5, 50])
            traffic.append(row("volume", **pane, timed=n, errors=errors, slow=slow))
            counts = {"below": n // 40, "above": slow, "nulls": n // 10}
            panes += [row("panes", field=field, **pane, **counts) for field in ("temp", "dewp")]
    labels = [
        row("labels", model=ODD, id=str(i), received_at=at_ms, at=at_ms, offset=i)
        for i, hour in enumerate(range(0, days * 24))
        if hour % 24 > 5 and not 100 < hour < 140
        for at_ms in [(T0 + hour * HOUR_S + rng.randrange(3600)) * 1000]
    ]
    reports = [
        row("processors", kind=kind, instance=str(i % 3), at=(T0 + i * 613) * 1000)
        for i in range(days * 24 * 5)
        for kind in ("sketcher", "monitor")
        if rng.random() < 0.9
    ]
    baselines = [
        row("baselines", model=ODD, version="1", baseline_id="b1", effective_from=0, accepted_at=1),
        row("baselines", model=ODD, version="1", baseline_id="b2", effective_from=T0 + 150 * HOUR_S, accepted_at=2),
    ]
    applied = [row("contracts", model=ODD, applied_at=(T0 - 5 * HOUR_S) * 1000)]
    for table, rows in {
        **{"drift": drift, "rates": rates, "performance": scored, "volume": traffic, "labels": labels, "panes": panes},
        **{"processors": reports, "baselines": baselines, "contracts": applied},
    }.items():
        rng.shuffle(rows)
        insert_rows(client, table, rows)


SeriesValues = dict[str, tuple[list[int], list[tuple[float, ...]]]]


def series(client: Client, signal: Signal, known: FactTime, until_s: int) -> SeriesValues:
    values_of: SeriesValues = {}
    for at, key, *numbers in client.rows(
        series_sql(signal, EventTimeRange(f"toUInt32({T0})", f"toUInt32({until_s})"), known)
    ):
        times, values = values_of.setdefault(key, ([], []))
        times.append(at)
        values.append(tuple(numbers))
    return values_of


def as_of(by_key: SeriesValues, key: str, at: int) -> tuple[float, float, float]:
    times, values = by_key[key]
    index = bisect_right(times, at) - 1
    value, low, high, growth, *_ = values[index]
    return value + growth * (at - times[index]), low, high


def point_values(client: Client, signal: Signal, at: int, filters: dict[str, str]) -> dict[str, tuple[float, ...]]:
    quoted = ", ".join(f"'{table}': '{condition}'" for table, condition in filters.items())
    settings = f" SETTINGS additional_table_filters = {{{quoted}}}" if filters else ""
    sql = point_sql(signal, "tuple(value, low, high)", f"toUInt32({at})") + settings
    return {label[0] if label else "": numbers for *label, numbers in client.rows(sql)}


def same(left: tuple[float, ...], right: tuple[float, ...]) -> bool:
    return all(a == pytest.approx(b) or (math.isnan(a) and math.isnan(b)) for a, b in zip(left, right, strict=True))


def judged_by(at: int) -> dict[str, str]:
    """Filters for the rows that the tables had at a time, for tables with a time of writing."""
    moment = f"fromUnixTimestamp64Milli(toInt64({at * 1000}))"
    sealed = f"pane_start + pane_s + {PANE.sealed_after_s} <= toDateTime({at})"
    return {
        **{"drift": f"judged_at <= {moment}", "rates": f"judged_at <= {moment}", "volume": sealed, "all_panes": sealed},
        **{"performance": f"revised_at <= {moment}"},
    }


@pytest.mark.parametrize("name", SIGNALS)
def test_the_value_of_a_rule_at_a_time_equals_its_series(history: Client, name: str) -> None:
    signal, end_s = SIGNALS[name], T0 + 13 * DAY_S
    rng = random.Random(name)
    moments = sorted(rng.randrange(T0, end_s) for _ in range(12))
    matured = {"performance": f"window_end + {3 * DAY_S} <= "} if name in OF_MATURE_LABELS else {}
    distinct = set()
    # A replayed history has no reports of processors.
    ways: tuple[FactTime, ...] = ("judged",) if name == "processor age" else ("ended", "judged")
    for known in ways:
        current = series(history, signal, known, end_s)
        assert set(current) == set(signal.keys)
        for at in moments:
            filters = (
                judged_by(at)
                if known == "judged"
                else {table: f"{condition}toDateTime({at})" for table, condition in matured.items()}
            )
            point = point_values(history, signal, at, filters)
            assert set(point) == set(signal.keys), "a key without a row would be a missing series"
            for key, numbers in point.items():
                assert same(numbers, as_of(current, key, at)), (known, key, at)
                distinct.add(round(numbers[0], 9))
    assert len(distinct) > 3, "a constant signal would prove nothing"


def verdict(window: str, end: int, value: float, level: str = "stable", **values: Any) -> dict[str, Any]:
    length_s = {"1h": HOUR_S, "1d": DAY_S, "7d": 7 * DAY_S}[window]
    known = {"model": ODD, "version": "1", "baseline_id": "b", "slice": "all", "field": "temp", "n": 500}
    position = {"window": window, "window_start": end - length_s, "window_end": end, "judged_at": end * 1000}
    return row(
        "drift",
        **known | position | {"psi": value, "psi_low": 0, "psi_high": 1, "level": level, "record_seq": 1} | values,
    )


def psi_at(client: Client, *rows: dict[str, Any], at: int = T0) -> float:
    emptied(client)
    insert_rows(client, "drift", rows)
    return point_values(client, SIGNALS["psi"], at, {})["temp"][0]


def test_psi_of_two_windows_and_of_versions(client: Client) -> None:
    def both(long: float, short: float, **values: Any) -> list[dict[str, Any]]:
        return [verdict("7d", T0, long, **values), verdict("1d", T0, short, **values)]

    drifted, successor, worse = both(0.5, 0.5), both(0.02, 0.02, version="2"), both(0.4, 0.3, version="2")
    for name, rows, value in (
        ("the smaller value counts", both(0.5, 0.3), 0.3),
        ("the smaller value counts, that of the long window", both(0.3, 0.5), 0.3),
        ("short insufficient", [drifted[0], verdict("1d", T0, 0.01, "insufficient")], 0.5),
        ("short empty", [drifted[0], verdict("1d", T0, 0.0, "insufficient", n=0)], 0.5),
        ("no short window", drifted[:1], 0.5),
        ("insufficient verdicts never fire", both(0.9, 0.9, level="insufficient"), 0.2),
        ("insufficient verdicts clear by their own value", both(0.05, 0.05, level="insufficient"), 0.05),
        ("empty windows do not clear", both(0.0, 0.0, level="insufficient", n=0), 0.2),
        ("no traffic of a version", [drifted[0], verdict("1d", T0, 0.5, "insufficient", n=0), *successor], 0.02),
        ("no recent window of a version", [drifted[0], verdict("1d", T0 - HOUR_S, 0.5), *successor], 0.02),
        ("the worst version with traffic", [*both(0.1, 0.1), *worse], 0.3),
    ):
        assert psi_at(client, *rows) == value, name
    # A verdict keeps its value for some time.
    assert psi_at(client, *drifted, at=T0 + HOUR_S) == 0.5
    assert psi_at(client, *drifted, at=T0 + 3 * DAY_S) == 0.2


def test_a_new_baseline_clears_alerts_of_the_old_one(client: Client) -> None:
    of_both = [
        verdict(window, T0, psi, "insufficient", baseline_id=baseline)
        for window in ("7d", "1d")
        for psi, baseline in ((0.9, "b"), (0.3, "new"))
    ]
    # The long window ended before the change.
    before = [verdict("7d", T0 - DAY_S, 0.9), verdict("1d", T0, 0.3, "insufficient", baseline_id="new")]
    assert psi_at(client, *of_both) == 0.2
    for rows in (of_both, before):
        psi_at(client, *rows)
        add_row(client, "baselines", model=ODD, baseline_id="new", effective_from=T0 - HOUR_S)
        assert point_values(client, SIGNALS["psi"], T0, {})["temp"][0] == 0.0


def fast_psi_at(client: Client, *rows: dict[str, Any]) -> tuple[float, ...]:
    """The value of the signal, the interval and the observed value that it shows."""
    emptied(client)
    insert_rows(client, "drift", rows)
    sql = point_sql(SIGNALS["fast psi"], "tuple(value, low, high, observed)", f"toUInt32({T0})")
    return tuple(dict(client.rows(sql))["temp"])


def test_a_large_shift_in_one_shorter_window_with_ample_data_exceeds_the_threshold(client: Client) -> None:
    for window in ("1h", "1d"):
        calm = [verdict(each, T0, 0.05) for each in ("1h", "1d", "7d") if each != window]
        value, *shown = fast_psi_at(client, *calm, verdict(window, T0, 0.9, psi_low=0.6, psi_high=1.2))
        assert value == pytest.approx(0.6 * 0.2 / 0.3), window
        assert shown == [0.6, 1.2, 0.9], window
        # The interval counts, not the value; between the clear threshold and the threshold nothing changes.
        value, *_ = fast_psi_at(client, *calm, verdict(window, T0, 0.9, psi_low=0.24, psi_high=1.2))
        assert value == pytest.approx(0.16), window
    # The long window never suffices alone.
    calm = [verdict(each, T0, 0.05) for each in ("1h", "1d")]
    assert fast_psi_at(client, *calm, verdict("7d", T0, 0.9, psi_low=0.6))[0] == 0.05
    calm, ample = [verdict(each, T0, 0.05) for each in ("1d", "7d")], verdicts.ALONE_EVENTS
    for level, n, exceeds in (("insufficient", 500, False), ("major", ample - 1, False), ("major", ample, True)):
        value, *_ = fast_psi_at(client, *calm, verdict("1h", T0, 0.9, level, n=n, psi_low=0.6))
        assert value > 0.2 if exceeds else value == 0.05, (level, n)


def details(client: Client, name: str, *rows: Any, table: str = "drift", change: str = "") -> tuple[Any, ...]:
    """The labels of the observed value but the cause, which is the expected change, and the observed value."""
    emptied(client)
    insert_rows(client, table, rows)
    result = client.rows(point_sql(SIGNALS[name], "observed", f"toUInt32({T0 + 60})", shown_s=HOUR_S))
    own = [each[1:] for each in result if each[0] in ("temp", "auc")] if SIGNALS[name].label else result
    *labels, cause, observed = own[0]
    assert cause == change
    return *labels, observed


def test_messages_on_verdicts_name_what_decides_and_the_reason_of_insufficient_data(client: Client) -> None:
    until = f"{datetime.fromtimestamp(T0, UTC):%Y-%m-%d %H:%M} UTC"
    span = (str((T0 - HOUR_S) * 1000), str(T0 * 1000))
    calm = [verdict("7d", T0, 0.05, version="2"), verdict("1d", T0, 0.05, version="2")]
    drifted = [verdict("7d", T0, 0.9), verdict("1d", T0, 0.5)]
    assert details(client, "psi", *calm, *drifted) == ("1", "1d", until, *span, "", 0.5)
    drifted = [verdict("7d", T0, 0.3), verdict("1d", T0, 0.5)]
    assert details(client, "psi", *calm, *drifted) == ("1", "7d", until, *span, "", 0.3)
    large = verdict("1h", T0, 0.9, psi_low=0.6)
    assert details(client, "fast psi", *calm, *drifted, large) == ("1", "1h", until, *span, "", 0.9)
    unsure = [verdict(each, T0, 0.9, "insufficient", reason="correlated events") for each in ("7d", "1d")]
    assert details(client, "psi", *unsure)[-2:] == (" Insufficient data: correlated events.", 0.9)
    # Without data, the link leads to the present.
    *labels, observed = details(client, "psi")
    assert labels == ["unknown", "7d", "now", "now-3600s", "now", ""]
    assert math.isnan(observed)
    known = {"model": ODD, "version": "1", "slice": "all", "field": "temp", "window": "1d", "kind": "above", "n": 900}
    values = {"delta": 0.4, "delta_low": 0.3, "delta_high": 0.5, "window_start": T0 - DAY_S, "window_end": T0}
    version, window, *_, observed = details(client, "rate", row("rates", **known, **values), table="rates")
    assert (version, window, observed) == ("1", "1d", 0.4)


def test_messages_on_performance_name_the_window_the_version_and_the_reason(client: Client) -> None:
    def scored(version: str, value: float, **values: Any) -> dict[str, Any]:
        known = {"model": ODD, "version": version, "slice": "all", "metric": "auc", "window": "1d", "window_end": T0}
        measured = {"value": value, "low": value - 0.05, "high": value + 0.05, "reference": 0.8, "mature": True}
        change = {"difference": value - 0.8, "difference_low": value - 0.9, "difference_high": value - 0.7}
        guess = {"cbpe": value, "cbpe_low": value, "cbpe_high": value, "predictions": 900}
        judged = {"n": 900, "sufficient": True, "level": "major"}
        return row("performance", **known | measured | change | guess | judged | values)

    bad = [scored("2", 0.79), scored("3", 0.5)]
    unsure = scored("3", 0.5, level="insufficient", reason="too few labels", sufficient=False)
    since = f"it since {datetime.fromtimestamp(T0, UTC):%Y-%m-%d %H:%M} UTC."
    names = {
        "performance": (0.5, f" Below {since}"),
        "measured drop": (0.3, f" Above {since}"),
        "expected drop": (0.3, ""),
    }
    for name, (observed, change) in names.items():
        version, window, *_, reason, value = details(client, name, *bad, table="performance", change=change)
        assert (version, window, reason) == ("3", "1d", "")
        assert value == pytest.approx(observed)
        *_, reason, value = details(client, name, unsure, table="performance", change=change)
        assert value == pytest.approx(observed)
        # An estimate without labels is not less certain because labels are missing.
        assert reason == ("" if name == "expected drop" else " Insufficient data: too few labels.")


def test_messages_on_traffic_name_the_window(client: Client) -> None:
    until = f"{datetime.fromtimestamp(T0, UTC):%Y-%m-%d %H:%M} UTC"
    counts = {"model": ODD, "slice": "all", "errors": 30, "slow": 40, "sealed": True, "pane_s": HOUR_S}
    # An hour that met the objective ended an earlier breach; the next one began after it.
    hours = (("1", 1, 100), ("2", 1, 100), ("1", 8, 10_000), ("1", 9, 100))
    panes = [row("volume", version=v, pane_start=T0 - h * HOUR_S, n=n, timed=n, **counts) for v, h, n in hours]
    change = f" Above it since {datetime.fromtimestamp(T0 - 7 * HOUR_S, UTC):%Y-%m-%d %H:%M} UTC."
    for name, observed in (("errors", 0.3), ("latency", 0.4)):
        _, window, end, start, to, _, value = details(client, name, *panes, table="volume", change=change)
        assert (window, end, value) == ("6h", until, observed)
        assert (start, to) == (str((T0 - HOUR_S) * 1000), str(T0 * 1000))
    # Nulls do not count, and neither do other fields.
    known = {"model": ODD, "slice": "all", "pane_start": T0 - HOUR_S, "pane_s": HOUR_S, "sealed": True, "n": 100}
    fields = [
        row("panes", field="temp", below=5, above=15, nulls=20, version="1", **known),
        row("panes", field="temp", above=20, nulls=20, version="2", **known),
        row("panes", field="dewp", above=90, version="1", **known),
    ]
    _, window, end, *_, value = details(
        client, "out of range", *fields, table="panes", change=f" Above it since {until}."
    )
    assert (window, end, value) == ("6h", until, 40 / 160)


def silent(client: Client, busy: list[bool], at: int) -> tuple[float, ...]:
    emptied(client)
    known = {"model": ODD, "version": "1", "slice": "all", "pane_s": HOUR_S, "sealed": True}
    panes = [{"pane_start": T0 + i * HOUR_S, "n": int(each)} for i, each in enumerate(busy)]
    add_rows(client, "volume", panes, **known)
    return point_values(client, SIGNALS["silence"], at, {})[""]


def test_nights_become_usual_but_one_outage_does_not(client: Client) -> None:
    night = [hour % 24 >= 8 for hour in range(24 * 10)]
    end = T0 + len(night) * HOUR_S
    value, *observed = silent(client, [*night, *[False] * 8], end + 8 * HOUR_S)
    assert value < 1
    assert observed == [8 * HOUR_S, 9 * HOUR_S]
    assert silent(client, [*night, *[False] * 10], end + 10 * HOUR_S)[0] > 1
    outage = [True] * 100 + [False] * 20 + [True] * 100
    value, _, usual_s = silent(client, [*outage, *[False] * 4], T0 + 224 * HOUR_S)
    assert value > 1
    assert usual_s == 3 * HOUR_S


def test_a_new_model_may_be_silent_for_a_night(client: Client) -> None:
    day = [hour >= 8 for hour in range(24)]
    night = [*day, *[False] * 8]
    assert silent(client, night, T0 + len(night) * HOUR_S)[2] == 13 * HOUR_S
    assert silent(client, [*day, *[False] * 14], T0 + 38 * HOUR_S)[0] > 1
    assert silent(client, [True] * 80 + [False] * 4, T0 + 84 * HOUR_S)[0] > 1, "three days are over"


def test_no_traffic_ever_and_a_stalled_pipeline_are_not_silence(client: Client) -> None:
    assert silent(client, [False] * 50, T0 + 50 * HOUR_S)[0] == 0.0
    assert silent(client, [True] * 50, T0 + 60 * HOUR_S)[0] == 1.0, "the pipeline has not judged these hours"


def test_verdicts_are_expected_from_the_first_contract_and_baseline_on(client: Client) -> None:
    def lag() -> float:
        return point_values(client, SIGNALS["verdict age"], T0 + DAY_S, {})[""][0]

    add_row(client, "contracts", model=ODD, applied_at=T0 * 1000)
    assert lag() == 7200, "without a baseline nothing is judged, and nothing is late"
    add_row(client, "baselines", model=ODD, baseline_id="b", accepted_at=(T0 + HOUR_S) * 1000)
    assert lag() == DAY_S - HOUR_S
    end = T0 + DAY_S - 2 * HOUR_S
    judged = {"model": ODD, "slice": "all", "field": "events", "kind": "error", "window": "1d", "window_end": end}
    add_row(client, "rates", **judged, judged_at=(end + 60) * 1000)
    assert lag() == 2 * HOUR_S


def rate_at(
    client: Client, delta: float, low: float, level: str = "major", n: int = 1000, p_value: float = 1e-9
) -> float:
    emptied(client)
    known = {"model": ODD, "version": "1", "slice": "all", "field": "temp", "kind": "above", "window": "1d"}
    observed = {"delta": delta, "delta_low": low, "delta_high": 1, "level": level, "n": n, "window_end": T0}
    add_row(client, "rates", **known, **observed, p_value=p_value)
    return point_values(client, SIGNALS["rate"], T0, {})["temp"][0]


def test_a_rate_exceeds_its_threshold_only_with_its_whole_interval_and_a_small_p(client: Client) -> None:
    assert rate_at(client, 0.06, 0.051) == 0.06
    assert rate_at(client, 0.06, 0.04) == 0.05, "it may be chance"
    assert rate_at(client, 0.06, 0.051, p_value=2e-4) == 0.05, "it may be chance"
    assert rate_at(client, 0.03, 0.01) == 0.03
    assert rate_at(client, 0.0, -1.0, "insufficient", 0) == 0.05, "no events, so the rate is unknown"


@pytest.mark.parametrize(
    ("judged", "value"),
    [
        ({"mean_p": 9e-4}, 0.2),
        ({"mean_p": 2e-3}, 0.1),
        ({"mean_p": 0.06}, 0.0),
        ({"mean_p": 9e-4, "mean_rank": 0.42}, 0.08),
        ({"mean_p": 9e-4, "reason": "lost events"}, 0.1),
        ({"mean_p": math.nan}, 0.1),
        ({"mean_p": 1e-9, "level": "stable", "reason": ""}, 0.0),
    ],
    ids=("unlike training", "may be chance", "like training", "small", "lost events", "unknown", "PSI decides"),
)
def test_the_mean_rank_decides_where_psi_cannot(client: Client, judged: dict[str, Any], value: float) -> None:
    end = T0 + DAY_S
    verdict = {"mean_rank": 0.7, "level": "insufficient", "reason": "correlated events", "n": 99} | judged
    at = {"model": ODD, "version": "1", "slice": "all", "field": "x", "window": "1d", "window_end": end}
    add_row(client, "drift", **at, **verdict, window_start=T0, judged_at=end * 1000)
    signal = verdicts.mean_shift(ODD, ["x"], DAY, PANE, 0.1)
    assert client.rows(point_sql(signal, at=str(end + 60))) == [("x", pytest.approx(value))]
