from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from barograph.contract import Contract, Window
from barograph.contract.check import check_contract
from numpy.typing import NDArray

from barograph_server.profiling.infer import InferOptions, InferResult, Roles, infer_file
from barograph_server.profiling.infer import windows as proposals
from barograph_server.profiling.infer.phi import TrainingWindows
from barograph_server.profiling.infer.slices import SliceDimension
from barograph_server.profiling.infer.summarise import FieldSummary, summarise_numbers
from barograph_server.profiling.infer.training import infer
from barograph_server.profiling.infer.windows import QUIET_SHARE, OrderedTimes, Proposal
from barograph_server.sketches.baseline.baseline import ALL, HOUR_NAMES, Phi, SliceValues, load_baseline
from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.baseline.layout import Layout
from barograph_server.sketches.drift.noncentral import chi2_quantile
from barograph_server.sketches.drift.overdispersion import QUANTILES
from barograph_server.sketches.drift.psi import psi_values
from barograph_server.sketches.drift.season import Season
from barograph_server.streams.hour_of_week import compute_hours_of_week
from tests.reference.flights_reference import DAY_S, WEEK_S, reference_field

SEED = 40_207
MINUTE_S, HOUR_S = 60, 3600
WINDOWS = (Window(DAY_S, HOUR_S), Window(WEEK_S, DAY_S))
FloatArray = NDArray[np.float64]


def summary(values: FloatArray, dimensions: tuple[SliceDimension, ...] = ()) -> FieldSummary:
    return summarise_numbers("x", values, np.sort(values[np.isfinite(values)]), dimensions, integer=False)


def windows_of(
    at_ms: NDArray[np.int64],
    windows: tuple[Window, ...] = WINDOWS,
    null: NDArray[np.bool_] | None = None,
    dimensions: tuple[SliceDimension, ...] = (),
) -> TrainingWindows:
    rows = {"all": len(at_ms)}
    for dimension in dimensions:
        counts = np.bincount(dimension.codes, minlength=len(dimension.slice_names)).tolist()
        rows.update(zip(dimension.slice_names, counts, strict=True))
    times = OrderedTimes(at_ms, np.zeros(len(at_ms), dtype=bool) if null is None else null)
    return TrainingWindows(times, dimensions, {window.name: window.length_s for window in windows}, rows)


def weather(rng: np.random.Generator, days: int, per_day: int) -> tuple[NDArray[np.int64], FloatArray]:
    """Values that are correlated within days, a tenth of them null."""
    n = days * per_day
    at_s = 1_371_000_000 + np.sort(rng.integers(0, days * DAY_S, n))
    daily = np.cumsum(rng.normal(size=days + 2)) * 0.7
    values = daily[(at_s - at_s[0]) // DAY_S] + 0.3 * rng.normal(size=n)
    values[rng.random(n) < 0.1] = np.nan
    return at_s * 1000, values


def learned(windows: TrainingWindows, summary: FieldSummary) -> dict[str, Phi]:
    return windows.learn(summary).slices["all"].phi


def test_phi_equals_an_independent_computation() -> None:
    at_ms, values = weather(np.random.default_rng(SEED), days=50, per_day=300)
    table = pa.table({"x": pa.array(values, from_pandas=True)})
    expected = reference_field("x", table, at_ms // 1000)
    result = learned(windows_of(at_ms), summary(values))
    for name, length_s in {"1d": DAY_S, "7d": WEEK_S}.items():
        one, reference = result[name], expected.phi[length_s]
        assert one.value == pytest.approx(reference.value, rel=1e-9)
        assert (one.nu or np.inf, one.windows) == (reference.nu, reference.windows)
    assert result["1d"].value > 20
    assert (result["1d"].flag, result["7d"].flag) == ("ok", "rough")


def test_rows_without_time_are_in_no_window() -> None:
    rng = np.random.default_rng(SEED)
    at_ms, values = weather(rng, days=30, per_day=100)
    null = rng.random(len(values)) < 0.2
    at_ms[null] = 0
    windows = windows_of(at_ms, null=null)
    assert windows.first_ms == at_ms[~null].min()
    assert windows.count("1d") == 29
    assert windows.mean_events["1d"] == pytest.approx(80, rel=0.1)
    assert learned(windows, summary(values))["1d"].value > 5


def test_each_slice_has_its_own_phi() -> None:
    rng = np.random.default_rng(SEED)
    at_ms, values = weather(rng, days=60, per_day=600)
    codes = rng.integers(0, 2, len(values)).astype(np.int16)
    values[codes == 1] = rng.normal(size=int((codes == 1).sum()))  # the second slice is independent
    dimension = SliceDimension("d", SliceValues(name="d", source="features.d", values=("a", "b"), trained=True), codes)
    field = windows_of(at_ms, dimensions=(dimension,)).learn(summary(values, (dimension,)))
    assert field.slices["d=a"].phi["1d"].value > 20
    assert field.slices["d=b"].phi["1d"].value < 1.5
    assert field.slices["d=other"].phi == {}


@pytest.mark.parametrize("per_window", [1, 3, 8, 40, 300])
def test_independent_events_have_phi_near_one_however_few(per_window: int) -> None:
    rng = np.random.default_rng(SEED + per_window)
    n = 200 * per_window
    at_ms = 1_371_000_000_000 + np.sort(rng.integers(0, 200 * HOUR_S * 1000, n))
    zipf = np.minimum(rng.zipf(1.5, n), 19).astype(np.float64)
    for values in (rng.normal(size=n), zipf):
        result = learned(windows_of(at_ms, (Window(HOUR_S, HOUR_S),)), summary(values))
        assert result["1h"].value < 1.4


def test_correlated_values_in_windows_of_few_events_raise_phi() -> None:
    rng = np.random.default_rng(SEED)
    hours = np.repeat(np.arange(400), 40)
    at_ms = 1_371_000_000_000 + hours * HOUR_S * 1000
    values = rng.normal(size=400)[hours]
    result = learned(windows_of(at_ms, (Window(HOUR_S, HOUR_S),)), summary(values))
    assert result["1h"].value > 5


def test_a_period_shorter_than_a_window_has_unknown_phi() -> None:
    at_ms = 1_371_000_000_000 + np.arange(5000, dtype=np.int64) * 1000
    windows = windows_of(at_ms)
    assert windows.count("1d") == 0
    assert windows.mean_events["1d"] == pytest.approx(86_400, rel=0.01)
    values = np.random.default_rng(SEED).normal(size=5000)
    assert learned(windows, summary(values)) == {"1d": Phi(), "7d": Phi()}


ZONE = "America/New_York"
MONDAY_S = int(datetime(2026, 2, 2, tzinfo=ZoneInfo(ZONE)).timestamp())
WINDOWS_SEASON = (Window(900, 900), Window(HOUR_S, HOUR_S), Window(86_400, HOUR_S))


def traffic(weeks: int, per_hour: int, *, repeats: float = 0.0, seed: int = 1) -> pa.Table:
    """Traffic that varies by hour of the day, across the start of summer time; `repeats` shifts hours randomly."""
    rng = np.random.default_rng(seed)
    n_hours = weeks * 168
    events = rng.poisson(per_hour, n_hours)
    hour = np.repeat(np.arange(n_hours), events)
    at_s = MONDAY_S + hour * HOUR_S + rng.integers(0, HOUR_S, len(hour))
    hour_of_week = compute_hours_of_week(at_s, HOUR_S, ZONE) % 24
    x = rng.normal(size=len(hour)) + 1.5 * np.cos(2 * np.pi * hour_of_week / 24)
    x += repeats * rng.normal(size=n_hours)[hour]
    is_red = rng.random(len(hour)) < 0.1 + 0.8 * (hour_of_week < 12)
    colour = np.where(is_red, "red", rng.choice(["green", "blue"], len(hour)))
    colour = np.where(rng.random(len(hour)) < 0.003, "violet", colour)
    order = rng.permutation(len(hour))
    return pa.table(
        {"at": pa.array(at_s[order] * 1_000, pa.timestamp("ms", "UTC")), "x": x[order], "colour": colour[order]}
    )


def learned_of_season(table: pa.Table, folder: Path, season: Any = "hour_of_week", pane_s: int = 60) -> InferResult:
    path = folder / "train.parquet"
    pq.write_table(table, path, row_group_size=1_000)
    windows = tuple(window for window in WINDOWS_SEASON if window.hop_s % pane_s == 0)
    named: dict[str, Any] = {"model": "m", "version": "1", "roles": Roles(time="at"), "timezone": ZONE}
    return infer_file(InferOptions(table=path, **named, windows=windows, pane_s=pane_s, season=season))


def test_each_hour_of_the_week_is_counted(tmp_path: Path) -> None:
    """Compare with Python's calendar, row by row."""
    table = traffic(weeks=7, per_hour=12)
    rows = table.num_rows
    at = [moment.astimezone(ZoneInfo(ZONE)) for moment in table.column("at").to_pylist()]
    untimed = np.arange(rows) % 50 == 0
    table = table.set_column(0, "at", pc.if_else(pa.array(untimed), None, table["at"]))
    result = learned_of_season(table, tmp_path)
    baseline = result.baseline
    assert baseline.timezone == ZONE == result.contract.timezone
    assert result.contract.season == "hour_of_week"
    hours_of_week = np.array([moment.weekday() * 24 + moment.hour for moment in at])
    x, colour = baseline.fields
    cells = np.searchsorted(x.edges, table.column("x").to_numpy(), side="right")
    names = table.column("colour").to_numpy()
    assert set(x.hours_of_week) == set(HOUR_NAMES)
    bins = [*(c for c in colour.categories if c != "violet"), "violet"]
    for hour_of_week, name in enumerate(HOUR_NAMES):
        in_hour = (hours_of_week == hour_of_week) & ~untimed
        assert x.hours_of_week[name] == tuple(np.bincount(cells[in_hour], minlength=x.n_cells).tolist())
        # The rare category is in `other`, and the last bin is null.
        assert colour.hours_of_week[name] == (*(int((names[in_hour] == c).sum()) for c in bins), 0)
    assert sum(map(sum, x.hours_of_week.values())) == rows - int(untimed.sum())
    written = result.write_contract(tmp_path / "out").baseline
    assert load_baseline(written.read_bytes(), "b") == baseline


@pytest.mark.parametrize("pane_s", [60, HOUR_S])
def test_phi_with_a_season_is_one_if_only_the_season_varies(tmp_path: Path, pane_s: int) -> None:
    table = traffic(weeks=6, per_hour=250)
    by_hours, whole = (
        learned_of_season(table, tmp_path, season, pane_s).baseline for season in ("hour_of_week", "none")
    )
    for field in by_hours.fields:
        for name, phi in field.slices[ALL].phi.items():
            assert phi.value < 1.12, (field.name, name)
    assert whole.fields[0].slices[ALL].phi["1h"].value > 10
    # Nothing else differs.
    assert [f.slices[ALL].cells for f in by_hours.fields] == [f.slices[ALL].cells for f in whole.fields]


def test_phi_with_a_season_is_that_of_later_weeks(tmp_path: Path) -> None:
    """Randomly shifted hours: φ of the training windows equals that of later windows.

    If windows were included in the hours they are compared with, φ would be (4 − 1)/(4 + 1) of that.
    """
    baseline = learned_of_season(traffic(weeks=4, per_hour=300, repeats=0.5), tmp_path).baseline
    x = baseline.fields[0]
    phi, nu = x.slices[ALL].phi["1h"].value, x.slices[ALL].phi["1h"].nu or np.inf
    later = traffic(weeks=4, per_hour=300, repeats=0.5, seed=9)
    bins = PsiBins(Layout(baseline))
    season = Season(bins)
    hour = (later["at"].cast(pa.int64()).to_numpy() // 1_000 - MONDAY_S) // HOUR_S
    cells = np.searchsorted(x.edges, later["x"].to_numpy(), side="right")
    window = np.zeros((int(hour.max()) + 1, bins.n_bins), dtype=np.int64)
    np.add.at(window, (hour, bins.starts[0] + cells), 1)
    hours_of_week = compute_hours_of_week(MONDAY_S + np.arange(len(window)) * HOUR_S, HOUR_S, ZONE)
    ratios = []
    for w, hour_of_week in enumerate(hours_of_week.tolist()):
        n = np.full((1, 1, len(season.groups)), window[w].sum())
        _, df, t, _ = psi_values(
            bins.base_bins, window[w : w + 1], bins.starts, expected=season.expectation([hour_of_week], n)
        )
        ratios.append([float(t[0, 0] / chi2_quantile(np.minimum(df, nu), q)[0, 0]) for q in QUANTILES])
    assert phi > 4
    quantiles = [np.quantile(of_quantile, q) for of_quantile, q in zip(np.transpose(ratios), QUANTILES, strict=True)]
    assert phi == pytest.approx(float(max(quantiles)), rel=0.25)


SEED_WINDOWS = 19
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
    rng = np.random.default_rng(SEED_WINDOWS)
    days = min(500.0, 200_000 / per_day)
    return ordered(START_S + np.sort(rng.uniform(0, days * DAY_S, max(2, int(days * per_day)))))


def proposed(
    times: OrderedTimes, shares: tuple[float, ...] = (), pane_s: int | None = None, *, hourly: bool = False
) -> Proposal:
    proposal = proposals.propose(times, len(times.at_ms), shares, pane_s=pane_s, hourly=hourly)
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
        assert proposal.pane_s == proposals.pane_for(proposal.windows, hourly=hourly)
    needed = proposals.events_for_a_level(rows)
    if proposal.warning:
        assert short.length_s == proposals.PROPOSALS[-1][0].length_s
        assert times.mean_events(short.length_s) < 1.2 * needed
        return
    assert np.quantile(events_of_windows(times, short), QUIET_SHARE) >= needed
    shorter = {windows[0] for windows in proposals.PROPOSALS if windows[0].length_s < short.length_s}
    for window in {window for window in shorter if window.length_s % (pane_s or 1) == 0}:
        assert times.low_events(window.length_s, QUIET_SHARE) < needed
    for window in proposal.windows[1:]:
        if window.last:
            assert np.quantile(events_of_windows(times, window), QUIET_SHARE) >= window.last
            assert rows >= proposals.ROWS_PER_EVENT * window.last
            continue
        assert rows >= proposals.ROWS_PER_EVENT * times.mean_events(window.length_s)


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
    rng = np.random.default_rng(SEED_WINDOWS)
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
    assert proposed(times, (0.9, 0.001, 0.001)).slice_min_n == proposals.LEAST_SLICE_N


def test_infer_proposes_windows_and_says_why() -> None:
    rng, n = np.random.default_rng(SEED_WINDOWS), 165 * 365
    at_ms = (START_S * 1000 + np.sort(rng.integers(0, 365 * DAY_S * 1000, n))).astype(np.int64)
    values = {"x": rng.normal(size=n), "country": rng.choice(["DE", "FR"], n, p=[0.6, 0.4])}
    table = pa.table({"at": pa.array(at_ms, pa.timestamp("ms", "UTC")), **values})
    # The order of the rows does not matter.
    result = infer(table.take(rng.permutation(n)), model="m", version="1", time="at", slices=["country"])
    contract = result.contract
    windows = ["7d", "last 500", "30d"]
    assert (contract.pane_s, [window.name for window in contract.windows]) == (12 * HOUR_S, windows)
    assert contract.slice_min_n == DEFAULTS.slice_min_n
    phi = result.baseline.fields[0].slices["all"].phi
    assert set(result.windows) == set(phi) == set(windows)
    # 500 events take a little more than three days, and so seven panes of half a day.
    assert phi["last 500"].windows == pytest.approx(365 / 3.5, abs=3)
    assert result.windows_reason.startswith(
        "Panes of 12h (the unit of counts), windows (length:hop) 7d:12h, last 500:12h, 30d:1d: in training 90% of the "
        "7d windows with events have at least 1,1"
    )
    assert result.windows_warning == ""
