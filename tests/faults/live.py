"""The live clock: clocks of processors step, partitions are added, the broker fails, and silent panes are sealed."""

import random
import time
from dataclasses import dataclass
from typing import ClassVar

from barograph.contract import Contract, LabelSpec, Window
from confluent_kafka.admin import AdminClient, NewPartitions

from tests.faults.faults import BrokerRestart, Fault, Kill, Terminate, Warehouse, choose
from tests.faults.source import STRICT
from tests.faults.trial_run import World
from tests.support.pipeline import simple_contract

COUNTS = {"sketcher": 2, "recorder": 2, "monitor": 2}
"""Processors of each kind. There is no scorer: on the live clock it scores an hour only after its end."""
STEPS_S = (-45.0, 20.0, 3600.0, -3600.0)


def live_contract() -> Contract:
    return simple_contract(
        model=STRICT,
        pane_s=2,
        lateness_s=2,
        out_of_order_s=2,
        windows=(Window(20, 2),),
        label=LabelSpec(type="bool", positive=True, horizon_s=86400),
    )


@dataclass(frozen=True)
class ClockStep:
    kind: str
    seconds: float
    name: ClassVar[str] = "clock step"

    def apply(self, world: World) -> str:
        name = choose(world, self.kind)
        world.fleet.shift_clock(name, self.seconds)
        time.sleep(4.0)
        world.fleet.shift_clock(name, 0.0)
        return f"{name} by {self.seconds:+.0f} s"


@dataclass(frozen=True)
class AddPartition:
    name: ClassVar[str] = "partition added"

    def apply(self, world: World) -> str:
        topic = world.pipeline.topics.predictions
        admin = AdminClient({"bootstrap.servers": world.pipeline.bootstrap})
        partitions = world.source.partitions + world.done[self.name] + 1
        admin.create_partitions([NewPartitions(topic, partitions)])[topic].result(30)
        world.source.add_partition()
        time.sleep(2.0)
        return f"{partitions} partitions"


def live_plan(seed: int, *, short: bool) -> list[tuple[float, Fault]]:
    rng = random.Random(seed)
    kinds = ("sketcher", "monitor", "recorder")
    faults: list[Fault] = [ClockStep("sketcher", step) for step in (STEPS_S[:1] if short else STEPS_S)]
    faults += [AddPartition() for _ in range(1 if short else 3)]
    if not short:
        faults += [ClockStep(kind, rng.choice(STEPS_S)) for kind in ("monitor", "recorder")]
        faults += [BrokerRestart(killed=False, down_s=4.0), Warehouse("down", 5.0, "monitor"), Terminate("sketcher")]
        faults += [Kill(kind, point) for kind, point in (("monitor", "half-written"), ("sketcher", "offsets-sent"))]
    faults += [Kill(kind) for kind in kinds]
    rng.shuffle(faults)
    return [(rng.uniform(0.5, 1.5), fault) for fault in faults]
