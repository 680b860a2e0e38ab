"""Window arithmetic: ends, the panes of a window, and the steps it is summed from."""

import itertools

import numpy as np
import pytest
from barograph.contract import Contract, Window

from barograph_server.streams.monitor.windows import (
    all_ends,
    ends_between,
    ends_covering,
    last_end_s,
    reach_s,
    split_runs,
    starts_of_last,
    step_s,
    uses_hours,
)

WINDOWS = [Window(900, 60), Window(3600, 300), Window(86_400, 3600), Window(120, 120)]


def test_ends_are_multiples_of_the_hop_and_those_of_windows_that_contain_a_pane() -> None:
    for window in WINDOWS:
        for after_s, until_s in ((0, 0), (0, 3600), (59, 60), (60, 61), (86_399, 180_001)):
            expected = [end for end in range(after_s + 1, until_s + 1) if end % window.hop_s == 0]
            assert list(ends_between(window, after_s, until_s)) == expected, (window, after_s, until_s)
        for start_s, until_s in itertools.product((0, 60, 3540, 86_340), (0, 3600, 200_000)):
            ends = range(0, until_s + 1, window.hop_s)
            expected = [end for end in ends if end - window.length_s <= start_s and start_s + 60 <= end]
            assert list(ends_covering(window, start_s, 60, until_s)) == expected, (window, start_s, until_s)


@pytest.mark.parametrize(
    ("pane_s", "window", "step"),
    [
        (60, Window(900, 60), 60),
        (60, Window(3600, 300), 60),
        (60, Window(86_400, 3600), 3600),
        (3600, Window(86_400, 3600), 3600),
        (7200, Window(86_400, 7200), 7200),
    ],
)
def test_long_windows_are_summed_from_hours(pane_s: int, window: Window, step: int) -> None:
    assert step_s(Contract(model="m", pane_s=pane_s), window) == step


def test_reach_differs_for_hours_and_panes_and_adjacent_ranges_share_no_end() -> None:
    contract = Contract(model="m", pane_s=60, windows=tuple(WINDOWS))
    assert uses_hours(contract)
    assert (reach_s(contract, hours=True), reach_s(contract, hours=False)) == (86_400, 3600)
    short = Contract(model="m", pane_s=60, windows=(Window(900, 60),))
    assert not uses_hours(short)
    # The rollup of the open hour needs its panes in any case.
    assert (reach_s(short, hours=True), reach_s(short, hours=False)) == (0, 3600)
    whole = {window: list(ends) for window, ends in all_ends(contract, 0, 90_000)}
    first = {window: list(ends) for window, ends in all_ends(contract, 0, 40_020)}
    second = {window: list(ends) for window, ends in all_ends(contract, 40_020, 90_000)}
    assert whole == {window: first.get(window, []) + second.get(window, []) for window in WINDOWS}
    assert not list(all_ends(contract, 60, 60))


def test_history_is_judged_to_the_next_end_and_runs_split_at_gaps_longer_than_a_window() -> None:
    contract = Contract(model="m", pane_s=1800, windows=(Window(3600, 3600), Window(5400, 5400)))
    assert last_end_s(contract, 5400) == 7200
    assert last_end_s(contract, 10_800) == 10_800
    assert last_end_s(contract, 9000) == 10_800
    window = Window(3600, 300)
    assert split_runs([300, 600, 4200, 7801, 8100], window) == [[300, 600, 4200], [7801, 8100]]
    assert split_runs([], window) == []


@pytest.mark.parametrize("last", [1, 7, 40, 10_000])
def test_a_window_of_the_last_events_has_the_fewest_panes_that_hold_them(last: int) -> None:
    rng = np.random.default_rng(last)
    window = Window(3600, 120, last)
    ends_s = list(range(90_000, 97_200, 120))
    events = rng.poisson(0.5, (ends_s[-1] - ends_s[0] + window.length_s) // 60) * 3
    first_s = ends_s[0] - window.length_s
    starts_s, enough = starts_of_last(window, ends_s, 60, events)
    for start_s, end_s, reaches in zip(starts_s.tolist(), ends_s, enough.tolist(), strict=True):
        expected_s, n = end_s, 0
        while n < last and expected_s > end_s - window.length_s:
            expected_s -= 60
            n += events[(expected_s - first_s) // 60]
        assert (start_s, reaches) == (expected_s, n >= last)
    assert enough.all() == (last < 10_000)
    assert (np.diff(starts_s) >= 0).all()
