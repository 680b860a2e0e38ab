"""The script that pins images by digest, with a program in the place of Docker: there is no Docker in CI."""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.deploy_scripts import DEPLOY, load_script

SCRIPT: Any = load_script("pin_images.py")
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
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files to pin, and Docker's substitute as the only program of the path."""
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(DOCKER, encoding="utf-8")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(docker.parent))
    for name in SCRIPT.FILES:
        shutil.copy(DEPLOY.parent / name, tmp_path)
    return tmp_path


def images(folder: Path) -> list[str]:
    """The images of the compose file that are not built from the Dockerfile, and the base image of the Dockerfile."""
    services = yaml.safe_load((folder / "docker-compose.yml").read_text(encoding="utf-8"))["services"].values()
    (base,) = re.findall(r"^ARG PYTHON_IMAGE=(.*)$", (folder / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    return [*(str(service["image"]) for service in services if "build" not in service), base]


def test_every_image_gets_the_digest_of_its_tag(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tags = [image.partition("@")[0] for image in images(folder)]
    assert len(tags) == 4
    expected = [f"{tag}@sha256:{hashlib.sha256(tag.encode()).hexdigest()}" for tag in tags]
    assert SCRIPT.main(folder) == 0
    assert images(folder) == expected
    assert capsys.readouterr().out.splitlines() == expected
    compose = yaml.safe_load((folder / "docker-compose.yml").read_text(encoding="utf-8"))
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
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    value: str,
    message: str,
) -> None:
    before = images(folder)
    monkeypatch.setenv(variable, value)
    assert SCRIPT.main(folder) == 1
    assert message in capsys.readouterr().err
    assert images(folder) == before
