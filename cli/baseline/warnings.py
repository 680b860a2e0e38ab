"""What speaks against a baseline that was learned from production: too short a range, or one that is half empty."""

from __future__ import annotations

from datetime import datetime

import numpy as np
from barograph.contract import Contract

from cli.terminal import utc_second
from sketches.baseline.baseline import ALL, Baseline
from sketches.baseline.bins import PsiBins
from sketches.baseline.layout import Layout
from sketches.drift.overdispersion import ROUGH_WINDOWS, SURE_WINDOWS
from sketches.drift.power import n_star
from sketches.drift.psi import SHARE_FLOOR

_HOLE_SHARE = 0.05
"""Share of the range without predictions at either end from which there is a warning."""


def doubts(
    baseline: Baseline, contract: Contract, from_s: int, to_s: int, first: datetime, last: datetime
) -> list[str]:
    """Return warnings about the range that a baseline is learned from.

    Args:
        baseline: what was learned.
        contract: the one in force.
        from_s: start of the range.
        to_s: its end.
        first: start of the first pane with predictions.
        last: start of the last one.
    """
    return [*_empty_ends(contract, from_s, to_s, first, last), *_blind(baseline, contract), *_without_phi(baseline)]


def _empty_ends(contract: Contract, from_s: int, to_s: int, first: datetime, last: datetime) -> list[str]:
    held_from_s, held_to_s = int(first.timestamp()), int(last.timestamp()) + contract.pane_s
    least_s = max(contract.pane_s, _HOLE_SHARE * (to_s - from_s))
    if held_from_s - from_s < least_s and to_s - held_to_s < least_s:
        return []
    return [f"Of the range only {utc_second(held_from_s)} to {utc_second(held_to_s)} holds predictions."]


def _blind(baseline: Baseline, contract: Contract) -> list[str]:
    """Fields of which no window, however many events it holds, has enough data against so few rows."""
    bins = PsiBins(Layout(baseline))
    if not bins.n_groups:
        return []
    rows = np.add.reduceat(bins.base_bins, bins.starts)
    counted = bins.base_bins >= SHARE_FLOOR * np.repeat(rows, bins.sizes)
    df = np.maximum(1, np.add.reduceat(counted, bins.starts, dtype=np.int64) - 1)
    needed = n_star(df, contract.thresholds.minor, contract.thresholds.major)
    phi = np.min([bins.phi(name) for name in {window.name for window in contract.windows}], axis=0)
    # n_h = n·m/(n + m) stays under m.
    blind = np.flatnonzero((bins.slice_index == 0) & (rows / phi <= needed))
    if not blind.size:
        return []
    names = ", ".join(baseline.fields[bins.field_index[group]].name for group in blind.tolist())
    worst = int(blind[np.argmax(needed[blind] * phi[blind])])
    return [
        f"{names}: so few rows tell nothing. Against {rows[worst]:,} of them every window stays insufficient however "
        f"many predictions it holds; it takes over {needed[worst] * phi[worst]:,.0f}. Take a longer range."
    ]


def _without_phi(baseline: Baseline) -> list[str]:
    known: dict[str, bool] = {}
    for field in baseline.fields:
        for name, phi in field.slices[ALL].phi.items():
            known[name] = known.get(name, False) or phi.flag != "unknown"
    names = [name for name, is_known in known.items() if not is_known]
    if not names:
        return []
    return [
        f"φ of windows of {', '.join(names)} is taken as 1, as the range holds fewer than {ROUGH_WINDOWS} of them: "
        f"traffic that repeats itself will look like drift. Take a range of {SURE_WINDOWS} windows."
    ]
