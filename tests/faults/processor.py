"""Runs one processor with kill points: `python -m tests.faults.processor KIND SETTINGS`; also the serving processes
`serving` (with a shadow) and `guarded` (with a guard).

A `guard` has further settings: `twin_of`, the instance whose name it takes, `blind_after_s` and `guard_report_s`.
BAROGRAPH_FAULTS is a JSON object: `folder` has the files that arm kill points and shift clocks, `sabotage` a name.
"""

import faulthandler
import json
import os
import signal
import sys
import time
from pathlib import Path

STUCK_S = 75.0
"""Seconds after which the watchdog ends a processor that is stuck, in place of 300: less than a run waits for data."""


def shift_clock(file: Path) -> None:
    """Shift Python's `time.time`, but not librdkafka's, by the seconds in a file, reread 10 times per second."""
    real, monotonic = time.time, time.monotonic
    checked_at, offset_s = -1.0, 0.0

    def shifted() -> float:
        nonlocal checked_at, offset_s
        if monotonic() - checked_at > 0.1:
            checked_at = monotonic()
            try:
                offset_s = float(file.read_text() or 0)
            except (FileNotFoundError, ValueError):
                offset_s = 0.0
        return real() + offset_s

    time.time = shifted


def main() -> int:
    # SIGUSR1 writes the stacks of all threads to the log.
    faulthandler.register(signal.SIGUSR1)
    kind, settings = sys.argv[1], json.loads(sys.argv[2])
    options = json.loads(os.environ["BAROGRAPH_FAULTS"])
    if kind == "serving":
        from tests.faults import serving

        return serving.serve(settings, Path(options["folder"]))
    if kind == "guarded":
        from tests.faults import guarded_serving

        return guarded_serving.serve(settings, Path(options["folder"]))
    settings["instance"] = settings.pop("twin_of", settings["instance"])
    # Shift the clock before importing modules that keep a reference to `time.time`.
    shift_clock(Path(options["folder"]) / f"{settings['instance']}.clock")
    from barograph_server.streams.health.watchdog import StallTimeouts
    from tests.faults import sabotage
    from tests.faults.kill_points import KillPoints, install
    from tests.support import processor

    if kind == "guard":
        from barograph_server.alerts.guard import model_guard
        from barograph_server.alerts.guard import processor as guard_processor

        model_guard.BLIND_AFTER_S = settings.pop("blind_after_s")
        guard_processor.REPORT_S = settings.pop("guard_report_s")
    StallTimeouts.__init__.__defaults__ = (30.0, STUCK_S, 3600.0)
    points = KillPoints(Path(options["folder"]), settings["instance"])
    install(kind, points)
    chosen = (sabotage.SABOTAGES | {sabotage.NO_FENCE.name: sabotage.NO_FENCE}).get(options.get("sabotage", ""))
    if chosen is not None and chosen.kind == kind:
        chosen.install(points)
    return processor.main([kind, json.dumps(settings)])


if __name__ == "__main__":
    sys.exit(main())
