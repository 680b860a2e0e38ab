"""A baseline compiled into the arrays that judging reads."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.baseline.layout import Layout
from barograph_server.sketches.drift.rate_cells import RateCells
from barograph_server.sketches.drift.season import Season
from barograph_server.streams.monitor.state.training_reference import TrainingReference


@dataclass
class CompiledBaseline:
    """A baseline compiled for judging; all series on the baseline share it."""

    layout: Layout
    bins: PsiBins
    rates: RateCells
    row_cells: NDArray[np.bool_]
    """Shape (width,): which columns are cells of fields, in the order of the fields."""
    season: Season | None
    """Expected shares by hour of the week; None if the baseline has no time zone."""
    labels: tuple[NDArray[np.int32], pa.Array]
    """Labels of the bins: codes of shape (n_bins,), and the strings that they index, the last of which is empty."""
    training_references: dict[tuple[tuple[str, str], ...], list[TrainingReference]] = field(default_factory=dict)
    """Numeric fields as training saw them, by the names and sketch types of the contract's fields."""

    @classmethod
    def of(cls, layout: Layout) -> CompiledBaseline:
        cells = np.zeros(layout.width, dtype=bool)
        for start, n in zip(layout.starts.tolist(), layout.n_cells.tolist(), strict=True):
            cells[start : start + n] = True
        bins = PsiBins(layout)
        season = Season(bins) if layout.baseline.timezone else None
        codes, labels = bins.coded_labels
        return cls(layout, bins, RateCells(layout), cells, season, (codes, pa.array([*labels, ""], pa.string())))
