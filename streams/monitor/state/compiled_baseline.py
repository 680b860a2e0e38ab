"""A baseline compiled into the arrays that judging reads."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from barograph.contract import Contract
from numpy.typing import NDArray

from barograph_server.sketches.baseline.baseline import ALL, FieldBaseline
from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.baseline.columns import FieldColumn
from barograph_server.sketches.baseline.layout import Layout
from barograph_server.sketches.drift.distances import QuantileTable
from barograph_server.sketches.drift.moments import kurtosis
from barograph_server.sketches.drift.rate_cells import RateCells
from barograph_server.sketches.drift.season import Season
from barograph_server.sketches.sketch.numeric import as_sketched, numeric_sketch_type


@dataclass(frozen=True, slots=True)
class TrainingReference:
    """Quantiles and moments of one numeric field in training."""

    field_index: int
    table: QuantileTable | None
    """None if the baseline has no quantiles of the field."""
    m: int
    """Number of training values."""
    mean: float
    std: float
    kurtosis: float


def training_references(contract: Contract, fields: tuple[FieldBaseline, ...]) -> list[TrainingReference]:
    """Prepare the numeric fields of a baseline.

    Args:
        contract: requests a sketch type per field, which rounds values as the sketches of windows do.
    """
    types = {field.name: field.sketch for field in contract.fields}
    references = []
    for i, each in enumerate(fields):
        if each.kind != "numeric":
            continue
        m = sum(each.slices[ALL].cells[: FieldColumn.NULL])
        table, kappa = None, float("nan")
        if each.quantiles and m:
            sketch_type = numeric_sketch_type(each.integer, types.get(each.name, "kll"))
            table = QuantileTable(as_sketched(sketch_type, each.quantiles), m, each.quantile_error)
            kappa = float(kurtosis(table.steps[None])[0])
        references.append(TrainingReference(i, table, m, each.mean, each.std, kappa))
    return references


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
