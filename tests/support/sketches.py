"""Sketches of values, as the sketcher and the monitor make them."""

from typing import Any

import numpy as np
from barograph.contract import SketchKind
from numpy.typing import NDArray

from barograph_server.sketches.sketch.numeric import NumericSketch, numeric_sketch


def sketch_of(
    values: NDArray[np.floating[Any]], kind: SketchKind = "kll", *, integer: bool = False, parts: int = 1
) -> NumericSketch:
    """Sketch values in parts, which are then merged."""
    whole = numeric_sketch(integer, kind)
    if parts == 1:
        whole.update(values)
        return whole
    for values_of_part in np.array_split(values, parts):
        part = numeric_sketch(integer, kind)
        part.update(values_of_part)
        whole.merge(part)
    return whole
