"""New bins for numeric fields whose rows have moved into few of the old bins, from the sketches of accepted panes."""

from collections.abc import Mapping

import msgspec
import numpy as np

from barograph_server.sketches.baseline.baseline import ALL, FieldBaseline, Phi, SliceCounts
from barograph_server.sketches.comparison.rebin import rebin, split_counts
from barograph_server.sketches.sketch.numeric import NumericSketch
from barograph_server.sketches.sketch.quantiles import DECILES, freeze_edges

LARGEST_SHARE = 2 / DECILES
"""Share of a field's valid rows up to which a bin is fine: twice that of a decile."""
UNKNOWN = 1.0
"""Noise of a slice without a sketch: its rows count as one, so that its windows are `insufficient`."""
_SEPARATED_SHARE = 0.1
"""New edges divide a bin if at least this share of its rows is outside its largest piece. A bin of one value stays."""
_RANKS = 10_001
"""Number of quantiles from which edges are chosen: more than the values that a sketch retains."""


def find_new_edges(field: FieldBaseline, sketch: NumericSketch) -> tuple[float, ...] | None:
    """Choose edges as `infer` does, from the values that a sketch retains; None if the old edges are fine.

    Old edges are fine unless a bin has more than `LARGEST_SHARE` of the valid rows and new edges divide it. They also
    stay if the sketch lacks some of the values.

    Args:
        field: the field on its old bins, with the counts of the slice `all`.
    """
    bins = np.array(field.slices[ALL].cells[:-1])
    heavy = np.flatnonzero(bins > LARGEST_SHARE * bins.sum())
    if sketch.n != bins.sum() or not heavy.size:
        return None
    edges = freeze_edges(sketch.quantiles(np.linspace(0.0, 1.0, _RANKS)), field.integer)
    for index in heavy.tolist():
        rows = np.where(np.arange(len(bins)) == index, bins, 0)
        if split_counts(sketch, field.edges, rows, edges).max() <= (1 - _SEPARATED_SHARE) * bins[index]:
            return edges
    return None


def move_to_new_bins(
    field: FieldBaseline,
    previous: FieldBaseline,
    edges: tuple[float, ...],
    sketches: Mapping[str, NumericSketch],
    hours_of_week: Mapping[str, NumericSketch],
) -> FieldBaseline:
    """Return a field on new bins, with shares from sketches.

    φ is the larger one of the accepted windows on the old bins and of the previous baseline. The first can be far too
    small, because windows that are almost entirely in one bin seem alike.

    Args:
        field: the field on its old bins, with exact counts and φ of the accepted windows.
        sketches: sketch of the valid values by slice, `all` among them; one that lacks values is not used.
        hours_of_week: sketch of the valid values of the slice `all` by hour of the week.
    """
    whole = sketches[ALL]

    def move(cells: tuple[int, ...], sketch: NumericSketch | None) -> tuple[int, ...]:
        return (*split_counts(sketch or whole, field.edges, cells[:-1], edges).tolist(), cells[-1])

    hours = {name: move(cells, hours_of_week.get(name)) for name, cells in field.hours_of_week.items()}
    slices: dict[str, SliceCounts] = {}
    for name, counts in field.slices.items():
        valid, sketch = sum(counts.cells[:-1]), sketches.get(name)
        if sketch is not None and sketch.n != valid:
            sketch = None
        cells = move(counts.cells, sketch)
        if hours and name == ALL:
            # Together the hours of the week must not have more rows than the whole.
            cells = tuple(np.sum(list(hours.values()), axis=0).tolist())
        slices[name] = msgspec.structs.replace(
            counts,
            cells=cells,
            noise=0.0 if not valid else UNKNOWN if sketch is None else rebin(sketch, edges).frozen_noise,
            phi={window: _rough(phi, _phi(previous, name, window)) for window, phi in counts.phi.items()},
        )
    return msgspec.structs.replace(field, edges=edges, slices=slices, hours_of_week=hours)


def _phi(field: FieldBaseline, slice_name: str, window: str) -> Phi:
    return field.slices[slice_name].phi.get(window, Phi())


def _rough(phi: Phi, previous: Phi) -> Phi:
    if previous.value > phi.value:
        return msgspec.structs.replace(phi, value=previous.value, nu=previous.nu, flag="rough")
    return msgspec.structs.replace(phi, flag="rough") if phi.flag == "ok" else phi


def lacks_phi(previous: FieldBaseline) -> bool:
    """Whether the previous baseline has no φ for the slice `all`, so that φ on new bins can be too small."""
    return all(phi.flag == "unknown" for phi in previous.slices[ALL].phi.values())
