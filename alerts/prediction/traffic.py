"""The traffic of a model, from which the events of each window follow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from barograph.contract import Contract

from barograph_server.alerts.prediction.window_power import WindowTraffic
from barograph_server.sketches.baseline.baseline import ALL, FieldBaseline, Phi
from barograph_server.sketches.drift.window_phi import typical_length_s


@dataclass(frozen=True, slots=True)
class Traffic:
    """A constant rate of events, and overdispersion where it differs from that of the baseline."""

    events_per_s: float
    """Events of the field and slice per second, above 0."""
    phi: Mapping[str, float] = field(default_factory=dict)
    """Overdispersion by the name of a window; of other windows, that of the baseline counts."""

    def __post_init__(self) -> None:
        if not self.events_per_s > 0.0:
            raise ValueError(f"a rate of events must be above 0, not {self.events_per_s}")

    def windows(self, contract: Contract, baseline: FieldBaseline) -> dict[str, WindowTraffic]:
        """Return the windows of a contract at this rate, by name.

        Args:
            contract: windows, and the length of panes.
        """
        learned = baseline.slices[ALL].phi | {name: Phi(value) for name, value in self.phi.items()}
        result = {}
        for window in contract.windows:
            length_s = typical_length_s(window, contract.pane_s, self.events_per_s)
            phi = learned.get(window.name, Phi())
            events = self.events_per_s * length_s
            result[window.name] = WindowTraffic(window, length_s, events, phi.value, phi.nu or math.inf)
        return result
