"""Samples of processes from outside: CPU, memory, open files.

CPU time comes from /proc/PID/stat in ticks of 10 ms, for all threads of the process together. Callers that compute a
rate must measure over a time that is long compared with a tick.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class ProcessSample:
    """CPU time and resources of a process at one moment."""

    cpu_s: float
    rss_mib: float
    peak_mib: float
    """Peak of the resident memory so far."""
    files: int
    """Open file descriptors without those of /proc, of which the engine has three per thread."""
    threads: int


def sample_process(pid: int) -> ProcessSample:
    """Sample a process of this user.

    Raises:
        OSError: the process has ended.
    """
    # After the command name, which may contain spaces: state is the first field, utime and stime the 12th and 13th.
    fields = (PROC / str(pid) / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) * TICK_S
    rss_mib = int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    status = (PROC / str(pid) / "status").read_text(encoding="utf-8").splitlines()
    peak_mib = next((int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM")), rss_mib)
    files = sum(1 for each in (PROC / str(pid) / "fd").iterdir() if not _target(each).startswith("/proc/"))
    return ProcessSample(cpu_s, rss_mib, peak_mib, files, int(fields[17]))


def _target(descriptor: Path) -> str:
    try:
        return os.readlink(descriptor)
    except OSError:
        return "/proc/"  # The process has closed it.


def find_pid(folder: Path, *words: str) -> int:
    """Find the process whose command line contains a folder and some words.

    Raises:
        LookupError: no process matches, or several do.
    """
    result = []
    for each in PROC.iterdir():
        if each.name.isdigit():
            try:
                line = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # The process has ended, or belongs to another user.
            if str(folder) in line and all(word in line for word in words):
                result.append(int(each.name))
    if len(result) != 1:
        raise LookupError(f"{len(result)} processes have {words} and {folder} in their command line")
    return result[0]
