"""The traffic of a model, from which the events of each window follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from barograph.contract import Contract, Window

from alerts.prediction.window_power import WindowTraffic
from sketches.baseline.baseline import ALL, FieldBaseline
from sketches.drift.window_phi import typical_length_s


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

    def of_window(
        self, contract: Contract, window: Window, baseline: FieldBaseline, slice_name: str = ALL
    ) -> WindowTraffic:
        """Return one window of the contract at this rate.

        Args:
            contract: length of panes.
            window: one of the contract's.
            baseline: of the field.
            slice_name: a slice with training rows.
        """
        length_s = typical_length_s(window, contract.pane_s, self.events_per_s)
        learned = baseline.slices[slice_name].phi.get(window.name)
        phi = self.phi.get(window.name, learned.value if learned else 1.0)
        return WindowTraffic(window, length_s, self.events_per_s * length_s, phi)
