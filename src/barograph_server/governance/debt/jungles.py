"""Features with unclear origin: sources that share a field or have no owner, producers that differ, duplicates."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from barograph_server.governance.debt.scope import DebtScope, Outcome
from barograph_server.sketches.baseline.levels import Level
from barograph_server.sketches.comparison.two_sample import psi_differences

SAMPLE_DAYS = 7
"""Days before the clock whose raw events are sampled."""
SAMPLE_ROWS = 2_000
"""Events that are sampled by a hash of their id, of each producer if they are compared."""
MOST_PRODUCERS = 20
"""Producers with the most events that are compared."""
LEAST_ROWS = 100
"""Fewest events for a comparison."""
RANK_CORRELATION = 0.999
"""Least rank correlation of two features that are computed twice; ties of rounded values reduce it."""
CORRELATION = 0.999999
"""Absolute correlation from which two numbers are one feature."""

Values = NDArray[Any]
"""Numbers with NaN, or texts with an empty text, where an event has no value."""


def declared_sources(scope: DebtScope) -> Iterator[Outcome]:
    """Examine each source of the contract for an owner, and each of their fields for a second source."""
    sources = scope.contract.declared_sources
    for name, source in sources.items():
        reason = f"it computes {', '.join(source.fields)}"
        yield None if source.owner else scope.finding("source without owner", name, None, reason)
    for field in dict.fromkeys(field for source in sources.values() for field in source.fields):
        names = [name for name, source in sources.items() if field in source.fields]
        owners = ", ".join(sorted({sources[name].owner for name in names} - {""}))
        finding = scope.finding("field with several sources", field, None, f"{', '.join(names)} compute it")
        yield None if len(names) == 1 else replace(finding, owner=owners or finding.owner)


def differing_producers(scope: DebtScope) -> Iterator[Outcome]:
    """Examine each producer: whether a feature differs from that of all other producers."""
    producers, features = _sample(scope, by_producer=True)
    names, counts = np.unique(producers, return_counts=True)
    if len(names) < 2:
        yield f"Producers of {scope.contract.model}: raw events name fewer than two."
        return
    limits = scope.contract.thresholds
    codes = {field: _codes(values) for field, values in features.items()}
    for producer, n in zip(names.tolist(), counts.tolist(), strict=True):
        shown = []
        for field, own in codes.items():
            sides = [np.bincount(own[(producers == producer) == side], minlength=12)[None] for side in (False, True)]
            psi = psi_differences(sides[0], sides[1], [0], thresholds=(limits.minor, limits.major))
            if psi.level[0, 0] == Level.major:
                shown.append(f"{field} (PSI {psi.psi[0, 0]:.2f}, {psi.low[0, 0]:.2f} to {psi.high[0, 0]:.2f})")
        if n < LEAST_ROWS:
            yield f"Producer {producer} of {scope.contract.model}: {n} raw events are too few."
        else:
            yield scope.finding("producer that differs", producer, None, ", ".join(shown)) if shown else None


def duplicate_features(scope: DebtScope) -> Iterator[Outcome]:
    """Examine each pair of features of one type: whether one follows from the other in all events."""
    producers, features = _sample(scope, by_producer=False)
    if len(producers) < LEAST_ROWS:
        yield f"Features of {scope.contract.model} that are computed twice: {len(producers)} raw events are too few."
        return
    for (left, x), (right, y) in itertools.combinations(features.items(), 2):
        if x.dtype.kind == y.dtype.kind:
            relation = number_relation(x, y) if x.dtype.kind == "f" else text_relation(x, y)
            finding = scope.finding("feature computed twice", f"{left}, {right}", None, relation)
            yield finding if relation else None


def number_relation(left: Values, right: Values) -> str:
    """Describe how one array of numbers follows from the other; empty if it does not, or if one is constant."""
    both = np.isfinite(left) & np.isfinite(right)
    x, y = left[both], right[both]
    if len(x) < LEAST_ROWS or np.ptp(x) == 0.0 or np.ptp(y) == 0.0:
        return ""
    correlation = float(np.corrcoef(x, y)[0, 1])
    if np.array_equal(x, y):
        return f"equal in {len(x):,} sampled events"
    if abs(correlation) < CORRELATION:
        return ""
    # A few extreme values that both share, such as -9999 for a missing one, do not correlate the ranks of the others.
    from scipy.stats import spearmanr

    ranks = float(spearmanr(x, y).statistic)
    return f"correlation {correlation:+.7f} in {len(x):,} sampled events" if abs(ranks) >= RANK_CORRELATION else ""


def text_relation(left: Values, right: Values) -> str:
    """Describe how categories map one to one; empty if they do not, or if they are almost as many as the events."""
    both = (left != "") & (right != "")
    pairs = set(zip(left[both].tolist(), right[both].tolist(), strict=True))
    n, sizes = int(both.sum()), {len(pairs), len({x for x, _ in pairs}), len({y for _, y in pairs})}
    if n < LEAST_ROWS or len(sizes) > 1 or not 2 <= len(pairs) <= n / 10:
        return ""
    return f"{len(pairs)} values map one to one in {n:,} sampled events"


def _sample(scope: DebtScope, *, by_producer: bool) -> tuple[NDArray[np.str_], dict[str, Values]]:
    """Return the producers of sampled raw events, shape (n,), and the values of each feature."""
    events = scope.rows.sampled_events(scope.start(SAMPLE_DAYS), SAMPLE_ROWS, MOST_PRODUCERS * by_producer)
    features: dict[str, Values] = {}
    for field in scope.contract.fields:
        section, _, key = field.source.partition(".")
        if section == "features" and field.type == "category":
            features[field.name] = np.array([each.strings.get(key, "") for each in events], np.str_)
        elif section == "features":
            features[field.name] = np.array([each.numbers.get(key) for each in events], np.float64)
    return np.array([each.producer for each in events], np.str_), features


def _codes(values: Values) -> NDArray[np.int64]:
    """Return the decile of each number, or the rank of each of the ten most frequent texts; below 12."""
    if values.dtype.kind == "f":
        known = np.isfinite(values)
        edges = np.unique(np.quantile(values[known], np.arange(1, 10) / 10)) if known.any() else np.empty(0)
        return np.where(known, np.searchsorted(edges, values, side="right"), 11)
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.minimum(np.argsort(np.argsort(-counts, kind="stable"))[codes], 10)
