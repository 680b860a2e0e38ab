"""The faults, one class each: what is done to a run, and that it is undone."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import ClassVar, Protocol

from confluent_kafka import Producer

from tests.faults.proxy import Mode
from tests.faults.trial_run import World

PLACE_S = 8.0
"""How long a processor is given to come to a place."""
UP_S = 2.5
"""A processor is given so long to start before it is killed again: one killed at once has done nothing."""


class Fault(Protocol):
    """Something that goes wrong, and is put right again."""

    @property
    def name(self) -> str:
        """What the report counts it under."""

    def apply(self, world: World) -> str:
        """Do it; return what was done, in a few words."""


@dataclass(frozen=True)
class Kill:
    """A processor is killed with -9 at a random moment, or at a place of it, and started again."""

    kind: str
    place: str = ""
    down_s: float = 0.0
    hold_s: float = 0.0
    """How long it waits at its place before it is killed."""

    @property
    def name(self) -> str:
        return "kill -9"

    def apply(self, world: World) -> str:
        name = choose(world, self.kind)
        where = kill_at(world, name, self.place, self.down_s, self.hold_s)
        return f"{name} {where}, down for {self.down_s:.1f} s"


@dataclass(frozen=True)
class Terminate:
    """A processor is asked to end (SIGTERM), and started again."""

    kind: str
    name: ClassVar[str] = "SIGTERM"

    def apply(self, world: World) -> str:
        name = choose(world, self.kind)
        took_s = world.fleet.terminate(name)
        world.stops_s.append(took_s)
        return f"{name}, ended in {took_s:.1f} s"


@dataclass(frozen=True)
class Zombie:
    """A processor stands still beyond its session time-out, at a place where it can, and wakes up again."""

    kind: str
    place: str
    name: ClassVar[str] = "zombie"

    def apply(self, world: World) -> str:
        name = choose(world, self.kind)
        world.fleet.arm(name, self.place)
        came = world.fleet.waits(name, self.place, PLACE_S)
        world.fleet.send(name, signal.SIGSTOP)
        # The others take over; it knows nothing of it.
        time.sleep(world.pipeline.settings["session_timeout_s"] + 2.0)
        world.fleet.release(name, self.place)
        world.fleet.send(name, signal.SIGCONT)
        return f"{name} {self.place if came else 'at a random moment'}"


@dataclass(frozen=True)
class JoinAndLeave:
    """A third processor of a kind joins, works, and leaves again, by SIGTERM or by kill -9."""

    kind: str
    killed: bool
    name: ClassVar[str] = "join and leave"

    def apply(self, world: World) -> str:
        name = f"{self.kind}-{len(world.fleet.members) + 10}"
        world.fleet.add(self.kind, name)
        time.sleep(5.0)
        kill_at(world, choose(world, self.kind), "", 0.0)
        time.sleep(1.0)
        world.fleet.take_away(name, signal.SIGKILL if self.killed else signal.SIGTERM)
        if self.killed:
            world.kills[f"{self.kind} at a random moment"] += 1
        return f"{name} left by {'kill -9' if self.killed else 'SIGTERM'}"


@dataclass(frozen=True)
class RollingRestart:
    """Every processor is ended and started again, one after the other."""

    name: ClassVar[str] = "rolling restart"

    def apply(self, world: World) -> str:
        names = [name for name, member in world.fleet.members.items() if member.wanted]
        for name in names:
            world.stops_s.append(world.fleet.terminate(name))
            time.sleep(0.5)
        return f"{len(names)} processors"


# ---------------------------------------------------------------------------------------------------- Kafka


@dataclass(frozen=True)
class BrokerRestart:
    """The broker is stopped, or killed with -9, and started again after a while."""

    killed: bool
    down_s: float
    name: ClassVar[str] = "broker stopped"

    def apply(self, world: World) -> str:
        broker = world.servers.broker
        (broker.kill if self.killed else broker.stop)()
        time.sleep(self.down_s)
        broker.start()
        return f"{'by kill -9' if self.killed else 'in order'}, for {self.down_s:.0f} s"


@dataclass(frozen=True)
class BrokerUnreachable:
    """The broker answers nobody for a while: its process stands still, connections stay open."""

    for_s: float
    kill: str
    """A processor of this kind is killed meanwhile."""
    name: ClassVar[str] = "broker unreachable"

    def apply(self, world: World) -> str:
        pid = world.servers.broker.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(self.for_s / 2)
            kill_at(world, choose(world, self.kill, up_s=0.0), "", 0.0)
            time.sleep(self.for_s / 2)
        finally:
            os.kill(pid, signal.SIGCONT)
        return f"for {self.for_s:.0f} s, a {self.kill} killed meanwhile"


# ------------------------------------------------------------------------------------------------ ClickHouse

_WORDS: dict[Mode, str] = {
    "down": "warehouse down",
    "slow": "warehouse slow",
    "error": "warehouse answers 500",
    "cut": "warehouse closes half-way through an insert",
    "lost": "warehouse takes an insert and its answer is lost",
}


@dataclass(frozen=True)
class Warehouse:
    """The door before the warehouse is in some mode for a while; a processor is killed meanwhile."""

    mode: Mode
    for_s: float
    kill: str

    @property
    def name(self) -> str:
        return _WORDS[self.mode]

    def apply(self, world: World) -> str:
        before = world.door.seen[self.mode]
        world.door.mode = self.mode
        try:
            time.sleep(self.for_s / 2)
            kill_at(world, choose(world, self.kill, up_s=0.0), "", 0.0)
            time.sleep(self.for_s / 2)
        finally:
            world.door.mode = "open"
        hit = world.door.seen[self.mode] - before
        return f"for {self.for_s:.0f} s, {hit} requests, a {self.kill} killed meanwhile"


@dataclass(frozen=True)
class EngineKill:
    """The warehouse itself is killed with -9, and started again after a while."""

    down_s: float
    name: ClassVar[str] = "warehouse killed"

    def apply(self, world: World) -> str:
        engine = world.servers.engine
        engine.kill()
        time.sleep(self.down_s)
        engine.start()
        world.door.upstream = engine.host, engine.port
        return f"for {self.down_s:.0f} s"


# -------------------------------------------------------------------------------------------------- poison


@dataclass(frozen=True)
class Poison:
    """Damaged records come to `partials`, and the heaviest malformed events to `predictions`."""

    name: ClassVar[str] = "poison"

    def apply(self, world: World) -> str:
        world.source.send_heavy()
        producer = Producer({"bootstrap.servers": world.pipeline.bootstrap})
        first = len(world.buried)
        for i in range(first, first + 4):
            producer.produce(world.pipeline.topics.partials, b"poison %d" % i, partition=i % 2)
            world.buried.add(i)
        producer.flush(60)
        return "4 damaged records in parts, 3 heavy events in predictions"


# ------------------------------------------------------------------------------------------------- helpers


def choose(world: World, kind: str, *, up_s: float = UP_S) -> str:
    """One of a kind, at random, that has run for a while."""
    name = world.rng.choice(world.fleet.names(kind))
    deadline = time.monotonic() + 20
    while world.fleet.running_s(name) < up_s and time.monotonic() < deadline:
        time.sleep(0.05)
    return name


def kill_at(world: World, name: str, place: str, down_s: float, hold_s: float = 0.0) -> str:
    """Kill -9 a processor at a place, or at a random moment where none is given or it does not come there."""
    came = False
    if place:
        world.fleet.arm(name, place)
        came = world.fleet.waits(name, place, PLACE_S)
    else:
        time.sleep(world.rng.random())
    time.sleep(hold_s)
    where = f"at {place}" if came else "at a random moment"
    kind = world.fleet.members[name].kind
    world.kills[f"{kind} {where}"] += 1
    # The place is given up only when nobody can go on from it.
    world.fleet.kill(name, down_s=down_s, place=place)
    return where
