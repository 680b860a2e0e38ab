"""A serving process with a guard, as the fault harness runs it: its journal says what it saw and who answered."""

import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from barograph.guard.guard import Guard

from barograph_server.signal_wait import set_on_signal

REQUEST_S = 0.01


@dataclass(frozen=True)
class Line:
    at_s: float
    what: str
    """`state` or `answer`."""
    value: str


def read_journal(folder: Path) -> list[Line]:
    file = folder / "guarded.journal"
    return [Line(**json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


def serve(options: dict[str, Any], folder: Path) -> int:
    """Answer requests until SIGTERM; `stale_s` is the age at which the state becomes unknown."""
    stop = threading.Event()
    set_on_signal(stop)
    with (
        (folder / "guarded.journal").open("a", buffering=1) as journal,
        Guard(
            options["model"],
            bootstrap_servers=options["bootstrap_servers"],
            topic_prefix=options["prefix"],
            stale_s=options["stale_s"],
        ) as guard,
    ):

        def write(what: str, value: str) -> None:
            journal.write(json.dumps({"at_s": time.time(), "what": what, "value": value}) + "\n")

        guard.on_change(lambda change: write("state", change.state))
        answer = guard.use(lambda: "primary", lambda: "fallback")
        answered_by = ""
        while not stop.wait(REQUEST_S):
            if (latest := answer()) != answered_by:
                answered_by = latest
                write("answer", answered_by)
    return 0
