"""Sentences and sizes of changes that are detected, for people."""

import math
from collections.abc import Mapping

from barograph_server.alerts.prediction.model_detectability import HORIZONS
from barograph_server.alerts.prediction.smallest_change import Detectability

CORRELATED = 5.0
"""A larger φ is named as the reason."""
ENOUGH = 370.0
"""Independent events of a window from which its thresholds decide, and more traffic does not help: n* of ten bins."""
_NOUNS = {"shift": "shift", "moved": "move between categories", "nulls": "rise of nulls"}
_DAY = tuple(HORIZONS).index("1d")


def invisible_change(row: Detectability, std: Mapping[str, float]) -> str:
    """Describe the change that a rule does not detect in a day."""
    size, what = row.smallest[_DAY], _NOUNS[row.change]
    return f"a {what} of less than {size_text(row, size, std)}" if math.isfinite(size) else f"any {what}"


def size_text(row: Detectability, size: float, std: Mapping[str, float]) -> str:
    """Format the size of a change, in the unit of its field or in points; "–" if it is infinite."""
    if not math.isfinite(size):
        return "–"
    if row.change == "shift":
        return f"{size * std[row.field]:.3g} ({size:.2g} sd)"
    return f"{100.0 * size:.2g} points"


def invisible_reason(row: Detectability) -> str:
    """Describe why a rule does not detect smaller changes."""
    traffic = row.traffic
    if traffic is None:
        return "the rule has no window with data"
    independent, name = traffic.events / traffic.phi, traffic.window.name
    if independent < ENOUGH and traffic.phi > CORRELATED:
        return (
            f"φ is {traffic.phi:.3g}, so {traffic.events:,.0f} events in {name} count as "
            f"{independent:,.0f} independent ones"
        )
    if independent < ENOUGH:
        return f"{name} has only {traffic.events:,.0f} events"
    return "the windows and thresholds of the rule decide, not the traffic"
