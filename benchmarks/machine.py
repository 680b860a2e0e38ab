"""Description of the machine: hardware, load, versions, commit."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from barograph_server.local.kafka_jars import KAFKA_VERSION

_ROOT = Path(__file__).resolve().parents[1]
_PACKAGES = (
    "confluent-kafka",
    "faust-streaming",
    "aiokafka",
    "msgspec",
    "numpy",
    "pyarrow",
    "datasketches",
    "clickhouse-connect",
    "chdb",
)


def describe_machine() -> dict[str, str]:
    """The facts that a reader needs to compare figures, by name."""
    cpu = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    without = os.environ.get("NPY_DISABLE_CPU_FEATURES", "")
    return {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "cpu": f"{cpu[1] if cpu else platform.processor()}, {os.cpu_count()} seen by the system",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "load before the start": f"{os.getloadavg()[0]:.1f} over the last minute",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "broker": f"Apache Kafka {KAFKA_VERSION}, on the same machine, compiler and collector as the JVM chooses them",
        "packages": ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
        **({"numpy": f"without {without}, for all that was measured (docs/decisions/0030)"} if without else {}),
    }


def _commit() -> str:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(_ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + changed
