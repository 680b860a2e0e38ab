"""The faults that a drill injects, each a pure transform of a table of events."""

from barograph_server.drills.faults.fault import (
    EventTables,
    ExpectedRule,
    Fault,
    FaultParameter,
    FaultPeriod,
    Injection,
)
from barograph_server.drills.faults.injection import FAULTS, InjectionRequest, find_fault, plan_injection

__all__ = [
    "FAULTS",
    "EventTables",
    "ExpectedRule",
    "Fault",
    "FaultParameter",
    "FaultPeriod",
    "Injection",
    "InjectionRequest",
    "find_fault",
    "plan_injection",
]
