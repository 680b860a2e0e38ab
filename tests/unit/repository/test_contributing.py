"""The files for contributors parse, and agree with the project's own settings."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FORMS = sorted(path.name for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")


def read_yaml(name: str) -> dict[Any, Any]:
    """A YAML file of the repository. YAML 1.1 reads the key `on` as True."""
    content: dict[Any, Any] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return content


def test_the_workflow_runs_all_steps_with_every_supported_python() -> None:
    workflow = read_yaml(".github/workflows/ci.yml")
    assert workflow[True].keys() == {"push", "pull_request"}
    assert workflow["jobs"]["run"]["permissions"] == {"contents": "read"}
    job = workflow["jobs"]["run"]
    assert job["steps"][-1] == {"run": "bash .ci/run"}
    lowest, highest = re.findall(r"3\.(\d+)", PROJECT["project"]["requires-python"])
    assert job["strategy"]["matrix"]["python"] == [f"3.{minor}" for minor in range(int(lowest), int(highest))]


def test_hooks_use_only_local_tools() -> None:
    for repository in read_yaml(".pre-commit-config.yaml")["repos"]:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            assert hook["language"] == "system"
            assert (ROOT / hook["entry"].split()[0]).is_file()


@pytest.mark.parametrize("name", FORMS)
def test_issue_forms_have_a_name_and_unique_fields(name: str) -> None:
    form = read_yaml(f".github/ISSUE_TEMPLATE/{name}")
    assert form["name"]
    assert form["description"]
    identifiers = [field["id"] for field in form["body"]]
    assert len(identifiers) == len(set(identifiers))


def test_editors_use_the_lowest_python_and_the_line_length_of_ruff() -> None:
    lowest = PROJECT["tool"]["mypy"]["python_version"]
    assert (ROOT / ".python-version").read_text(encoding="utf-8").split() == [lowest]
    assert PROJECT["project"]["requires-python"].startswith(f">={lowest},")
    config = (ROOT / ".editorconfig").read_text(encoding="utf-8")
    assert f"max_line_length = {PROJECT['tool']['ruff']['line-length']}" in config
