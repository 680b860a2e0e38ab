"""What a measured process reports about itself: CPU time, wall time and memory. Standard library only.

The programs of the peers import it in their own environments.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

JsonObject = dict[str, Any]
PASSWORD_VARIABLE = "BAROGRAPH_CLICKHOUSE_PASSWORD"
"""Variable with the password of the testbed's ClickHouse, which every measured process inherits."""


class Clock:
    """CPU time (user and system, all threads) and wall time since the instance was created."""

    def __init__(self) -> None:
        self._cpu, self._wall = cpu_s(), time.monotonic()

    def read(self) -> JsonObject:
        """The time since then, in seconds: `cpu_s` and `wall_s`."""
        return {"cpu_s": cpu_s() - self._cpu, "wall_s": time.monotonic() - self._wall}


def cpu_s() -> float:
    """CPU time of this process so far, without its children (s)."""
    times = os.times()
    return times.user + times.system


def memory_mib() -> tuple[float, float]:
    """Resident memory now and at its peak (MiB)."""
    result = {}
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name in ("VmRSS", "VmHWM"):
            result[name] = int(value.split()[0]) / 1024
    return result["VmRSS"], result["VmHWM"]


def write_result(parameters: JsonObject, result: JsonObject) -> None:
    """Write the result to the file that `parameters["out"]` names."""
    Path(parameters["out"]).write_text(json.dumps(result), encoding="utf-8")
