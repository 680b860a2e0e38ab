import numpy as np
import pytest

from barograph_server.sketches.baseline.baseline import ALL, Baseline, FieldBaseline, SliceCounts, SliceValues
from barograph_server.sketches.baseline.columns import TAIL, TAIL_KEYS
from barograph_server.sketches.baseline.layout import EVENTS, HEADER, Layout, LayoutError
from barograph_server.sketches.sketch.merge import N_MOMENTS


def baseline(*fields: FieldBaseline, dimensions: tuple[SliceValues, ...] = ()) -> Baseline:
    return Baseline(model="m", version="1", rows=0, slice_rows={ALL: 0}, fields=fields, dimensions=dimensions)


def numeric(name: str, *edges: float) -> FieldBaseline:
    return FieldBaseline(
        name=name, kind="numeric", edges=edges, slices={ALL: SliceCounts(cells=(0,) * (len(edges) + 2))}
    )


def category(name: str, *categories: str) -> FieldBaseline:
    return FieldBaseline(
        name=name, kind="category", categories=categories, slices={ALL: SliceCounts(cells=(0,) * (len(categories) + 2))}
    )


def test_fields_lie_end_to_end_behind_the_header() -> None:
    layout = Layout(baseline(numeric("x", 1.0, 2.0), category("c", "a"), numeric("y")))
    assert HEADER == 4
    # Bins or categories, unseen of categories, null.
    assert layout.n_cells.tolist() == [4, 3, 2]
    assert layout.starts.tolist() == [HEADER, HEADER + 4 + TAIL, HEADER + 4 + TAIL + 3 + TAIL]
    assert layout.width == HEADER + (4 + 3 + 2) + 3 * TAIL
    assert layout.field_index == {"x": 0, "c": 1, "y": 2}
    assert layout.n_fields == 3
    assert layout.span(0, 2) == slice(HEADER, int(layout.starts[2]))
    assert layout.span(2, 2) == slice(HEADER, HEADER), "no field"
    # Without fields it still counts events.
    bare = Layout(baseline())
    assert (bare.width, bare.starts.shape, bare.empty_moments().shape) == (HEADER, (0,), (0, N_MOMENTS))
    counts = bare.empty_counts()
    counts[0, EVENTS] += 1
    assert counts.tolist() == [[1, 0, 0, 0]]


def test_counts_that_a_shorter_tail_lacks_are_zero() -> None:
    layout = Layout(baseline(numeric("x"), category("c", "a")))
    # Header; x: bin, null, invalid, above; c: a, unseen, null, invalid, above.
    counts = np.array([[9, 1, 0, 0, 5, 4, 1, 2, 6, 3, 1, 7, 8]])
    fitted = layout.fit(counts, 0, 2, ("invalid", "above"))
    more = [0] * (TAIL - 3)
    assert fitted.tolist() == [[9, 1, 0, 0, 5, 4, 1, 0, 2, *more, 6, 3, 1, 7, 0, 8, *more]]
    assert layout.fit(counts[:, [0, 1, 2, 3, 8, 9, 10, 11, 12]], 1, 2, ("invalid", "above")).tolist() == [
        [9, 1, 0, 0, 6, 3, 1, 7, 0, 8, *more]
    ]
    assert layout.fit(counts[:, :HEADER], 1, 1, ("invalid",)).tolist() == [[9, 1, 0, 0]]


def test_counts_of_another_tail_or_width_are_rejected() -> None:
    layout = Layout(baseline(numeric("x")))
    for tail in ((*TAIL_KEYS, "mystery"), ("invalid", "invalid")):
        counts = np.zeros((1, HEADER + 2 + len(tail)), dtype=np.int64)
        with pytest.raises(LayoutError, match=f"knows {', '.join(TAIL_KEYS)}: upgrade it first"):
            layout.fit(counts, 0, 1, tail)
    fitting = np.zeros((1, layout.width), dtype=np.int64)
    assert layout.fit(fitting, 0, 1, TAIL_KEYS) is fitting
    with pytest.raises(LayoutError, match=f"{layout.width + 1} columns; header and fields of the baseline take"):
        layout.fit(np.zeros((1, layout.width + 1), dtype=np.int64), 0, 1, TAIL_KEYS)
