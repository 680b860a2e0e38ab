"""docs/performance.md matches docs/performance.json; goals are computed; equal figures give equal charts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import goals, page, rates, run_comparison, shapes
from benchmarks.charts import Chart, Series, draw, short
from benchmarks.figures import Figures
from benchmarks.goals import ALL_GOALS, Goal, GoalResult
from benchmarks.pictures import CHARTS
from benchmarks.profiles import ALL_SECTIONS, BY_THEMSELVES, FULL, SHORT
from benchmarks.shapes import BASE, SHAPES

CHART = Chart("Cost", "fields", "CPU, ms", (Series("sketcher", (20, 200), (3.0, 31.0), (2.9, 30.0), (3.2, 33.0)),))


def published() -> tuple[Figures, Figures, str]:
    """The published run, the other run, and the page."""
    return Figures.read(page.FIGURES), Figures.read(page.OTHER), page.PAGE.read_text(encoding="utf-8")


def test_the_page_shows_the_figures_of_the_json() -> None:
    figures, other, text = published()
    assert page.rewrite(text, figures, other) == text, "run `python -m benchmarks --redraw`"


def test_every_chart_of_the_page_is_there_and_no_other() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    shown = set(re.findall(r"\(charts/(performance-[\w-]+)\.svg\)", text))
    assert shown <= CHARTS.keys()
    assert {path.stem for path in page.CHARTS.glob("performance-*.svg")} == shown


def test_a_changed_figure_shows_in_the_page() -> None:
    figures, other, text = published()
    figures.add("A section", "a figure", 12_345_678, "events")
    assert "12,345,678 events" in page.rewrite(text, figures, other)


def test_a_page_without_a_mark_is_rejected() -> None:
    text = page.PAGE.read_text(encoding="utf-8").replace("performance.json: goals", "performance.json: gaols")
    with pytest.raises(ValueError, match="gaols"):
        page.rewrite(text, Figures({}), Figures({}))


def test_ratios_of_two_runs_are_compared() -> None:
    now, before = Figures({"commit": "b"}), Figures({"commit": "a"})
    for figures, close, far in ((now, 1.1, 2.0), (before, 1.0, 2.5)):
        figures.add("A", "close", close, "×")
        figures.add("A", "a rate", 1 / far, "events")
        figures.add("A", "far", far, "×")
    now.add("B", "new", 1.0, "×")
    assert [round(pair.apart, 9) for pair in run_comparison.pairs(now, before)] == [0.1, 0.25]
    table = run_comparison.table(now, before)
    assert "**1 of 2 ratios are within 15%" in table
    assert "| **A** | close | 1.1 | 1 | 10% |" in table
    assert "|  | far | 2 | 2.5 | **25%** |" in table


def test_a_new_run_replaces_the_published_one_which_becomes_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FIGURES", "OTHER", "PAGE"):
        path: Path = getattr(page, name)
        (tmp_path / path.name).write_bytes(path.read_bytes())
        monkeypatch.setattr(page, name, tmp_path / path.name)
    monkeypatch.setattr(page, "CHARTS", tmp_path)
    last, new = Figures.read(page.FIGURES), Figures({"commit": "new"})
    page.publish(new)
    assert Figures.read(page.FIGURES) == new
    assert Figures.read(page.OTHER) == last


def test_figures_are_read_as_they_were_written(tmp_path: Path) -> None:
    figures = Figures({"seed": "1"})
    figures.add("A", "b", 1.5, "s", "note")
    figures.add_runs("A", "c", [3.0, 1.0, 2.0], "×")
    figures.write(tmp_path / "figures.json")
    again = Figures.read(tmp_path / "figures.json")
    assert again == figures
    assert again.get("A", "c") == figures.entries[1]
    assert (figures.entries[1].value, figures.entries[1].low, figures.entries[1].high) == (2.0, 1.0, 3.0)


@pytest.mark.parametrize(
    ("holds", "value", "met", "verdict"),
    [
        ("at least", 300.0, True, "met, 20% to spare"),
        ("at least", 250.0, True, "met, 0% to spare"),
        ("at least", 200.0, False, "**missed by 20%**"),
        ("under", 250.0, False, "**missed by 0%**"),
        ("under", 125.0, True, "met, 50% to spare"),
        ("at most", 250.0, True, "met, 0% to spare"),
        ("at most", 500.0, False, "**missed by 100%**"),
        ("at most", None, None, "not measured in this run"),
    ],
)
def test_a_verdict_states_by_how_much_a_goal_is_met_or_missed(
    holds: str, value: float | None, met: bool | None, verdict: str
) -> None:
    goal = Goal("a goal", holds, 250, "events", lambda figures: value)  # type: ignore[arg-type]
    judged = GoalResult(goal, goal.measured(Figures({})))
    assert judged.met is met
    assert judged.verdict == verdict


def test_goals_are_computed_from_the_figures_alone() -> None:
    figures = Figures({})
    assert all(each.value is None for each in goals.evaluate_all(figures))
    figures.add(rates.RATES, rates.JSON_RATE, 260_000, "events")
    figures.add(rates.RATES, rates.TO_DECODE, 0.42, "×")
    figures.add(goals.PEER_RATIOS, "**sketcher, JSON ÷ whylogs, plain**", 2.0, "×")
    figures.add(goals.PEER_RATIOS, "sketcher, JSON ÷ whylogs, another way", 1.2, "×")
    figures.add(shapes.JSON_COST, shapes.FIELDS_200, 12.1, "×")
    result = {each.goal.name: each for each in goals.evaluate_all(figures)}
    assert result["Sketcher, JSON, per CPU-second"].met
    assert result["Sketcher, JSON ÷ whylogs on ready DataFrames"].value == 2.0
    assert result["Sketcher, JSON ÷ msgspec's bare decode"].verdict == "met, 5% to spare"
    assert result["200 fields ÷ 20 fields, JSON"].verdict == "**missed by 10%**"
    assert result["Sketcher, Arrow ÷ whylogs on ready DataFrames"].value is None


def test_names_of_goals_and_shapes_are_unique() -> None:
    assert len({goal.name for goal in ALL_GOALS}) == len(ALL_GOALS)
    assert len({shape.name for shape in SHAPES}) == len(SHAPES)
    assert SHAPES[0].name == BASE
    assert not SHAPES[0].parameters


def test_profiles_name_sections_that_exist() -> None:
    run = pytest.importorskip("benchmarks.run")
    assert tuple(run.SECTIONS) == ALL_SECTIONS
    assert set(ALL_SECTIONS) == {*FULL.sections, *BY_THEMSELVES}
    assert set(SHORT.sections) < set(ALL_SECTIONS)
    assert SHORT.sections[0] == "rates", "the headline ratios come first"


@pytest.mark.parametrize(("value", "text"), [(1_500_000, "1.5 M"), (20_000, "20 k"), (0.25, "0.25"), (0, "0")])
def test_numbers_on_axes_are_short(value: float, text: str) -> None:
    assert short(value) == text


def test_equal_data_give_equal_files(tmp_path: Path) -> None:
    bars = Chart("Cost", "ms", "", (Series("", ("a", "b"), (1.0, 2.0)),), kind="bars", goals=((1.5, "goal"),))
    for name, chart in (("lines", CHART), ("bars", bars)):
        files = [tmp_path / f"{name}-{i}.svg" for i in range(2)]
        for file in files:
            draw(chart, file)
        first, second = (file.read_bytes() for file in files)
        assert first == second
        assert b"<dc:date>" not in first
        assert b"Cost" in first


def test_a_chart_rejects_sequences_of_different_lengths_or_names(tmp_path: Path) -> None:
    uneven = Chart("Cost", "x", "y", (Series("a", (1, 2), (1.0,)),))
    with pytest.raises(ValueError, match="differ in length"):
        draw(uneven, tmp_path / "uneven.svg")
    other = Chart("Cost", "x", "", (Series("a", ("p",), (1.0,)), Series("b", ("q",), (1.0,))), kind="bars")
    with pytest.raises(ValueError, match="share their names"):
        draw(other, tmp_path / "other.svg")
