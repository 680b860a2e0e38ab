"""Runs of the benchmarks: a failed section does not end the run, and only full runs write to docs/."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks import page, run
from benchmarks.figures import Figures
from benchmarks.profiles import FULL
from benchmarks.run import BenchmarkRun


class NoTestbed:
    """A testbed without broker and engine."""

    def __init__(self, stack: Any, folder: Path) -> None:
        self.folder = folder

    def register(self, database: str, workload: Any) -> None:
        pass


@contextmanager
def no_stack(*_: Any, **__: Any) -> Iterator[None]:
    yield


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Figures]:
    """The runs that were published to docs/."""
    result: list[Figures] = []
    monkeypatch.setattr(run, "Testbed", NoTestbed)
    monkeypatch.setattr(run, "LocalStack", no_stack)
    monkeypatch.setattr(run, "make_workload", lambda folder: None)
    monkeypatch.setattr(page, "publish", result.append)
    return result


def sections(monkeypatch: pytest.MonkeyPatch, *, failing: str = "") -> None:
    def section(name: str) -> Any:
        def measure(run_context: BenchmarkRun) -> None:
            run_context.figures.add(name, "a figure", 1.0, "s")
            if name == failing:
                raise RuntimeError("the broker is gone")

        return measure

    monkeypatch.setattr(run, "SECTIONS", {name: section(name) for name in run.SECTIONS})


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    return run.main()


def test_a_full_run_measures_everything_and_writes_the_docs(
    monkeypatch: pytest.MonkeyPatch, written: list[Figures], capsys: pytest.CaptureFixture[str]
) -> None:
    sections(monkeypatch)
    assert called(monkeypatch) == 0
    assert [one.section for one in written[0].entries] == list(FULL.sections)
    assert written[0].about["command"] == "make bench"
    assert capsys.readouterr().out.count("| Section | Figure | Value | Notes |") == 1


@pytest.mark.parametrize("arguments", [["--profile", "short"], ["--short"], ["--only", "rates"]])
def test_less_than_a_full_run_writes_no_docs(
    monkeypatch: pytest.MonkeyPatch, written: list[Figures], arguments: list[str], tmp_path: Path
) -> None:
    sections(monkeypatch)
    assert called(monkeypatch, *arguments, "--json", str(tmp_path / "figures.json")) == 0
    assert not written
    result = Figures.read(tmp_path / "figures.json")
    assert result.entries[0].section == "rates"
    assert (len(result.entries) == 1) == ("--only" in arguments)


def test_a_failed_section_is_reported_and_the_others_are_measured(
    monkeypatch: pytest.MonkeyPatch, written: list[Figures], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sections(monkeypatch, failing="storage")
    assert called(monkeypatch, "--json", str(tmp_path / "figures.json")) == 1
    assert not written, "only complete runs write docs"
    assert [one.section for one in Figures.read(tmp_path / "figures.json").entries] == list(FULL.sections)
    errors = capsys.readouterr().err
    assert "Failed sections: storage" in errors
    assert "the broker is gone" in errors
