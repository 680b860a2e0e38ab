"""Numeric fields as training saw them, prepared for comparison with windows."""

from __future__ import annotations

from dataclasses import dataclass

from barograph.contract import Contract

from barograph_server.sketches.baseline.baseline import ALL, FieldBaseline
from barograph_server.sketches.baseline.columns import FieldColumn
from barograph_server.sketches.drift.distances import QuantileTable
from barograph_server.sketches.drift.moments import kurtosis
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
    for i, field in enumerate(fields):
        if field.kind != "numeric":
            continue
        m = sum(field.slices[ALL].cells[: FieldColumn.NULL])
        table, kappa = None, float("nan")
        if field.quantiles and m:
            sketch_type = numeric_sketch_type(field.integer, types.get(field.name, "kll"))
            table = QuantileTable(as_sketched(sketch_type, field.quantiles), m, field.quantile_error)
            kappa = float(kurtosis(table.steps[None])[0])
        references.append(TrainingReference(i, table, m, field.mean, field.std, kappa))
    return references
