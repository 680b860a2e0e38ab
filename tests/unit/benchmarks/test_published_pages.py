import json
import re
import tomllib

import pytest

from benchmarks import page, scale
from benchmarks.charts import charts
from benchmarks.figures import Figures
from benchmarks.goals import Goal
from benchmarks.peers.environments import FOLDER
from benchmarks.peers.measure import PEERS
from benchmarks.scoreboard import page as scoreboard


def test_pages_are_those_of_their_records() -> None:
    figures, text = Figures.read(page.PUBLISHED), page.PAGE.read_text(encoding="utf-8")
    assert page.rewrite(text, figures) == text, "run `python -m benchmarks --redraw`"
    shown = {f"performance-{chart.file}.svg" for chart in charts(figures)}
    assert {path.name for path in page.CHARTS.iterdir()} == shown == set(re.findall(r"\(charts/([^)]+)\)", text))
    text = scale.PAGE.read_text(encoding="utf-8")
    assert scale.rewrite(text, Figures.read(scale.RECORD)) == text
    record = json.loads(scoreboard.RECORD.read_text(encoding="utf-8"))
    assert scoreboard.render_page(record) == scoreboard.PAGE.read_text(encoding="utf-8")


def test_a_verdict_states_by_how_much_a_goal_is_met_or_missed() -> None:
    for holds, value, verdict in (
        ("at least", 300.0, "met, 20% to spare"),
        ("at least", 250.0, "met, 0% to spare"),
        ("at least", 200.0, "**missed by 20%**"),
        ("under", 250.0, "**missed by 0%**"),
        ("at most", 250.0, "met, 0% to spare"),
        ("at most", None, "not measured in this run"),
    ):
        goal = Goal("a goal", holds, 250, "events", "a section", "a figure")  # type: ignore[arg-type]
        assert goal.verdict(value) == verdict


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
