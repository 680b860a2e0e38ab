"""Detection curves of one window of a contract, at a field's traffic and overdispersion, and that traffic itself."""

import math
from dataclasses import dataclass, replace

import numpy as np
from barograph.contract import Contract, Window

from barograph_server.sketches.baseline.baseline import ALL, FieldBaseline, Phi, TrainingRate
from barograph_server.sketches.detection.delay import DetectionCurve
from barograph_server.sketches.detection.effects import FieldShares, trained_shares
from barograph_server.sketches.detection.psi_power import decision_exceedance, interval_exceedance
from barograph_server.sketches.detection.rate_power import count_exceedance, least_major_count, least_paging_count
from barograph_server.sketches.drift.few_windows import chosen_phi
from barograph_server.sketches.drift.power import n_star
from barograph_server.sketches.drift.psi import SHARE_FLOOR
from barograph_server.sketches.drift.rate_cells import trained_rate
from barograph_server.sketches.drift.window_phi import typical_length_s
from barograph_server.warehouse.signals.verdicts import ALONE_EVENTS, RATE_P

LEAST_INDEPENDENT = 10.0
"""Fewest independent events (n/φ) of a window for which a prediction is made."""


@dataclass(frozen=True, slots=True)
class WindowTraffic:
    """One window at a constant rate of events."""

    window: Window
    length_s: float
    """Length; of a window of the last events, the time in which they arrive."""
    events: float
    """Events in a full window."""
    phi: float
    """Overdispersion of the field in windows of this length, at least 1."""
    nu: float = math.inf
    """Most degrees of freedom of T, at least 1, in steps of 1/4."""

    @property
    def is_sufficient(self) -> bool:
        """Whether a full window has enough independent events for a prediction."""
        return self.events / self.phi >= LEAST_INDEPENDENT


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


class FieldPower:
    """What one window detects of a change of one field in one slice.

    Args:
        slice_name: a slice with training rows.
    """

    def __init__(self, contract: Contract, field: FieldBaseline, slice_name: str = ALL) -> None:
        self._contract, self._field = contract, field
        counts = self._counts = field.slices[slice_name]
        self.before = trained_shares(field, slice_name)
        self._noise = counts.noise
        self._rows = float(sum(counts.cells))
        self._all_rows = self._rows + counts.invalid

    def level(self, traffic: WindowTraffic, after: FieldShares) -> DetectionCurve | None:
        """Return the detection by the level `major` of PSI; None with too little data."""
        return self.agreeing(traffic, after, self._thresholds[1])

    def agreeing(self, traffic: WindowTraffic, after: FieldShares, threshold: float) -> DetectionCurve | None:
        """Return the detection by a window whose PSI exceeds the threshold of a rule with enough data."""
        if not traffic.is_sufficient:
            return None
        sample, limits = self._decisive_sample(traffic), self._thresholds

        def probability(share: float) -> float:
            return decision_exceedance(
                self.before.bins, after.bins, share, **sample, threshold=threshold, limits=limits
            )

        return DetectionCurve(traffic.length_s, traffic.window.hop_s, probability)

    def may_object(self, traffic: WindowTraffic) -> bool:
        """Whether the short window of a rule has enough data to keep it from firing."""
        n_eff, df = self._sample(traffic)
        return n_eff >= float(n_star(df, *self._thresholds))

    def alone(self, traffic: WindowTraffic, after: FieldShares, threshold: float) -> DetectionCurve | None:
        """Return the detection by a window that fires a rule alone: its whole interval exceeds a threshold."""
        if traffic.events < ALONE_EVENTS:
            return None
        if not traffic.is_sufficient:
            return None
        sample = self._decisive_sample(traffic)

        def probability(share: float) -> float:
            return interval_exceedance(self.before.bins, after.bins, share, **sample, threshold=threshold)

        return DetectionCurve(traffic.length_s, traffic.window.hop_s, probability)

    def rate(
        self, traffic: WindowTraffic, after: FieldShares, kind: str, threshold: float | None
    ) -> DetectionCurve | None:
        """Return the detection of an increased rate; None with too little data, or if training did not count it.

        Args:
            kind: one of `sketches.drift.rates.RATE_KINDS`.
            threshold: of a rule; None: the level `major`.
        """
        trained = TrainingRate(traffic.phi)
        if traffic.window.name in self._counts.rates:
            trained = trained_rate(kind, self._counts, traffic.window.name)
        of_rate = replace(traffic, phi=trained.phi)
        if not of_rate.is_sufficient or kind not in self.before.rates or kind not in after.rates:
            return None
        n_eff, r0, r1 = round(traffic.events / trained.phi), self.before.rates[kind], after.rates[kind]
        base_k = r0 * self._all_rows
        limits = self._contract.rate_thresholds
        if threshold is None:
            least = least_major_count(n_eff, base_k, self._all_rows, limits.minor, limits.major, trained.delta)
        else:
            least = least_paging_count(n_eff, base_k, self._all_rows, max(threshold, trained.delta), RATE_P)

        def probability(share: float) -> float:
            return count_exceedance(least, n_eff, r0 + share * (r1 - r0))

        return DetectionCurve(traffic.length_s, traffic.window.hop_s, probability)

    @property
    def _thresholds(self) -> tuple[float, float]:
        return self._contract.thresholds.minor, self._contract.thresholds.major

    def _sample(self, traffic: WindowTraffic) -> tuple[float, float]:
        """Return n′ and the degrees of freedom of a full window without change."""
        n, phi, p = traffic.events, traffic.phi, self.before.bins
        n_eff = 1.0 / (phi / n + phi / self._rows + self._noise)
        of_bins = max(1, int(np.count_nonzero((p >= SHARE_FLOOR) & (n * p >= 0.5))) - 1)
        return n_eff, min(of_bins, traffic.nu)

    def _decisive_sample(self, traffic: WindowTraffic) -> dict[str, float]:
        """Return the sample of a full window in the form of `interval_exceedance`."""
        _, df = self._sample(traffic)
        # The error of sketched training shares acts as fewer rows.
        rows = 1.0 / (1.0 / self._rows + self._noise / traffic.phi)
        return {"events": traffic.events, "rows": rows, "phi": traffic.phi, "df": df}
