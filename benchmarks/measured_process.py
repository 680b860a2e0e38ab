"""How a measured process runs, and what it reports about itself. Standard library only: peers import it, too.

`python -m benchmarks.measured_process MODULE.FUNCTION JSON` calls the function with the parameters, in a process of its
own, so that its CPU time (user and system, all threads, including those of librdkafka) can be separated.
"""

import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

JsonObject = dict[str, Any]
PASSWORD_VARIABLE = "BAROGRAPH_CLICKHOUSE_PASSWORD"
"""Variable with the password of the testbed's ClickHouse, which every measured process inherits."""


class ProcessSample(NamedTuple):
    """CPU time (user and system, all threads, without children) and resident memory of a process at one moment."""

    cpu_s: float
    rss_mb: float
    peak_mb: float


def sample_process(pid: int | str = "self") -> ProcessSample:
    """Sample a process of this user. Raises OSError if it has ended."""
    folder = Path("/proc") / str(pid)
    # After the command name, which may contain spaces: state is the first field, utime and stime the 12th and 13th.
    ticks = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[11:13]
    lines = (folder / "status").read_text(encoding="utf-8").splitlines()
    kib = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines) if "Vm" in name}
    return ProcessSample(
        sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"), kib["VmRSS"] * 1024 / 1e6, kib["VmHWM"] * 1024 / 1e6
    )


class Clock:
    """CPU time and wall time of this process since the instance was created."""

    def __init__(self) -> None:
        self._cpu, self._wall = sample_process().cpu_s, time.monotonic()

    def read(self) -> JsonObject:
        """The time since then, in seconds: `cpu_s` and `wall_s`."""
        return {"cpu_s": sample_process().cpu_s - self._cpu, "wall_s": time.monotonic() - self._wall}


def write_result(parameters: JsonObject, result: JsonObject) -> None:
    """Write the result to the file that `parameters["out"]` names."""
    Path(parameters["out"]).write_text(json.dumps(result), encoding="utf-8")


def main() -> None:
    """Run the function that the command line names."""
    (module, function), parameters = sys.argv[1].rsplit(".", 1), json.loads(sys.argv[2])
    write_result(parameters, getattr(import_module(module), function)(parameters))


if __name__ == "__main__":
    main()
