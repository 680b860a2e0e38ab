import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import yaml

from barograph_server.warehouse.client import WarehouseError
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


CREATE_USERS: Any = load_script("clickhouse/create_users.py")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    result = MagicMock()
    result.connect.return_value.__enter__.return_value = result
    monkeypatch.setattr(CREATE_USERS, "connect", result.connect)
    return result


def test_every_role_gets_a_user_with_its_own_password(server: MagicMock) -> None:
    assert CREATE_USERS.main(ENVIRON, patience_s=60.0, pause_s=0.0) == 0
    [(address,)] = (call.args for call in server.connect.call_args_list)
    assert (address.username, address.database) == ("admin", "default"), "the database may not exist yet"
    sent = [call.args[0] for call in server.command.call_args_list]
    for role, granted in statements("watched"):
        quoted = f"it\\'s \\\\ {role.user}"
        own = [statement for statement in sent if f"'{quoted}'" in statement]
        assert own == [
            f"CREATE USER IF NOT EXISTS {role.user} IDENTIFIED WITH sha256_password BY '{quoted}'",
            f"ALTER USER {role.user} IDENTIFIED WITH sha256_password BY '{quoted}'",
        ]
        last = f"GRANT {role.name} TO {role.user}", f"ALTER USER {role.user} DEFAULT ROLE {role.name}"
        positions = [sent.index(statement) for statement in (*granted, *own, *last)]
        assert positions == sorted(positions)


def test_no_password_is_printed(server: MagicMock, capsys: pytest.CaptureFixture[str]) -> None:
    def reject(sql: str) -> None:
        if sql.startswith("ALTER USER"):
            raise WarehouseError(f"ClickHouse refused to run a statement: {sql} (code 497).", 497)

    assert CREATE_USERS.main(ENVIRON, patience_s=60.0, pause_s=0.0) == 0
    server.command.side_effect = reject
    assert CREATE_USERS.main(ENVIRON, patience_s=60.0, pause_s=0.0) == 1
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


def test_nothing_is_written_if_an_image_cannot_be_resolved(
    pinned: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = images(pinned)
    for variable, value, message in (
        ("MISSING", "grafana/grafana:13.2.3", "grafana/grafana:13.2.3: not found"),
        ("DIGEST", "latest", "Docker returned 'latest'"),
        ("PATH", "", "cannot be resolved by `docker buildx imagetools inspect`: FileNotFoundError"),
    ):
        with monkeypatch.context() as changed:
            changed.setenv(variable, value)
            assert PIN_IMAGES.main(pinned) == 1
        assert message in capsys.readouterr().err
        assert images(pinned) == before
