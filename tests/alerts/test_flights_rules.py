"""Rules over five months of real flights, on verdicts of an independent program: what must page, and what never."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from barograph.contract.file import parse_contract

from barograph_server.alerts import AlertSettings, rules_of
from barograph_server.alerts.simulator import Replay, Simulation, simulate
from barograph_server.examples.flights.data import read_flights
from barograph_server.examples.flights.features import flight_rows
from barograph_server.examples.flights.model import train
from barograph_server.examples.flights.replay import REPLAY_DATES, TRAINING_DATES, between
from barograph_server.sketches.performance.metric import difference, proportion
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.tables import insert_rows
from tests.reference.flights_reference import (
    DAY_S,
    WEEK_S,
    ReferenceField,
    reference_field,
    reference_psi,
    reference_rate,
    reference_rate_phi,
    window_counts,
)
from tests.support.warehouse import row

pytestmark = pytest.mark.long
WEATHER = ("temp", "dewp")
STEADY = ("time_of_day", "distance", "seats", "carrier", "origin")
HOP_S = 6 * 3600
CONTRACT = parse_contract(
    "contract: 1\nmodel: flight-delay\npane: 1h\nwindows: [{length: 1d, hop: 6h}, {length: 7d, hop: 1d}]\nfields:\n"
    + "".join(
        f"  {name}: {{type: {'category' if name in ('carrier', 'origin') else 'float'}, critical: true}}\n"
        for name in (*WEATHER, *STEADY)
    )
)
SHIFT_S = (datetime.now(UTC) - datetime(2014, 1, 2, tzinfo=UTC)) // timedelta(weeks=1) * WEEK_S
"""Shift of all times to the present, in seconds: tables delete rows that are years old."""
ACCEPTED = datetime(2013, 11, 1, tzinfo=UTC)
"""Time from which October is the baseline."""


def second(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp()) + SHIFT_S


@pytest.fixture(scope="module")
def client(migrated_client: Client) -> Client:
    flights = flight_rows(read_flights())
    train, replayed = between(flights, *TRAINING_DATES), between(flights, *REPLAY_DATES)
    train_at, at = (table["at"].cast(pa.int64()).to_numpy() // 1000 for table in (train, replayed))
    for name in (*WEATHER, *STEADY):
        field = reference_field(name, train, train_at)
        insert_rows(migrated_client, "drift", list(_drift(field, replayed[name], at)))
        if name in WEATHER:
            insert_rows(migrated_client, "rates", list(_rates(field, train[name], train_at, replayed[name], at)))
    accepted = int(ACCEPTED.timestamp()) + SHIFT_S
    insert_rows(
        migrated_client, "baselines", [row("baselines", model="flight-delay", baseline_id="o", effective_from=accepted)]
    )
    return migrated_client


def _drift(field: ReferenceField, column: Any, at_s: Any) -> Iterator[dict[str, Any]]:
    """Verdicts on both windows; weather is compared with October from November on."""
    first, cut, end_s = (int(moment.timestamp()) for moment in (datetime(2013, 8, 1, tzinfo=UTC), ACCEPTED, _END))
    october = next(
        counts
        for end, counts in window_counts(field, column, at_s, 31 * DAY_S, DAY_S)
        if end == int(datetime(2013, 11, 1, tzinfo=UTC).timestamp())
    )
    for length_s, hop_s, window in ((DAY_S, HOP_S, "1d"), (WEEK_S, DAY_S, "7d")):
        for end, counts in window_counts(field, column, at_s, length_s, hop_s):
            if end - length_s < first or end > end_s:
                continue
            is_renewed = end > cut and field.name in WEATHER
            base = october if is_renewed else field.base_counts
            phi = field.phi[length_s]
            result = reference_psi(base, counts, phi.value, nu=phi.nu)
            over = is_renewed and end - length_s < cut
            known = {"model": "flight-delay", "version": "1", "baseline_id": "o" if is_renewed else "b", "slice": "all"}
            when = {"window": window, "window_start": end - length_s + SHIFT_S, "window_end": end + SHIFT_S}
            observed = {"n": result.n, "psi": result.psi, "psi_low": result.low, "psi_high": result.high}
            level = "insufficient" if over else result.level
            yield row("drift", field=field.name, **known, **when, **observed, level=level, judged_at=2_000_000_000_000)


_END = datetime(2014, 1, 1, 6, tzinfo=UTC)


def _rates(field: ReferenceField, train: Any, train_at_s: Any, column: Any, at_s: Any) -> Iterator[dict[str, Any]]:
    base, n_base = field.base_counts, int(field.base_counts.sum())
    values, trained = (np.asarray(each.to_numpy(zero_copy_only=False), float) for each in (column, train))
    low, high = np.nanmin(trained), np.nanmax(trained)
    of_bins = field.phi[DAY_S].of_bins
    phi = {
        "null": reference_rate_phi(np.isnan(trained), train_at_s, DAY_S, of_bins),
        "below": of_bins,
        "above": of_bins,
    }
    outside = {"null": np.isnan(values), "below": values < low, "above": values > high}
    for end in range(int(datetime(2013, 8, 2, tzinfo=UTC).timestamp()), int(_END.timestamp()) + 1, HOP_S):
        inside = (at_s >= end - DAY_S) & (at_s < end)
        if not inside.any():
            continue
        for kind, is_outside in outside.items():
            n, k = int(inside.sum()), int((inside & is_outside).sum())
            result = reference_rate(int(base[-1]) if kind == "null" else 0, n_base, k, n, phi[kind])
            known = {"model": "flight-delay", "version": "1", "slice": "all", "field": field.name, "kind": kind}
            when = {"window": "1d", "window_start": end - DAY_S + SHIFT_S, "window_end": end + SHIFT_S}
            observed = {"n": n, "k": k, "delta": result.delta, "delta_low": result.low, "delta_high": result.high}
            observed |= {"p_value": result.p_value, "training_delta": 0.0}
            yield row("rates", **known, **when, **observed, level=result.level, judged_at=2_000_000_000_000)


RULES = ("psi-major", "null-rate", "range-rate")


@pytest.fixture(scope="module")
def done(client: Client) -> Simulation:
    rules = [rule for rule in rules_of(CONTRACT, AlertSettings()) if rule.name in RULES]
    return simulate(client, rules, AlertSettings(), second(2013, 8, 1), second(2014, 1, 2), "ended")


def fired(done: Simulation, rule: str, *fields: str) -> list[tuple[int, int | None]]:
    replay: Replay = next(each for each in done.replays if each.rule.name == rule and each.rule.severity == "page")
    return [(each.start, each.end) for each in replay.episodes if each.key in fields]


def test_weather_pages_in_the_second_half_of_september_and_schedule_plane_and_route_never(done: Simulation) -> None:
    begun = [start for start, _ in fired(done, "psi-major", *WEATHER)]
    assert second(2013, 9, 15) <= min(begun) < second(2013, 10, 1)
    assert not fired(done, "psi-major", *STEADY)
    assert not fired(done, "null-rate", *STEADY)
    outage = [start for start, _ in fired(done, "null-rate", *WEATHER)]
    assert min(outage) >= second(2013, 12, 31), "weather is missing on the last day of the year"


def test_accepting_october_resolves_alerts_and_the_next_week_has_none(done: Simulation) -> None:
    accepted = second(2013, 11, 1)
    before = [
        end
        for start, end in fired(done, "psi-major", *WEATHER)
        if start < accepted and (end or accepted) > accepted - DAY_S
    ]
    assert before, "nothing was firing at the end of October"
    assert all(end is not None and end <= accepted + HOP_S + 3600 for end in before)
    assert not [start for start, _ in fired(done, "psi-major", *WEATHER) if accepted < start < accepted + WEEK_S]


def test_five_months_are_at_most_four_incidents_and_each_pages(done: Simulation) -> None:
    pages = done.incidents_of("page")
    fired_times = sum(len(each.episodes) for each in done.replays if each.rule.severity == "page")
    print(f"{fired_times} firing instances, {len(pages)} incidents:", *(each.title for each in pages), sep="\n  ")
    assert len(pages) <= 4 < fired_times
    assert sum(each.firings for each in pages) == fired_times
    september, outage = pages[0], pages[-1]
    assert second(2013, 9, 15) <= (september.paged_at or 0) < second(2013, 10, 1)
    assert september.title == "drift of dewp and temp"
    assert (outage.paged_at or 0) >= second(2013, 12, 31)
    assert {(each.rule.name, each.key) for each in outage.members.values()} == {("null-rate", name) for name in WEATHER}


def test_accuracy_is_far_below_the_reference_on_days_and_a_week_but_never_on_three_days_in_a_row() -> None:
    flights = flight_rows(read_flights())
    model, replayed = train(between(flights, *TRAINING_DATES)), between(flights, *REPLAY_DATES)
    replayed = replayed.filter(replayed["label"].is_valid())
    is_right = (model.scores(replayed) >= 0.5) == replayed["label"].to_numpy().astype(bool)
    day = replayed["at"].cast(pa.int64()).to_numpy() // (1000 * DAY_S)
    day -= day.min()
    first = proportion(is_right[day < 7].sum(), (day < 7).sum())

    def collapses(window: Any) -> Any:
        return -difference(proportion(np.bincount(window, is_right), np.bincount(window)), first).high > 0.1

    by_day = collapses(day)
    assert (by_day.sum(), (by_day[1:] & by_day[:-1]).sum()) == (15, 6)
    assert not (by_day[2:] & by_day[1:-1] & by_day[:-2]).any()
    assert collapses(day // 7).sum() == 1
