from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest
from barograph.contract import Contract, Field
from numpy.typing import NDArray

from barograph_server.sketches.baseline import baseline as baselines
from barograph_server.sketches.baseline.baseline import ALL, HOUR_NAMES, Baseline, FieldBaseline, SliceCounts
from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.baseline.fit import fit_problems
from barograph_server.sketches.baseline.layout import IntArray, Layout
from barograph_server.sketches.baseline.levels import Level
from barograph_server.sketches.drift.psi import PsiVerdicts, psi_verdicts
from barograph_server.sketches.drift.season import Season
from barograph_server.streams.hour_of_week import compute_hours_of_week
from tests.reference.false_alarms import at_most

FloatArray = NDArray[np.float64]
ZONE = "Europe/Berlin"
DRAWS = 2_000


def numeric(name: str, hours_of_week: IntArray) -> FieldBaseline:
    """A numeric field with these training rows per hour of the week and bin; the last bin is `null`."""
    return FieldBaseline(
        name=name,
        kind="numeric",
        edges=tuple(float(i) for i in range(hours_of_week.shape[1] - 2)),
        hours_of_week={HOUR_NAMES[s]: tuple(row) for s, row in enumerate(hours_of_week.tolist()) if any(row)},
        slices={ALL: SliceCounts(cells=tuple(hours_of_week.sum(axis=0).tolist()))},
    )


def baseline(*fields: FieldBaseline, timezone: str = ZONE) -> Baseline:
    rows = sum(fields[0].slices[ALL].cells)
    return Baseline(model="m", version="1", rows=rows, slice_rows={ALL: rows}, timezone=timezone, fields=fields)


def compiled(*fields: FieldBaseline) -> tuple[PsiBins, Season]:
    bins = PsiBins(Layout(baseline(*fields)))
    return bins, Season(bins)


def judged(bins: PsiBins, season: Season, hour_of_week: int, windows: IntArray) -> PsiVerdicts:
    n = np.add.reduceat(windows, bins.starts, axis=1)[:, None, season.groups]
    expected = season.expectation([hour_of_week], n)
    return psi_verdicts(bins.base_bins, windows, bins.starts, expected=expected)


def test_panes_lie_in_the_local_hour_of_the_week() -> None:
    at = np.array([int(datetime(2026, 3, 2, 0, 30, tzinfo=ZoneInfo(ZONE)).timestamp())])
    assert compute_hours_of_week(at, 3600, ZONE).tolist() == [0]
    assert compute_hours_of_week(at, 3600, "UTC").tolist() == [6 * 24 + 23]
    assert HOUR_NAMES[6 * 24 + 23] == "7 Sun 23"
    # Summer time skips an hour on 29 March, and repeats one on 25 October.
    for month, day, local in ((3, 28, [0, 1, 3, 4]), (10, 24, [1, 2, 2, 3])):
        start = int(datetime(2026, month, day, 23, tzinfo=UTC).timestamp())
        assert (compute_hours_of_week(start + np.arange(4) * 3600, 3600, ZONE) - 6 * 24).tolist() == local
    # All panes of an hour have its hour of the week, also half an hour off.
    hour = int(datetime(2026, 3, 2, 10, tzinfo=UTC).timestamp())
    minutes = hour + np.arange(60) * 60
    assert set(compute_hours_of_week(minutes, 3600, "Asia/Kolkata").tolist()) == {15}
    # A pane of a day lies in the hour of its start, regardless of the row.
    day = hour // 86_400 * 86_400
    assert set(compute_hours_of_week(day + np.arange(24) * 3600, 86_400, "UTC").tolist()) == {0}


HOURS = np.zeros((168, 3), dtype=np.int64)
HOURS[10] = [300, 100, 0]
HOURS[11] = [200, 400, 0]


def test_shares_weights_and_worth_by_hand() -> None:
    _, season = compiled(numeric("x", HOURS))
    p = np.array([500.5, 500.5, 0.5]) / 1001.5

    def hour_of_week(counts: list[int]) -> tuple[FloatArray, float, int]:
        c = np.array(counts, dtype=float)
        a = np.minimum(0.5, c.sum() * p)
        q = np.maximum(1e-4, (c + a) / (c.sum() + a.sum()))
        return q, float(((q - p) * np.log(q / p)).sum()), int(((p > 0.4) & (c.sum() * p >= 0.5)).sum()) - 1

    (q10, psi10, df10), (q11, psi11, df11) = hour_of_week([300, 100, 0]), hour_of_week([200, 400, 0])
    assert (df10, df11) == (1, 1)
    h10, h11 = 400 * 1000 / 1400, 600 * 1000 / 1600
    mean = (h10 * (psi10 - 1 / h10) + h11 * (psi11 - 1 / h11)) / (h10 + h11)
    # Ten o'clock differs from the whole by more than the two do on average, eleven by less.
    assert psi10 - 1 / h10 > mean > psi11 - 1 / h11
    n10, n11 = 1 / (psi10 - 1 / h10), 1 / mean
    assert season.n0[[10, 11, 99], 0] == pytest.approx([n10, n11, 1 / mean], rel=1e-12)
    w10, w11 = 400 / (400 + n10), 600 / (600 + n11)

    # A window of 30 events of the one hour and 10 of the other.
    verdicts = season.expectation([10, 11], np.array([[[30], [10]]]))
    p10, p11 = w10 * q10 + (1 - w10) * p, w11 * q11 + (1 - w11) * p
    assert verdicts.p[0] == pytest.approx(0.75 * p10 + 0.25 * p11, rel=1e-12)
    plain = 0.75 * (w10 * np.array([0.75, 0.25, 0]) + (1 - w10) * np.array([0.5, 0.5, 0]))
    plain += 0.25 * (w11 * np.array([1 / 3, 2 / 3, 0]) + (1 - w11) * np.array([0.5, 0.5, 0]))
    assert verdicts.share[0] == pytest.approx(plain, rel=1e-12)
    rest = 0.75 * (1 - w10) + 0.25 * (1 - w11)
    apart = 0.75 * (1 - w10) / np.sqrt(n10) + 0.25 * (1 - w11) / np.sqrt(n11)
    worth = 1 / (0.75**2 * w10**2 / 400 + 0.25**2 * w11**2 / 600 + rest**2 / 1000 + apart**2)
    assert verdicts.m[0] == pytest.approx([worth], rel=1e-12)

    # In one hour alone that is about mₛ + n₀; an hour that training lacks is expected to be like the total.
    one = season.expectation([10], np.array([[[7]]]))
    assert one.m[0] == pytest.approx([1 / (1 / (400 + n10) + (1 - w10) ** 2 / 1000)], rel=1e-12)
    lacking = season.expectation([99], np.array([[[7]]]))
    assert lacking.p[0] == pytest.approx(p, rel=1e-15)
    assert lacking.m[0] == pytest.approx([1 / (1 / 1000 + mean)], rel=1e-12)


def test_t_p_interval_and_enough_rest_on_the_worth() -> None:
    bins, season = compiled(numeric("x", HOURS))
    window = np.array([[90, 30, 0]])
    verdicts = judged(bins, season, 10, window)
    expected = season.expectation([10], np.array([[[120]]]))
    m, p = float(expected.m[0, 0]), expected.p[0]
    a = np.minimum(0.5, 120 * p)
    q = np.maximum(1e-4, (window[0] + a) / (120 + a.sum()))
    assert verdicts.psi[0, 0] == pytest.approx(((q - p) * np.log(q / p)).sum(), rel=1e-12)
    # A baseline of m rows of these shares is the same question, up to rounding its rows to whole ones.
    alike = psi_verdicts(np.round(expected.share[0] * m).astype(int), window, [0])
    assert verdicts.p_value[0, 0] == pytest.approx(alike.p_value[0, 0], abs=0.02)
    assert verdicts.high[0, 0] == pytest.approx(alike.high[0, 0], abs=0.003)
    assert verdicts.visible_shift[0, 0] == pytest.approx(alike.visible_shift[0, 0], rel=0.01)
    endless = psi_verdicts(np.round(expected.share[0] * 1_000_000).astype(int), window, [0])
    assert endless.high[0, 0] < verdicts.high[0, 0]
    # A window without events is insufficient, and nothing is NaN.
    empty = judged(bins, season, 10, np.zeros((1, 3), dtype=np.int64))
    assert (empty.level[0, 0], empty.psi[0, 0]) == (Level.insufficient, 0)
    assert np.isinf(empty.high[0, 0])


def test_without_a_season_windows_get_the_bits_of_the_whole_week() -> None:
    same = np.zeros((168, 12), dtype=np.int64)
    same[:, :] = [*[30] * 10, 5, 1]
    bins, season = compiled(numeric("flat", same), numeric("x", np.roll(np.pad(HOURS, ((0, 0), (0, 9))), 0)))
    assert season.groups.tolist() == [1]
    counted = np.random.default_rng(1).multinomial(400, np.full(12, 1 / 12), 5)
    window = np.concatenate([counted, np.ones((5, 12), int)], 1)
    by_hour, whole = judged(bins, season, 10, window), psi_verdicts(bins.base_bins, window, bins.starts)
    for name in ("psi", "low", "high", "p_value", "df", "level", "visible_shift"):
        assert np.array_equal(getattr(by_hour, name)[:, 0], getattr(whole, name)[:, 0]), name
        assert not np.array_equal(by_hour.psi[:, 1], whole.psi[:, 1])
    # Without any field of a season there is none to compile.
    _, season = compiled(numeric("flat", same))
    assert (season.groups.tolist(), season.n0.shape) == ([], (168, 0))


def test_windows_left_out_of_their_own_baseline() -> None:
    """The same as a baseline without the window's rows, hour by hour."""
    rng = np.random.default_rng(11)
    hours_of_week = rng.multinomial(2_000, np.full(6, 1 / 6), 168) + 400 * (np.arange(168)[:, None] % 6 == np.arange(6))
    _, season = compiled(numeric("x", hours_of_week))
    window = np.zeros((2, 5, 6), dtype=np.int64)
    window[:, 0], window[:, 1] = rng.multinomial(150, np.full(6, 1 / 6), 2), rng.multinomial(90, np.full(6, 1 / 6), 2)
    window[:, 2] = [10, 0, 0, 3, 0, 1]
    hours = np.array([[3, 4, 3, 0, 0]] * 2, dtype=np.int16)  # hour 3 twice, then padding
    psi, df, t, n = season.values_left_out(window, hours)
    for w in range(2):
        left = hours_of_week.copy()
        left[3] -= window[w, 0] + window[w, 2]
        left[4] -= window[w, 1]
        bins, without = compiled(numeric("x", left))
        without.n0[:] = season.n0
        without._compile()
        events = np.array([[[window[w, [0, 2]].sum()], [window[w, 1].sum()]]])
        expected = without.expectation([3, 4], events)
        verdict = psi_verdicts(bins.base_bins, window[w].sum(0)[None], [0], expected=expected)
        assert psi[w, 0] == pytest.approx(verdict.psi[0, 0], rel=1e-9)
        assert (df[w, 0], n[w, 0]) == (verdict.df[0, 0], verdict.n[0, 0])
        m = expected.m[0, 0]
        assert t[w, 0] == pytest.approx(psi[w, 0] * n[w, 0] * m / (n[w, 0] + m), rel=1e-9)


def pattern(strength: float = 1.5) -> FloatArray:
    """Shares per hour of the week, (168, 11): large values by day, small ones by night and at weekends; 1 % null."""
    hour, day = np.arange(168) % 24, np.arange(168) // 24
    tilt = strength * np.cos(2 * np.pi * (hour - 14) / 24) + 0.4 * (day >= 5)
    shares = np.exp(np.outer(tilt, np.linspace(-1, 1, 10)))
    shares /= shares.sum(axis=1, keepdims=True)
    return np.concatenate([0.99 * shares, np.full((168, 1), 0.01)], axis=1)


NIGHT, NOON = 2 * 24 + 3, 2 * 24 + 13
"""Wednesday, three o'clock and one o'clock in the afternoon."""
GOLDEN_ALARMS = {(50, NIGHT): (158, 4), (50, NOON): (46, 0), (600, NIGHT): (11, 0), (600, NOON): (5, 0)}
"""`alarms` by training rows per hour, and by hour of the week."""


@pytest.fixture(scope="module")
def trained() -> tuple[PsiBins, Season]:
    """60 baselines of 8 weeks of 2,500 events an hour by day and 600 by night, as fields of one."""
    return seasonal_fields(20_260, pattern(), 8 * np.where((np.arange(168) % 24 < 6), 600, 2_500))


def seasonal_fields(seed: int, shares: FloatArray, rows: int | IntArray, n_fields: int = 60) -> tuple[PsiBins, Season]:
    rng = np.random.default_rng(seed)
    return compiled(*(numeric(f"x{i}", rng.multinomial(np.broadcast_to(rows, 168), shares)) for i in range(n_fields)))


def alarms(verdicts: PsiVerdicts) -> tuple[int, int]:
    """How many have p < 0.05, and how many are minor or major."""
    levels = np.isin(verdicts.level, [Level.minor, Level.major])
    return int((verdicts.p_value < 0.05).sum()), int(levels.sum())


def test_golden_alarms_of_hours() -> None:
    """Of 200 verdicts each, at night and by day. In hours of few rows p is too small, but levels hardly alarm."""
    counted = {}
    for rows, strength in ((50, 0.5), (600, 1.5)):
        shares = pattern(strength)
        bins, season = seasonal_fields(rows, shares, rows, n_fields=20)
        for hour in (NIGHT, NOON):
            windows = nights(bins, 500, shares[hour], seed=3, verdicts=200)
            counted[rows, hour] = alarms(judged(bins, season, hour, windows))
    assert counted == GOLDEN_ALARMS


def nights(bins: PsiBins, n: int, shares: FloatArray, seed: int, verdicts: int = DRAWS) -> IntArray:
    """Windows of one hour, as many as give so many verdicts."""
    rng = np.random.default_rng([n, seed])
    draws = rng.multinomial(n, shares, size=(-(-verdicts // bins.n_groups), bins.n_groups))
    return draws.reshape(len(draws), -1)


@pytest.mark.parametrize("n", [500, *(pytest.param(n, marks=pytest.mark.long) for n in (50, 5_000))])
def test_the_whole_week_alarms_every_night_the_hour_of_the_week_never(trained: tuple[PsiBins, Season], n: int) -> None:
    bins, season = trained
    windows = nights(bins, n, pattern()[NIGHT], seed=1)
    whole = psi_verdicts(bins.base_bins, windows, bins.starts)
    assert (whole.level == Level.major if n >= 500 else whole.psi > 0.2).all()
    seasonal = judged(bins, season, NIGHT, windows)
    assert (seasonal.p_value < 0.001).mean() <= at_most(0.001, DRAWS)
    beyond, levels = alarms(seasonal)
    assert beyond / seasonal.level.size <= at_most(0.05, DRAWS)
    assert levels / seasonal.level.size <= at_most(0.0005, DRAWS)


def test_a_true_shift_at_one_hour_is_detected(trained: tuple[PsiBins, Season]) -> None:
    """Nights get values of midday: they are common over the week, but at night they are drift."""
    bins, season = trained
    for n in (500, 5_000):
        windows = nights(bins, n, pattern()[NOON], seed=2)
        assert (judged(bins, season, NIGHT, windows).level == Level.major).all()
        # The same hour at its own time is no drift.
        assert (judged(bins, season, NOON, windows).level == Level.stable).mean() > 0.99


@pytest.mark.long
@pytest.mark.parametrize("strength", [0.1, 0.5, 1.5])
def test_levels_of_hours_raise_no_alarm_and_p_values_are_nearly_exact_from_600_rows_on(strength: float) -> None:
    """Without 1/n₀ in the worth, 50 rows of a season of 0.5 are minor or major 42 % of the time."""
    shares = pattern(strength)
    for rows, rate in {0.5: ((50, 0.002), (150, 0.001)), 1.5: ((50, 0.003),)}.get(strength, ()):
        bins, season = seasonal_fields(rows, shares, rows)
        verdicts = judged(bins, season, NIGHT, nights(bins, 500, shares[NIGHT], seed=3))
        assert alarms(verdicts)[1] / verdicts.level.size <= at_most(rate, DRAWS), rows
    bins, season = seasonal_fields(17, shares, 600)
    for hour in (NIGHT, NOON, 2 * 24 + 8):
        verdicts = judged(bins, season, hour, nights(bins, 500, shares[hour], seed=3))
        beyond, levels = alarms(verdicts)
        assert beyond / verdicts.level.size <= at_most(0.085, DRAWS), hour
        assert levels == 0, hour


def test_hours_survive_serialization_and_change_the_id() -> None:
    with_hours = baseline(numeric("x", HOURS))
    assert baselines.baseline_problems(with_hours) == []
    data = baselines.dump_baseline(with_hours)
    assert b'"1 Mon 10": [300, 100, 0]' in data
    assert baselines.load_baseline(data, "b") == with_hours
    bare = FieldBaseline(name="x", kind="numeric", edges=(0.0,), slices={ALL: SliceCounts(cells=(500, 500, 0))})
    without = baseline(bare, timezone="")
    text = baselines.dump_baseline(without)
    assert b"hours_of_week" not in text
    assert b"timezone" not in text
    assert baselines.load_baseline(text, "b") == without
    assert with_hours.id != without.id


def test_hours_that_are_inconsistent_are_rejected() -> None:
    with_hours = numeric("x", HOURS)
    wrong: tuple[tuple[dict[str, tuple[int, ...]], str], ...] = (
        ({"8 Day 00": (1, 1, 1)}, "'8 Day 00' is not an hour of the week; they are '1 Mon 00' to '7 Sun 23'"),
        ({"1 Mon 00": (1, 1)}, "hour 1 Mon 00: 2 bins instead of 3"),
        ({"1 Mon 00": (2, -1, 1)}, "hour 1 Mon 00: a count is negative, or there are no rows"),
        ({"1 Mon 00": (500, 0, 0), "1 Mon 01": (1, 0, 0)}, "its hours of the week have more rows than the slice `all`"),
    )
    for hours_of_week, problem in wrong:
        with pytest.raises(baselines.BaselineError, match=problem):
            baselines.dump_baseline(baseline(msgspec.structs.replace(with_hours, hours_of_week=hours_of_week)))
    problems = baselines.baseline_problems(baseline(with_hours, timezone=""))
    assert any("no time zone" in text for text in problems)


def test_hours_of_the_week_apply_only_to_contracts_with_this_season_and_time_zone() -> None:
    """φ was learned with them or without: neither serves the other."""
    fields = (Field(name="x", type="float", source="features.x"),)
    asks = Contract(model="m", timezone=ZONE, season="hour_of_week", fields=fields)
    asks_not = msgspec.structs.replace(asks, season="none")
    with_hours = baseline(numeric("x", HOURS))
    bare = baseline(msgspec.structs.replace(numeric("x", HOURS), hours_of_week={}), timezone="")
    assert fit_problems(asks, with_hours) == fit_problems(asks_not, bare) == []
    [missing] = fit_problems(asks, bare)
    assert missing == f"season: the contract asks for hours of the week in {ZONE}, the baseline has none"
    [moved] = fit_problems(msgspec.structs.replace(asks, timezone="UTC"), with_hours)
    assert moved.endswith(f"in UTC, the baseline has those of {ZONE}")
    [unasked] = fit_problems(asks_not, with_hours)
    assert unasked == "season: the baseline has hours of the week, the contract has no season"
