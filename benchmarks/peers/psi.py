"""Compare Evidently's PSI with an independent implementation of its definition, and with ours for the same minutes.

Evidently divides both samples into bins of equal width (as many as Sturges' rule gives) and replaces empty shares by
0.0001. This project uses bins from the training data with a tenth of it in each, and smooths small counts. Both sum
(q − p) ln(q / p), but over different bins: without drift they differ only by the sampling noise in their bins.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.drift.psi import psi_values
from benchmarks.measured_process import JsonObject
from benchmarks.peers.barograph_result import Panes
from benchmarks.peers.topic_contents import TopicContents

Arrays = dict[str, NDArray[Any]]

TOLERANCE = 1e-9
FEW = 20
"""Numbers with at most this many distinct values in the reference are counted by value."""
EMPTY = 1e-4


@dataclass
class PsiComparison:
    """Outcome of a comparison of PSI."""

    compared: int = 0
    """Number of PSI values."""
    greatest: float = 0.0
    """The largest PSI that Evidently reported."""
    apart: float = 0.0
    """The largest difference between Evidently's PSI and ours."""
    wrong: list[str] = field(default_factory=list)
    """Descriptions of errors; empty if the result is right."""

    def note(self) -> str:
        """Summarize the outcome."""
        if self.wrong:
            return f"**WRONG: {'; '.join(self.wrong[:3])}**"
        return (
            f"{self.compared} PSI as their definition gives them, up to {self.greatest:.3f}; "
            f"ours on other bins differ by up to {self.apart:.3f}"
        )


def defined_psi(reference: NDArray[Any], current: NDArray[Any]) -> float:
    """The PSI of two samples, each (n,), as Evidently defines it."""
    if reference.dtype.kind != "U" and len(np.unique(reference)) > FEW:
        edges = np.histogram_bin_edges(np.concatenate((reference, current)), bins="sturges")
        counts = [np.histogram(sample, edges)[0] for sample in (reference, current)]
    else:
        values = np.unique(np.concatenate((reference, current)))
        counts = [(sample[:, None] == values).sum(axis=0) for sample in (reference, current)]
    p, q = (_filled(count / count.sum()) for count in counts)
    return float(((p - q) * np.log(p / q)).sum())


def _filled(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    least = shares[shares > 0].min()
    return np.where(shares == 0, EMPTY if least > EMPTY else least / 1e6, shares)


def our_psi(panes: Panes) -> dict[int, dict[str, float]]:
    """The PSI of every pane and field as the monitor computes it, by the start of the pane (Unix ms)."""
    bins = PsiBins(panes.layout)
    starts = sorted(panes.counts)
    counts = np.stack([panes.counts[start] for start in starts])[:, None, :]
    psi = psi_values(bins.base_bins, bins.window_bins(counts), bins.starts)[0]
    names = [panes.layout.fields[i].name for i in bins.field_index]
    return {start: dict(zip(names, row.tolist(), strict=True)) for start, row in zip(starts, psi, strict=True)}


def compare_psi(
    answer: JsonObject, training: Arrays, contents: TopicContents, ours: dict[int, dict[str, float]]
) -> PsiComparison:
    """Compare each PSI of Evidently with its definition and with ours."""
    result = PsiComparison()
    exact = contents.minutes()
    for minute, psi_by_field in answer["psi"].items():
        start = int(minute)
        if answer["minutes"][minute] != exact.get(start):
            result.wrong.append(f"a minute has {answer['minutes'][minute]} events, not {exact.get(start)}")
            continue
        columns = contents.within([start])
        for name in (*contents.numbers, *contents.texts):
            psi = psi_by_field.get(name, float("nan"))
            defined = defined_psi(training[name], columns[name])
            if not abs(psi - defined) <= TOLERANCE:
                result.wrong.append(f"PSI of {name} is {psi:.6f}, by its definition {defined:.6f}")
            result.compared += 1
            result.greatest = max(result.greatest, psi)
            result.apart = max(result.apart, abs(psi - ours[start][name]))
    return result
