import numpy as np

from sketches.baseline.baseline import ALL, Baseline, FieldBaseline, SliceCounts, SliceValues
from sketches.baseline.layout import EVENTS, HEADER, TAIL, Layout
from sketches.sketch.merge import N_MOMENTS


def baseline(*fields: FieldBaseline, dimensions: tuple[SliceValues, ...] = ()) -> Baseline:
    return Baseline(model="m", version="1", rows=0, slice_rows={ALL: 0}, fields=fields, dimensions=dimensions)


def numeric(name: str, *edges: float) -> FieldBaseline:
    return FieldBaseline(
        name=name, kind="numeric", edges=edges, slices={ALL: SliceCounts(cells=(0,) * (len(edges) + 2))}
    )


def category(name: str, *categories: str) -> FieldBaseline:
    return FieldBaseline(
        name=name,
        kind="category",
        categories=categories,
        slices={ALL: SliceCounts(cells=(0,) * (len(categories) + 2))},
    )


def test_cells_count_bins_or_categories_and_unseen_and_null() -> None:
    assert numeric("x").n_cells == 2  # one bin, null
    assert numeric("x", 1.0, 2.0).n_cells == 4
    assert category("c").n_cells == 2  # unseen, null
    assert category("c", "a", "b").n_cells == 4


def test_fields_lie_end_to_end_behind_the_header() -> None:
    layout = Layout(baseline(numeric("x", 1.0, 2.0), category("c", "a"), numeric("y")))
    assert HEADER == 4
    assert layout.starts.tolist() == [HEADER, HEADER + 4 + TAIL, HEADER + 4 + TAIL + 3 + TAIL]
    assert layout.width == HEADER + (4 + 3 + 2) + 3 * TAIL
    assert layout.n_cells.tolist() == [4, 3, 2]
    assert layout.field_index == {"x": 0, "c": 1, "y": 2}
    assert layout.n_fields == 3


def test_slices_are_the_whole_then_each_dimension_with_its_rest() -> None:
    country = SliceValues(name="country", source="context.country", values=("DE", "FR"), trained=True)
    arm = SliceValues(name="arm", source="arm", values=("a",), trained=False)
    layout = Layout(baseline(numeric("x"), dimensions=(country, arm)))
    assert layout.slices == ("all", "country=DE", "country=FR", "country=other", "arm=a", "arm=other")
    assert layout.dimension_starts == [1, 4]
    assert layout.n_slices == 6
    assert layout.empty_counts().shape == (6, layout.width)
    assert not layout.empty_counts().any()


def test_a_baseline_without_fields_still_counts_events() -> None:
    layout = Layout(baseline())
    assert layout.width == HEADER
    assert layout.starts.shape == (0,)
    counts = layout.empty_counts()
    counts[0, EVENTS] += 1
    assert counts.tolist() == [[1, 0, 0, 0]]
    assert layout.empty_moments().shape == (0, N_MOMENTS)


def test_empty_moments_are_neutral_to_merging() -> None:
    moments = Layout(baseline(numeric("x"), numeric("y"))).empty_moments()
    assert moments.shape == (2, N_MOMENTS)
    seen = np.array([3.0, 5.0, -1.0, 2.0])
    assert (moments[:, :2] + seen[:2]).tolist() == [seen[:2].tolist()] * 2
    assert np.minimum(moments[:, 2], seen[2]).tolist() == [-1.0, -1.0]
    assert np.maximum(moments[:, 3], seen[3]).tolist() == [2.0, 2.0]
