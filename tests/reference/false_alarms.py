"""False-alarm rates of each kind of verdict when nothing has changed, by simulation with fixed seeds.

`python -m tests.reference.false_alarms` prints the table of docs/statistics.md; `tests/property/test_false_alarms.py`
compares it with the nominal rates. Counts are multinomial, sketches are filled value by value.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise

import numpy as np
from barograph.contract import SketchKind
from numpy.typing import NDArray
from scipy.special import expit, ndtr, ndtri
from scipy.stats import poisson

from barograph_server.profiling.baseline.new_bins import find_new_edges, move_to_new_bins
from barograph_server.profiling.infer.columns import TextColumn
from barograph_server.profiling.infer.summarise import summarise_texts
from barograph_server.sketches.baseline.baseline import ALL, HOUR_NAMES, QUANTILE_RANKS, FieldBaseline, SliceCounts
from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.baseline.layout import IntArray, Layout
from barograph_server.sketches.baseline.levels import Level
from barograph_server.sketches.comparison.differences import mean_differences, quantile_differences, rate_differences
from barograph_server.sketches.comparison.rebin import rebin
from barograph_server.sketches.comparison.sample_ratio import MINOR_ALPHA, anytime_p
from barograph_server.sketches.comparison.two_sample import psi_differences
from barograph_server.sketches.drift.distances import STEP_ERROR, STEP_RANKS, QuantileTable, ks_statistics, ks_threshold
from barograph_server.sketches.drift.psi import psi_verdicts
from barograph_server.sketches.drift.rate_cells import RateCells
from barograph_server.sketches.drift.rates import RATE_KIND_NAMES, rate_verdicts
from barograph_server.sketches.drift.season import Season
from barograph_server.sketches.performance.binary import binary_metrics
from barograph_server.sketches.performance.bins import score_edges
from barograph_server.sketches.performance.metric import MetricEstimate, difference
from barograph_server.sketches.performance.number import number_metrics
from barograph_server.sketches.performance.selective import selective
from barograph_server.sketches.sketch.numeric import NumericSketch, as_sketched, numeric_sketch, numeric_sketch_type
from barograph_server.sketches.sketch.quantiles import exact_quantiles
from barograph_server.streams.scorer.verdicts import change_levels
from tests.support import baselines
from tests.support.sketches import sketch_of

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Rng = np.random.Generator
SIZES = (50, 500, 5_000, 10**6)
TRAINED = 10**5
DRAWS = 20_000
SKETCHES = 200
KINDS_OF_SKETCHES: tuple[SketchKind, ...] = ("kll", "req")
CHECKS = 336


@dataclass(frozen=True, slots=True)
class Alarms:
    """Alarms by draw; None if a kind of verdict has no such alarm."""

    doubt: BoolArray | None
    """Whether p is less than 0.05, or a 95 % interval or test finds a difference."""
    level: BoolArray | None


@dataclass(frozen=True, slots=True)
class Kind:
    name: str
    draw: Callable[[Rng, int], Alarms]
    level: float
    """Nominal rate of levels `minor` and `major`, for every n."""
    doubt: float = 0.05


def alarmed(level: NDArray[np.int8] | NDArray[np.int64]) -> BoolArray:
    return np.isin(level, (Level.minor, Level.major)).ravel()


def at_most(rate: float, draws: int) -> float:
    """Return a nominal rate plus four standard errors for a number of draws."""
    return rate + 4.0 * float(np.sqrt(rate * (1.0 - rate) / draws))


TEN = np.array([*[0.099] * 10, 0.01])
"""Shares of deciles, and one per cent null."""
ZIPF = 1.0 / np.arange(1, 1_001)
ZIPF_BINS = np.array([*(ZIPF / ZIPF.sum())[:26], (ZIPF / ZIPF.sum())[26:].sum(), 0.0])
"""Shares of categories of at least 0.5 %, `other`, and a `null` that never occurs."""
TAIL = np.asarray(poisson.pmf(np.arange(13), 3.0) / poisson.cdf(12, 3.0), np.float64)
"""Shares of integers, one bin each; the last ones are rare."""


def psi(shares: FloatArray, rng: Rng, n: int) -> Alarms:
    base, window = rng.multinomial(TRAINED, shares, size=DRAWS), rng.multinomial(n, shares, size=DRAWS)
    result = psi_verdicts(base.ravel(), window.reshape(1, -1), np.arange(DRAWS) * len(shares))
    return Alarms(result.p_value.ravel() < 0.05, alarmed(result.level))


WEEK = 24 * 7
NIGHT = 2 * 24 + 3
"""Index of the hour of the week: Wednesday, three o'clock."""
SEASONAL_FIELDS = 500


@cache
def trained_by_the_hour() -> tuple[PsiBins, Season, FloatArray]:
    """Fields with a season and 5,000 to 20,000 rows per hour of the week, and the shares of bins in hour `NIGHT`."""
    hour = np.arange(WEEK) % 24
    shares = np.exp(np.outer(0.5 * np.cos(2 * np.pi * (hour - 14) / 24), np.linspace(-1, 1, 10)))
    shares /= shares.sum(axis=1, keepdims=True)
    shares = np.concatenate([0.99 * shares, np.full((WEEK, 1), 0.01)], axis=1)
    rng = np.random.default_rng(20_260)
    fields = []
    for i in range(SEASONAL_FIELDS):
        hours_of_week = rng.multinomial(np.where(hour < 6, 5_000, 20_000), shares)
        by_hour = {name: tuple(row) for name, row in zip(HOUR_NAMES, hours_of_week.tolist(), strict=True)}
        counts = SliceCounts(cells=tuple(hours_of_week.sum(axis=0).tolist()))
        fields.append(baselines.numeric(f"x{i}", *map(float, range(9)), counts=counts, hours_of_week=by_hour))
    bins = PsiBins(Layout(baselines.baseline(*fields, timezone="UTC")))
    return bins, Season(bins), shares[NIGHT]


def psi_by_the_hour(rng: Rng, n: int) -> Alarms:
    bins, season, shares = trained_by_the_hour()
    size = DRAWS // SEASONAL_FIELDS, SEASONAL_FIELDS
    windows = rng.multinomial(n, shares, size=size).reshape(size[0], -1)
    events = np.add.reduceat(windows, bins.starts, axis=1)[:, None, season.groups]
    result = psi_verdicts(bins.base_bins, windows, bins.starts, expected=season.expectation([NIGHT], events))
    return Alarms(result.p_value.ravel() < 0.05, alarmed(result.level))


def rate(share: float, rng: Rng, n: int) -> Alarms:
    """Rates of all kinds but `unseen`: the share is the same in training."""
    return rated(rng.binomial(n, share, DRAWS), n, rng.binomial(TRAINED, share, DRAWS))


def rated(k: IntArray, n: int, base_k: IntArray | int) -> Alarms:
    result = rate_verdicts(k, n, base_k, TRAINED)
    return Alarms(result.p_value < 0.05, alarmed(result.level))


def beyond_training(rng: Rng, n: int) -> Alarms:
    """`below` and `above` without a range in the contract: the limits are the extremes of training, whose rate is 0."""
    beyond = 1.0 - rng.random(DRAWS) ** (1.0 / TRAINED)
    return rated(rng.binomial(n, beyond), n, 0)


def errors(rng: Rng, n: int) -> Alarms:
    """One request in a thousand fails. Training has no failures, so only the level is meaningful."""
    return Alarms(None, rated(rng.binomial(n, 0.001, DRAWS), n, 0).level)


CATEGORY_FIELDS = 200


@cache
def category_baselines(values: int, exponent: float) -> tuple[RateCells, FloatArray]:
    """200 fields with values by Zipf's law, and the true share of values that each baseline does not keep."""
    rng = np.random.default_rng([values, int(10 * exponent)])
    shares = 1.0 / np.arange(1, values + 1) ** exponent
    shares /= shares.sum()
    names = np.array([f"{i * 7_919 % 104_729}-{i}" for i in range(values)])
    fields, unseen = [], []
    for i in range(CATEGORY_FIELDS):
        counts = rng.multinomial(TRAINED, shares)
        known = np.flatnonzero(counts)
        codes = np.repeat(np.arange(len(known), dtype=np.int32), counts[known])
        field = summarise_texts(f"c{i}", TextColumn(codes, tuple(names[known].tolist()), counts[known]), []).baseline
        kept_indices = np.array([int(name.partition("-")[2]) for name in field.categories])
        fields.append(field)
        unseen.append(max(0.0, 1.0 - shares[kept_indices].sum()))
    return RateCells(Layout(baselines.baseline(*fields))), np.array(unseen)


def unseen(values: int, exponent: float, rng: Rng, n: int) -> Alarms:
    """Values have the same distribution as in training; those that the baseline does not keep are unseen."""
    cells, share = category_baselines(values, exponent)
    chosen = cells.kind_index == RATE_KIND_NAMES.index("unseen")
    k = rng.binomial(n, share, (DRAWS // CATEGORY_FIELDS, CATEGORY_FIELDS))
    result = rate_verdicts(k, n, cells.base_k[chosen], cells.base_n[chosen], base_phi=cells.base_phi[chosen])
    return Alarms(result.p_value.ravel() < 0.05, alarmed(result.level))


Values = Callable[[Rng, int], NDArray[np.float32]]


def normal(rng: Rng, n: int) -> NDArray[np.float32]:
    return rng.standard_normal(n, np.float32)


def tailed(rng: Rng, n: int) -> NDArray[np.float32]:
    return np.exp(normal(rng, n))


def tied(rng: Rng, n: int) -> NDArray[np.float32]:
    return np.maximum(np.round(2.0 * normal(rng, n)), np.float32(0.0))


@cache
def sketches(values: Values, kind: SketchKind, n: int) -> list[NumericSketch]:
    """Sketches of `SKETCHES` windows, cached: at a million values they take most of the time."""
    rng = np.random.default_rng([SIZES.index(n), KINDS_OF_SKETCHES.index(kind)])
    return [sketch_of(values(rng, n), kind, parts=4) for _ in range(SKETCHES)]


def ks(values: Values, kind: SketchKind, rng: Rng, n: int) -> Alarms:
    quantiles = exact_quantiles(np.sort(values(rng, TRAINED)).astype(float), np.linspace(0, 1, QUANTILE_RANKS))
    table = QuantileTable(as_sketched(numeric_sketch_type(False, kind), quantiles), TRAINED)
    windows = sketches(values, kind, n)
    steps = np.concatenate([sketch.quantiles(STEP_RANKS)[None] for sketch in windows])
    error = table.error + STEP_ERROR + np.array([sketch.rank_error for sketch in windows])
    return Alarms(ks_statistics(table, steps) > ks_threshold(n, TRAINED, error), None)


ACCEPTED = 100
ACCEPTED_PANES, ACCEPTED_PER_PANE = 480, 1_000
ACCEPTED_WINDOWS = 20


@cache
def accepted_on_new_bins(values: Values, kind: SketchKind) -> list[FieldBaseline]:
    """Accepted baselines whose bins and shares come from the merged sketches of many panes."""
    rng = np.random.default_rng([2_013, KINDS_OF_SKETCHES.index(kind)])
    before = baselines.numeric("x", counts=SliceCounts(cells=(ACCEPTED_PANES * ACCEPTED_PER_PANE, 0)))
    fields = []
    for _ in range(ACCEPTED):
        merged = numeric_sketch(False, kind)
        for _ in range(ACCEPTED_PANES):
            pane = numeric_sketch(False, kind)
            pane.update(values(rng, ACCEPTED_PER_PANE))
            merged.merge(pane)
        edges = find_new_edges(before, merged)
        assert edges is not None
        fields.append(move_to_new_bins(before, before, edges, {ALL: merged}, {}))
    return fields


def psi_on_new_bins(
    values: Values,
    cdf: Callable[[FloatArray], FloatArray],
    kind: SketchKind,
    rng: Rng,
    n: int,
    *,
    sketch_error: bool = True,
) -> Alarms:
    """PSI of windows against `accepted_on_new_bins`, which have the same distribution.

    Without `sketch_error` the shares of the baseline are judged as if they were counted.
    """
    accepted = accepted_on_new_bins(values, kind)
    windows = [
        rng.multinomial(n, np.diff(cdf(np.array(field.edges)), prepend=0.0, append=1.0), size=ACCEPTED_WINDOWS)
        for field in accepted
    ]
    base = [field.slices[ALL].cells[:-1] for field in accepted]
    result = psi_verdicts(
        np.concatenate(base),
        np.concatenate(windows, axis=1),
        np.cumsum([0, *map(len, base[:-1])]),
        noise=[field.slices[ALL].noise * sketch_error for field in accepted],
    )
    return Alarms(result.p_value.ravel() < 0.05, alarmed(result.level))


def cdf_of_tailed(values: FloatArray) -> FloatArray:
    return np.asarray(ndtr(np.log(values)), np.float64)


def psi_of_two(shares: FloatArray, times: int, rng: Rng, n: int) -> Alarms:
    left, right = (rng.multinomial(size, shares, size=DRAWS) for size in (n, times * n))
    result = psi_differences(left.reshape(1, -1), right.reshape(1, -1), np.arange(DRAWS) * len(shares))
    return Alarms(result.p_value.ravel() < 0.05, alarmed(result.level))


def psi_of_a_sketch(rng: Rng, n: int) -> Alarms:
    """PSI of two samples, the left one computed from its sketch on the bins of the right one."""
    edges = np.quantile(normal(rng, TRAINED), np.arange(1, 10) / 10)
    left = [rebin(sketch, edges) for sketch in sketches(normal, "kll", n)]
    right = rng.multinomial(n, np.full(10, 0.1), size=SKETCHES)
    result = psi_differences(
        np.stack([each.counts for each in left]), right, [0], noise=np.array([[each.noise] for each in left])
    )
    return Alarms(result.p_value.ravel() < 0.05, alarmed(result.level))


def rates_of_two(share: float, rng: Rng, n: int) -> Alarms:
    result = rate_differences(rng.binomial(n, share, DRAWS), n, rng.binomial(n, share, DRAWS), n)
    return Alarms(result.p_value < 0.05, alarmed(result.level))


def means_of_two(rng: Rng, n: int) -> Alarms:
    """Difference of means. Means and variances of normal values are drawn from their own distributions."""
    mean = rng.standard_normal((2, DRAWS)) / np.sqrt(n)
    variance = rng.chisquare(n - 1, (2, DRAWS)) / (n - 1)
    result = mean_differences(n, mean[0], variance[0], n, mean[1], variance[1])
    return Alarms(result.p_value < 0.05, None)


def quantiles_of_two(rank: float, values: Values, kind: SketchKind, _: Rng, n: int) -> Alarms:
    windows = sketches(values, kind, n)
    result = [quantile_differences(*pair, [rank]) for pair in pairwise([*windows, windows[0]])]
    return Alarms(np.array([bool(each.low.item() > 0.0 or each.high.item() < 0.0) for each in result]), None)


def ratio(rng: Rng, n: int) -> Alarms:
    checks = min(CHECKS, n)
    left = rng.binomial(n // checks, 0.5, size=(2_000, checks)).cumsum(axis=1)
    units = np.stack([left, n // checks * np.arange(1, checks + 1) - left], axis=-1)
    least = anytime_p(units, [0.5, 0.5]).min(axis=1)
    return Alarms(least <= 0.05, least <= MINOR_ALPHA)


EDGES = score_edges(0.5)
WINDOWS = 2_000


@cache
def scored() -> tuple[FloatArray, FloatArray]:
    """Calibrated scores, 30 % positive: the score of each bin, and its shares of negatives and positives."""
    odds = np.random.default_rng(1).normal(-1.0, 1.5, 10**6)
    share = np.bincount(np.searchsorted(EDGES, expit(odds), side="right"), minlength=len(EDGES) + 1) / odds.size
    bounds = np.concatenate(([0.0], EDGES, [1.0]))
    score = (bounds[:-1] + bounds[1:]) / 2
    return score, np.stack([share * (1.0 - score), share * score])


def measured(rng: Rng, n: int) -> dict[str, MetricEstimate]:
    score, shares = scored()
    counts = rng.multinomial(n, shares.ravel(), size=WINDOWS).reshape(WINDOWS, 2, -1)
    totals, positive = counts.sum(axis=1), counts[:, 1]
    up = score >= 0.5
    wrong, right = counts[:, 0], counts[:, 1]
    confusion = np.stack(
        [right[:, up].sum(axis=1), wrong[:, up].sum(axis=1), right[:, ~up].sum(axis=1), wrong[:, ~up].sum(axis=1)], -1
    )

    def sums(if_negative: FloatArray, if_positive: FloatArray) -> FloatArray:
        each = [(wrong * if_negative**power + right * if_positive**power).sum(axis=1) for power in (0, 1, 2)]
        return np.stack(each, axis=-1).astype(np.float64)

    return binary_metrics(
        np.stack([totals, totals * score, positive], axis=-1),
        confusion,
        EDGES,
        log_loss_sums=sums(-np.log1p(-score), -np.log(score)),
        brier_sums=sums(score**2, (1.0 - score) ** 2),
    )


def errors_of_numbers(rng: Rng, n: int) -> dict[str, MetricEstimate]:
    """Normal errors with 500 distinct values, so that windows of any size are drawn as counts."""
    error = np.asarray(ndtri((np.arange(500) + 0.5) / 500), np.float64)
    counts = rng.multinomial(n, np.full(500, 1 / 500), size=WINDOWS).astype(np.float64)
    powers = [np.ones_like(error), error, np.abs(error), error**2, error**4]
    return number_metrics(np.stack([counts @ power for power in powers], axis=-1))


def performance(metric: str, measure: Callable[[Rng, int], dict[str, MetricEstimate]], rng: Rng, n: int) -> Alarms:
    """Compare n labelled predictions with a reference of ten times as many, with the thresholds of rates."""
    window, reference = measure(rng, n)[metric], measure(rng, 10 * n)[metric]
    moved = difference(window, reference)
    level = change_levels(metric, moved, reference, minor=0.01, major=0.05)
    return Alarms((moved.low > 0.0) | (moved.high < 0.0), alarmed(np.where(window.enough, level, -1)))


def selection(rng: Rng, n: int) -> Alarms:
    """Three of ten predictions are labelled, whatever the score; `level` is whether labels are called selective."""
    score, shares = scored()
    predictions = rng.multinomial(n, shares.sum(axis=0), size=WINDOWS)
    labels = rng.binomial(predictions, 0.3)
    positive = rng.binomial(labels, score)
    result = selective(
        np.stack([labels, labels * score, positive], axis=-1),
        np.stack([predictions, predictions * score], axis=-1),
        EDGES,
    )
    return Alarms(result.p_value < 0.05, result.selective)


KINDS = (
    Kind("PSI of numbers: ten bins, null", partial(psi, TEN), 0.0005),
    Kind("PSI of categories: Zipf's law", partial(psi, ZIPF_BINS), 0.0005),
    Kind("PSI of integers with a rare tail", partial(psi, TAIL), 0.0005, doubt=0.08),
    Kind("PSI against the hour of the week", psi_by_the_hour, 0.0005, doubt=0.06),
    Kind("rate of 0.1 %", partial(rate, 0.001), 0.001),
    Kind("rate of 2 %", partial(rate, 0.02), 0.05),
    Kind("rate of 30 %", partial(rate, 0.3), 0.05),
    Kind("below, above: the limits are the extremes of training", beyond_training, 0.0005),
    Kind("unseen: 10,000 values by Zipf's law, the baseline keeps 1,000", partial(unseen, 10**4, 1.0), 0.05),
    Kind("unseen: 900 values, the baseline keeps all that occurred", partial(unseen, 900, 1.5), 0.05),
    Kind("errors: 0.1 %, none in training", errors, 0.001),
    Kind("KS of normal values, KLL", partial(ks, normal, "kll"), 0.0),
    Kind("KS of long-tailed values, REQ", partial(ks, tailed, "req"), 0.0),
    Kind("KS of integers, KLL", partial(ks, tied, "kll"), 0.0),
    Kind("two samples, PSI", partial(psi_of_two, TEN, 1), 0.002),
    Kind("two samples, PSI, the right one ten times as large", partial(psi_of_two, TAIL, 10), 0.002, doubt=0.0525),
    Kind("two samples, PSI, the left one read from a sketch", psi_of_a_sketch, 0.002),
    Kind("two samples, rate of 2 %", partial(rates_of_two, 0.02), 0.05),
    Kind("two samples, rate of 30 %", partial(rates_of_two, 0.3), 0.05),
    Kind("two samples, mean", means_of_two, 0.0),
    Kind("two samples, median, KLL", partial(quantiles_of_two, 0.5, normal, "kll"), 0.0),
    Kind("two samples, p99, REQ", partial(quantiles_of_two, 0.99, tailed, "req"), 0.0),
    Kind("ratio of arms, 336 checks", ratio, MINOR_ALPHA),
    Kind("accuracy against the reference", partial(performance, "accuracy", measured), 0.05),
    Kind("auc against the reference", partial(performance, "auc", measured), 0.05),
    Kind("brier against the reference", partial(performance, "brier", measured), 0.05),
    Kind("log_loss against the reference", partial(performance, "log_loss", measured), 0.05),
    Kind("mae against the reference", partial(performance, "mae", errors_of_numbers), 0.05),
    Kind("rmse against the reference", partial(performance, "rmse", errors_of_numbers), 0.05, doubt=0.07),
    Kind("bias against the reference", partial(performance, "bias", errors_of_numbers), 0.05),
    Kind("selective labels", selection, 0.001),
    Kind("PSI against new bins of an accepted baseline, KLL", partial(psi_on_new_bins, normal, ndtr, "kll"), 0.0005),
    Kind(
        "PSI against new bins of an accepted baseline, REQ",
        partial(psi_on_new_bins, tailed, cdf_of_tailed, "req"),
        0.0005,
    ),
)


def simulate(kind: Kind, n: int) -> Alarms:
    return kind.draw(np.random.default_rng([KINDS.index(kind), n]), n)


def rows() -> Iterator[str]:
    yield "| kind | " + " | ".join(f"n = {n:,}" for n in SIZES) + " |"
    yield "|---|" + "--:|" * len(SIZES)
    for kind in KINDS:
        result = [simulate(kind, n) for n in SIZES]
        yield f"| {kind.name} | " + " | ".join(f"{_share(each.doubt)} / {_share(each.level)}" for each in result) + " |"


def _share(alarms: BoolArray | None) -> str:
    return "–" if alarms is None else f"{100 * alarms.mean():.2g}"


if __name__ == "__main__":
    for row in rows():
        print(row, flush=True)
