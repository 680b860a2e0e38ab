"""Runs a peer's program in the environment of the peer: `python -m benchmarks.peers.child NAME.PROGRAM JSON`.

It therefore uses the standard library only. The program is a module of the peer's folder with a function `run`, which
takes the parameters and returns the result.
"""

import json
import sys
from importlib import import_module

from benchmarks.measured_process import JsonObject

RANKS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""Ranks at which quantiles are compared."""
MINUTE_MS = 60_000
CHUNK = "chunk"
"""Name of the column with the day of each row, which `benchmarks.scoreboard.peers` writes."""


def print_result(result: JsonObject) -> None:
    """Print the result as a line of JSON, the last one of the output."""
    print("\n" + json.dumps(result), flush=True)


if __name__ == "__main__":
    print_result(import_module(f"benchmarks.peers.{sys.argv[1]}").run(json.loads(sys.argv[2])))
