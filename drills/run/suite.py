"""Suites: lists of drills in YAML."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from barograph.contract.kinds import DurationKind, IntegerKind, Key, ListKind, NameKind, NumberKind, RecordKind

from barograph_server.contracts import read_suite_values
from barograph_server.drills.faults import InjectionRequest, find_fault
from barograph_server.drills.run.plan import DrillRequest

FORMAT = 1
DRILL = RecordKind(
    (
        Key("fault", NameKind("the name of a fault"), "the fault", required=True),
        Key("field", NameKind("the name of a field"), "the affected field"),
        Key("other", NameKind("the name of a field"), "the second field of swapped-columns"),
        Key("magnitude", NumberKind(), "the size of the fault"),
        Key("rate", NumberKind(0.0, 1.0, above=True), "the share of affected rows"),
        Key("start", DurationKind(), "the time from the first event to the fault"),
        Key("duration", DurationKind(), "the length of the fault"),
        Key("route", NameKind("the name of a route"), "replaces the routes of the contract"),
    )
)
SUITE = RecordKind(
    (
        Key("suite", IntegerKind(FORMAT, FORMAT), "the version of the format", required=True),
        Key("model", NameKind("the name of a model"), "the model", required=True),
        Key("version", NameKind("a version of the model"), "the version whose events are used"),
        Key("history", DurationKind(), "the length of the range of events that is replayed"),
        Key(
            "until",
            NameKind("a time such as 2026-03-01, or an age such as 30d"),
            "the end of the range: a time, or an age at the newest event",
        ),
        Key("drills", ListKind(DRILL, 1), "the drills", required=True),
    )
)


@dataclass(frozen=True, slots=True)
class DrillSuite:
    model: str
    version: str | None
    history_s: int | None
    until: str | None
    requests: tuple[DrillRequest, ...]


def read_suite(path: Path) -> DrillSuite:
    """Read a suite. Errors are those of `read_suite_values`."""
    values = read_suite_values(path, SUITE, "suite, model and drills, as docs/drills.md")
    version, history_s, until = map(values.get, ("version", "history", "until"))
    return DrillSuite(values["model"], version, history_s, until, tuple(map(_request, values["drills"])))


def _request(values: dict[str, Any]) -> DrillRequest:
    options = map(values.get, ("field", "other", "magnitude", "rate"))
    injection = InjectionRequest(find_fault(values["fault"]), *options)
    return DrillRequest(injection, values.get("duration"), values.get("start"), values.get("route"))
