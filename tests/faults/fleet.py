"""The processors of a run and their supervisor, which restarts a processor that exits unless the harness stopped it."""

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
from tests.support.operation import lines
from tests.support.pipeline import Pipeline

RESTART_S = 0.5
KINDS = ("sketcher", "recorder", "monitor", "scorer")


@dataclass
class Member:
    kind: str
    settings: dict[str, Any]
    started_s: float = 0.0
    should_run: bool = True
    ended_s: float | None = None


@dataclass
class Fleet:
    pipeline: Pipeline
    folder: Path
    """Folder of the files that arm kill points and shift clocks."""
    sabotage: str = ""
    members: dict[str, Member] = field(default_factory=dict)
    starts: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    """Exits that the harness did not request, by processor and reason."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.pipeline.module = "tests.faults.processor"
        options = {"folder": str(self.folder), "sabotage": self.sabotage}
        self.pipeline.environ = {"BAROGRAPH_FAULTS": json.dumps(options)}
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="fleet", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(30)
        for name, process in list(self.pipeline.processes.items()):
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait(30)
            del self.pipeline.processes[name]

    def add(self, kind: str, name: str, **settings: Any) -> None:
        with self._lock:
            self.members[name] = Member(kind, settings)
            self._start(name)

    def names(self, kind: str) -> list[str]:
        return sorted(name for name, each in self.members.items() if each.kind == kind and each.should_run)

    def running_s(self, name: str) -> float:
        process = self.pipeline.processes.get(name)
        if process is None or process.poll() is not None:
            return 0.0
        return time.monotonic() - self.members[name].started_s

    def kill(self, name: str, *, down_s: float = 0.0, point: str = "") -> None:
        with self._lock:
            self.members[name].should_run = False
            self._end(name, signal.SIGKILL)
        if point:
            self.release(name, point)
        time.sleep(down_s)
        self.restart(name)

    def terminate(self, name: str) -> float:
        began = time.monotonic()
        self.stop_member(name, signal.SIGTERM)
        took_s = time.monotonic() - began
        self.restart(name)
        return took_s

    def stop_member(self, name: str, number: signal.Signals) -> None:
        with self._lock:
            self.members[name].should_run = False
        self._end(name, number)

    def restart(self, name: str) -> None:
        with self._lock:
            self.members[name].should_run = True
            self._start(name)

    def send(self, name: str, number: signal.Signals) -> None:
        self.pipeline.processes[name].send_signal(number)

    def dump_stacks(self) -> None:
        for process in self.pipeline.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGUSR1)
        time.sleep(1.0)

    def arm(self, name: str, point: str) -> None:
        armed_file(self.folder, name, point).touch()

    def wait_reached(self, name: str, point: str, patience_s: float) -> bool:
        """Return whether a processor reaches an armed kill point in time; disarm the point if not."""
        reached = reached_file(self.folder, name, point)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if reached.exists():
                return True
            time.sleep(0.02)
        armed_file(self.folder, name, point).unlink(missing_ok=True)
        return reached.exists()

    def release(self, name: str, point: str) -> None:
        armed_file(self.folder, name, point).unlink(missing_ok=True)
        reached_file(self.folder, name, point).unlink(missing_ok=True)

    def shift_clock(self, name: str, seconds: float) -> None:
        file = self.folder / f"{name}.clock"
        scratch = file.with_suffix(".new")
        scratch.write_text(str(seconds))
        os.replace(scratch, file)

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
                    if not member.should_run or code is None:
                        continue
                    if member.ended_s is None:
                        member.ended_s = time.monotonic()
                        self.ends[f"{member.kind}: {self._reason(name, code)}"] += 1
                    elif time.monotonic() - member.ended_s >= RESTART_S:
                        self._start(name)

    def _reason(self, name: str, code: int) -> str:
        for entry in reversed(lines(self.pipeline, name)):
            if entry.get("event") in ("stopped", "stopping", "stuck") and "reason" in entry:
                return f"exit {code}: {entry['reason']}"[:160]
        return f"exit {code}"
