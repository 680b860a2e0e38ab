"""A fault: the disk of ClickHouse is full for some time."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tests.faults.faults import kill_half_way
from tests.faults.trial_run import World

SIZE_MB = 512
LEFT_MB = 32
"""Space left free, in MiB. On a disk without a free byte the local engine writes parts that it cannot read itself,
which is another kind of fault."""


class NoSmallDisk(Exception):
    """The harness cannot mount a small disk on this machine."""


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a small disk and return its folder; `NoSmallDisk` if the mount, which needs root, fails."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if done.returncode:
        raise NoSmallDisk(done.stderr.strip())
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


@dataclass(frozen=True)
class DiskFull:
    disk: Path
    for_s: float
    kill: str
    name: ClassVar[str] = "disk full"

    def apply(self, world: World) -> str:
        ballast = self.disk / "ballast"
        written = 0
        with ballast.open("wb", buffering=0) as file:
            while os.statvfs(self.disk).f_bavail * os.statvfs(self.disk).f_frsize > LEFT_MB << 20:
                written += file.write(b"\0" * (1 << 20))
        try:
            kill_half_way(world, self.kill, self.for_s)
        finally:
            ballast.unlink()
        return (
            f"{written >> 20} MiB of {SIZE_MB} were filled for {self.for_s:.0f} s; a {self.kill} was killed meanwhile"
        )
