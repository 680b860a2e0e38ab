"""Samples of one scrape → rows of `serving_facts`.

A fact has three states: a value, zero, or not observed, which is the absence of its row.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from barograph_server.streams.scrape.exposition import (
    Exposition,
    ExpositionSample,
    ScrapeError,
    ScrapeOutcome,
    ServerMetric,
    ServerTable,
)
from barograph_server.warehouse.operations.serving_facts import ServingFact

MAX_FACT_LABELS = 20
"""Values of a label `by` that have rows of their own in one scrape; further ones are added to `other`."""
MAX_LABEL_CHARS = 60
OTHER = "other"
UP, RESTARTS = "up", "restarts"
"""Facts of every target: whether the scrape succeeded, and that the server started again since the scrape before."""
_PARTS = ("_bucket", "_sum", "_count")
_COUNT_LIMIT = 2**64
"""`serving_facts` stores the counts of buckets as UInt64."""


@dataclass(slots=True)
class ScrapedFacts:
    """The rows of one scrape, and what it could not use."""

    servers: tuple[str, ...]
    """Kinds of servers whose metrics are in the text."""
    rows: list[ServingFact] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    """Reason → values that count as not observed."""
    unknown: set[str] = field(default_factory=set)
    """Metrics of these servers that the table does not list."""
    resets: int = 0
    """Counters that were reset."""


class FactReader:
    """Reads the facts of one target, and follows its counters."""

    def __init__(self, table: ServerTable, model: str, instance: str, labels: Mapping[str, str] | None = None) -> None:
        """Prepare the reader of the series with these labels."""
        self._table, self._model, self._instance = table, model, instance
        self._labels = labels or {}
        self._history = CounterHistory()
        self._last_ms: int | None = None
        self._listed = {
            name: {part for metric in server.metrics for part in (*metric.names, *metric.denominators)}
            for name, server in table.servers.items()
        }

    def read(self, exposition: Exposition, at_ms: int) -> ScrapedFacts:
        """Return the rows of a scrape.

        Raises:
            ScrapeError: the text has no metric of a known server, or none of its series has the labels.
        """
        facts = ScrapedFacts(tuple(self._servers(exposition)))
        if not facts.servers:
            raise ScrapeError(
                ScrapeOutcome.UNKNOWN_SERVER,
                f"None of its {len(exposition.names)} metrics is of a known inference server "
                f"({', '.join(self._table.servers)}). Check the address; SGLang needs --enable-metrics, llama.cpp "
                "--metrics.",
            )
        if not self._has_labels(exposition, facts.servers):
            labels = ", ".join(f"{name}={value}" for name, value in self._labels.items())
            raise ScrapeError(
                ScrapeOutcome.UNKNOWN_SERVER,
                f"No series has the label {labels}; check `labels` of this target in scrape.targets.",
            )
        self._history.begin()
        interval_s = 0.0 if self._last_ms is None else max(0.0, (at_ms - self._last_ms) / 1000)
        done: set[str] = set()
        for server in facts.servers:
            for metric in self._table.servers[server].metrics:
                if metric.fact not in done and _is_present(metric, exposition):
                    done.add(metric.fact)
                    facts.rows += self._rows(server, metric, exposition, facts.rejected, at_ms, interval_s)
            facts.unknown |= self._unlisted(server, exposition)
        facts.rows.append(self.target_fact(UP, 1.0, at_ms, facts.servers[0]))
        facts.resets = len(self._history.reset_series)
        if facts.resets:
            facts.rows.append(self.target_fact(RESTARTS, 1.0, at_ms, facts.servers[0]))
        for reason, n in (("duplicate", exposition.duplicates), ("too-many-series", self._history.untracked)):
            if n:
                facts.rejected[reason] += n
        self._history.commit()
        self._last_ms = at_ms
        return facts

    def target_fact(self, name: str, value: float, at_ms: int, server: str = "") -> ServingFact:
        """Return a row about the target itself."""
        return ServingFact(self._model, self._instance, name, "", at_ms, server, "gauge", "", value)

    def _servers(self, exposition: Exposition) -> Iterator[str]:
        for server, names in self._listed.items():
            if any(name in exposition.samples or f"{name}_count" in exposition.samples for name in names):
                yield server

    def _has_labels(self, exposition: Exposition, servers: Iterable[str]) -> bool:
        """Return whether a series of a listed metric has the labels of the target."""
        if not self._labels:
            return True
        names = {f"{name}{part}" for server in servers for name in self._listed[server] for part in ("", *_PARTS)}
        return any(
            self._labels.items() <= sample.labels.items()
            for name in names
            for sample in exposition.samples.get(name, ())
        )

    def _unlisted(self, server: str, exposition: Exposition) -> set[str]:
        prefix, listed = self._table.servers[server].prefix, self._listed[server]
        unlisted = set()
        for name in exposition.names:
            if name.startswith(prefix) and not name.endswith("_created"):
                base = next((name.removesuffix(part) for part in _PARTS if name.endswith(part)), name)
                if not {base, f"{base}_total", f"{base}_sum"} & listed:
                    unlisted.add(name)
        return unlisted

    def _rows(
        self,
        server: str,
        metric: ServerMetric,
        exposition: Exposition,
        rejected: Counter[str],
        at_ms: int,
        interval_s: float,
    ) -> Iterator[ServingFact]:
        definition = self._table.facts[metric.fact]

        def row(value: float, label: str = "", **more: float) -> ServingFact:
            head = (self._model, self._instance, metric.fact, label, at_ms, server, metric.kind, definition.unit)
            return ServingFact(*head, value, **more)  # type: ignore[arg-type]

        match metric.kind:
            case "gauge":
                values = [sample.value for sample in self._samples(metric, metric.names, exposition, rejected)]
                if values:
                    yield row(metric.scale * (max(values) if definition.combine == "max" else sum(values)))
            case "counter":
                for label, added in self._added(metric, metric.names, exposition, rejected).items():
                    yield row(added * metric.scale, label, interval_s=interval_s)
            case "ratio":
                part = self._added(metric, metric.names, exposition, rejected).get("")
                n = self._added(metric, metric.denominators, exposition, rejected).get("")
                if part is None or not n:
                    return
                if definition.unit == "share" and part > n:
                    rejected["inconsistent"] += 1
                    return
                total = part * metric.scale
                yield row(total / n, n=n, total=total, interval_s=interval_s)
            case "histogram":
                yield from self._histogram(metric, exposition, rejected, row, interval_s)

    def _histogram(
        self,
        metric: ServerMetric,
        exposition: Exposition,
        rejected: Counter[str],
        row: Callable[..., ServingFact],
        interval_s: float,
    ) -> Iterator[ServingFact]:
        """Yield the row of a histogram; without observations in the interval there is none."""
        (name,) = metric.names
        series: defaultdict[frozenset[tuple[str, str]], list[tuple[str, ExpositionSample]]] = defaultdict(list)
        for part in _PARTS:
            for sample in self._samples(metric, (name + part,), exposition, rejected):
                labels = frozenset((label, value) for label, value in sample.labels.items() if label != "le")
                series[labels].append((name + part, sample))
        sums: defaultdict[str, float] = defaultdict(float)
        cumulative: defaultdict[float, float] = defaultdict(float)
        for parts in series.values():
            added = self._history.added_together([(part, sample.labels, sample.value) for part, sample in parts])
            for (part, sample), difference in zip(parts, added or [], strict=False):
                end = _bucket_end(sample)
                if part != f"{name}_bucket":
                    sums[part] += difference
                elif end is None:
                    rejected["wrong-type"] += 1
                else:
                    cumulative[end] += difference
        n, total = sums[f"{name}_count"], sums[f"{name}_sum"] * metric.scale
        if not n or f"{name}_sum" not in exposition.samples:
            return
        if not all(map(math.isfinite, (n, total, total / n))):
            # Differences are finite, but their sum over series, or its product with the scale, need not be.
            rejected["inconsistent"] += 1
            return
        ends = sorted(cumulative)
        counts = [upper - lower for lower, upper in pairwise([0.0, *(cumulative[end] for end in ends)])]
        is_countable = all(0 <= count < _COUNT_LIMIT for count in counts)
        if ends and (not is_countable or ends[-1] != math.inf or sum(counts) != n):
            # Series that disagree about their buckets, a text that was written while it was counted, or absurd counts.
            rejected["inconsistent"] += 1
            ends, counts = [], []
        scaled = tuple(end * metric.scale for end in ends)
        limits: dict[str, float] = {}
        for share in QUANTILES:
            low, high = quantile_bucket(scaled, counts, share)
            limits |= {f"p{round(100 * share)}_low": low, f"p{round(100 * share)}_high": high}
        yield row(
            total / n,
            n=n,
            total=total,
            interval_s=interval_s,
            bucket_ends=scaled,
            bucket_counts=tuple(map(round, counts)),
            **limits,
        )

    def _added(
        self, metric: ServerMetric, names: Iterable[str], exposition: Exposition, rejected: Counter[str]
    ) -> dict[str, float]:
        """Return what was added to counters since the scrape before, by the values of the label `by`."""
        added: dict[str, float] = {}
        for name in names:
            for sample in self._samples(metric, (name,), exposition, rejected):
                difference = self._history.added(name, sample.labels, sample.value)
                if difference is None:
                    continue
                label = sample.labels.get(metric.by, "") if metric.by else ""
                if label not in added and (len(added) >= MAX_FACT_LABELS or len(label) > MAX_LABEL_CHARS):
                    label = OTHER
                added[label] = added.get(label, 0.0) + difference
        return added

    def _samples(
        self, metric: ServerMetric, names: Iterable[str], exposition: Exposition, rejected: Counter[str]
    ) -> Iterator[ExpositionSample]:
        selected = {**self._labels, **metric.labels}
        for name in names:
            for sample in exposition.samples.get(name, ()):
                if any(sample.labels.get(label) != value for label, value in selected.items()):
                    continue
                if math.isfinite(sample.value) and sample.value >= 0:
                    yield sample
                    continue
                rejected["negative" if math.isfinite(sample.value) else "not-finite"] += 1
                if metric.kind != "gauge":
                    self._history.added(name, sample.labels, math.nan)


def _is_present(metric: ServerMetric, exposition: Exposition) -> bool:
    suffix = "_count" if metric.kind == "histogram" else ""
    return all(f"{name}{suffix}" in exposition.samples for name in (*metric.names, *metric.denominators))


def _bucket_end(sample: ExpositionSample) -> float | None:
    try:
        end = float(sample.labels["le"])
    except (KeyError, ValueError):
        return None
    return None if math.isnan(end) else end


QUANTILES = (0.5, 0.95, 0.99)


def quantile_bucket(ends: Sequence[float], counts: Sequence[float], share: float) -> tuple[float, float]:
    """Return the limits of the bucket that holds a quantile: where in it the quantile lies is unknown.

    Args:
        ends: upper limits of the buckets, ascending.
        counts: observations in each bucket, not cumulative.
        share: the share of observations at or below the quantile, in (0, 1].

    Returns:
        The lower limit, 0 for the first bucket, because durations and counts are not negative; and the upper limit,
        infinite for the last bucket. NaN without observations.
    """
    total = sum(counts)
    if total <= 0:
        return math.nan, math.nan
    rank, below, low = share * total, 0.0, 0.0
    for end, n in zip(ends, counts, strict=True):
        below += n
        # Sums of shares are inexact: 0.95 * 20 must not fall behind 19.
        if n > 0 and below >= rank - 1e-9 * total:
            return min(low, end), end
        low = end
    return math.nan, math.nan


# A counter that is smaller than before was reset: the server started again, so that its whole value was added since.
# The same holds for a series that was not there at the scrape before. The first scrape of a target adds nothing,
# because nobody knows over which time its counters grew; nor does the first value of a series after one that could not
# be read.
MAX_SERIES = 10_000
"""Most series of one target that are followed. vLLM has some 1,000 for one model."""
SeriesKey = tuple[str, tuple[tuple[str, str], ...]]
"""Metric and labels."""


class CounterHistory:
    """The last values of the cumulative series of one target."""

    def __init__(self) -> None:
        """Start before the first scrape."""
        self._values: dict[SeriesKey, float] = {}
        self._is_first = True
        self.reset_series: set[SeriesKey] = set()
        """Series that were reset since `begin`."""
        self.untracked = 0
        """Series beyond the limit since `begin`, whose differences are not known."""
        self._next: dict[SeriesKey, float] = {}

    def begin(self) -> None:
        """Begin a scrape; what an earlier one recorded without `commit` is dropped."""
        self.reset_series = set()
        self.untracked = 0
        self._next = {}

    def added(self, name: str, labels: Mapping[str, str], value: float) -> float | None:
        """Return by how much a series grew since the scrape before; None if that is not known.

        Args:
            value: its value now, finite and not negative; NaN if it could not be read.
        """
        together = self.added_together([(name, labels, value)])
        return None if together is None else together[0]

    def added_together(self, series: Sequence[tuple[str, Mapping[str, str], float]]) -> list[float] | None:
        """Return by how much each of several series grew that are reset together, such as those of a histogram.

        Args:
            series: metric, labels and value of each; see `added`.
        """
        keys = [(name, tuple(sorted(labels.items()))) for name, labels, _ in series]
        values = [value for _, _, value in series]
        new = sum(key not in self._values and key not in self._next for key in keys)
        if new and len(self._next) + new > MAX_SERIES:
            self.untracked += len(keys)
            return None
        self._next.update(zip(keys, values, strict=True))
        if self._is_first:
            return None
        before = [self._values.get(key, 0.0) for key in keys]
        if any(map(math.isnan, (*before, *values))):
            return None
        if any(value < old for value, old in zip(values, before, strict=True)):
            self.reset_series.add(keys[0])
            return values
        return [value - old for value, old in zip(values, before, strict=True)]

    def commit(self) -> None:
        """End a scrape: the next one is compared with its values."""
        # A series that is missing now keeps its value, unless the server started again.
        retained = {} if self.reset_series else self._values
        merged = {**retained, **self._next}
        if len(merged) > 2 * MAX_SERIES:
            merged = self._next
        self._values, self._is_first = merged, False
