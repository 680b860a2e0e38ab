from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from barograph.contract import Window
from numpy.typing import NDArray

from barograph_server.profiling.infer.event_times import OrderedTimes
from barograph_server.profiling.infer.infer import InferOptions, InferResult, infer_file
from barograph_server.profiling.infer.phi import TrainingWindows
from barograph_server.profiling.infer.profile import Roles
from barograph_server.profiling.infer.slices import SliceDimension
from barograph_server.profiling.infer.summarise import FieldSummary, summarise_numbers
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
HOUR_S = 3600
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
    nothing = np.zeros(len(at_ms), dtype=bool)
    times = OrderedTimes(at_ms, nothing if null is None else null)
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
    rng = np.random.default_rng(SEED)
    at_ms, values = weather(rng, days=50, per_day=300)
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
HOUR_S_SEASON = 3_600
MONDAY_S = int(datetime(2026, 2, 2, tzinfo=ZoneInfo(ZONE)).timestamp())
WINDOWS_SEASON = (Window(900, 900), Window(HOUR_S_SEASON, HOUR_S_SEASON), Window(86_400, HOUR_S_SEASON))


def traffic(weeks: int, per_hour: int, *, repeats: float = 0.0, seed: int = 1) -> pa.Table:
    """Traffic that varies by hour of the day, across the start of summer time; `repeats` shifts hours randomly."""
    rng = np.random.default_rng(seed)
    n_hours = weeks * 168
    events = rng.poisson(per_hour, n_hours)
    hour = np.repeat(np.arange(n_hours), events)
    at_s = MONDAY_S + hour * HOUR_S_SEASON + rng.integers(0, HOUR_S_SEASON, len(hour))
    hour_of_week = compute_hours_of_week(at_s, HOUR_S_SEASON, ZONE) % 24
    x = (
        rng.normal(size=len(hour))
        + 1.5 * np.cos(2 * np.pi * hour_of_week / 24)
        + repeats * rng.normal(size=n_hours)[hour]
    )
    colour = np.where(
        rng.random(len(hour)) < 0.1 + 0.8 * (hour_of_week < 12), "red", rng.choice(["green", "blue"], len(hour))
    )
    rare = rng.random(len(hour)) < 0.003
    order = rng.permutation(len(hour))
    return pa.table(
        {
            "at": pa.array(at_s[order] * 1_000, pa.timestamp("ms", "UTC")),
            "x": x[order],
            "colour": np.where(rare, "violet", colour)[order],
        }
    )


def learned_of_season(table: pa.Table, folder: Path, season: str = "hour_of_week", pane_s: int = 60) -> InferResult:
    path = folder / "train.parquet"
    pq.write_table(table, path, row_group_size=1_000)
    options = InferOptions(
        table=path,
        model="m",
        version="1",
        roles=Roles(time="at"),
        windows=tuple(window for window in WINDOWS_SEASON if window.hop_s % pane_s == 0),
        pane_s=pane_s,
        timezone=ZONE,
        season=season,  # type: ignore[arg-type]
    )
    return infer_file(options)


def test_each_hour_of_the_week_is_counted(tmp_path: Path) -> None:
    """Compare with Python's calendar, row by row."""
    table = traffic(weeks=7, per_hour=12)
    rows = table.num_rows
    at = [moment.astimezone(ZoneInfo(ZONE)) for moment in table.column("at").to_pylist()]
    untimed = np.arange(rows) % 50 == 0
    table = table.set_column(
        0, "at", pa.array([None if u else m for u, m in zip(untimed, at, strict=True)], pa.timestamp("ms", "UTC"))
    )
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
    assert load_baseline(_written(result, tmp_path), "b") == baseline


def _written(result: InferResult, folder: Path) -> bytes:
    return result.write_contract(folder / "out").baseline.read_bytes()


@pytest.mark.parametrize("pane_s", [60, HOUR_S_SEASON])
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
    table = traffic(weeks=4, per_hour=300, repeats=0.5)
    baseline = learned_of_season(table, tmp_path).baseline
    learned_phi = baseline.fields[0].slices[ALL].phi["1h"]
    phi, nu = learned_phi.value, learned_phi.nu or np.inf
    later = traffic(weeks=4, per_hour=300, repeats=0.5, seed=9)
    at_s = later.column("at").cast(pa.int64()).to_numpy() // 1_000
    bins = PsiBins(Layout(baseline))
    season = Season(bins)
    hour = (at_s - MONDAY_S) // HOUR_S_SEASON
    edges = baseline.fields[0].edges
    cells = np.searchsorted(edges, later.column("x").to_numpy(), side="right")
    window = np.zeros((int(hour.max()) + 1, bins.n_bins), dtype=np.int64)
    np.add.at(window, (hour, bins.starts[0] + cells), 1)
    hours_of_week = compute_hours_of_week(MONDAY_S + np.arange(len(window)) * HOUR_S_SEASON, HOUR_S_SEASON, ZONE)
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
