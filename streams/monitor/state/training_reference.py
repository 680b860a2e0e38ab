"""What training held of the numeric fields, made ready for windows to be described against."""

from __future__ import annotations

from dataclasses import dataclass

from barograph.contract import Contract

from sketches.baseline.baseline import ALL, FieldBaseline
from sketches.baseline.columns import FieldColumn
from sketches.drift.distances import QuantileTable
from sketches.drift.moments import kurtosis
from sketches.sketch.numeric import as_sketched, numeric_sketch_type


@dataclass(frozen=True, slots=True)
class TrainingReference:
    """What training held of one numeric field, made ready to be compared with."""

    field_index: int
    table: QuantileTable | None
    """None where the baseline keeps no quantiles."""
    m: int
    mean: float
    std: float
    kurtosis: float


def trained_of(contract: Contract, fields: tuple[FieldBaseline, ...]) -> list[TrainingReference]:
    """Make the numeric fields of a baseline ready."""
    kinds = {field.name: field.sketch for field in contract.fields}
    found = []
    for i, field in enumerate(fields):
        if field.kind != "numeric":
            continue
        m = sum(field.slices[ALL].cells[: FieldColumn.NULL])
        table, kappa = None, float("nan")
        if field.quantiles and m:
            sketch_type = numeric_sketch_type(field.integer, kinds.get(field.name, "kll"))
            table = QuantileTable(as_sketched(sketch_type, field.quantiles), m)
            kappa = float(kurtosis(table.steps[None])[0])
        found.append(TrainingReference(i, table, m, field.mean, field.std, kappa))
    return found
