"""Small baselines from counts that a test states; without counts, training had no rows."""

from collections.abc import Callable, Sequence
from typing import Any

from barograph_server.sketches.baseline.baseline import ALL, Baseline, FieldBaseline, SliceCounts, SliceValues


def numeric(name: str, *edges: float, counts: SliceCounts | None = None, **members: Any) -> FieldBaseline:
    slices = {ALL: counts or SliceCounts(cells=(0,) * (len(edges) + 2))}
    return FieldBaseline(name=name, kind="numeric", edges=edges, slices=slices, **members)


def category(name: str, *categories: str, counts: SliceCounts | None = None) -> FieldBaseline:
    slices = {ALL: counts or SliceCounts(cells=(0,) * (len(categories) + 2))}
    return FieldBaseline(name=name, kind="category", categories=categories, slices=slices)


def baseline(*fields: FieldBaseline, **members: Any) -> Baseline:
    counts = fields[0].slices[ALL] if fields else SliceCounts(cells=(0,))
    rows = sum(counts.cells) + counts.invalid
    return Baseline(model="m", version="1", rows=rows, slice_rows={ALL: rows}, fields=fields, **members)


def shaped(
    shape: Sequence[int], values: Sequence[int], counts: Callable[[int, str], SliceCounts | None], rows: int
) -> Baseline:
    """Return numeric fields (number of bins) and category fields (negative: categories), and dimensions with values.

    `counts` returns those of a field with this number of cells in a slice, or None if it is untrained there.
    """
    dimensions = tuple(
        SliceValues(name=f"d{i}", source=f"c.d{i}", values=tuple(f"v{j}" for j in range(n)), trained=i % 2 == 0)
        for i, n in enumerate(values)
    )
    names = [ALL, *(f"{d.name}={v}" for d in dimensions for v in (*d.values, "other"))]
    fields = []
    for i, n in enumerate(shape):
        slices = {name: each for name in names if (each := counts(n + 1 if n > 0 else 2 - n, name)) is not None}
        common: dict[str, Any] = {"name": f"f{i}", "slices": slices}
        if n > 0:
            edges = tuple(float(j) + 0.5 * (i % 2) for j in range(n - 1))
            fields.append(FieldBaseline(kind="numeric", edges=edges, low=0.0, high=None if i % 2 else 9.0, **common))
        else:
            categories = tuple("null" if j == 1 else f"c{j}" for j in range(-n))
            fields.append(FieldBaseline(kind="category", categories=categories, **common))
    of_slice = dict.fromkeys(names, rows)
    return Baseline(model="m", version="1", rows=rows, slice_rows=of_slice, dimensions=dimensions, fields=tuple(fields))
