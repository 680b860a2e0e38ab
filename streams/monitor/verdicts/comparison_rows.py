"""Differences of one pair in its windows → columns of `comparisons`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from barograph.contract import Window
from numpy.typing import NDArray

from sketches.baseline.layout import IntArray
from sketches.baseline.levels import LEVEL_NAMES, Level
from sketches.comparison.differences import Differences
from streams.monitor.verdicts.sides import Kind
from warehouse.dictionary_columns import constant_column

FloatArray = NDArray[np.float64]
Columns = dict[str, Any]
NO_LINES = (np.nan, np.nan)
_LEVELS = pa.array([*LEVEL_NAMES, ""])
_NO_LEVEL = len(LEVEL_NAMES)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many events a measure is of on each side, and their overdispersion; arrays of shape (W,)."""

    n_left: IntArray
    n_right: IntArray
    phi_left: FloatArray
    phi_right: FloatArray


@dataclass(frozen=True, slots=True)
class Measure:
    """What is measured."""

    field: str
    name: str
    source: str
    """`counts`, `moments` or `sketches`."""
    category: str = ""
    lines: tuple[float, float] = NO_LINES


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of one pair, and what all of its rows say alike."""

    model: str
    kind: Kind
    left: str
    right: str
    window: Window
    ends_s: IntArray
    """Shape (W,)."""
    completeness: FloatArray
    """Shape (W,)."""
    whole: NDArray[np.bool_]
    """Shape (W,): where not, levels are `insufficient`."""
    judged_ms: int
    record_seq: int


def comparison_columns(
    windows: Windows,
    measure: Measure,
    found: Differences,
    sizes: Sizes,
    known: NDArray[np.bool_],
    *,
    level: NDArray[np.int8] | None = None,
    top_bin: Sequence[str] | None = None,
) -> Columns:
    """Make a row for each window in which the measure is known.

    Args:
        windows: W of them.
        measure: what is measured.
        found: arrays of shape (W,).
        sizes: likewise.
        known: shape (W,).
        level: shape (W,); None for a measure without lines.
        top_bin: shape (W,); None for all measures but psi.
    """
    at = np.flatnonzero(known)
    n = len(at)
    if level is None:
        codes = np.full(n, _NO_LEVEL, dtype=np.int32)
    else:
        codes = np.where(windows.whole[at], level[at], Level.insufficient).astype(np.int32)
    end = windows.ends_s[at]
    columns: Columns = {
        "model": constant_column(windows.model, n),
        "kind": constant_column(windows.kind, n),
        "left": constant_column(windows.left, n),
        "right": constant_column(windows.right, n),
        "field": constant_column(measure.field, n),
        "measure": constant_column(measure.name, n),
        "category": constant_column(measure.category, n),
        "window": constant_column(windows.window.name, n),
        "window_start": end - windows.window.length_s,
        "window_end": end,
        "n_left": sizes.n_left[at],
        "n_right": sizes.n_right[at],
        "left_value": found.left[at],
        "right_value": found.right[at],
        "difference": found.difference[at],
        "difference_low": found.low[at],
        "difference_high": found.high[at],
        "p_value": found.p_value[at],
        "df": found.df[at],
        "phi_left": sizes.phi_left[at],
        "phi_right": sizes.phi_right[at],
        "level": _LEVELS.take(pa.array(codes)),
        "threshold_minor": np.full(n, measure.lines[0]),
        "threshold_major": np.full(n, measure.lines[1]),
        "top_bin": pa.array([top_bin[i] for i in at.tolist()] if top_bin else [""] * n, pa.string()),
        "source": constant_column(measure.source, n),
        "completeness": windows.completeness[at],
        "judged_at": np.full(n, windows.judged_ms, dtype=np.int64),
        "record_seq": np.full(n, windows.record_seq, dtype=np.uint64),
    }
    return columns
