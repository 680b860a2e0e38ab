"""The wheel: its content, and its commands beside the installed libraries, without the tree that it was built from."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parents[2]


def build(folder: Path, *words: str) -> list[str]:
    """Build distributions into a folder, and return the names of the files in the wheel."""
    command = [str(ROOT / "tools/uv"), "build", "--quiet", "--out-dir", str(folder), *words, str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "unzipped")
        return sorted(archive.namelist())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("wheel")
    return folder / "unzipped", build(folder, "--wheel")


def test_the_wheel_has_one_package_and_no_program_of_the_repository(
    wheel: tuple[Path, list[str]], tmp_path: Path
) -> None:
    _, names = wheel
    assert {name.partition("/")[0] for name in names} == {"barograph_server", "barograph_server-0.1.0.dist-info"}
    folders = {part for name in names for part in name.split("/")[1:-1]}
    assert not folders & {"tests", "benchmarks", "examples", "tools", "deploy", "__pycache__"}
    assert {"cli", "sketches", "streams", "warehouse", "dashboards", "alerts", "local", "drills"} <= folders
    assert build(tmp_path) == names, "the wheel that is built from the source distribution has other files"


def test_the_commands_of_the_wheel_need_no_clone(wheel: tuple[Path, list[str]], tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BAROGRAPH_")}
    environ |= {"PYTHONPATH": str(wheel[0]), "PYTHONSAFEPATH": "1", "BAROGRAPH_HOME": str(tmp_path / "home")}

    def python(*words: object) -> tuple[int, str]:
        command = [sys.executable, *map(str, words)]
        result = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
        return result.returncode, result.stdout + result.stderr

    draws = np.random.default_rng(7)
    for name in ("train", "prod"):
        values, texts = draws.normal(size=600), draws.choice(["a", "b"], 600)
        rows = {"id": [f"{name}{i}" for i in range(600)], "x": values, "y": texts}
        pq.write_table(pa.table(rows), tmp_path / f"{name}.parquet")
    status, path = python("-c", "import barograph_server.cli.main as main; print(main.__file__)")
    assert (status, Path(path.strip())) == (0, wheel[0] / "barograph_server/cli/main.py")
    for words, expected in (
        ("--help", "Usage: barograph"),
        ("infer train.parquet --model m --version 1 --id id", "m.yaml (written)"),
        ("compare train.parquet prod.parquet --id id --html report.html", "report.html (written)"),
        ("check prod.parquet --contract m.yaml", "conforms to the contract"),
        ("plan --help", "Usage: barograph plan"),
    ):
        status, output = python("-m", "barograph_server.cli.main", *words.split())
        assert status == 0, output
        assert expected in output
    status, output = python("-m", "barograph_server.cli.main", "demo")
    assert (status, "in a clone of the repository" in output) == (1, True)
