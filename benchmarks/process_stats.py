"""CPU time and memory of processes, read from /proc."""

import os
from pathlib import Path
from typing import NamedTuple

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
"""Resolution of CPU time: a rate needs a time that is long compared with it."""


class ProcessSample(NamedTuple):
    """CPU time (user and system, all threads) and memory of a process at one moment."""

    cpu_s: float
    peak_mb: float
    """Peak of the resident memory so far."""


def sample_process(pid: int) -> ProcessSample:
    """Sample a process of this user. Raises OSError if it has ended."""
    folder = Path("/proc") / str(pid)
    # After the command name, which may contain spaces: state is the first field, utime and stime the 12th and 13th.
    fields = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    [peak_kib] = [
        int(line.split()[1])
        for line in (folder / "status").read_text(encoding="utf-8").splitlines()
        if line.startswith("VmHWM")
    ]
    return ProcessSample((int(fields[11]) + int(fields[12])) * TICK_S, peak_kib * 1024 / 1e6)
