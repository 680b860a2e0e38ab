"""All faults, by name."""

import difflib

from barograph_server.drills.errors import DrillError
from barograph_server.drills.faults import categories, delivery, labels, missing, numbers, serving, times
from barograph_server.drills.faults.fault import Fault

FAULTS: dict[str, Fault] = {
    fault.name: fault
    for family in (numbers, missing, categories, times, delivery, labels, serving)
    for fault in family.FAULTS
}


def find_fault(name: str) -> Fault:
    if name in FAULTS:
        return FAULTS[name]
    close = difflib.get_close_matches(name, FAULTS, 1)
    hint = f"did you mean {close[0]}?" if close else f"write one of {', '.join(FAULTS)}."
    raise DrillError(f"There is no fault {name!r}; {hint}")
