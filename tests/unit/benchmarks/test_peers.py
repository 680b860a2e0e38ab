"""Comparison of the peers' results, and the folders of the peers."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import datasketches
import numpy as np
import pytest

from benchmarks.measured_process import JsonObject
from benchmarks.peers import environments
from benchmarks.peers.barograph_result import without_slices
from benchmarks.peers.child import RANKS
from benchmarks.peers.compare import compare, rank_errors
from benchmarks.peers.datasketches_minute import Minutes, row_decoder
from benchmarks.peers.environments import FOLDER, PeerError
from benchmarks.peers.frames import by_minute, read_frame
from benchmarks.peers.measure import PEERS
from benchmarks.peers.psi import compare_psi, defined_psi
from benchmarks.peers.topic_contents import TopicContents
from benchmarks.workload import Workload, arrow_messages, json_events, make_workload
from streams.registry.registry import Registry

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


def test_many_quantiles_a_little_beyond_are_wrong(contents: TopicContents) -> None:
    report = exact(contents, 2)
    columns = contents.within(map(int, report["minutes"]))
    for name in contents.numbers:
        report["quantiles"][name][3] = float(np.quantile(columns[name].astype(float), 0.52))
    report["rank_error"] = 0.0125
    assert any("quantiles are beyond" in wrong for wrong in compare(report, contents).wrong)


def test_nan_is_wrong(contents: TopicContents) -> None:
    report = exact(contents, 1)
    report["quantiles"][contents.numbers[0]][0] = float("nan")
    assert compare(report, contents).wrong


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


def test_rank_errors_are_shares_of_ranks() -> None:
    values = np.arange(1, 101).astype(float)
    assert rank_errors(values, [0.5, 0.5, 0.5], [50, 60, 40]).tolist() == pytest.approx([0, 0.09, 0.1])
    # Of equal values each of their ranks is right.
    assert rank_errors(np.ones(10), [0.01, 0.99], [1, 1]).tolist() == [0, 0]


@pytest.mark.parametrize("way", ["events", "batches"])
def test_the_sketches_for_peers_are_right(workload: Workload, contents: TopicContents, way: str) -> None:
    minutes, row = Minutes({**contents.names(), "minutes": 2}), row_decoder(contents.names())
    rows = [row(event) for event in json_events(workload, EVENTS, START, START + 179_999)]
    if way == "events":
        for each in rows:
            minutes.add(each)
    else:
        minutes.add_batch(rows)
    assert minutes.complete()
    assert minutes.events == EVENTS
    assert not compare(minutes.result(), contents).wrong


def test_a_sketch_that_is_too_small_is_wrong(contents: TopicContents) -> None:
    report = exact(contents, 3)
    columns = contents.within(map(int, report["minutes"]))
    for name in contents.numbers:
        sketch = datasketches.kll_floats_sketch(8)
        sketch.update(columns[name].astype(np.float32))
        report["quantiles"][name] = list(map(float, sketch.get_quantiles(RANKS, True)))
    assert compare(report, contents).wrong


def test_events_of_arrow_batches_are_recorded_too(workload: Workload) -> None:
    contents = TopicContents(workload)
    assert list(contents.record_batches(arrow_messages(workload, 3_000, START, START + 59_999)))
    assert contents.minutes() == {START: 3_000}
    assert set(contents.columns) == {"at", *contents.numbers, *contents.texts}


def test_frames_have_the_contents_of_the_topic(contents: TopicContents, tmp_path: Path) -> None:
    starts = list(contents.minutes())
    contents.write(tmp_path / "frame.npz", starts[:2])
    frames = by_minute(read_frame(tmp_path / "frame.npz"), 2)
    assert list(frames) == starts[:2]
    for start, frame in frames.items():
        columns = contents.within([start])
        assert list(frame.columns) == [name for name in columns if name != "at"]
        assert all((frame[name] == columns[name]).all() for name in frame)


def test_slices_are_omitted(workload: Workload) -> None:
    registry: Registry = without_slices(workload).registry()
    assert registry
    assert not without_slices(workload).baseline.dimensions


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


def test_environments_of_peers_are_excluded_from_workspace_and_git() -> None:
    root = tomllib.loads((FOLDER.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    assert root["tool"]["uv"]["workspace"]["exclude"] == ["benchmarks/peers/*"]
    ignored = subprocess.run(
        ["git", "check-ignore", "--quiet", f"benchmarks/peers/{NAMES[0]}/.venv/lib"], cwd=FOLDER.parents[1], check=False
    )
    assert ignored.returncode == 0


@pytest.fixture
def strange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A peer for a Python version that does not exist yet."""
    folder = tmp_path / "strange"
    folder.mkdir()
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "strange"\nversion = "0"\nrequires-python = ">=3.99"\n\n[tool.uv]\npackage = false\n'
    )
    (folder / "uv.lock").write_text(
        'version = 1\nrevision = 3\nrequires-python = ">=3.99"\n\n'
        '[[package]]\nname = "strange"\nversion = "0"\nsource = { virtual = "." }\n'
    )
    return folder


def test_a_failed_installation_of_a_peer_is_explained(strange: Path) -> None:
    with pytest.raises(PeerError, match=r"does not install: .*3\.99"):
        environments.install(strange.name)
