"""The processors of a run, supervised: one that ends is started again, unless it is meant to be down."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.kill_points import armed_file, reached_file
from tests.support.pipeline import Pipeline

RESTART_S = 0.5
KINDS = ("sketcher", "recorder", "monitor", "scorer")


@dataclass
class Member:
    """One processor: what it is and how it is started."""

    kind: str
    settings: dict[str, Any]
    started_s: float = 0.0
    wanted: bool = True
    ended_s: float | None = None


@dataclass
class Fleet:
    """Starts, kills, stops and watches processors."""

    pipeline: Pipeline
    folder: Path
    """Of the places."""
    sabotage: str = ""
    members: dict[str, Member] = field(default_factory=dict)
    starts: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    """Ends that nobody asked for, by processor and reason."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.pipeline.module = "tests.faults.processor"
        reported = {"folder": str(self.folder), "sabotage": self.sabotage}
        self.pipeline.environ = {"BAROGRAPH_FAULTS": json.dumps(reported)}
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="fleet", daemon=True)

    def begin(self) -> None:
        """Supervise from now on."""
        self._thread.start()

    def close(self) -> None:
        """End everything at once."""
        self._stop.set()
        self._thread.join(30)
        for name, process in list(self.pipeline.processes.items()):
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait(30)
            del self.pipeline.processes[name]

    def add(self, kind: str, name: str, **settings: Any) -> None:
        """Start one more processor, and keep it running."""
        with self._lock:
            self.members[name] = Member(kind, settings)
            self._start(name)

    def names(self, kind: str) -> list[str]:
        """Those of a kind that are meant to run."""
        return sorted(name for name, each in self.members.items() if each.kind == kind and each.wanted)

    def running_s(self, name: str) -> float:
        """For how long a processor has run; 0 where it does not."""
        process = self.pipeline.processes.get(name)
        if process is None or process.poll() is not None:
            return 0.0
        return time.monotonic() - self.members[name].started_s

    def kill(self, name: str, *, down_s: float = 0.0, place: str = "") -> None:
        """Kill -9, give up the place where it may wait, and start again after a while."""
        with self._lock:
            self.members[name].wanted = False
            self._end(name, signal.SIGKILL)
        if place:
            self.release(name, place)
        time.sleep(down_s)
        self.bring_back(name)

    def terminate(self, name: str) -> float:
        """SIGTERM, wait for the end, start again; return how long the end took, in seconds."""
        began = time.monotonic()
        self.take_away(name, signal.SIGTERM)
        took_s = time.monotonic() - began
        self.bring_back(name)
        return took_s

    def take_away(self, name: str, number: signal.Signals) -> None:
        """End one and leave it down."""
        with self._lock:
            self.members[name].wanted = False
        self._end(name, number)

    def bring_back(self, name: str) -> None:
        """Start one that was taken away."""
        with self._lock:
            self.members[name].wanted = True
            self._start(name)

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal, such as SIGSTOP."""
        self.pipeline.processes[name].send_signal(number)

    def say_where(self) -> None:
        """Have every processor write to its log where each of its threads is."""
        for process in self.pipeline.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGUSR1)
        time.sleep(1.0)

    # ------------------------------------------------------------------------------------------ places

    def arm(self, name: str, place: str) -> None:
        """Have a processor wait at a place when it comes there next."""
        armed_file(self.folder, name, place).touch()

    def waits(self, name: str, place: str, patience_s: float) -> bool:
        """Whether a processor has come to an armed place within some seconds; it is disarmed otherwise."""
        reached = reached_file(self.folder, name, place)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if reached.exists():
                return True
            time.sleep(0.02)
        armed_file(self.folder, name, place).unlink(missing_ok=True)
        return reached.exists()

    def release(self, name: str, place: str) -> None:
        """Let a processor go on, also one that was started anew."""
        armed_file(self.folder, name, place).unlink(missing_ok=True)
        reached_file(self.folder, name, place).unlink(missing_ok=True)

    def shift_clock(self, name: str, seconds: float) -> None:
        """Have a processor's clock go so many seconds off."""
        file = self.folder / f"{name}.clock"
        scratch = file.with_suffix(".new")
        scratch.write_text(str(seconds))
        os.replace(scratch, file)

    # ------------------------------------------------------------------------------------------ inside

    def _start(self, name: str) -> None:
        member = self.members[name]
        process = self.pipeline.processes.get(name)
        if process is not None and process.poll() is None:
            return
        self.pipeline.start(member.kind, name, **member.settings)
        member.started_s, member.ended_s = time.monotonic(), None
        self.starts[member.kind] += 1

    def _end(self, name: str, number: signal.Signals) -> None:
        process = self.pipeline.processes.get(name)
        if process is None:
            return
        process.send_signal(number)
        process.wait(60)

    def _supervise(self) -> None:
        while not self._stop.wait(0.1):
            with self._lock:
                for name, member in self.members.items():
                    process = self.pipeline.processes.get(name)
                    code = None if process is None else process.poll()
                    if not member.wanted or code is None:
                        continue
                    if member.ended_s is None:
                        member.ended_s = time.monotonic()
                        self.ends[f"{member.kind}: {self._reason(name, code)}"] += 1
                    elif time.monotonic() - member.ended_s >= RESTART_S:
                        self._start(name)

    def _reason(self, name: str, code: int) -> str:
        for line in reversed(self.pipeline.log(name).splitlines()):
            try:
                reported = json.loads(line)
            except ValueError:
                continue
            if reported.get("event") in ("stopped", "stopping", "stuck") and "reason" in reported:
                return f"exit {code}: {reported['reason']}"[:160]
        return f"exit {code}"
