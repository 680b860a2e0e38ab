"""Runs one processor as the harness wants it: `python -m tests.faults.processor KIND SETTINGS`.

The environment variable BAROGRAPH_FAULTS holds, as JSON, the folder of its places, and where wanted the sabotage and
the file that shifts its clock.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import time
from pathlib import Path


def shift_clock(file: Path) -> None:
    """Have `time.time` go by as many seconds off as a file says, from now on and whenever it changes.

    This is the clock of Python alone: what librdkafka and Kafka do with time they do unshifted.
    """
    real, monotonic = time.time, time.monotonic
    looked, offset_s = -1.0, 0.0

    def shifted() -> float:
        nonlocal looked, offset_s
        if monotonic() - looked > 0.1:
            looked = monotonic()
            try:
                offset_s = float(file.read_text() or 0)
            except (FileNotFoundError, ValueError):
                offset_s = 0.0
        return real() + offset_s

    time.time = shifted


def main() -> int:
    # Whoever wants to know where it stands still is told in its log.
    faulthandler.register(signal.SIGUSR1)
    kind, reported = sys.argv[1], json.loads(sys.argv[2])
    expected = json.loads(os.environ["BAROGRAPH_FAULTS"])
    # Before anything is imported that keeps the clock.
    shift_clock(Path(expected["folder"]) / f"{reported['instance']}.clock")

    from tests.faults import sabotage
    from tests.faults.kill_points import Places, install
    from tests.support import processor

    positions = Places(Path(expected["folder"]), reported["instance"])
    install(kind, positions)
    chosen = sabotage.SABOTAGES.get(expected.get("sabotage", ""))
    if chosen is not None and chosen.kind == kind:
        chosen.install(positions)
    return processor.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
