"""What verdicts hold on correlated traffic, by simulation: `python -m tests.reference.correlated_traffic`.

It prints the tables of docs/statistics.md; `tests/property/test_correlated_traffic.py` checks their promises. Events of
an hour follow its level, in ten equal bins; ± is one standard error over streams, each with its own baseline.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from barograph.contract import PhiChoice, Thresholds, Window
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import norm

from barograph_server.sketches.baseline.baseline import SliceCounts
from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.baseline.layout import Layout
from barograph_server.sketches.baseline.levels import Level
from barograph_server.sketches.drift.few_windows import false_major_share, p_values, phi_of_verdicts
from barograph_server.sketches.drift.mean_rank import mean_rank_p, mean_ranks
from barograph_server.sketches.drift.psi import PsiVerdicts, psi_verdicts
from barograph_server.sketches.drift.rate_cells import RateCells
from barograph_server.sketches.drift.rates import rate_verdicts
from barograph_server.sketches.drift.window_phi import TrainingLength, learn_variation
from barograph_server.warehouse.signals.verdicts import RATE_P, UNLIKE_P
from tests.support import baselines

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Rng = np.random.Generator
Draw = Callable[[Rng, int, int], FloatArray]
"""Draws values of hours: from streams and hours to shape (streams, hours)."""

DAY = 24
BINS = 10
EVENTS = 200
"""Events in an hour."""
THRESHOLDS = Thresholds()


def autoregressive(rho: float, sd: float) -> Draw:
    """Values of standard deviation `sd` with autocorrelation `rho` from hour to hour."""

    def draw(rng: Rng, streams: int, hours: int) -> FloatArray:
        steps = rng.normal(size=(streams, hours)) * sd * np.sqrt(1.0 - rho**2)
        steps[:, 0] = rng.normal(size=streams) * sd
        return np.asarray(lfilter([1.0], [1.0, -rho], steps, axis=1), np.float64)

    return draw


def constant(_: Rng, streams: int, hours: int) -> FloatArray:
    return np.zeros((streams, hours))


def daily(level: Draw) -> Draw:
    return lambda rng, streams, hours: 0.5 * np.sin(2 * np.pi * np.arange(hours) / DAY) + level(rng, streams, hours)


def campaigns(rng: Rng, streams: int, hours: int) -> FloatArray:
    """A shift by 0.6 in either direction for half a day to two days, every ten days or so."""
    begins = rng.random((streams, hours)) < 1 / (10 * DAY)
    values = np.zeros((streams, hours))
    for stream, hour in np.argwhere(begins):
        values[stream, hour : hour + int(rng.integers(12, 2 * DAY))] = rng.choice([-0.6, 0.6])
    return values


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of traffic of one numeric field."""

    name: str
    level: Draw = constant
    spread: Draw = constant
    """Logarithm of the standard deviation around the level."""
    copies: int = 1
    """Events of one user, which have the same value."""

    def edges(self) -> FloatArray:
        rng = np.random.default_rng(1)
        level, spread = self.level(rng, 40, 300 * DAY), self.spread(rng, 40, 300 * DAY)
        return np.quantile(level + np.exp(spread) * rng.normal(size=level.shape), np.arange(1, BINS) / BINS)

    def hours(self, rng: Rng, streams: int, hours: int, shift: float, edges: FloatArray) -> IntArray:
        counts = np.empty((streams, hours, BINS), np.int64)
        for stream in range(streams):
            shares = self.shares(rng, 1, hours, shift, edges)[0]
            counts[stream] = self.copies * rng.multinomial(EVENTS // self.copies, shares)
        return counts

    def shares(self, rng: Rng, streams: int, hours: int, shift: float, edges: FloatArray) -> FloatArray:
        level, spread = (draw(rng, streams, hours)[..., None] for draw in (self.level, self.spread))
        below = norm.cdf((edges - level - shift) / np.exp(spread))
        return np.diff(below, axis=-1, prepend=0.0, append=1.0)

    def true_psi(self, shift: float, edges: FloatArray) -> float:
        p, q = (self.shares(np.random.default_rng(2), 40, 400 * DAY, by, edges).mean((0, 1)) for by in (0.0, shift))
        return float(((q - p) * np.log(q / p)).sum())


WEEKS: tuple[tuple[int, PhiChoice], ...] = ((8, "estimate"), (8, "upper"), (26, "estimate"), (26, "upper"))
"""Number of training weeks, and the φ of their verdicts."""

WINDOWS = {length: Window(3600 * length, 3600 * length) for length in (1, DAY, 7 * DAY)}

KINDS = (
    Kind("independent"),
    Kind("users with four equal events", copies=4),
    Kind("level, ρ .8, sd .4", autoregressive(0.8, 0.4)),
    Kind("level, ρ .9, sd .45", autoregressive(0.9, 0.45)),
    Kind("slow level, ρ .97, sd .5", autoregressive(0.97, 0.5)),
    Kind("daily cycle, level ρ .85, sd .25", daily(autoregressive(0.85, 0.25))),
    Kind("spread, ρ .9, sd .25", spread=autoregressive(0.9, 0.25)),
    Kind("campaigns", campaigns),
)


def learned(windows: dict[str, IntArray]) -> PsiBins:
    """Return the bins of a baseline with one field per stream, learned from counts by window, (streams, W, cells)."""
    whole = next(iter(windows.values())).sum(axis=1)
    edges = range(whole.shape[1] - 1)
    fields = [
        baselines.numeric(f"x{i}", *map(float, edges), counts=SliceCounts(cells=(*row, 0)))
        for i, row in enumerate(whole.tolist())
    ]
    layout = Layout(baselines.baseline(*fields))
    lengths = [TrainingLength(name, [on_layout(layout, counts)]) for name, counts in windows.items()]
    return PsiBins(Layout(baselines.baseline(*learn_variation(PsiBins(layout), None, lengths))))


def on_layout(layout: Layout, counts: IntArray) -> IntArray:
    result = np.zeros((counts.shape[1], 1, layout.width), np.int64)
    for i in range(len(counts)):
        first = layout.starts[i]
        result[:, 0, first : first + counts.shape[2]] = counts[i]
    return result


def judged(bins: PsiBins, counts: IntArray, window: str, choice: PhiChoice = "estimate") -> PsiVerdicts:
    return psi_verdicts(
        bins.base_bins,
        bins.window_bins(on_layout(bins.layout, counts)),
        bins.starts,
        phi=phi_of_verdicts(bins, window, choice),
        nu=bins.nu(window),
    )


def summed(hours: IntArray, length: int) -> IntArray:
    result: IntArray = hours.reshape(len(hours), -1, length, BINS).sum(axis=2)
    return result


def days(kind: Kind, shift: float, streams: int) -> tuple[PsiVerdicts, float]:
    """Judge 15 later days of each stream by what 60 days of training tell; return also the true PSI."""
    rng = np.random.default_rng([3, KINDS.index(kind)])
    edges = kind.edges()
    bins = learned({"1d": summed(kind.hours(rng, streams, 60 * DAY, 0.0, edges), DAY)})
    later = summed(kind.hours(rng, streams, 15 * DAY, shift, edges), DAY)
    return judged(bins, later, "1d"), kind.true_psi(shift, edges)


def covered(verdicts: PsiVerdicts, true: float) -> NDArray[np.bool_]:
    return (verdicts.low <= true) & (true <= verdicts.high)


def weeks(kind: Kind, training: int, choice: PhiChoice, streams: int) -> tuple[NDArray[np.bool_], FloatArray]:
    """Return which of 8 later weeks of each stream are `major`, and their stated false rates, (8, streams)."""
    rng = np.random.default_rng([4, KINDS.index(kind)])
    edges, week = kind.edges(), 7 * DAY
    hours = kind.hours(rng, streams, training * week, 0.0, edges)
    bins = learned({"1d": summed(hours, DAY), "7d": summed(hours, week)})
    verdicts = judged(bins, summed(kind.hours(rng, streams, 8 * week, 0.0, edges), week), "7d", choice)
    stated = false_major_share(verdicts, bins, "7d", phi_of_verdicts(bins, "7d", choice), THRESHOLDS)
    return verdicts.level == Level.major, stated


def p_of_windows(kind: Kind, length: int, shift: float, streams: int) -> tuple[FloatArray, FloatArray]:
    """Return p of the mean ranks and of PSI, of 8 weeks after 8 weeks of training, (W, streams)."""
    rng = np.random.default_rng([6, KINDS.index(kind)])
    edges, weeks = kind.edges(), 8 * 7 * DAY
    hours = kind.hours(rng, streams, weeks, 0.0, edges)
    bins = learned({window.name: summed(hours, of) for of, window in WINDOWS.items()})
    later = summed(kind.hours(rng, streams, weeks, shift, edges), length)
    ranks, name = mean_ranks(bins, bins.window_bins(on_layout(bins.layout, later))), WINDOWS[length].name
    of_psi = p_values(judged(bins, later, name), bins, name, phi_of_verdicts(bins, name, "estimate"))
    return mean_rank_p(bins, ranks, WINDOWS[length], tuple(WINDOWS.values())), of_psi


def varying(mean: float, rho: float, sd: float) -> Draw:
    """A rate whose logarithm is autoregressive."""
    logarithm = autoregressive(rho, sd)
    return lambda rng, streams, hours: mean * np.exp(logarithm(rng, streams, hours) - sd * sd / 2.0)


def outages(mean: float, hourly: float, hours_between: int) -> Draw:
    """A rate that is higher in one hour of `hours_between`, at random."""
    return lambda rng, streams, hours: np.where(rng.random((streams, hours)) < 1 / hours_between, hourly, mean)


RATES: dict[str, Draw] = {
    "2%, independent": varying(0.02, 0.0, 0.0),
    "3%, ln ρ .95, sd .5": varying(0.03, 0.95, 0.5),
    "3.5%, ln ρ .9, sd .45": varying(0.035, 0.9, 0.45),
    "2%, ln ρ .98, sd .6": varying(0.02, 0.98, 0.6),
    "bursts: 25% in an hour of every 72": outages(0.01, 0.25, 72),
}
THRESHOLD = 0.05


def false_pages(name: str, length: int, streams: int) -> IntArray:
    """Count how often the null rule begins to fire in 30 days of each stream, after 60 days of training, (streams,)."""
    rng = np.random.default_rng([5, list(RATES).index(name)])
    rates = np.clip(RATES[name](rng, streams, 90 * DAY), 0.0, 1.0)
    nulls = rng.binomial(EVENTS, rates).reshape(streams, -1, length).sum(axis=2)
    split = 60 * DAY // length
    counts = np.stack([EVENTS * length - nulls, nulls], axis=-1)
    # One bin of values; the second cell is `null`.
    training = counts[:, :split]
    fields = [
        baselines.numeric(f"x{i}", counts=SliceCounts(cells=tuple(row)))
        for i, row in enumerate(training.sum(axis=1).tolist())
    ]
    layout = Layout(baselines.baseline(*fields))
    lengths = [TrainingLength("1h", [on_layout(layout, training)])]
    cells = RateCells(Layout(baselines.baseline(*learn_variation(PsiBins(layout), None, lengths))))
    cells = cells.select(cells.kind_index == 0)
    usual = cells.training_delta("1h")
    verdicts = rate_verdicts(
        nulls[:, split:].T, EVENTS * length, cells.base_k, cells.base_n, phi=cells.phi("1h"), training_delta=usual
    )
    fires = (verdicts.low > np.maximum(THRESHOLD, usual)) & (verdicts.p_value < RATE_P)
    begins = fires.copy()
    begins[1:] &= ~fires[:-1]
    count: IntArray = begins.sum(axis=0)
    return count


def percent(each: NDArray[np.bool_]) -> str:
    by_stream = each.mean(axis=0)
    return f"{100 * by_stream.mean():.1f} ± {100 * by_stream.std() / np.sqrt(len(by_stream)):.1f}"


def rows(streams: int = 400) -> Iterator[str]:
    yield "| traffic | false `major` | covered | covered, shift .5 | `major` | covered, shift 1 | `major` |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for kind in KINDS:
        (quiet, _), *drifts = (days(kind, shift, streams) for shift in (0.0, 0.5, 1.0))
        cells = [percent(quiet.level == Level.major), percent(covered(quiet, 0.0))]
        for verdicts, true in drifts:
            cells += [percent(covered(verdicts, true)), percent(verdicts.level == Level.major)]
        yield f"| {kind.name} | " + " | ".join(cells) + " |"
    yield ""
    yield "| traffic | 8 weeks | stated | 8 weeks, `phi: upper` | 26 weeks | 26 weeks, `phi: upper` |"
    yield "|---|--:|--:|--:|--:|--:|"
    for kind in KINDS:
        (few, stated), *others = (weeks(kind, training, choice, streams) for training, choice in WEEKS)
        cells = [percent(few), f"{100 * stated.mean():.1f}", *(percent(each) for each, _ in others)]
        yield f"| {kind.name} | " + " | ".join(cells) + " |"
    yield ""
    yield "| null rate | windows of 1h | windows of 1d |"
    yield "|---|--:|--:|"
    for name in RATES:
        pages = [false_pages(name, length, streams) for length in (1, DAY)]
        texts = [f"{each.mean():.2f} ± {each.std() / np.sqrt(len(each)):.2f}" for each in pages]
        yield f"| {name} | " + " | ".join(texts) + " |"
    yield ""
    yield "| traffic | 1h | 1d | 7d | 7d, p < .001 | 7d, shift .5, p < .001 | the same, p of PSI |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for kind in KINDS:
        *shorter, week = (p_of_windows(kind, length, 0.0, streams // 4)[0] for length in WINDOWS)
        shifted = p_of_windows(kind, 7 * DAY, 0.5, streams // 4)
        shares = [*(each < 0.05 for each in (*shorter, week)), *(each < UNLIKE_P for each in (week, *shifted))]
        yield f"| {kind.name} | " + " | ".join(map(percent, shares)) + " |"


if __name__ == "__main__":
    for row in rows():
        print(row, flush=True)
