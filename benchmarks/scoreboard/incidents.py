"""Plants faults in a stream: one class of fault at several magnitudes, several times each."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from barograph.contract import Contract

from barograph_server.drills.faults import find_fault
from barograph_server.drills.faults.fault import EventTables, FaultPeriod
from barograph_server.drills.faults.injection import InjectionRequest, plan_injection
from barograph_server.sketches.baseline.baseline import Baseline
from benchmarks.scoreboard.data_sets import DAY_MS, START_MS, DataSet

FAULT_CLASSES: dict[str, tuple[float, ...]] = {
    "mean-shift": (0.5, 1.0, 2.0, 4.0),
    "scale": (1.2, 1.5, 2.2046, 10.0),
    "clipped-range": (0.05, 0.15, 0.3, 0.6),
    "null-rise": (0.03, 0.08, 0.15, 0.3),
    "null-sentinel": (0.03, 0.08, 0.15, 0.3),
    "category-new": (0.03, 0.08, 0.15, 0.3),
}
"""Classes of faults with their magnitudes: the parameter of the fault, or its rate if it has none."""
LASTS_DAYS = 2
"""Length of an incident."""
CYCLE_DAYS = 4
"""Days from one incident to the next: the longest window is whole again before."""
LEAD_DAYS = 2
"""Days before the first cycle, in which windows fill."""
_NO_LABELS = pa.table({"id": pa.array([], pa.string()), "at": pa.array([], pa.timestamp("ms", "UTC"))})


@dataclass(frozen=True, slots=True)
class Incident:
    magnitude: float
    start_s: int
    end_s: int

    @property
    def period(self) -> FaultPeriod:
        """The event times that it affects."""
        return FaultPeriod(self.start_s * 1000, self.end_s * 1000)


def plan_incidents(fault: str, first_day: int, repeats: int, rng: np.random.Generator) -> list[Incident]:
    """Return the incidents of a stream: all magnitudes in turn, each at a random time of its first day."""
    incidents = []
    for i in range(stream_cycles(fault, repeats)):
        day = first_day + LEAD_DAYS + i * CYCLE_DAYS
        start_s = (START_MS + day * DAY_MS) // 1000 + int(rng.integers(86_400))
        magnitudes = FAULT_CLASSES[fault]
        incidents.append(Incident(magnitudes[i % len(magnitudes)], start_s, start_s + LASTS_DAYS * DAY_MS // 1000))
    return incidents


def stream_cycles(fault: str, repeats: int) -> int:
    """Return the number of incidents of a stream."""
    return repeats * len(FAULT_CLASSES[fault])


def affected_field(data_set: DataSet, fault: str) -> str:
    return data_set.category if fault == "category-new" else data_set.number


def plant(
    table: pa.Table, data_set: DataSet, fault: str, incidents: list[Incident], contract: Contract, baseline: Baseline
) -> pa.Table:
    """Return a stream with all incidents."""
    planted = find_fault(fault)
    events = EventTables(table, _NO_LABELS)
    for incident in incidents:
        has_magnitude = planted.magnitude is not None
        request = InjectionRequest(
            planted,
            affected_field(data_set, fault),
            magnitude=incident.magnitude if has_magnitude else None,
            rate=None if has_magnitude else incident.magnitude,
        )
        events = plan_injection(request, contract, baseline, incident.period).apply(events)
    return events.predictions
