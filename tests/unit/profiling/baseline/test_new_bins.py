import math
from functools import partial
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from barograph_server.profiling.baseline.new_bins import LARGEST_SHARE, UNKNOWN, find_new_edges, move_to_new_bins
from barograph_server.profiling.infer.summarise import summarise_numbers
from barograph_server.sketches.baseline.baseline import ALL, HOUR_NAMES, FieldBaseline, Phi, SliceCounts
from barograph_server.sketches.baseline.cells import count_numeric, numeric_cells
from barograph_server.sketches.baseline.levels import Level
from barograph_server.sketches.drift.overdispersion import learn_phi
from barograph_server.sketches.drift.psi import psi_values, psi_verdicts
from barograph_server.sketches.sketch.numeric import NumericSketch, numeric_sketch
from tests.support.sketches import sketch_of

sketched = partial(sketch_of, parts=50)
FloatArray = NDArray[np.float64]
PHI = {"1d": Phi(3.0, 40, "ok"), "7d": Phi(3.0, 3, "shorter")}
YEAR_H = 365 * 24


def trained(values: FloatArray, *, integer: bool = False) -> FieldBaseline:
    return summarise_numbers("x", values, np.sort(values), (), integer=integer).baseline


def counted(field: FieldBaseline, values: FloatArray) -> NDArray[np.int64]:
    return count_numeric(field, numeric_cells(field, values, np.isnan(values)))[0, : field.n_cells]


def slice_counts(field: FieldBaseline, values: FloatArray) -> SliceCounts:
    return SliceCounts(cells=tuple(counted(field, values).tolist()), phi=PHI)


def accepted(field: FieldBaseline, values: FloatArray) -> FieldBaseline:
    return msgspec.structs.replace(field, slices={ALL: slice_counts(field, values)})


def renewed(field: FieldBaseline, sketch: NumericSketch, **options: Any) -> FieldBaseline:
    edges = find_new_edges(field, sketch)
    assert edges is not None
    sketches = {ALL: sketch, **options.get("slices", {})}
    return move_to_new_bins(field, options.get("previous", field), edges, sketches, options.get("hours", {}))


def judged(field: FieldBaseline, window: FloatArray) -> tuple[Level, float]:
    counts = field.slices[ALL]
    verdicts = psi_verdicts(counts.cells, counted(field, window), [0], noise=counts.noise)
    return Level(int(verdicts.level.item())), float(verdicts.psi.item())


def test_an_accepted_autumn_sees_what_the_bins_of_summer_hide() -> None:
    rng = np.random.default_rng(20_131_103)
    # Coldest in January, and in July 14 degrees warmer than the mean.
    day = np.repeat(np.arange(YEAR_H) / 24, 10)
    values = 12 - 14 * np.cos(2 * np.pi * (day - 15) / 365) + 3 * rng.normal(size=day.size)
    summer, autumn = (values[(day >= first) & (day < end)] for first, end in ((152, 213), (280, 320)))
    old = accepted(trained(summer), autumn)
    new = renewed(old, sketched(autumn))
    old_shares, new_shares = (np.array(each.slices[ALL].cells) / autumn.size for each in (old, new))
    assert old_shares.max() > 0.7
    assert new_shares.max() <= LARGEST_SHARE
    exact = counted(new, autumn) / autumn.size
    assert exact.max() <= LARGEST_SHARE, "counted, not read from the sketch"
    assert np.abs(new_shares - exact).max() < 0.0165, "the error of a KLL's shares"
    window = rng.choice(autumn, 5_000)
    colder = window - 0.6 * autumn.std()
    assert judged(old, window)[0] is Level.stable
    assert judged(new, window)[0] is Level.stable
    assert judged(old, colder)[0] is Level.stable, "the bins of summer hide the shift"
    assert judged(new, colder)[0] is Level.major


def test_only_shares_and_phi_lose_precision() -> None:
    rng = np.random.default_rng(1)
    values = np.where(rng.random(20_000) < 0.05, np.nan, rng.normal(-3, 1, 20_000))
    old = trained(rng.normal(size=20_000))
    parts = {"a=1": values[:4_000], "a=2": values[4_000:9_000], "a=3": values[9_000:], "arm=b": values[:0]}
    slices = {name: slice_counts(old, part) for name, part in parts.items()}
    slices[ALL] = msgspec.structs.replace(slice_counts(old, values), below=7, invalid=3)
    old = msgspec.structs.replace(old, slices=slices)
    whole, first, second = (sketched(part[~np.isnan(part)]) for part in (values, values[:4_000], values[4_000:8_000]))
    new = renewed(old, whole, slices={"a=1": first, "a=2": second})
    for name, counts in new.slices.items():
        before = old.slices[name]
        assert sum(counts.cells) == sum(before.cells)
        assert counts.cells[-1] == before.cells[-1]
        assert (counts.below, counts.invalid) == (before.below, before.invalid)
        assert counts.phi == {"1d": Phi(3.0, 40, "rough"), "7d": PHI["7d"]}
    for name in (ALL, "a=1"):
        assert new.slices[name].noise == pytest.approx((len(new.edges) + 2) / 110_000)
    exact = counted(new, values[:4_000])
    assert np.abs(np.array(new.slices["a=1"].cells) - exact).max() < 0.0165 * 4_000
    assert new.slices["a=2"].noise == UNKNOWN, "its sketch lacks a thousand values"
    assert new.slices["a=3"].noise == UNKNOWN, "it has no sketch"
    assert new.slices["arm=b"].noise == 0.0, "it has no rows"
    north = new.slices["a=3"]
    verdicts = psi_verdicts(north.cells, np.array(exact)[None] * 100, [0], noise=north.noise)
    assert verdicts.level.item() == Level.insufficient, "never healthy, for any number of events"


def test_bins_that_need_no_change_stay() -> None:
    rng = np.random.default_rng(3)
    summer, similar = rng.normal(size=20_000), rng.normal(0.15, 1, 20_000)
    assert find_new_edges(accepted(trained(summer), similar), sketched(similar)) is None, "they are fine enough"
    old = trained(np.where(rng.random(20_000) < 0.15, 0.0, rng.exponential(size=20_000)))
    for share in (0.4, 1.0):
        values = np.where(rng.random(20_000) < share, 0.0, rng.exponential(size=20_000))
        assert find_new_edges(accepted(old, values), sketched(values)) is None, "a bin of one value"
    moved = rng.normal(-3, 1, 20_000)
    old = accepted(trained(rng.normal(size=20_000)), moved)
    assert find_new_edges(old, sketched(moved[:-1])) is None, "the sketch lacks a value"
    assert find_new_edges(old, numeric_sketch(False, "kll")) is None


def test_few_values_and_few_integers_are_counted_exactly_on_new_bins() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(-3, 1, 150)
    new = renewed(accepted(trained(rng.normal(size=1_000)), values), sketched(values, parts=3))
    assert new.slices[ALL].noise == 0.0
    assert list(new.slices[ALL].cells) == counted(new, values).tolist()
    old = trained(rng.integers(0, 6, 20_000).astype(float), integer=True)
    values = rng.integers(0, 2, 20_000).astype(float)
    assert find_new_edges(accepted(old, values), sketched(values, integer=True)) is None
    larger = rng.integers(8, 13, 20_000).astype(float)
    assert renewed(accepted(old, larger), sketched(larger, integer=True)).edges == (8.5, 9.5, 10.5, 11.5)


def test_hours_of_the_week_get_their_own_shares() -> None:
    rng = np.random.default_rng(7)
    night, day = rng.normal(-4, 0.5, 8_000), rng.normal(-2, 0.5, 12_000)
    values = np.concatenate((night, day))
    old = accepted(trained(rng.normal(size=20_000)), values)
    names = HOUR_NAMES[3], HOUR_NAMES[15]
    hours = {name: tuple(counted(old, part).tolist()) for name, part in zip(names, (night, day), strict=True)}
    # An hour that had only nulls has no sketch.
    hours[HOUR_NAMES[20]] = (*[0] * (old.n_cells - 1), 9)
    slices = {ALL: slice_counts(old, np.append(values, [np.nan] * 9))}
    old = msgspec.structs.replace(old, hours_of_week=hours, slices=slices)
    new = renewed(old, sketched(values), hours=dict(zip(names, map(sketched, (night, day)), strict=True)))
    for name, part in zip(names, (night, day), strict=True):
        assert np.abs(np.array(new.hours_of_week[name]) - counted(new, part)).max() < 0.0165 * part.size
    assert new.hours_of_week[HOUR_NAMES[20]] == (*[0] * (new.n_cells - 1), 9)
    assert tuple(map(sum, zip(*new.hours_of_week.values(), strict=True))) == new.slices[ALL].cells


def test_phi_of_correlated_windows_is_not_lost_with_the_sight_of_the_old_bins() -> None:
    """Values with a common level per day: quiet days after the acceptance must not page."""
    rng = np.random.default_rng(8)

    def make_days(mean: float, days: int) -> FloatArray:
        deviations: FloatArray = rng.normal(size=(days, 1)) + rng.normal(size=(days, 1_000))
        return mean + math.sqrt(0.5) * deviations

    def phi_of_days(field: FieldBaseline, days: FloatArray) -> Phi:
        counts = np.array([counted(field, day) for day in days])
        _, df, t, n = psi_values(counts.sum(axis=0), counts, [0])
        return learn_phi(t, df, n).of(0)

    def with_phi(field: FieldBaseline, days: FloatArray) -> FieldBaseline:
        counts = msgspec.structs.replace(slice_counts(field, days.ravel()), phi={"1d": phi_of_days(field, days)})
        return msgspec.structs.replace(field, slices={ALL: counts})

    summer, autumn, later = make_days(0, 60), make_days(-3.2, 60), make_days(-3.2, 400)
    previous = with_phi(trained(summer.ravel()), summer)
    old = with_phi(previous, autumn)
    new = renewed(old, sketched(autumn.ravel()), previous=previous)
    before = previous.slices[ALL].phi["1d"]
    assert new.slices[ALL].phi["1d"] == Phi(before.value, 60, "rough", before.nu)

    def share_of_alarms(phi: Phi) -> float:
        counts = np.array([counted(new, day) for day in later])
        base = new.slices[ALL]
        verdicts = psi_verdicts(base.cells, counts, [0], phi=phi.value, nu=phi.nu or np.inf, noise=base.noise)
        return float(np.isin(verdicts.level, (Level.minor, Level.major)).mean())

    assert share_of_alarms(new.slices[ALL].phi["1d"]) <= 0.005
    assert share_of_alarms(old.slices[ALL].phi["1d"]) > 0.2, "with the φ of the accepted days on the old bins"
