"""The traffic of a model, from which the events of each window follow."""

import math
from dataclasses import dataclass

from barograph.contract import Contract

from barograph_server.alerts.prediction.window_power import WindowTraffic
from barograph_server.sketches.baseline.baseline import ALL, FieldBaseline, Phi
from barograph_server.sketches.drift.few_windows import chosen_phi
from barograph_server.sketches.drift.window_phi import typical_length_s


@dataclass(frozen=True, slots=True)
class Traffic:
    """A constant rate of events."""

    events_per_s: float
    """Events of the field and slice per second, above 0."""

    def __post_init__(self) -> None:
        if not self.events_per_s > 0.0:
            raise ValueError(f"a rate of events must be above 0, not {self.events_per_s}")

    def windows(self, contract: Contract, baseline: FieldBaseline) -> dict[str, WindowTraffic]:
        """Return the windows of a contract at this rate, by name."""
        counts = baseline.slices[ALL]
        # Rare categories share a bin, so that there are fewer bins than cells.
        of_bins = max(1, baseline.bin_of_cell()[-1])
        result = {}
        for window in contract.windows:
            length_s = typical_length_s(window, contract.pane_s, self.events_per_s)
            learned = counts.phi.get(window.name, Phi())
            nu = learned.nu or math.inf
            phi = chosen_phi(learned.value, learned.windows, min(nu, of_bins), contract.phi)
            result[window.name] = WindowTraffic(window, length_s, self.events_per_s * length_s, float(phi), nu)
        return result
