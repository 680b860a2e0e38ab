"""Overdispersion φ of all groups of a baseline, learned from its windows of one length."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from barograph.contract import Window

from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.baseline.layout import IntArray
from barograph_server.sketches.drift.overdispersion import Overdispersion, learn_phi, sparse_inflation
from barograph_server.sketches.drift.psi import psi_values
from barograph_server.sketches.drift.season import HourArray, Season


def typical_length_s(window: Window, pane_s: int, rate: float) -> int:
    """Return the length in seconds of the windows from which φ of a window is learned.

    That of a window of the last events is the length of the fewest panes that have its events at a constant rate, at
    most its longest span.

    Args:
        pane_s: length of a pane in seconds.
        rate: predictions of the model per second, of all versions.
    """
    if not window.last or not rate:
        return window.length_s
    return min(window.length_s, math.ceil(window.last / rate / pane_s) * pane_s)


def learn_window_phi(
    bins: PsiBins,
    windows: Iterable[IntArray],
    season: Season | None,
    hours: Iterable[tuple[IntArray, HourArray]],
    shorter: Overdispersion | None,
) -> Overdispersion:
    """Compare each window with the whole baseline on the bins of live windows, and learn φ of the length.

    Args:
        windows: counts of the windows on its layout in chunks, each (W, n_slices, width).
        season: the groups with a season: each of their windows is compared with the counts of its hours of the week,
            excluding its own rows. None without a season.
        hours: for them, counts of the same windows by hour and bin, (W, K, nb), and the hours of the week, (W, K).
        shorter: φ of the next shorter length; None for the shortest.
    """
    scores = [psi_values(bins.base_bins, bins.window_bins(counts), bins.starts) for counts in windows]
    nothing = np.zeros((0, bins.n_groups))
    t, df, n = (np.concatenate([nothing, *(score[i] for score in scores)]) for i in (2, 1, 3))
    if season is not None and len(season.groups):
        hourly = [season.values_left_out(*chunk) for chunk in hours]
        nothing = np.zeros((0, len(season.groups)))
        t[:, season.groups] = np.concatenate([nothing, *(values[2] for values in hourly)])
        df[:, season.groups] = np.concatenate([nothing, *(values[1] for values in hourly)])
    return learn_phi(t / sparse_inflation(bins, n), df.astype(np.int64), n, shorter)
