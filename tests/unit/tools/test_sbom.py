"""The software bill of materials lists everything that is locked, with hashes."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from barograph_server.local.kafka_jars import JAR_LIST, parse_jar_list
from tools.sbom import main

ROOT = Path(__file__).resolve().parents[3]
SHA_256 = re.compile(r"[0-9a-f]{64}")
OWN = {"barograph", "barograph-server"}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("sbom") / "new" / "sbom.json"
    assert main([str(path)]) == 0
    written: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return written


def hashes_of(component: dict[str, Any]) -> set[str]:
    """The SHA-256 hashes of a component, or of the files that its references name."""
    entries = component.get("hashes", []) + [
        entry for reference in component.get("externalReferences", []) for entry in reference.get("hashes", [])
    ]
    return {entry["content"] for entry in entries if entry["alg"] == "SHA-256"}


def test_every_locked_package_is_listed_with_the_hashes_of_the_lock(document: dict[str, Any]) -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    listed = {(each["name"], each["version"]): hashes_of(each) for each in document["components"]}
    locked = {
        (each["name"], each["version"]): {
            file["hash"].removeprefix("sha256:")
            for file in [*each.get("wheels", []), *filter(None, [each.get("sdist")])]
        }
        for each in lock["package"]
        if each["name"] not in OWN
    }
    assert len(locked) > 50
    assert {name: listed.get(name) for name in locked} == locked


def test_every_jar_is_listed_with_its_hash(document: dict[str, Any]) -> None:
    jars = parse_jar_list(JAR_LIST.read_text(encoding="utf-8"))
    listed = {each["purl"]: hashes_of(each) for each in document["components"] if "purl" in each}
    assert len(jars) > 50
    for jar in jars:
        assert listed[f"pkg:maven/{jar.group}/{jar.artifact}@{jar.version}"] == {jar.sha256}
        assert SHA_256.fullmatch(jar.sha256)
