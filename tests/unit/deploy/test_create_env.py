"""The script that writes `.env`: random passwords, readable by their owner, and stable."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.deploy_scripts import DEPLOY

SCRIPT = DEPLOY / "create_env.py"
COMPOSE = DEPLOY.parent / "docker-compose.yml"
REQUIRED = set(re.findall(r"\$\{(\w+):\?", COMPOSE.read_text(encoding="utf-8")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deploy").mkdir()
    shutil.copy(SCRIPT, tmp_path / "deploy")
    shutil.copy(COMPOSE, tmp_path)
    return tmp_path


def run(folder: Path) -> str:
    words = [sys.executable, "-I", "deploy/create_env.py"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True)
    assert not done.stderr
    return done.stdout


def variables(folder: Path) -> dict[str, str]:
    lines = (folder / ".env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line)


def test_every_required_password_is_random_and_secret(folder: Path) -> None:
    shown = run(folder)
    first = variables(folder)
    assert first.keys() == REQUIRED
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600
    assert len(set(first.values())) == len(first)
    assert all(re.fullmatch(r"[\w-]{32,}", value) for value in first.values())
    assert not [value for value in first.values() if value in shown]
    (folder / ".env").unlink()
    run(folder)
    assert not set(first.values()) & set(variables(folder).values())


def test_a_second_run_keeps_what_is_there(folder: Path) -> None:
    env = folder / ".env"
    env.write_text("CONTRACTS=./elsewhere\nGRAFANA_PASSWORD=chosen", encoding="utf-8")
    env.chmod(0o644)
    run(folder)
    written = env.read_text(encoding="utf-8")
    assert written.startswith("CONTRACTS=./elsewhere\nGRAFANA_PASSWORD=chosen\n")
    assert variables(folder).keys() == REQUIRED | {"CONTRACTS"}
    assert env.stat().st_mode & 0o777 == 0o600
    run(folder)
    assert env.read_text(encoding="utf-8") == written
