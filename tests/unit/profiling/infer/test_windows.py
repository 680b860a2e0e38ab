"""Panes and windows that `infer` proposes from the traffic in the training data."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from barograph.contract import Contract, Window
from barograph.contract.check import check_contract
from numpy.typing import NDArray

from barograph_server.profiling.infer import InferOptions, InferResult, Roles, infer_file
from barograph_server.profiling.infer.windows import (
    LEAST_SLICE_N,
    PROPOSALS,
    QUIET_SHARE,
    ROWS_PER_EVENT,
    OrderedTimes,
    Proposal,
    events_for_a_level,
    pane_for,
    propose,
)

SEED = 19
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
START_S = 1_735_516_800
"""Monday, 30 December 2024."""
DEFAULTS = Contract(model="m")
MAX_PANES, MAX_HOURLY_PANES = 1440, 90 * 24
RATES = (1, 5, 20, 165, 1_000, 10_000, 100_000, 100 * DAY_S, 10_000 * DAY_S)
"""Events a day, up to 10,000 a second."""


def ordered(at_s: NDArray[np.float64]) -> OrderedTimes:
    return OrderedTimes((at_s * 1000).astype(np.int64), np.zeros(len(at_s), dtype=bool))


def random_times(per_day: float) -> OrderedTimes:
    """Independent events, at most 200,000 of them or 500 days."""
    rng = np.random.default_rng(SEED)
    days = min(500.0, 200_000 / per_day)
    return ordered(START_S + np.sort(rng.uniform(0, days * DAY_S, max(2, int(days * per_day)))))


def proposed(
    times: OrderedTimes, shares: tuple[float, ...] = (), pane_s: int | None = None, *, hourly: bool = False
) -> Proposal:
    proposal = propose(times, len(times.at_ms), shares, pane_s=pane_s, hourly=hourly)
    assert proposal is not None
    return proposal


def names(proposal: Proposal) -> list[str]:
    return [window.name for window in proposal.windows]


@pytest.mark.parametrize("per_day", RATES)
def test_windows_can_be_judged_at_any_rate(per_day: float) -> None:
    times = random_times(per_day)
    for pane_s, hourly in ((None, False), (None, True), (MINUTE_S, False), (5 * MINUTE_S, False), (DAY_S, False)):
        check_proposal(times, pane_s, hourly=hourly)


def check_proposal(times: OrderedTimes, pane_s: int | None, *, hourly: bool) -> None:
    """Check that windows have enough events for a level, and that the shortest is no longer than that needs."""
    rows = len(times.at_ms)
    proposal = proposed(times, pane_s=pane_s, hourly=hourly)
    short, longest = proposal.windows[0], max(proposal.windows)
    check_contract(Contract(model="m", pane_s=proposal.pane_s, windows=proposal.windows))
    if pane_s is None:
        assert longest.length_s / proposal.pane_s <= (MAX_HOURLY_PANES if hourly else MAX_PANES)
        assert proposal.pane_s == pane_for(proposal.windows, hourly=hourly)
    needed = events_for_a_level(rows)
    if proposal.warning:
        assert short.length_s == PROPOSALS[-1][0].length_s
        assert times.mean_events(short.length_s) < 1.2 * needed
        return
    assert np.quantile(events_of_windows(times, short), QUIET_SHARE) >= needed
    shorter = {windows[0] for windows in PROPOSALS if windows[0].length_s < short.length_s}
    for window in {window for window in shorter if window.length_s % (pane_s or 1) == 0}:
        assert times.low_events(window.length_s, QUIET_SHARE) < needed
    for window in proposal.windows[1:]:
        if window.last:
            assert np.quantile(events_of_windows(times, window), QUIET_SHARE) >= window.last
            assert rows >= ROWS_PER_EVENT * window.last
            continue
        assert rows >= ROWS_PER_EVENT * times.mean_events(window.length_s)


def events_of_windows(times: OrderedTimes, window: Window) -> NDArray[np.int64]:
    """Count the events of all windows wholly inside the period by brute force; at the mean rate if there is none."""
    length_ms = window.length_s * 1000
    counts = np.bincount(times.at_ms // length_ms - times.first_ms // length_ms)[1:-1]
    return counts[counts > 0] if len(counts) else np.array([int(times.mean_events(window.length_s))])


def test_the_proposal_of_a_rate() -> None:
    for per_day, pane_s, windows in (
        (100_000, MINUTE_S, ["15m", "1h"]),
        (30_000, 5 * MINUTE_S, ["1h"]),
        (10_000, 5 * MINUTE_S, ["1h", "1d"]),
        (3_000, 30 * MINUTE_S, ["6h", "1d"]),
        (1_000, HOUR_S, ["1d", "7d"]),
        (165, 12 * HOUR_S, ["7d", "last 500", "30d"]),
        (20, DAY_S, ["30d", "last 500"]),
        (1, DAY_S, ["30d", "90d"]),
    ):
        proposal = proposed(random_times(per_day))
        assert (proposal.pane_s, names(proposal)) == (pane_s, windows), per_day
        assert bool(proposal.warning) == (per_day == 1)
    # Dense traffic over weeks gives the default windows.
    times = ordered(START_S + np.arange(14 * DAY_S, dtype=np.float64))
    assert proposed(times) == proposed(times, pane_s=MINUTE_S)
    assert (proposed(times).pane_s, proposed(times).windows) == (DEFAULTS.pane_s, DEFAULTS.windows)


def thinned(keep: NDArray[np.float64]) -> OrderedTimes:
    """Nine weeks of one event per five seconds; `keep` is the share that is kept, per hour of the week."""
    rng = np.random.default_rng(SEED)
    at_s = np.arange(0, 63 * DAY_S, 5, dtype=np.float64)
    chosen = rng.random(len(at_s)) < keep[(at_s // HOUR_S % 168).astype(int)]
    return ordered(START_S + at_s[chosen])


def test_the_short_window_has_enough_events_at_night_and_at_weekends() -> None:
    hour = np.arange(168)
    night, weekend = np.where(hour % 24 < 8, 0.3, 1.0), np.where(hour >= 120, 0.01, 0.15)
    assert names(proposed(thinned(np.full(168, night.mean())))) == ["1h", "1d"]
    assert names(proposed(thinned(night))) == ["6h", "1d"]
    assert names(proposed(thinned(np.full(168, weekend.mean())))) == ["6h", "1d"]
    assert names(proposed(thinned(weekend))) == ["7d", "last 500"]


def test_windows_without_events_do_not_count() -> None:
    """A model that serves nobody at night and at weekends is judged by the windows in which it serves."""
    office = np.where((np.arange(168) % 24 >= 8) & (np.arange(168) % 24 < 20) & (np.arange(168) < 120), 1.0, 0.0)
    assert names(proposed(thinned(office))) == ["1h", "1d"]
    batch = ordered(np.concatenate([START_S + day * DAY_S + np.arange(2_000) / 10 for day in range(60)]))
    assert names(proposed(batch)) == ["15m", "1h", "1d"]


def test_the_minimum_of_slices_follows_the_typical_slice() -> None:
    times = random_times(1_000)
    assert proposed(times).slice_min_n == DEFAULTS.slice_min_n
    assert proposed(times, (0.5, 0.3, 0.1)).slice_min_n == DEFAULTS.slice_min_n
    # Nine of ten weeks have at least 6,890 events.
    assert proposed(times, (0.9, 0.05, 0.01)).slice_min_n == 300
    assert proposed(times, (0.9, 0.001, 0.001)).slice_min_n == LEAST_SLICE_N


def inferred(folder: Path, per_day: int, days: int, **options: object) -> InferResult:
    rng = np.random.default_rng(SEED)
    n = per_day * days
    at_ms = (START_S * 1000 + np.sort(rng.integers(0, days * DAY_S * 1000, n))).astype(np.int64)
    table = pa.table(
        {
            "at": pa.array(at_ms, pa.timestamp("ms", "UTC")),
            "x": rng.normal(size=n),
            "country": rng.choice(["DE", "FR"], n, p=[0.6, 0.4]),
        }
    )
    # The order of the rows does not matter.
    path = folder / "train.parquet"
    pq.write_table(table.take(rng.permutation(n)), path)
    return infer_file(InferOptions(table=path, model="m", version="1", **options))  # type: ignore[arg-type]


def test_infer_proposes_windows_and_says_why(tmp_path: Path) -> None:
    result = inferred(tmp_path, 165, 365, roles=Roles(time="at", slices=("country",)))
    contract = result.contract
    windows = ["7d", "last 500", "30d"]
    assert (contract.pane_s, [window.name for window in contract.windows]) == (12 * HOUR_S, windows)
    assert contract.slice_min_n == DEFAULTS.slice_min_n
    phi = result.baseline.fields[0].slices["all"].phi
    assert set(result.windows) == set(phi) == set(windows)
    # 500 events take a little more than three days, and so seven panes of half a day.
    assert phi["last 500"].windows == pytest.approx(365 / 3.5, abs=3)
    assert result.windows_reason.startswith(
        "Panes of 12h, windows 7d:12h, last 500:12h, 30d:1d: in training 90% of the 7d windows with events have at "
        "least 1,1"
    )
    assert result.windows_warning == ""
