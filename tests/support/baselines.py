"""Small baselines from counts that a test states; without counts, training had no rows."""

from typing import Any

from barograph_server.sketches.baseline.baseline import ALL, Baseline, FieldBaseline, SliceCounts


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
