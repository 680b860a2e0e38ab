"""Text output of overdispersion φ in tables."""

from barograph_server.sketches.baseline.baseline import Phi
from barograph_server.sketches.drift.overdispersion import ROUGH_WINDOWS, SURE_WINDOWS

_SUFFIXES = {"ok": "", "rough": " rough", "shorter": " ←", "unknown": " ?"}

PHI = "φ: so many events, which resemble their neighbors, count as one independent reading"
PHI_LEGEND = (
    f"{PHI}; rough = from {ROUGH_WINDOWS} to {SURE_WINDOWS - 1} windows or from other bins, ← = from the next shorter "
    "window length, ? = unknown"
)
"""Explanation of φ and of the suffixes of `format_phi`."""


def format_phi(phi: Phi | None) -> str:
    """Format φ with three significant digits and a suffix for its quality; empty for None."""
    return "" if phi is None else f"{phi.value:.3g}{_SUFFIXES[phi.flag]}"
