"""φ learned from training windows: equal to an independent computation, and 1 for independent events."""

import numpy as np
import pyarrow as pa
import pytest
from barograph.contract import Window
from numpy.typing import NDArray

from barograph_server.profiling.infer.phi import TrainingWindows
from barograph_server.profiling.infer.slices import SliceDimension
from barograph_server.profiling.infer.summarise import FieldSummary, summarise_numbers
from barograph_server.profiling.infer.windows import OrderedTimes
from barograph_server.sketches.baseline.baseline import Phi, SliceValues
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
