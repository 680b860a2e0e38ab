"""Signals of a candidate on the real engine: what each of them counts, and that rules equal their history."""

import math
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.signals import EventTimeRange, Signal, point_sql, series_sql
from barograph_server.warehouse.signals.shadow import decided, missing_share, shadow_lag, slice_harm
from barograph_server.warehouse.signals.verdicts import PaneTiming
from barograph_server.warehouse.tables import insert_rows
from tests.support.warehouse import row

HOUR_S, DAY_S = 3600, 86_400
T0 = (int(time.time()) // DAY_S - 14) * DAY_S
ODD = 'it\'s "50 %" {{ $__interval }} -- /* \\ 名前'
NAMES = {"model": ODD, "candidate": "4'", "of": "3"}
LAG = shadow_lag(**NAMES, pane=PaneTiming(HOUR_S, 600, 600), threshold_s=3.0 * HOUR_S)
MISSING = missing_share(**NAMES, threshold=0.05)
HARM = slice_harm(**NAMES, horizon_s=2 * DAY_S, threshold=10.0)
DECIDED = decided(**NAMES, horizon_s=2 * DAY_S)


def pairs(hour: int, requests: int = 100, **changes: Any) -> dict[str, Any]:
    missing = changes.get("missing", {})
    counts = {"requests": requests, "pairs": requests - sum(missing.values()), "records": 1, "slice": "all"}
    times = {"window_start": T0 + hour * HOUR_S, "window_s": HOUR_S, "basis": "b"}
    return row("shadow_pairs", **NAMES, **{**counts, **times, **changes})


def traffic(hour: int, n: int = 100, **changes: Any) -> dict[str, Any]:
    pane = {"pane_start": T0 + hour * HOUR_S, "pane_s": HOUR_S, "slice": "all", "sealed": True, "record_seq": 1}
    return row("volume", model=ODD, version="3", n=n, **{**pane, **changes})


def look_row(day: int, outcome: str, evidence: float) -> dict[str, Any]:
    end_s = T0 + day * DAY_S
    when = {"day": datetime.fromtimestamp(end_s - 1, UTC).date(), "day_end": end_s, "judged_at": (end_s + 7200) * 1000}
    values = {"slice": "all", "criterion": "decision", "outcome": outcome, "evidence": evidence}
    return row("shadow_verdicts", **NAMES, **when, **values)


def number(client: Client, signal: Signal, at_s: int, key: str = "") -> float:
    rows = client.rows(point_sql(signal, at=str(at_s)))
    return float({own[0] if len(own) > 1 else "": own[-1] for own in rows}[key])


def test_traffic_without_paired_events_is_a_lag(client: Client) -> None:
    insert_rows(client, "volume", [traffic(hour) for hour in range(20)])
    insert_rows(client, "shadow_pairs", [pairs(hour) for hour in range(10)])
    nothing = {"no-event": 95, "primary-failed": 5}
    insert_rows(client, "shadow_pairs", [pairs(hour, pairs=0, missing=nothing) for hour in range(10, 18)])
    assert number(client, LAG, T0 + 10 * HOUR_S) == 0
    assert number(client, LAG, T0 + 12 * HOUR_S) == 2 * HOUR_S
    assert number(client, LAG, T0 + 20 * HOUR_S) == 10 * HOUR_S
    insert_rows(client, "shadow_pairs", [pairs(18, pairs=0, missing={"timeout": 1, "no-event": 99})])
    assert number(client, LAG, T0 + 20 * HOUR_S) == HOUR_S, "a time-out is an event of the candidate"


def test_neither_silence_of_the_primary_nor_a_candidate_without_any_event_is_a_lag(client: Client) -> None:
    insert_rows(client, "volume", [traffic(hour, n=100 if hour < 10 else 0) for hour in range(20)])
    assert number(client, LAG, T0 + 10 * HOUR_S) == LAG.threshold, "no event of the candidate: neither fires nor clears"
    insert_rows(client, "shadow_pairs", [pairs(hour) for hour in range(10)])
    assert number(client, LAG, T0 + 20 * HOUR_S) == 0


def test_the_share_of_missing_pairs_leaves_out_what_is_planned(client: Client) -> None:
    insert_rows(client, "shadow_pairs", [pairs(-100, 20, pairs=18, missing={"error": 2})])
    assert number(client, MISSING, T0 - 99 * HOUR_S) == MISSING.threshold, "capped: too few requests"
    planned = {"skipped-sample": 500, "primary-failed": 100}
    insert_rows(
        client,
        "shadow_pairs",
        [
            pairs(hour, 1000, pairs=400 - lost, missing={**planned, "timeout": lost})
            for hour in range(48)
            for lost in (8 if hour < 24 else 40,)
        ],
    )
    assert number(client, MISSING, T0 + 24 * HOUR_S) == pytest.approx(0.02)
    assert number(client, MISSING, T0 + 48 * HOUR_S) == pytest.approx(0.1)
    assert number(client, MISSING, T0 + 36 * HOUR_S) == pytest.approx(0.06)
    ((low, high),) = client.rows(point_sql(MISSING, "low, high", at=str(T0 + 48 * HOUR_S)))
    assert low < 0.1 < high


def test_pairs_that_were_counted_by_earlier_rules_do_not_count(client: Client) -> None:
    insert_rows(client, "volume", [traffic(hour) for hour in range(20)])
    earlier = [pairs(hour, 1000, basis="a", missing={"timeout": 500}, counted_at=1000) for hour in range(20)]
    insert_rows(client, "shadow_pairs", earlier)
    assert number(client, MISSING, T0 + 20 * HOUR_S) == pytest.approx(0.5)
    assert number(client, LAG, T0 + 20 * HOUR_S) == 0
    later = [pairs(hour, 1000, missing={"timeout": 20}, counted_at=2000) for hour in range(10)]
    insert_rows(client, "shadow_pairs", later)
    assert number(client, MISSING, T0 + 20 * HOUR_S) == pytest.approx(0.02)
    assert number(client, LAG, T0 + 20 * HOUR_S) == 10 * HOUR_S


def test_the_newest_look_decides_and_expires(client: Client) -> None:
    looks = ((1, "insufficient", math.nan), (2, "insufficient", 1.0), (3, "hold", math.log(40.0)))
    insert_rows(client, "shadow_verdicts", [look_row(*each) for each in looks])
    assert number(client, HARM, T0 + DAY_S) == HARM.threshold, "no evidence: neither fires nor clears"
    assert number(client, HARM, T0 + 2 * DAY_S) == pytest.approx(math.e)
    assert number(client, HARM, T0 + 3 * DAY_S) == pytest.approx(40.0)
    assert number(client, DECIDED, T0 + 2 * DAY_S, "hold") == 0.0
    assert number(client, DECIDED, T0 + 3 * DAY_S, "hold") == 1.0
    assert number(client, DECIDED, T0 + 3 * DAY_S, "promote") == 0.0
    assert number(client, HARM, T0 + 10 * DAY_S) == HARM.threshold
    insert_rows(client, "shadow_verdicts", [look_row(4, "roll back", 1.0)])
    assert number(client, DECIDED, T0 + 4 * DAY_S, "roll back") == 1.0
    assert number(client, DECIDED, T0 + 4 * DAY_S, "hold") == 0.0


def test_rules_and_their_history_have_the_same_numbers(client: Client) -> None:
    insert_rows(client, "volume", [traffic(hour, n=100 * (hour % 7 > 1)) for hour in range(200)])
    paired = [pairs(hour, missing={"timeout": hour % 13}) for hour in range(200) if hour % 17 > 3]
    insert_rows(client, "shadow_pairs", paired)
    outcomes = ("insufficient", "promote", "hold")
    insert_rows(client, "shadow_verdicts", [look_row(day, outcomes[day % 3], day / 2) for day in range(1, 9)])
    period = EventTimeRange(str(T0), str(T0 + 200 * HOUR_S))
    for signal in (LAG, MISSING, HARM, DECIDED):
        history: dict[tuple[str, int], float] = {}
        for at, key, value, *_ in client.rows(series_sql(signal, period, "now")):
            history[key, at] = value
        for hour in (1, 26, 60, 61, 100, 130, 199):
            at_s = T0 + hour * HOUR_S
            for key in signal.keys:
                last = max(at for own, at in history if own == key and at <= at_s)
                single = number(client, signal, at_s, key)
                assert single == pytest.approx(history[key, last], nan_ok=True), (signal, hour, key)
