"""The faults of a run, one class each, and the seeded plan of a storm. `apply` reverts each fault before it returns."""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, get_args

import msgspec
from confluent_kafka import Producer

from barograph_server.sketches.baseline.baseline import Baseline
from barograph_server.warehouse.tables import insert_rows
from tests.faults.fleet import KINDS
from tests.faults.kill_points import KILL_POINTS
from tests.faults.proxy import Mode
from tests.faults.source import HOUR_MS
from tests.faults.trial_run import World
from tests.support.pipeline import baseline_row, simple_baseline, wait_for

REACH_S = 8.0
"""Time within which a processor must reach an armed kill point, in seconds."""
UP_S = 2.5
"""Least time that a processor runs before it is killed, in seconds: one killed at startup would test nothing."""


class Fault(Protocol):
    @property
    def name(self) -> str:
        """The name under which the report counts the fault."""

    def apply(self, world: World) -> str:
        """Inject and revert the fault; return a short description."""


@dataclass(frozen=True)
class Kill:
    kind: str
    point: str = ""
    down_s: float = 0.0
    hold_s: float = 0.0
    """Time between reaching the kill point and the kill, in seconds."""

    @property
    def name(self) -> str:
        return "kill -9"

    def apply(self, world: World) -> str:
        name = choose(world, self.kind)
        where = kill_at(world, name, self.point, self.down_s, self.hold_s)
        return f"{name} {where}, down for {self.down_s:.1f} s"


@dataclass(frozen=True)
class Terminate:
    kind: str
    name: ClassVar[str] = "SIGTERM"

    def apply(self, world: World) -> str:
        name = choose(world, self.kind)
        took_s = world.fleet.terminate(name)
        world.stops_s.append(took_s)
        return f"{name}, exited after {took_s:.1f} s"


@dataclass(frozen=True)
class Zombie:
    """A processor is suspended for longer than its session timeout, at a kill point if it reaches one, and resumed."""

    kind: str
    point: str
    name: ClassVar[str] = "zombie"

    def apply(self, world: World) -> str:
        name = choose(world, self.kind)
        world.fleet.arm(name, self.point)
        is_reached = world.fleet.wait_reached(name, self.point, REACH_S)
        world.fleet.send(name, signal.SIGSTOP)
        # The others take over its partitions while it is suspended.
        time.sleep(world.pipeline.settings["session_timeout_s"] + 2.0)
        world.fleet.release(name, self.point)
        world.fleet.send(name, signal.SIGCONT)
        return f"{name} {self.point if is_reached else 'at a random moment'}"


@dataclass(frozen=True)
class JoinAndLeave:
    """One more processor of a kind joins, works, and leaves by SIGTERM or kill -9."""

    kind: str
    killed: bool
    name: ClassVar[str] = "join and leave"

    def apply(self, world: World) -> str:
        name = f"{self.kind}-{len(world.fleet.members) + 10}"
        world.fleet.add(self.kind, name)
        time.sleep(5.0)
        kill_at(world, choose(world, self.kind), "", 0.0)
        time.sleep(1.0)
        world.fleet.stop_member(name, signal.SIGKILL if self.killed else signal.SIGTERM)
        if self.killed:
            world.kills[f"{self.kind} at a random moment"] += 1
        return f"{name} left by {'kill -9' if self.killed else 'SIGTERM'}"


@dataclass(frozen=True)
class RollingRestart:
    name: ClassVar[str] = "rolling restart"

    def apply(self, world: World) -> str:
        names = [name for name, member in world.fleet.members.items() if member.should_run]
        for name in names:
            world.stops_s.append(world.fleet.terminate(name))
            time.sleep(0.5)
        return f"{len(names)} processors"


@dataclass(frozen=True)
class BrokerRestart:
    killed: bool
    down_s: float
    name: ClassVar[str] = "broker stopped"

    def apply(self, world: World) -> str:
        broker = world.servers.broker
        (broker.kill if self.killed else broker.stop)()
        time.sleep(self.down_s)
        broker.start()
        return f"{'kill -9' if self.killed else 'stopped'}, for {self.down_s:.0f} s"


@dataclass(frozen=True)
class BrokerUnreachable:
    """The broker does not answer for some time: its process is suspended, connections stay open."""

    for_s: float
    kill: str
    name: ClassVar[str] = "broker unreachable"

    def apply(self, world: World) -> str:
        pid = world.servers.broker.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            kill_half_way(world, self.kill, self.for_s)
        finally:
            os.kill(pid, signal.SIGCONT)
        return f"for {self.for_s:.0f} s, a {self.kill} was killed meanwhile"


_NAMES: dict[Mode, str] = {
    "down": "warehouse down",
    "slow": "warehouse slow",
    "error": "warehouse answers 500",
    "cut": "warehouse closes half-way through an insert",
    "lost": "warehouse takes an insert and its answer is lost",
}


@dataclass(frozen=True)
class Warehouse:
    """The ClickHouse proxy is in a mode other than `open` for some time; a processor is killed meanwhile."""

    mode: Mode
    for_s: float
    kill: str

    @property
    def name(self) -> str:
        return _NAMES[self.mode]

    def apply(self, world: World) -> str:
        before = world.proxy.hits[self.mode]
        world.proxy.mode = self.mode
        try:
            kill_half_way(world, self.kill, self.for_s)
        finally:
            world.proxy.mode = "open"
        hit = world.proxy.hits[self.mode] - before
        return f"for {self.for_s:.0f} s, {hit} requests, a {self.kill} was killed meanwhile"


@dataclass(frozen=True)
class EngineKill:
    down_s: float
    name: ClassVar[str] = "warehouse killed"

    def apply(self, world: World) -> str:
        engine = world.servers.engine
        engine.kill()
        time.sleep(self.down_s)
        engine.start()
        world.proxy.upstream = engine.host, engine.port
        return f"for {self.down_s:.0f} s"


@dataclass(frozen=True)
class Poison:
    """Damaged records are written to `partials`, and the heaviest malformed events to `predictions`."""

    name: ClassVar[str] = "poison"

    def apply(self, world: World) -> str:
        world.source.send_heavy()
        producer = Producer({"bootstrap.servers": world.pipeline.bootstrap})
        first = len(world.damaged)
        for i in range(first, first + 4):
            producer.produce(world.pipeline.topics.partials, b"poison %d" % i, partition=i % 2)
            world.damaged.add(i)
        producer.flush(60)
        return "4 damaged records in partials, 3 heavy events in predictions"


def choose(world: World, kind: str, *, up_s: float = UP_S) -> str:
    name = world.rng.choice(world.fleet.names(kind))
    deadline = time.monotonic() + 20
    while world.fleet.running_s(name) < up_s and time.monotonic() < deadline:
        time.sleep(0.05)
    return name


def kill_half_way(world: World, kind: str, for_s: float) -> None:
    time.sleep(for_s / 2)
    kill_at(world, choose(world, kind, up_s=0.0), "", 0.0)
    time.sleep(for_s / 2)


def kill_at(world: World, name: str, point: str, down_s: float, hold_s: float = 0.0) -> str:
    """Kill a processor with -9 at a kill point, or at a random moment if `point` is empty or not reached."""
    is_reached = False
    if point:
        world.fleet.arm(name, point)
        is_reached = world.fleet.wait_reached(name, point, REACH_S)
    else:
        time.sleep(world.rng.random())
    time.sleep(hold_s)
    where = f"at {point}" if is_reached else "at a random moment"
    kind = world.fleet.members[name].kind
    world.kills[f"{kind} {where}"] += 1
    # The kill point is released only after the kill, so that the processor cannot continue.
    world.fleet.kill(name, down_s=down_s, point=point)
    return where


FLUSHED_S = 2.0
"""Longer than a flush of the sketchers of the harness (0.5 s) and its transaction."""
KNOWN_S = 60.0
"""Time within which sketchers must read a change, in seconds."""


@dataclass(frozen=True)
class NewContract:
    name: ClassVar[str] = "contract changed"

    def apply(self, world: World) -> str:
        owner = f"owner {world.done[self.name]}"
        world.contract = msgspec.structs.replace(world.contract, owners=(owner,))
        world.pipeline.register(world.contract, [])
        return owner


@dataclass(frozen=True)
class NewBaseline:
    """Version 1 gets a baseline with other bins, effective from a time that is later than all events so far."""

    seed: int
    name: ClassVar[str] = "baseline changed"

    def apply(self, world: World) -> str:
        # The source sends no events from that time on until every sketcher has read the baseline.
        pane_ms = world.contract.pane_s * 1000
        from_ms = (world.source.now_ms // pane_ms + 2) * pane_ms
        world.source.hold_at_ms = from_ms
        baseline = simple_baseline(seed=self.seed)
        accept(world, baseline, from_ms // 1000)
        world.baselines.append((from_ms // 1000, baseline))
        world.source.hold_at_ms = float("inf")
        return f"{baseline.id[:12]} from {(from_ms - world.source.start_ms) / HOUR_MS:.0f} h on"


@dataclass(frozen=True)
class NewVersion:
    version: str
    name: ClassVar[str] = "version changed"

    def apply(self, world: World) -> str:
        world.source.versions.append(self.version)
        time.sleep(3.0)
        accept(world, msgspec.structs.replace(simple_baseline(), version=self.version), 0)
        return f"version {self.version} unregistered at first"


def accept(world: World, baseline: Baseline, effective_s: int) -> None:
    with world.pipeline.client as client:
        insert_rows(client, "baselines", [baseline_row(baseline, effective_s, int(time.time() * 1000))])
        [(known,)] = client.rows("SELECT count() FROM baselines FINAL")
    wait_for(
        lambda: all(baselines_read(world, name) >= known for name in world.fleet.names("sketcher")),
        "every sketcher to read the new baseline",
        KNOWN_S,
    )
    # A flush uses the registry as of its start.
    time.sleep(FLUSHED_S)


def baselines_read(world: World, name: str) -> int:
    """Return the number of baselines that a processor has read since its last start, according to its log."""
    read = 0
    for line in (world.folder / f"{name}.log").read_text().splitlines():
        if '"event": "started"' in line:
            read = 0
        elif '"registry"' in line and '"baselines"' in line:
            read = int(json.loads(line)["baselines"])
    return read


SIZE_MB = 512
LEFT_MB = 32
"""Space left free, in MiB. On a disk without a free byte the local engine writes parts that it cannot read itself,
which is another kind of fault."""


class NoSmallDisk(Exception):
    """The harness cannot mount a small disk on this machine."""


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a small disk and return its folder; `NoSmallDisk` if the mount, which needs root, fails."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if done.returncode:
        raise NoSmallDisk(done.stderr.strip())
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


@dataclass(frozen=True)
class DiskFull:
    disk: Path
    for_s: float
    kill: str
    name: ClassVar[str] = "disk full"

    def apply(self, world: World) -> str:
        ballast = self.disk / "ballast"
        written = 0
        with ballast.open("wb", buffering=0) as file:
            while os.statvfs(self.disk).f_bavail * os.statvfs(self.disk).f_frsize > LEFT_MB << 20:
                written += file.write(b"\0" * (1 << 20))
        try:
            kill_half_way(world, self.kill, self.for_s)
        finally:
            ballast.unlink()
        filled = f"{written >> 20} MiB of {SIZE_MB} were filled"
        return f"{filled} for {self.for_s:.0f} s; a {self.kill} was killed meanwhile"


GROUPED = ("sketcher", "recorder", "monitor")
MODES: tuple[Mode, ...] = tuple(mode for mode in get_args(Mode) if mode != "open")
KILLED_MORE_OFTEN = ("sketcher", "recorder", "monitor", "sketcher", "recorder", "monitor", "scorer")


@dataclass(frozen=True)
class Scale:
    kills: int
    """Number of kills, apart from those within other faults."""
    has_all: bool
    """Whether every other fault is injected, or a sample of them."""
    unreachable_s: float
    outage_s: float


LONG = Scale(kills=28, has_all=True, unreachable_s=60.0, outage_s=6.0)
"""One storm of the long form, which runs `STORMS` of them with consecutive seeds."""
STORMS = 3
SHORT = Scale(kills=8, has_all=False, unreachable_s=5.0, outage_s=2.0)


def make_plan(seed: int, scale: Scale) -> list[tuple[float, Fault]]:
    rng = random.Random(seed)
    points = [(kind, point) for kind, names in KILL_POINTS.items() for point in names]
    rng.shuffle(points)
    faults: list[Fault] = []
    for i in range(scale.kills):
        kind, point = points[i // 2] if i % 2 and i // 2 < len(points) else (rng.choice(KILLED_MORE_OFTEN), "")
        faults.append(Kill(kind, point, down_s=rng.choice((0.0, 0.0, 0.5, 3.0))))
    faults += _round(rng, scale) if scale.has_all else _sample(rng, scale)
    rng.shuffle(faults)
    return [(rng.uniform(0.1, 0.8), fault) for fault in faults]


def _round(rng: random.Random, scale: Scale) -> list[Fault]:
    return [
        *(Terminate(kind) for kind in KINDS),
        *(Zombie(kind, rng.choice(KILL_POINTS[kind])) for kind in GROUPED),
        *(JoinAndLeave(kind, killed=bool(j % 2)) for j, kind in enumerate(GROUPED)),
        BrokerRestart(killed=False, down_s=rng.uniform(2, 6)),
        BrokerRestart(killed=True, down_s=rng.uniform(0, 6)),
        BrokerUnreachable(scale.unreachable_s, rng.choice(GROUPED)),
        *(Warehouse(mode, scale.outage_s, rng.choice(KINDS)) for mode in MODES),
        EngineKill(down_s=rng.uniform(0, 4)),
        Poison(),
        NewContract(),
        NewBaseline(seed=100),
        NewVersion(version="2"),
        RollingRestart(),
    ]


def _sample(rng: random.Random, scale: Scale) -> list[Fault]:
    return [
        Terminate(rng.choice(KINDS)),
        Zombie("sketcher", "offsets-sent"),
        BrokerRestart(killed=True, down_s=1.0),
        *(Warehouse(mode, scale.outage_s, rng.choice(KINDS)) for mode in ("down", "error", "cut", "lost")),
        EngineKill(down_s=0.5),
        Poison(),
        NewContract(),
        NewBaseline(seed=100),
        NewVersion(version="2"),
    ]
