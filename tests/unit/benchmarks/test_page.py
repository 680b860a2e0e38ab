"""docs/performance.md matches docs/performance.json; goals are computed; equal figures give equal charts."""

from __future__ import annotations

import inspect
import re

import pytest

from benchmarks import goals, page, rates, shapes
from benchmarks.figures import Figures
from benchmarks.goals import ALL_GOALS, Goal, GoalResult
from benchmarks.pictures import CHARTS
from benchmarks.profiles import BY_THEMSELVES, FULL, FULL_SECTIONS, SHORT, SHORT_SECTIONS, Profile
from benchmarks.shapes import BASE, SHAPES


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
    assert list(run.SECTIONS) == list(FULL) == list(SHORT)
    assert set(FULL) == {*FULL_SECTIONS, *BY_THEMSELVES}
    assert set(SHORT_SECTIONS) < set(FULL)
    assert SHORT_SECTIONS[0] == "rates", "the headline ratios come first"


@pytest.mark.parametrize("profile", [FULL, SHORT])
def test_profiles_have_the_arguments_of_each_section(profile: Profile) -> None:
    run = pytest.importorskip("benchmarks.run")
    for name, section in run.SECTIONS.items():
        inspect.signature(section).bind("testbed", "figures", **profile[name])
