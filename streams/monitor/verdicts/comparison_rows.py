"""Columns of `comparisons` from the differences of one pair in its windows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from barograph_server.sketches.baseline.layout import IntArray
from barograph_server.sketches.baseline.levels import LEVEL_NAMES, REASON_NAMES, InsufficientReason, Level
from barograph_server.sketches.comparison.differences import Differences
from barograph_server.streams.monitor.state.commit_rows import Columns
from barograph_server.streams.monitor.verdicts.sides import SideKind
from barograph_server.streams.monitor.verdicts.window_counts import WindowSet
from barograph_server.warehouse.tables import constant_column

FloatArray = NDArray[np.float64]
NO_THRESHOLDS = (np.nan, np.nan)
_LEVELS = pa.array([*LEVEL_NAMES, ""])
_NO_LEVEL = len(LEVEL_NAMES)
_REASONS = pa.array(REASON_NAMES)


@dataclass(frozen=True, slots=True)
class SampleSizes:
    """Number of events that a measure covers on each side, and their overdispersion; arrays of shape (W,)."""

    n_left: IntArray
    n_right: IntArray
    phi_left: FloatArray
    phi_right: FloatArray


@dataclass(frozen=True, slots=True)
class Measure:
    field: str
    name: str
    source: str
    """`counts`, `moments` or `sketches`."""
    category: str = ""
    thresholds: tuple[float, float] = NO_THRESHOLDS


@dataclass(frozen=True, slots=True)
class PairWindows:
    """One pair and its windows."""

    kind: SideKind
    left: str
    right: str
    windows: WindowSet
    completeness: FloatArray
    """Shape (W,)."""


def comparison_columns(
    pair: PairWindows,
    measure: Measure,
    differences: Differences,
    sizes: SampleSizes,
    known: NDArray[np.bool_],
    *,
    level: NDArray[np.int8] | None = None,
    reason: NDArray[np.int8] | None = None,
    top_bin: Sequence[str] | None = None,
) -> Columns:
    """Return a row for each window in which the measure is known.

    Args:
        differences: arrays of shape (W,).
        sizes: arrays of shape (W,).
        known: in which windows the measure is known, shape (W,).
        level: shape (W,); None for a measure without thresholds.
        reason: why levels are insufficient, shape (W,); None for a measure without thresholds.
        top_bin: shape (W,); None for all measures but psi.
    """
    at = np.flatnonzero(known)
    n = len(at)
    codes = np.full(n, _NO_LEVEL, dtype=np.int32)
    reasons = np.zeros(n, dtype=np.int32)
    if level is not None and reason is not None:
        gaps = pair.windows.gaps[at]
        whole = gaps == InsufficientReason.none
        codes = np.where(whole, level[at], Level.insufficient).astype(np.int32)
        reasons = np.where(whole, reason[at], gaps).astype(np.int32)
    texts = {
        "model": pair.windows.contract.model,
        "kind": pair.kind,
        "left": pair.left,
        "right": pair.right,
        "field": measure.field,
        "measure": measure.name,
        "category": measure.category,
        "source": measure.source,
    }
    return {
        **{name: constant_column(text, n) for name, text in texts.items()},
        **pair.windows.columns(at),
        "n_left": sizes.n_left[at],
        "n_right": sizes.n_right[at],
        "left_value": differences.left[at],
        "right_value": differences.right[at],
        "difference": differences.difference[at],
        "difference_low": differences.low[at],
        "difference_high": differences.high[at],
        "p_value": differences.p_value[at],
        "df": differences.df[at],
        "phi_left": sizes.phi_left[at],
        "phi_right": sizes.phi_right[at],
        "level": _LEVELS.take(pa.array(codes)),
        "reason": _REASONS.take(pa.array(reasons)),
        "threshold_minor": np.full(n, measure.thresholds[0]),
        "threshold_major": np.full(n, measure.thresholds[1]),
        "top_bin": pa.array([top_bin[i] for i in at.tolist()] if top_bin else [""] * n, pa.string()),
        "completeness": pair.completeness[at],
    }
