"""The list of faults, for people, for programs, and for the documentation."""

from __future__ import annotations

from typing import Any

from barograph_server.drills.faults import FAULTS, Fault, FaultParameter
from barograph_server.terminal import AlignedTable, Terminal


def fault_rows() -> list[dict[str, Any]]:
    return [
        {
            "fault": fault.name,
            "incident": fault.incident,
            "fields": sorted(fault.types),
            "magnitude": _parameter(fault.magnitude),
            "rate": _parameter(fault.rate),
        }
        for fault in FAULTS.values()
    ]


def print_faults(terminal: Terminal) -> None:
    """Print a line per fault."""
    table = AlignedTable("fault", "magnitude", "rate", "incident")
    for fault in FAULTS.values():
        table.row(fault.name, _text(fault.magnitude), _text(fault.rate), fault.incident)
    terminal.table(table)


def fault_table() -> str:
    """Write the faults as a table in Markdown."""
    lines = ["| fault | incident | fields | magnitude | rate |", "|---|---|---|---|---|"]
    for fault in FAULTS.values():
        cells = (f"`{fault.name}`", fault.incident, _types(fault), _text(fault.magnitude), _text(fault.rate))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _types(fault: Fault) -> str:
    return "any" if len(fault.types) == 5 else ", ".join(sorted(fault.types)) or "whole events"


def _parameter(parameter: FaultParameter | None) -> dict[str, Any] | None:
    return None if parameter is None else {"default": parameter.default, "unit": parameter.unit}


def _text(parameter: FaultParameter | None) -> str:
    return "" if parameter is None else f"{parameter.default:g} {parameter.unit}"
