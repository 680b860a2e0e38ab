"""Comparison of the peers' results, and the folders of the peers."""

from __future__ import annotations

import tomllib
from typing import Any

import numpy as np
import pytest

from benchmarks.measured_process import JsonObject
from benchmarks.peers.child import RANKS
from benchmarks.peers.compare import compare
from benchmarks.peers.environments import FOLDER
from benchmarks.peers.measure import PEERS
from benchmarks.peers.psi import compare_psi, defined_psi
from benchmarks.peers.topic_contents import TopicContents
from benchmarks.workload import Workload, json_events, make_workload

START = 1_700_000_040_000
"""A whole minute."""
EVENTS = 6_000
NAMES = sorted({peer.name for peer in PEERS})


@pytest.fixture(scope="module", params=[2, 0], ids=["texts", "no texts"])
def workload(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Workload:
    return make_workload(tmp_path_factory.mktemp("peers"), numbers=4, texts=request.param)


@pytest.fixture(scope="module")
def contents(workload: Workload) -> TopicContents:
    contents = TopicContents(workload)
    assert len(list(contents.record(json_events(workload, EVENTS, START, START + 179_999)))) == EVENTS
    return contents


def exact(contents: TopicContents, minutes: int) -> JsonObject:
    """The result of a program without error."""
    starts = list(contents.minutes())[:minutes]
    columns = contents.within(starts)
    return {
        "minutes": {str(start): contents.minutes()[start] for start in starts},
        "ranks": list(RANKS),
        "rank_error": 0.0133,
        "quantiles": {
            name: np.quantile(columns[name], RANKS, method="inverted_cdf").tolist() for name in contents.numbers
        },
        "categories": {
            name: dict(zip(*(array.tolist() for array in np.unique(columns[name], return_counts=True)), strict=True))
            for name in contents.texts
        },
    }


def test_an_exact_result_is_right(contents: TopicContents) -> None:
    result = compare(exact(contents, 2), contents)
    assert not result.wrong
    assert result.worst == 0
    assert result.compared == len(contents.numbers) * len(RANKS)


def test_a_distant_quantile_is_wrong(contents: TopicContents) -> None:
    report = exact(contents, 2)
    name = contents.numbers[0]
    report["quantiles"][name][3] = report["quantiles"][name][5]
    result = compare(report, contents)
    assert result.wrong
    assert name in result.wrong[0]
    assert "WRONG" in result.note()


def test_lost_events_and_other_minutes_are_wrong(contents: TopicContents) -> None:
    report = exact(contents, 2)
    first = next(iter(report["minutes"]))
    report["minutes"][first] -= 1
    assert compare(report, contents).wrong
    assert compare({**exact(contents, 1), "minutes": {}}, contents).wrong


def test_another_count_of_a_category_is_wrong(contents: TopicContents) -> None:
    for name in contents.texts:
        report = exact(contents, 2)
        report["categories"][name]["elsewhere"] = 1
        assert any(name in wrong for wrong in compare(report, contents).wrong)


def test_psi_that_contradicts_its_definition_is_wrong(contents: TopicContents) -> None:
    start = next(iter(contents.minutes()))
    columns = contents.within([start])
    training = contents.columns
    psi = {name: defined_psi(training[name], columns[name]) for name in (*contents.numbers, *contents.texts)}
    report = {"minutes": {str(start): contents.minutes()[start]}, "psi": {str(start): psi}}
    assert not compare_psi(report, training, contents, {start: psi}).wrong
    psi[contents.numbers[1]] += 1e-6
    assert compare_psi(report, training, contents, {start: psi}).wrong
    del psi[contents.numbers[1]]
    assert compare_psi(report, training, contents, {start: {**psi, contents.numbers[1]: 0.0}}).wrong


@pytest.mark.parametrize("name", NAMES)
def test_each_peer_has_a_lock_file_and_a_description(name: str) -> None:
    folder = FOLDER / name
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    lock = tomllib.loads((folder / "uv.lock").read_text(encoding="utf-8"))
    assert project["tool"]["uv"]["package"] is False
    assert lock["requires-python"].replace(" ", "") == ", ".join(
        sorted(project["project"]["requires-python"].split(","), reverse=True)
    ).replace(" ", "")
    assert "In its favour" in (folder / "README.md").read_text(encoding="utf-8")
    assert (folder / "program.py").read_text(encoding="utf-8").startswith('"""')
    for package in lock["package"]:
        files: list[dict[str, Any]] = [*package.get("wheels", []), *filter(None, [package.get("sdist")])]
        if package["name"] == project["project"]["name"]:
            assert package["source"].keys() == {"virtual"}
        else:
            assert files
            assert all(file["hash"].startswith("sha256:") for file in files)
