"""The seeded plan of faults of one storm."""

import random
from dataclasses import dataclass
from typing import get_args

from tests.faults.faults import (
    BrokerRestart,
    BrokerUnreachable,
    EngineKill,
    Fault,
    JoinAndLeave,
    Kill,
    NewBaseline,
    NewContract,
    NewVersion,
    Poison,
    RollingRestart,
    Terminate,
    Warehouse,
    Zombie,
)
from tests.faults.fleet import KINDS
from tests.faults.kill_points import KILL_POINTS
from tests.faults.proxy import Mode

GROUPED = ("sketcher", "recorder", "monitor")
MODES: tuple[Mode, ...] = tuple(mode for mode in get_args(Mode) if mode != "open")
KILLED_MORE_OFTEN = ("sketcher", "recorder", "monitor", "sketcher", "recorder", "monitor", "scorer")


@dataclass(frozen=True)
class Scale:
    kills: int
    """Number of kills, apart from those within other faults."""
    rounds: int
    """Number of times that every other fault is injected."""
    unreachable_s: float
    outage_s: float


LONG = Scale(kills=28, rounds=1, unreachable_s=60.0, outage_s=6.0)
"""One storm of the long form, which runs `STORMS` of them with consecutive seeds."""
STORMS = 3
SHORT = Scale(kills=8, rounds=0, unreachable_s=5.0, outage_s=2.0)


def make_plan(seed: int, scale: Scale) -> list[tuple[float, Fault]]:
    rng = random.Random(seed)
    points = [(kind, point) for kind, names in KILL_POINTS.items() for point in names]
    rng.shuffle(points)
    faults: list[Fault] = []
    for i in range(scale.kills):
        kind, point = points[i // 2] if i % 2 and i // 2 < len(points) else (rng.choice(KILLED_MORE_OFTEN), "")
        faults.append(Kill(kind, point, down_s=rng.choice((0.0, 0.0, 0.5, 3.0))))
    for i in range(scale.rounds):
        faults += _round(rng, i, scale)
    if not scale.rounds:
        faults += _sample(rng, scale)
    rng.shuffle(faults)
    return [(rng.uniform(0.1, 0.8), fault) for fault in faults]


def _round(rng: random.Random, i: int, scale: Scale) -> list[Fault]:
    return [
        *(Terminate(kind) for kind in KINDS),
        *(Zombie(kind, rng.choice(KILL_POINTS[kind])) for kind in GROUPED),
        *(JoinAndLeave(kind, killed=bool((i + j) % 2)) for j, kind in enumerate(GROUPED)),
        BrokerRestart(killed=False, down_s=rng.uniform(2, 6)),
        BrokerRestart(killed=True, down_s=rng.uniform(0, 6)),
        BrokerUnreachable(scale.unreachable_s, rng.choice(GROUPED)),
        *(Warehouse(mode, scale.outage_s, rng.choice(KINDS)) for mode in MODES),
        EngineKill(down_s=rng.uniform(0, 4)),
        Poison(),
        NewContract(),
        NewBaseline(seed=100 + i),
        NewVersion(version=str(2 + i)),
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
