"""Warnings about a baseline learned from production: a range that is too short or partly empty."""

from datetime import datetime

import numpy as np
from barograph.contract import Contract

from barograph_server.sketches.baseline.baseline import ALL, Baseline
from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.baseline.layout import Layout
from barograph_server.sketches.drift.overdispersion import ROUGH_WINDOWS, SURE_WINDOWS
from barograph_server.sketches.drift.power import n_star
from barograph_server.sketches.drift.psi import SHARE_FLOOR
from barograph_server.terminal import utc_second

_EMPTY_SHARE = 0.05
"""Share of the range without predictions at either end from which there is a warning."""


def range_warnings(
    baseline: Baseline, contract: Contract, from_s: int, to_s: int, first: datetime, last: datetime
) -> list[str]:
    """Return warnings about the range that a baseline is learned from.

    Args:
        first: start of the first pane with predictions.
        last: start of the last pane with predictions.
    """
    return [
        *_empty_end_warnings(contract, from_s, to_s, first, last),
        *_insufficient_field_warnings(baseline, contract),
        *_unknown_phi_warnings(baseline),
    ]


def _empty_end_warnings(contract: Contract, from_s: int, to_s: int, first: datetime, last: datetime) -> list[str]:
    first_s, end_s = int(first.timestamp()), int(last.timestamp()) + contract.pane_s
    tolerance_s = max(contract.pane_s, _EMPTY_SHARE * (to_s - from_s))
    if first_s - from_s < tolerance_s and to_s - end_s < tolerance_s:
        return []
    return [f"Only {utc_second(first_s)} to {utc_second(end_s)} of the range has predictions."]


def _insufficient_field_warnings(baseline: Baseline, contract: Contract) -> list[str]:
    """Warn of fields whose windows stay insufficient for any number of events, because the baseline has few rows."""
    bins = PsiBins(Layout(baseline))
    if not bins.n_groups:
        return []
    rows = np.add.reduceat(bins.base_bins, bins.starts)
    counted = bins.base_bins >= SHARE_FLOOR * np.repeat(rows, bins.sizes)
    of_bins = np.maximum(1, np.add.reduceat(counted, bins.starts, dtype=np.int64) - 1)
    windows = sorted({window.name for window in contract.windows})
    nu = np.stack([np.minimum(of_bins, bins.nu(name)) for name in windows])
    phi = np.stack([bins.phi(name) for name in windows])
    # 1/n_h = φ/n + φ/m + noise stays above φ/m + noise.
    needed = n_star(nu, contract.thresholds.minor, contract.thresholds.major)
    best = np.argmin(needed * (phi / rows + bins.noise), axis=0), np.arange(bins.n_groups)
    needed, phi = needed[best], phi[best]
    insufficient = np.flatnonzero((bins.slice_index == 0) & (rows / (phi + bins.noise * rows) <= needed))
    if not insufficient.size:
        return []
    names = ", ".join(baseline.fields[bins.field_index[group]].name for group in insufficient.tolist())
    worst = int(insufficient[np.argmax(needed[insufficient] * phi[insufficient])])
    return [
        f"{names}: too few rows for verdicts. With {rows[worst]:,} rows in the baseline, all windows stay insufficient "
        f"for any number of predictions; more than {needed[worst] * phi[worst]:,.0f} rows are needed. Use a longer "
        "range."
    ]


def _unknown_phi_warnings(baseline: Baseline) -> list[str]:
    known: dict[str, bool] = {}
    for field in baseline.fields:
        for name, phi in field.slices[ALL].phi.items():
            known[name] = known.get(name, False) or phi.flag != "unknown"
    names = [name for name, is_known in known.items() if not is_known]
    if not names:
        return []
    return [
        f"φ of {', '.join(names)} windows is set to 1, because the range has fewer than {ROUGH_WINDOWS} of them: "
        f"correlated traffic will look like drift. Use a range of {SURE_WINDOWS} windows."
    ]
