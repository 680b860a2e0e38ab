"""Published pages show the figures of their records, a missed goal is called missed, and peers are locked by hashes."""

from __future__ import annotations

import json
import re
import tomllib

import pytest

from benchmarks import page, scale
from benchmarks.figures import Figures
from benchmarks.goals import Goal, GoalResult
from benchmarks.peers.environments import FOLDER
from benchmarks.peers.measure import PEERS
from benchmarks.pictures import CHARTS
from benchmarks.scoreboard import page as scoreboard


def test_pages_are_those_of_their_records() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    rewritten = page.rewrite(text, Figures.read(page.FIGURES), Figures.read(page.OTHER))
    assert rewritten == text, "run `python -m benchmarks --redraw`"
    shown = set(re.findall(r"\(charts/(performance-[\w-]+)\.svg\)", text))
    assert shown <= CHARTS.keys()
    assert {path.stem for path in page.CHARTS.glob("performance-*.svg")} == shown
    text = scale.PAGE.read_text(encoding="utf-8")
    assert scale.rewrite(text, scale.read_record()) == text
    linked = set(re.findall(r"\(charts/([\w-]+\.svg)\)", text))
    assert linked
    assert {name for name in linked if not (page.CHARTS / name).exists()} == set()
    record = json.loads(scoreboard.RECORD.read_text(encoding="utf-8"))
    assert scoreboard.render_page(record) == scoreboard.PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("holds", "value", "met", "verdict"),
    [
        ("at least", 300.0, True, "met, 20% to spare"),
        ("at least", 250.0, True, "met, 0% to spare"),
        ("at least", 200.0, False, "**missed by 20%**"),
        ("under", 250.0, False, "**missed by 0%**"),
        ("at most", 250.0, True, "met, 0% to spare"),
        ("at most", None, None, "not measured in this run"),
    ],
)
def test_a_verdict_states_by_how_much_a_goal_is_met_or_missed(
    holds: str, value: float | None, met: bool | None, verdict: str
) -> None:
    goal = Goal("a goal", holds, 250, "events", lambda figures: value)  # type: ignore[arg-type]
    result = GoalResult(goal, goal.measured(Figures({})))
    assert (result.met, result.verdict) == (met, verdict)


@pytest.mark.parametrize("name", sorted({peer.name for peer in PEERS}))
def test_every_file_of_a_peer_has_a_hash(name: str) -> None:
    project = tomllib.loads((FOLDER / name / "pyproject.toml").read_text(encoding="utf-8"))
    lock = tomllib.loads((FOLDER / name / "uv.lock").read_text(encoding="utf-8"))
    for package in lock["package"]:
        files = [*package.get("wheels", []), *filter(None, [package.get("sdist")])]
        if package["name"] == project["project"]["name"]:
            assert package["source"].keys() == {"virtual"}
        else:
            assert files
            assert all(file["hash"].startswith("sha256:") for file in files)
