import copy
import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from barograph_server.errors import CommandError
from barograph_server.rollouts.evidence import bundle
from barograph_server.rollouts.evidence.bundle import MANIFEST, PARTS, BundleError, encode_json, read_bundle
from barograph_server.rollouts.evidence.verify import verify

CONTENT = {name: f'{{"part": "{name}"}}\n'.encode() for name in PARTS}


def test_the_same_parts_give_the_same_bytes_and_are_read_as_they_were_written(tmp_path: Path) -> None:
    one, two = (bundle.write_bundle(tmp_path / name, CONTENT) for name in ("one.zip", "two.zip"))
    folder = bundle.write_bundle(tmp_path / "folder", CONTENT)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert one.digest == two.digest == folder.digest
    assert folder.digest == hashlib.sha256((tmp_path / "folder" / MANIFEST).read_bytes()).hexdigest()
    assert (read_bundle(tmp_path / "one.zip"), read_bundle(tmp_path / "folder")) == (one, folder)
    assert one.json(PARTS[0]) == {"part": PARTS[0]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "one.zip", "two.zip"]
    values = {"b": 0.1 + 0.2, "a": [5e-324, 2**53 + 1]}
    assert json.loads(encode_json(values)) == values, "numbers keep their bits"
    assert encode_json(values) == encode_json(dict(reversed(values.items())))
    assert json.loads(encode_json({"a": float("inf"), "b": float("nan")})) == {"a": None, "b": None}


def edit_manifest(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    manifest = json.loads((path / MANIFEST).read_bytes())
    change(manifest)
    (path / MANIFEST).write_bytes(encode_json(manifest))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        pytest.param(lambda p: (p / "days.json").write_bytes(b"{}"), "days.json differs from its digest", id="changed"),
        pytest.param(lambda p: (p / "days.json").unlink(), "the part days.json is missing", id="missing"),
        pytest.param(lambda p: (p / MANIFEST).unlink(), "this is no evidence bundle", id="no-manifest"),
        pytest.param(lambda p: (p / "notes.txt").write_text(""), "'notes.txt' is not a part", id="extra"),
        pytest.param(lambda p: edit_manifest(p, lambda m: m.update(format=2)), "has format 2, not 1", id="format"),
        pytest.param(
            lambda p: ((p / "days.json").unlink(), (p / "days.json").symlink_to(p / MANIFEST)),
            "days.json is not a plain file",
            id="link",
        ),
    ],
)
def test_a_folder_that_was_edited_is_an_error(tmp_path: Path, edit: Callable[[Path], object], message: str) -> None:
    path = tmp_path / "evidence"
    bundle.write_bundle(path, CONTENT)
    edit(path)
    with pytest.raises(BundleError) as error:
        read_bundle(path)
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["../days.json", "/etc/passwd", "days.json/../x", "sub/days.json", "days.json\n"])
def test_a_name_in_an_archive_is_never_a_path(tmp_path: Path, name: str) -> None:
    path = tmp_path / "evidence.zip"
    bundle.write_bundle(path, CONTENT)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"x")
    with pytest.raises(BundleError, match="is not a part of a bundle: it was added"):
        read_bundle(path)
    assert [each.name for each in tmp_path.iterdir()] == ["evidence.zip"]


def test_every_truncation_of_an_archive_is_found(tmp_path: Path) -> None:
    path = tmp_path / "evidence.zip"
    bundle.write_bundle(path, CONTENT)
    content = path.read_bytes()
    for size in range(0, len(content), 29):
        path.write_bytes(content[:size])
        with pytest.raises(BundleError, match="the archive is damaged"):
            read_bundle(path)


def test_every_altered_byte_of_a_part_is_found(tmp_path: Path) -> None:
    path = tmp_path / "evidence"
    bundle.write_bundle(path, CONTENT)
    for name in (MANIFEST, *PARTS):
        content = (path / name).read_bytes()
        for i in range(0, len(content), 5):
            (path / name).write_bytes(content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :])
            with pytest.raises(BundleError):
                read_bundle(path)
        (path / name).write_bytes(content)
    read_bundle(path)


def test_large_parts_are_not_read_and_deep_json_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nested = bundle.write_bundle(tmp_path / "nested", CONTENT | {"days.json": b"[" * 200_000})
    with pytest.raises(BundleError, match=r"days\.json is not JSON"):
        nested.json("days.json")
    bundle.write_bundle(tmp_path / "evidence.zip", CONTENT | {"days.json": bytes(3 << 20)})
    monkeypatch.setattr(bundle, "MAX_PART_BYTES", 2 << 20)
    with pytest.raises(BundleError, match=r"days\.json has more than 2 MiB"):
        read_bundle(tmp_path / "evidence.zip")


@pytest.mark.parametrize("name", ["evidence.zip", "evidence"])
def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(CommandError, match="No space left on device"):
        bundle.write_bundle(tmp_path / name, CONTENT)
    assert list(tmp_path.iterdir()) == []


DAYS_CONTENT = [{"slice": "all", "days": ["2026-05-01"], "sums": {"pairs": [1.0]}}]
PROVENANCE_CONTENT: dict[str, Any] = {
    "model": "m",
    "contract_id": "c",
    "baselines": [{"version": "3", "baseline_id": "b", "effective_from": "2026-05-01T00:00:00+00:00"}],
    "offsets": {
        topic: [{"epoch": 0, "partition": 0, "first": 0, "last": 9}]
        for topic in ("predictions", "labels", "shadow_predictions")
    },
    "since": 10,
    "until": 100,
    "matured_until": 50,
}


def check(provenance: Any, days: Any) -> None:
    own = {bundle.PROVENANCE: encode_json(provenance), bundle.DAYS: encode_json(days)}
    no_client: Any = None
    verify(no_client, bundle.make_bundle(dict.fromkeys(PARTS, b"{}") | own)[0])


def test_parts_of_another_shape_are_an_error() -> None:
    with pytest.raises(AttributeError, match=r"'NoneType' object has no attribute '(rows|arrow)'"):
        check(PROVENANCE_CONTENT, DAYS_CONTENT)
    changes: list[Callable[[dict[str, Any]], object]] = [
        lambda p: p.update(offsets=[]),
        lambda p: p["offsets"].pop("labels"),
        lambda p: p["offsets"]["labels"][0].update(last=2**70),
        lambda p: p.update(until=-1),
        lambda p: p.update(decision_rules="2"),
        lambda p: p["baselines"][0].pop("version"),
        lambda p: p.pop("model"),
    ]
    for change in changes:
        provenance = copy.deepcopy(PROVENANCE_CONTENT)
        change(provenance)
        with pytest.raises(BundleError, match=r"The part provenance\.json is not complete"):
            check(provenance, DAYS_CONTENT)
    other_days: list[Any] = [[{"slice": "all"}], [{"days": []}], [{"slice": "all", "days": [1]}], {}]
    for days in other_days:
        with pytest.raises(BundleError, match=r"The part days\.json is not complete"):
            check(PROVENANCE_CONTENT, days)
