"""Evidence bundles as files: a folder or a ZIP archive with named parts and a manifest of their digests.

The same parts give the same bytes: an archive is not compressed, its parts have a fixed order and no times. A bundle
is read into memory, and only parts with the names of `PARTS` are read, so a name in an archive is never a path.
"""

import hashlib
import json
import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from barograph_server.errors import CommandError
from barograph_server.plain_values import encode_other
from barograph_server.terminal import escaped

MANIFEST = "manifest.json"
FORMAT_VERSION = 1
DECISION, DAYS, CONTRACT, PROVENANCE = PARTS = (*("decision.json", "days.json", "contract.yaml", "provenance.json"),)
"""The parts beside the manifest, in the order of an archive."""
MAX_PART_BYTES = 512 << 20
"""Size limit of a part: days of ten years with a thousand slices have 300 MiB."""

_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest time that an archive can state."""


class BundleError(CommandError):
    """A bundle is damaged or was changed; the text says where."""


@dataclass(frozen=True, slots=True)
class EvidenceBundle:
    parts: Mapping[str, bytes]
    """By the names of `PARTS`."""
    digest: str
    """SHA-256 of the manifest, which has those of the parts: 64 hexadecimal digits."""

    def json(self, name: str) -> Any:
        try:
            return json.loads(self.parts[name])
        except (ValueError, RecursionError) as error:
            raise BundleError(f"The part {name} is not JSON ({error}): export the bundle again.") from None


def encode_json(value: Any) -> bytes:
    """Encode a JSON part: keys in order, numbers so that reading them gives the same bits, null if not finite."""
    content = msgspec.json.encode(value, enc_hook=encode_other, order="deterministic")
    return msgspec.json.format(content, indent=1) + b"\n"


def make_bundle(parts: Mapping[str, bytes]) -> tuple[EvidenceBundle, bytes]:
    """Return a bundle of the content of every part of `PARTS`, and its manifest."""
    manifest = encode_json(
        {
            "format": FORMAT_VERSION,
            "parts": {name: {"bytes": len(parts[name]), "sha256": _digest(parts[name])} for name in PARTS},
        }
    )
    return EvidenceBundle(parts, _digest(manifest)), manifest


def write_bundle(path: Path, parts: Mapping[str, bytes]) -> EvidenceBundle:
    """Write a bundle, an archive if the name ends in `.zip`, otherwise a folder.

    Args:
        path: the archive or folder; it must not exist.
        parts: the content of every part of `PARTS`.
    """
    if path.exists():
        raise CommandError(f"{path} exists: choose another name, or remove it.")
    bundle, manifest = make_bundle(parts)
    contents = {MANIFEST: manifest, **{name: parts[name] for name in PARTS}}
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(partial, "w") as archive:
                for name, content in contents.items():
                    archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), content)
        else:
            partial.mkdir()
            for name, content in contents.items():
                (partial / name).write_bytes(content)
        partial.rename(path)
    except OSError as error:
        raise CommandError(f"{path} cannot be written ({error.strerror}): name a path that you may write to.") from None
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)
    return bundle


def read_bundle(path: Path) -> EvidenceBundle:
    """Read a bundle and check its parts against the digests of its manifest."""
    contents = _read_archive(path) if path.is_file() else _read_folder(path)
    content = contents.pop(MANIFEST, None)
    parts = _read_manifest(path, content)
    for name in PARTS:
        if name not in contents:
            raise BundleError(f"{path}: the part {name} is missing: export the bundle again.")
        if parts.get(name) != {"bytes": len(contents[name]), "sha256": _digest(contents[name])}:
            raise BundleError(f"{path}: the part {name} differs from its digest in the manifest: it was changed.")
    bundle, own_manifest = make_bundle(contents)
    if own_manifest != content:
        raise BundleError(f"{path}: the part {MANIFEST} was changed: export the bundle again.")
    return bundle


def _read_manifest(path: Path, content: bytes | None) -> dict[str, Any]:
    if content is None:
        raise BundleError(f"{path}: the part {MANIFEST} is missing: this is no evidence bundle.")
    try:
        manifest = json.loads(content)
        version, parts = manifest["format"], dict(manifest["parts"])
    except (ValueError, KeyError, TypeError):
        raise BundleError(f"{path}: the part {MANIFEST} is not a manifest: export the bundle again.") from None
    if version != FORMAT_VERSION:
        raise BundleError(
            f"{path}: the bundle has format {version!r}, not {FORMAT_VERSION}: use the release that wrote it."
        )
    return parts


def _read_folder(path: Path) -> dict[str, bytes]:
    contents = {}
    try:
        for entry in sorted(path.iterdir()):
            _check_name(path, entry.name)
            status = entry.lstat()
            if not stat.S_ISREG(status.st_mode):
                raise BundleError(f"{path}: {entry.name} is not a plain file: export the bundle again.")
            _check_size(path, entry.name, status.st_size)
            contents[entry.name] = entry.read_bytes()
    except OSError as error:
        raise CommandError(f"{path} cannot be read ({error.strerror}): name an evidence bundle.") from None
    return contents


def _read_archive(path: Path) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                _check_name(path, info.filename)
                if info.filename in contents:
                    raise BundleError(f"{path}: the part {info.filename} occurs twice: export the bundle again.")
                _check_size(path, info.filename, info.file_size)
                with archive.open(info) as part:
                    contents[info.filename] = part.read(MAX_PART_BYTES + 1)
                _check_size(path, info.filename, len(contents[info.filename]))
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise BundleError(f"{path}: the archive is damaged ({error}): export the bundle again.") from None
    except OSError as error:
        raise CommandError(f"{path} cannot be read ({error.strerror}): name an evidence bundle.") from None
    return contents


def _check_name(path: Path, name: str) -> None:
    if name not in (MANIFEST, *PARTS):
        raise BundleError(f"{path}: {escaped(name)!r} is not a part of a bundle: it was added.")


def _check_size(path: Path, name: str, size: int) -> None:
    if size > MAX_PART_BYTES:
        raise BundleError(f"{path}: the part {name} has more than {MAX_PART_BYTES >> 20} MiB: it was changed.")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
