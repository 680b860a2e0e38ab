"""The chart of verdicts: every window is in a cell, the gravest level of a cell shows."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from cli.demo.timeline import make_timeline

FIRST = date(2013, 8, 1)


def weeks(levels: str) -> list[tuple[date, str]]:
    names = {"?": "insufficient", ".": "stable", "m": "minor", "M": "major"}
    return [(FIRST + timedelta(days=i), names[level]) for i, level in enumerate(levels)]


def test_fields_that_drifted_come_first_then_names() -> None:
    timeline = make_timeline(
        {"b": weeks("...."), "late": weeks("...M"), "early": weeks(".M.M"), "a": weeks("....")}, 80
    )
    assert timeline is not None
    assert [line.field for line in timeline.lines] == ["early", "late", "a", "b"]
    assert [line.first_major for line in timeline.lines] == [date(2013, 8, 2), date(2013, 8, 4), None, None]


def test_lines_keep_their_order_without_sorting() -> None:
    timeline = make_timeline({"b": weeks("...."), "a": weeks("...M")}, 80, sort=False)
    assert timeline is not None
    assert [line.field for line in timeline.lines] == ["b", "a"]


def test_a_cell_represents_all_windows_within_it() -> None:
    every_week = [(FIRST + timedelta(days=7 * i), "stable") for i in range(10)]
    timeline = make_timeline({"x": every_week}, 10)
    assert timeline is not None
    assert (timeline.days_per_cell, timeline.n_cells, timeline.per_cell) == (7, 10, 1)
    assert timeline.cell_of(FIRST + timedelta(days=13)) == 1
    every_day = make_timeline({"x": weeks("." * 70)}, 10)
    assert every_day is not None
    assert every_day.per_cell == 7


def test_a_cell_shows_the_gravest_of_its_windows() -> None:
    timeline = make_timeline({"x": weeks("?.m?M.??.")}, 3)
    assert timeline is not None
    assert (timeline.days_per_cell, timeline.n_cells) == (3, 3)
    assert timeline.lines[0].levels == ("minor", "major", "stable")


def test_days_without_a_verdict_are_empty() -> None:
    timeline = make_timeline({"x": [weeks(".")[0]], "y": weeks("..")}, 10)
    assert timeline is not None
    assert {line.field: line.levels for line in timeline.lines}["x"] == ("stable", None)


@pytest.mark.parametrize("width", [1, 20, 50, 149, 200])
def test_the_scale_fits_and_names_months_where_they_begin(width: int) -> None:
    timeline = make_timeline({"x": weeks("." * 149)}, width)
    assert timeline is not None
    assert timeline.n_cells <= width
    scale = timeline.months()
    assert len(scale) == timeline.n_cells
    for month in (8, 9, 10, 11, 12) if width >= 50 else ():
        name = date(2013, month, 1).strftime("%b")
        day = timeline.first_day + timedelta(days=scale.index(name) * timeline.days_per_cell)
        assert 0 <= (day - date(2013, month, 1)).days < timeline.days_per_cell


def test_without_verdicts_there_is_no_chart() -> None:
    assert make_timeline({}, 80) is None
