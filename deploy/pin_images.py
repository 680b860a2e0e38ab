#!/usr/bin/env python3
"""Pin the images of docker-compose.yml and Dockerfile by digest: `python3 deploy/pin_images.py`.

A registry can move a tag to another image, but not a digest. Docker requests the digest of each image from its
registry, and the script writes it after the tag. A second run updates the digests. If one image cannot be resolved,
nothing is written. Needs Python, and Docker with its plugin buildx.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = ("docker-compose.yml", "Dockerfile")
TIMEOUT_S = 60
_IMAGE = re.compile(r"^([ ]+image: |ARG (?:PYTHON|RUST)_IMAGE=)([\w./:-]+?)(?:@sha256:[0-9a-f]{64})?$", re.MULTILINE)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_BUILT_LOCALLY = "barograph:local"


class PinError(Exception):
    """An image cannot be resolved; the message says why."""


def main(folder: Path = ROOT) -> int:
    """Write the digests into the files of a folder; return 0, or 1 after a message that says what to do."""
    texts = {name: (folder / name).read_text(encoding="utf-8") for name in FILES}
    images = dict.fromkeys(image for text in texts.values() for _, image in _IMAGE.findall(text))
    try:
        digests = {image: resolve(image) for image in images if image != _BUILT_LOCALLY}
    except PinError as error:
        sys.stderr.write(f"{error}\nNothing was written.\n")
        return 1

    def pinned(match: re.Match[str]) -> str:
        return f"{match[1]}{match[2]}@{digests[match[2]]}" if match[2] in digests else match[0]

    for name, text in texts.items():
        (folder / name).write_text(_IMAGE.sub(pinned, text), encoding="utf-8")
    sys.stdout.writelines(f"{image}@{digest}\n" for image, digest in digests.items())
    return 0


def resolve(image: str) -> str:
    """Return the digest of an image of all platforms, `sha256:` and 64 hexadecimal digits.

    Raises:
        PinError: Docker is missing, or does not return a digest.
    """
    words = ["docker", "buildx", "imagetools", "inspect", image, "--format", "{{json .Manifest}}"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)  # noqa: S603
        if done.returncode:
            raise PinError(f"{image} cannot be resolved: {done.stderr.strip()}")
        digest = str(json.loads(done.stdout)["digest"])
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as error:
        raise PinError(f"{image} cannot be resolved by `{' '.join(words[:4])}`: {error!r}") from None
    if not _DIGEST.fullmatch(digest):
        raise PinError(f"{image} cannot be resolved: Docker returned {digest!r}")
    return digest


if __name__ == "__main__":
    sys.exit(main())
