"""What the programs of the peers share: constants, reading their parameters and printing their result.

It runs in the environment of every peer and therefore uses the standard library only.
"""

import json
import sys
from importlib.metadata import version

from benchmarks.measured_process import JsonObject

RANKS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""Ranks at which quantiles are compared."""
MINUTE_MS = 60_000
CHUNK = "chunk"
"""Name of the column with the day of each row, which `benchmarks.scoreboard.peers` writes."""


def read_parameters() -> JsonObject:
    """Read the only argument of the command line, a JSON object."""
    result: JsonObject = json.loads(sys.argv[1])
    return result


def print_result(result: JsonObject, *packages: str) -> None:
    """Print the result and the versions of some packages as one line of JSON, the last one of the output."""
    print("\n" + json.dumps({**result, "versions": {name: version(name) for name in packages}}), flush=True)
