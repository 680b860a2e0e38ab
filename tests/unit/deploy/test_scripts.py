from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from barograph_server.warehouse.client import Address, WarehouseError
from barograph_server.warehouse.roles import ROLES, statements
from tests.support.deploy_scripts import DEPLOY, load_script

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


PASSWORDS = {f"CLICKHOUSE_{role.user.upper()}_PASSWORD": f"it's \\ {role.user}" for role in ROLES}
ENVIRON = {
    "BAROGRAPH_CLICKHOUSE_HOST": "clickhouse",
    "BAROGRAPH_CLICKHOUSE_USERNAME": "admin",
    "BAROGRAPH_CLICKHOUSE_PASSWORD": "administrator",
    "BAROGRAPH_CLICKHOUSE_DATABASE": "watched",
    "PATH": "/usr/bin",
    **PASSWORDS,
}


class Server:
    def __init__(self) -> None:
        self.statements: list[str] = []
        self.addresses: list[Address] = []
        self.rejected = ""

    def command(self, sql: str) -> None:
        if self.rejected and sql.startswith(self.rejected):
            raise WarehouseError(f"ClickHouse refused to run a statement: {sql} (code 497).", 497)
        self.statements.append(sql)

    @contextmanager
    def connect(self, address: Address) -> Iterator[Server]:
        self.addresses.append(address)
        yield self


def create_users(server: Server, monkeypatch: pytest.MonkeyPatch) -> int:
    script = load_script("clickhouse/create_users.py")
    monkeypatch.setattr(script, "connect", server.connect)
    code: int = script.main(ENVIRON, patience_s=60.0, pause_s=0.0)
    return code


def test_every_role_gets_a_user_with_its_own_password(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    assert create_users(server, monkeypatch) == 0
    assert [address.username for address in server.addresses] == ["admin"]
    assert server.addresses[0].database == "default", "the database may not exist yet"
    for role, granted in statements("watched"):
        quoted = f"it\\'s \\\\ {role.user}"
        own = [statement for statement in server.statements if f"'{quoted}'" in statement]
        assert own == [
            f"CREATE USER IF NOT EXISTS {role.user} IDENTIFIED WITH sha256_password BY '{quoted}'",
            f"ALTER USER {role.user} IDENTIFIED WITH sha256_password BY '{quoted}'",
        ]
        order = [
            *granted,
            *own,
            f"GRANT {role.name} TO {role.user}",
            f"ALTER USER {role.user} DEFAULT ROLE {role.name}",
        ]
        positions = [server.statements.index(statement) for statement in order]
        assert positions == sorted(positions)


def test_no_password_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert create_users(Server(), monkeypatch) == 0
    failing = Server()
    failing.rejected = "ALTER USER"
    assert create_users(failing, monkeypatch) == 1
    shown = capsys.readouterr()
    assert "code 497" in shown.err
    assert "IDENTIFIED" not in shown.out + shown.err
    assert not [password for password in PASSWORDS.values() if password in shown.out + shown.err]


PIN_IMAGES: Any = load_script("pin_images.py")
DOCKER = f"""#!{sys.executable}
import hashlib, json, os, sys
*words, image, option, template = sys.argv[1:]
assert (words, option, template) == (["buildx", "imagetools", "inspect"], "--format", "{{{{json .Manifest}}}}")
if image == os.environ.get("MISSING"):
    sys.exit(f"ERROR: {{image}}: not found")
digest = os.environ.get("DIGEST") or "sha256:" + hashlib.sha256(image.encode()).hexdigest()
print(json.dumps({{"schemaVersion": 2, "digest": digest, "size": 1, "manifests": []}}))
"""


@pytest.fixture
def pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(DOCKER, encoding="utf-8")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(docker.parent))
    for name in PIN_IMAGES.FILES:
        shutil.copy(DEPLOY.parent / name, tmp_path)
    return tmp_path


def images(pinned: Path) -> list[str]:
    """The images of the compose file that are not built from the Dockerfile, and the images of the Dockerfile."""
    services = yaml.safe_load((pinned / "docker-compose.yml").read_text(encoding="utf-8"))["services"].values()
    bases = re.findall(r"^ARG \w+_IMAGE=(.*)$", (pinned / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    return [*(str(service["image"]) for service in services if "build" not in service), *bases]


def test_every_image_gets_the_digest_of_its_tag(pinned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tags = [image.partition("@")[0] for image in images(pinned)]
    assert len(tags) == 5
    expected = [f"{tag}@sha256:{hashlib.sha256(tag.encode()).hexdigest()}" for tag in tags]
    assert PIN_IMAGES.main(pinned) == 0
    assert images(pinned) == expected
    assert capsys.readouterr().out.splitlines() == expected
    compose = yaml.safe_load((pinned / "docker-compose.yml").read_text(encoding="utf-8"))
    assert compose["services"]["monitor"]["image"] == "barograph:local", "it is in no registry"


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("MISSING", "grafana/grafana:13.2.3", "grafana/grafana:13.2.3: not found"),
        ("DIGEST", "latest", "Docker returned 'latest'"),
        ("PATH", "", "cannot be resolved by `docker buildx imagetools inspect`: FileNotFoundError"),
    ],
)
def test_nothing_is_written_if_an_image_cannot_be_resolved(
    pinned: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    value: str,
    message: str,
) -> None:
    before = images(pinned)
    monkeypatch.setenv(variable, value)
    assert PIN_IMAGES.main(pinned) == 1
    assert message in capsys.readouterr().err
    assert images(pinned) == before
