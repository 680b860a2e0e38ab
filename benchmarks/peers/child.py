"""What the peers' programs share: what they are told, their clock, and how they hand back what they found.

Runs in every peer's environment, so it stands on the standard library alone.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib.metadata import version
from typing import Any

Payload = dict[str, Any]

RANKS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""Where quantiles are compared."""
MINUTE_MS = 60_000


class Clock:
    """CPU time (user and system, all threads) and wall time since it was made."""

    def __init__(self) -> None:
        self._cpu, self._wall = _cpu_s(), time.monotonic()

    def read(self) -> Payload:
        """What passed so far, in seconds."""
        return {"cpu_s": _cpu_s() - self._cpu, "wall_s": time.monotonic() - self._wall}


def _cpu_s() -> float:
    spent = os.times()
    return spent.user + spent.system


def told() -> Payload:
    """Read what the command line tells: one JSON object."""
    result: Payload = json.loads(sys.argv[1])
    return result


def tell(found: Payload, *packages: str) -> None:
    """Print what was found as a line of JSON of its own, whatever else was printed, with the versions of packages."""
    print("\n" + json.dumps({**found, "versions": {name: version(name) for name in packages}}), flush=True)
