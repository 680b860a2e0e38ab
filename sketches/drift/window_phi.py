"""What windows of training tell of later windows: overdispersion of all groups and rates, and how mean ranks varied."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from barograph.contract import Window

from barograph_server.sketches.baseline.baseline import FieldBaseline, Phi, TrainingRate
from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.baseline.groups import FloatArray, VerdictGroups, reference_slices
from barograph_server.sketches.baseline.layout import IntArray
from barograph_server.sketches.drift.mean_rank import MeanRanks, learn_mean_variation, mean_ranks
from barograph_server.sketches.drift.overdispersion import (
    ROUGH_WINDOWS,
    SURE_WINDOWS,
    Overdispersion,
    learn_phi,
    sparse_inflation,
)
from barograph_server.sketches.drift.psi import psi_values
from barograph_server.sketches.drift.rate_cells import RateCells
from barograph_server.sketches.drift.rates import RATE_KIND_NAMES, RATE_KINDS, newcombe
from barograph_server.sketches.drift.season import HourArray, Season

INCIDENT = 0.05, 3.0
"""A window whose rate exceeds that of training by more, as a share and as a multiple of it, is an incident: φ of the
rate is not learned from it."""
PERIODS, REPEATED = 60, 3
"""A change is repeated in training if windows in 3 of its 60 periods had it; fewer are incidents of their own."""


def typical_length_s(window: Window, pane_s: int, rate: float) -> int:
    """Return the length in seconds of the windows from which φ of a window is learned.

    That of a window of the last events is the length of the fewest panes that have its events at a constant rate, at
    most its longest span.

    Args:
        rate: predictions of the model per second, of all versions.
    """
    if not window.last or not rate:
        return window.length_s
    return min(window.length_s, math.ceil(window.last / rate / pane_s) * pane_s)


@dataclass(frozen=True, slots=True)
class TrainingLength:
    """Known-good windows of one length."""

    name: str
    """Of the contract's window."""
    counts: Iterable[IntArray]
    """Counts on the layout of the baseline in chunks, each (W, n_slices, width)."""
    hours: Iterable[tuple[IntArray, HourArray]] = ()
    """With a season, counts of the same windows by hour and bin of its groups, (W, K, nb), and the hours of the week,
    (W, K)."""


def learn_variation(
    bins: PsiBins, season: Season | None, lengths: Iterable[TrainingLength]
) -> tuple[FieldBaseline, ...]:
    """Return the fields of a baseline with what its windows tell: `Phi` of the bins, and `TrainingRate` of rates.

    Each window is compared with the other rows of the baseline. Compared with rows that include its own, n of m, a
    window would be too similar: T is (m − n)/(m + n) of the T of a later window.

    Args:
        bins: of the baseline, on which live windows are compared.
        season: its groups with a season: each of their windows is compared with the counts of its hours of the week,
            excluding its own rows. None without a season.
        lengths: ascending: longer windows of which there are few take what was learned of the next shorter ones.
    """
    layout = bins.layout
    rates = RateCells(layout)
    phi: dict[tuple[str, int], dict[str, Phi]] = {}
    varied: dict[tuple[str, int], dict[str, dict[str, TrainingRate]]] = {}
    bins_of_rates = _groups_of_rates(bins, rates)
    shorter: tuple[Overdispersion | None, _Rates] = None, _Rates(np.ones(rates.n_groups), np.zeros(rates.n_groups))
    for length in lengths:
        scores, rate_scores = [], []
        ranks: list[MeanRanks] = []
        for counts in length.counts:
            window_bins = bins.window_bins(counts)
            scores.append(psi_values(bins.base_bins, window_bins, bins.starts))
            ranks.append(mean_ranks(bins, window_bins))
            rows = layout.field_events(counts)
            rate_scores.append((rates.k(counts), rows[:, rates.slice_index, rates.field_index]))
        learned = _learn_bins(bins, scores, season, length.hours, shorter[0])
        of_bins = np.where(bins_of_rates < 0, 1.0, np.append(learned.of_bins, 1.0)[bins_of_rates])
        shorter = learned, _learn_rates(rates, rate_scores, of_bins, shorter[1])
        mean_sd, autocorrelation = learn_mean_variation(bins, ranks)
        for group, field, slice_name in _groups(bins):
            sd = float(mean_sd[group])
            phi.setdefault((slice_name, field), {})[length.name] = msgspec.structs.replace(
                learned.of(group),
                mean_sd=None if math.isnan(sd) else sd,
                mean_autocorrelation=float(autocorrelation[group]),
            )
        for group, field, slice_name in _groups(rates):
            of_length = varied.setdefault((slice_name, field), {}).setdefault(length.name, {})
            rate = shorter[1].of(group)
            if rate != TrainingRate():
                of_length[RATE_KIND_NAMES[rates.kind_index[group]]] = rate
    return tuple(
        msgspec.structs.replace(
            field,
            slices={
                name: msgspec.structs.replace(counts, phi=phi.get((name, i), {}), rates=varied.get((name, i), {}))
                for name, counts in field.slices.items()
            },
        )
        for i, field in enumerate(layout.fields)
    )


def _groups(groups: VerdictGroups) -> Iterator[tuple[int, int, str]]:
    """Yield the groups of slices that training has, with their field and the slice's name."""
    slices, references = groups.layout.slices, reference_slices(groups.layout)
    pairs = zip(groups.slice_index.tolist(), groups.field_index.tolist(), strict=True)
    return ((group, field, slices[row]) for group, (row, field) in enumerate(pairs) if references[row] == slices[row])


def _groups_of_rates(bins: PsiBins, rates: RateCells) -> IntArray:
    """Return the group of bins of each rate's slice and field, (G,); −1 if there is none."""
    pairs = zip(bins.slice_index.tolist(), bins.field_index.tolist(), strict=True)
    groups = {pair: group for group, pair in enumerate(pairs)}
    of_rates = zip(rates.slice_index.tolist(), rates.field_index.tolist(), strict=True)
    return np.array([groups.get(pair, -1) for pair in of_rates], np.int64)


def _learn_bins(
    bins: PsiBins,
    scores: Sequence[tuple[FloatArray, IntArray, FloatArray, IntArray]],
    season: Season | None,
    hours: Iterable[tuple[IntArray, HourArray]],
    shorter: Overdispersion | None,
) -> Overdispersion:
    nothing = np.zeros((0, bins.n_groups))
    t, df, n = (np.concatenate([nothing, *(score[i] for score in scores)]) for i in (2, 1, 3))
    t, n = _left_out(t, n, np.add.reduceat(bins.base_bins, bins.starts) if bins.n_groups else nothing[0])
    if season is not None and len(season.groups):
        hourly = [season.values_left_out(*chunk) for chunk in hours]
        nothing = np.zeros((0, len(season.groups)))
        t[:, season.groups] = np.concatenate([nothing, *(values[2] for values in hourly)])
        df[:, season.groups] = np.concatenate([nothing, *(values[1] for values in hourly)])
    inflation = sparse_inflation(bins, n)
    return learn_phi(t / inflation, df.astype(np.int64), n, shorter)


def _left_out(t: FloatArray, n: FloatArray, m: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return T and n of windows as if their own rows were not in the baseline; n = 0 if it has no others.

    Args:
        t: T with all rows, (W, G).
        n: rows of the windows, (W, G).
        m: rows of the baseline, (G,).
    """
    others = np.where(n < m, n, 0.0)
    return t * ((m + others) / (m - others)), others


@dataclass(frozen=True, slots=True)
class _Rates:
    """What was learned of G rates, each (G,)."""

    phi: FloatArray
    delta: FloatArray

    def of(self, group: int) -> TrainingRate:
        return TrainingRate(float(self.phi[group]), float(self.delta[group]))


def _learn_rates(
    cells: RateCells, scores: Sequence[tuple[IntArray, IntArray]], of_bins: FloatArray, shorter: _Rates
) -> _Rates:
    """Learn φ of rates, and the change that windows in several periods of training had.

    φ is the mean square of k − np in units of independent events, over the windows that are no incident. A quantile
    would miss rare clusters, such as the hour that a source was down. Too few windows with hits tell little of the size
    of clusters: φ is then at least that of the field's bins, and so it is where hits are not counted by window.

    Args:
        scores: hits and rows of windows in chunks, each (W, G).
        of_bins: φ of the field's bins at their degrees of freedom, (G,).
    """
    nothing = np.zeros((0, cells.n_groups), np.int64)
    k, n = (np.concatenate([nothing, *(score[i] for score in scores)]).astype(np.float64) for i in (0, 1))
    m = np.maximum(cells.base_n, 1).astype(np.float64)
    p = cells.counted / m
    used = (n > 0) & (n < m)
    windows, hit = used.sum(axis=0), (used & (k > 0)).sum(axis=0)
    ordinary = used & (k - n * p <= np.maximum(INCIDENT[0], INCIDENT[1] * p) * n)
    expected = np.where(ordinary, n * p * (1.0 - p) * (1.0 - n / m), 0.0).sum(axis=0)
    squares = np.where(ordinary, (k - n * p) ** 2, 0.0).sum(axis=0)
    own = np.maximum(1.0, np.where(expected > 0.0, squares / np.maximum(expected, 1e-300), 1.0))
    few, rough = windows < ROUGH_WINDOWS, windows < SURE_WINDOWS
    own = np.where(few, shorter.phi, np.where(rough, np.maximum(own, shorter.phi), own))
    learned = np.array([RATE_KINDS[i].varies_in_training for i in cells.kind_index.tolist()], np.bool_)
    phi = np.where(learned, np.where(hit < SURE_WINDOWS, np.maximum(own, of_bins), own), of_bins)
    _, low, _ = newcombe(np.minimum(k, n) / phi, n / phi, cells.counted, m)
    delta = np.where(learned & few, shorter.delta, 0.0)
    if len(low) >= ROUGH_WINDOWS:
        periods = min(len(low), PERIODS)
        firsts = np.arange(periods) * len(low) // periods
        highest = -np.sort(-np.maximum.reduceat(np.where(used, low, -1.0), firsts, axis=0), axis=0)
        delta = np.where(learned & ~few, np.maximum(highest[REPEATED - 1], 0.0), delta)
    return _Rates(phi, delta)
