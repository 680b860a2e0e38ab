"""PSI bins and rates of a window stack equal a plain loop over named slices, fields and categories."""

import msgspec
import numpy as np
import pytest

from barograph_server.sketches.baseline.baseline import Baseline, FieldBaseline, Phi, SliceCounts, SliceValues
from barograph_server.sketches.baseline.bins import PsiBins, bin_labels
from barograph_server.sketches.baseline.layout import EVENTS, IntArray, Layout
from barograph_server.sketches.drift.rate_cells import RateCells
from barograph_server.sketches.drift.rates import RATE_KIND_NAMES, RATE_KINDS

SEED = 20_261_101


def counts_of(rng: np.random.Generator, n_cells: int, phi: float) -> SliceCounts:
    return SliceCounts(
        cells=tuple(int(value) for value in rng.integers(0, 4000, n_cells)),
        invalid=int(rng.integers(0, 9)),
        below=int(rng.integers(0, 9)),
        above=int(rng.integers(0, 9)),
        singletons=int(rng.integers(1, 9)),
        phi={"1d": Phi(value=phi, windows=30, flag="ok")},
    )


@pytest.fixture
def baseline() -> Baseline:
    rng = np.random.default_rng(SEED)
    trained = ["all", "country=DE", "country=FR"]  # nothing fell into country=other
    common = (40_000, 199, 200, 201, 0, 0, 41, 3)  # m = 40,644: the line of 0.5 % is at 203.2
    carriers = {name: counts_of(rng, 8, 2.0 + i) for i, name in enumerate(trained)}
    carriers["all"] = SliceCounts(cells=common, singletons=5, phi={})
    temperatures = {name: counts_of(rng, 5, 3.0 + i) for i, name in enumerate(trained)}
    names = ("AA", "other", "BB", "CC", "DD", "EE")
    empty = {name: SliceCounts(cells=(0, 40_000)) for name in trained}
    invalid = {name: SliceCounts(cells=(0, 0), invalid=17) for name in trained}
    return Baseline(
        model="m",
        version="1",
        rows=40_644,
        slice_rows={"all": 40_644, "country=DE": 30_000, "country=FR": 10_644, "country=other": 0},
        dimensions=(
            SliceValues(name="country", source="features.country", values=("DE", "FR"), trained=True),
            SliceValues(name="arm", source="arm", values=("a", "b"), trained=False),
        ),
        fields=(
            FieldBaseline(
                name="temp", kind="numeric", edges=(54.5, 61.25, 80.1), low=40.0, high=99.0, slices=temperatures
            ),
            FieldBaseline(name="carrier", kind="category", categories=names, slices=carriers),
            FieldBaseline(name="empty", kind="numeric", low=None, high=None, slices=empty),
            FieldBaseline(name="only-invalid", kind="numeric", slices=invalid),
        ),
    )


def windows_of(layout: Layout, n: int) -> IntArray:
    counts = np.random.default_rng(SEED + 1).integers(0, 1000, (n, layout.n_slices, layout.width))
    return counts.astype(np.int64)


def judging_slice(name: str) -> str:
    return "all" if name.startswith("arm=") else name


def reference(layout: Layout, counts: IntArray) -> dict[tuple[int, int], tuple[list[int], list[list[int]]]]:
    """Baseline bins and window bins of each (slice, field), by loops alone."""
    out = {}
    for row, name in enumerate(layout.slices):
        for column, field in enumerate(layout.fields):
            trained = field.slices.get(judging_slice(name))
            if trained is None or sum(trained.cells) == 0:
                continue
            m = sum(trained.cells)
            base: list[int] = []
            windows: list[list[int]] = [[] for _ in counts]
            start = int(layout.starts[column])
            cells = counts[:, row, start : start + field.n_cells].tolist()
            if field.kind == "numeric":
                base = list(trained.cells)
                windows = cells
            else:
                rare = [cell / m < 0.005 for cell in trained.cells[:-2]]
                for source, target in [(trained.cells, base), *zip(cells, windows, strict=True)]:
                    target += [cell for cell, is_rare in zip(source, rare, strict=False) if not is_rare]
                    target.append(sum(c for c, r in zip(source, rare, strict=False) if r) + source[-2])
                    target.append(source[-1])
            out[row, column] = (base, windows)
    return out


def groups_of(bins: PsiBins) -> dict[tuple[int, int], int]:
    return {(row, field): group for row in range(bins.layout.n_slices) for field, group in bins.groups_in(row).items()}


def test_bins_equal_a_plain_loop(baseline: Baseline) -> None:
    layout = Layout(baseline)
    bins = PsiBins(layout)
    for n_windows in (0, 1, 7):
        counts = windows_of(layout, n_windows)
        expected = reference(layout, counts)
        window_bins = bins.window_bins(counts)
        assert window_bins.shape == (n_windows, bins.n_bins)
        assert set(groups_of(bins)) == set(expected)
        for pair, group in groups_of(bins).items():
            part = slice(bins.starts[group], bins.starts[group] + bins.sizes[group])
            assert bins.base_bins[part].tolist() == expected[pair][0]
            assert window_bins[:, part].tolist() == expected[pair][1]
    # Pairs that training lacks form no group.
    judged = {(layout.slices[s], layout.fields[f].name) for s, f in groups_of(bins)}
    assert not judged & {("country=other", "temp"), ("all", "only-invalid")}
    assert judged >= {("arm=b", "temp"), ("arm=other", "carrier")}
    # φ is that of the judging slice.
    phi, temp = bins.phi("1d"), layout.field_index["temp"]
    groups = [bins.groups_in(row)[temp] for row in (0, 1, layout.slices.index("arm=a"))]
    assert phi[groups].tolist() == [3.0, 4.0, 3.0]
    assert (bins.phi("7d") == 1.0).all()
    # Without fields there are no groups.
    bare = Layout(Baseline(model="m", version="1", rows=3, slice_rows={"all": 3}, fields=()))
    counts = np.ones((2, bare.n_slices, bare.width), dtype=np.int64)
    assert PsiBins(bare).window_bins(counts).shape == RateCells(bare).k(counts).shape == (2, 0)


def test_labels_and_noise_of_every_group(baseline: Baseline) -> None:
    layout = Layout(baseline)
    bins = PsiBins(layout)
    assert len(bins.labels) == bins.n_bins
    temp, carrier = layout.field_index["temp"], layout.field_index["carrier"]
    whole, in_germany = bins.groups_in(0), bins.groups_in(1)
    assert bins.group_labels(whole[temp]) == ["< 54.5", "[54.5, 61.25)", "[61.25, 80.1)", "≥ 80.1", "null"]
    # Of the categories of `all` only AA reaches 0.5 % of 40,444 rows.
    assert bins.group_labels(whole[carrier]) == ["AA", "other", "null"]
    assert '"other"' in bins.group_labels(in_germany[carrier])
    assert bins.group_labels(in_germany[carrier])[-2:] == ["other", "null"]
    # Each has the noise of the slice that it is compared with: training lacks the arms, so they have that of `all`.
    noise = {"all": 1e-4, "country=DE": 1.0}
    slices = {
        name: msgspec.structs.replace(counts, noise=noise.get(name, 0.0))
        for name, counts in baseline.fields[0].slices.items()
    }
    sketched = msgspec.structs.replace(baseline.fields[0], slices=slices)
    bins = PsiBins(Layout(msgspec.structs.replace(baseline, fields=(sketched, *baseline.fields[1:]))))
    of_temp = bins.select(bins.field_index == 0)
    expected = noise | {f"arm={value}": noise["all"] for value in ("a", "b", "other")}
    names = [layout.slices[row] for row in of_temp.slice_index.tolist()]
    assert of_temp.noise.tolist() == [expected.get(name, 0.0) for name in names]
    assert not bins.select(bins.field_index != 0).noise.any()


def test_labels_of_edges() -> None:
    for edges, integer, labels in (
        ((), False, ["any value"]),
        ((0.5,), True, ["≤ 0", "≥ 1"]),
        ((0.5, 1.5, 4.5), True, ["≤ 0", "1", "2–4", "≥ 5"]),
        ((-3.5, -1.5), True, ["≤ -4", "-3 to -2", "≥ -1"]),
        ((1.0000001, 1.0000002), False, ["< 1.0000001", "[1.0000001, 1.0000002)", "≥ 1.0000002"]),
        ((2.0**60,), True, ["< 1.15292e+18", "≥ 1.15292e+18"]),
    ):
        assert bin_labels(edges, integer=integer) == labels


def test_rates_equal_a_plain_loop(baseline: Baseline) -> None:
    layout = Layout(baseline)
    counts = windows_of(layout, 5)
    rates = RateCells(layout)
    k, n = rates.k(counts), rates.n(counts)
    assert k.shape == n.shape == (5, rates.n_groups)
    groups = set()
    for group in range(rates.n_groups):
        row, column = int(rates.slice_index[group]), int(rates.field_index[group])
        kind, field = RATE_KINDS[rates.kind_index[group]], layout.fields[column]
        name = judging_slice(layout.slices[row])
        trained = field.slices[name]
        assert k[:, group].tolist() == counts[:, row, layout.columns(kind.column)[column]].tolist()
        assert n[:, group].tolist() == counts[:, row, EVENTS].tolist()
        counted = trained.count(kind.column)
        assert counted is not None
        assert rates.base_k[group] == counted + (trained.singletons if kind.name == "unseen" else 0)
        assert rates.base_n[group] == baseline.slice_rows[name]
        groups.add((layout.slices[row], field.name, kind.name))
    assert ("all", "temp", "below") in groups
    assert ("all", "carrier", "unseen") in groups
    assert ("arm=a", "temp", "null") in groups
    assert ("all", "only-invalid", "invalid") in groups
    assert not {kind for _, name, kind in groups if name == "empty"} & {"below", "above", "unseen"}
    assert not {s for s, _, _ in groups} & {"country=other"}


def test_the_variance_of_expected_unseen_rows_depends_on_categories_with_two_rows() -> None:
    for cells, singletons, phi in (
        # f₁ = 3 and f₂ = 2 of 200 rows: (f₁(1 − f₁/m) + 2f₂) / (f₁(1 − f₁/m)).
        ((100, 93, 2, 2, 1, 1, 1, 0, 0), 3, 1 + 4 / (3 * (1 - 3 / 200))),
        # 50 rows not kept, 13 kept by one row: those of 7 and 6; those of 8 are kept by two.
        ((100, 21, 8, 8, 7, 6, 50, 0), 13, 1 + 2 * 56 / (63 * (1 - 63 / 200))),
        # No value occurred exactly once, so no unseen values are expected.
        ((100, 90, 10, 0, 0), 0, 1.0),
        # The categories are those of an earlier baseline, so unseen values were counted.
        ((100, 50, 3, 2, 45, 0), 0, 1.0),
    ):
        names = tuple(f"c{i}" for i in range(len(cells) - 2))
        counts = SliceCounts(cells=cells, singletons=singletons)
        field = FieldBaseline(name="c", kind="category", categories=names, slices={"all": counts})
        rates = RateCells(Layout(Baseline(model="m", version="1", rows=200, slice_rows={"all": 200}, fields=(field,))))
        phi_by_kind = dict(zip(rates.kind_index.tolist(), rates.base_phi.tolist(), strict=True))
        assert phi_by_kind.pop(RATE_KIND_NAMES.index("unseen")) == pytest.approx(phi)
        assert set(phi_by_kind.values()) == {1.0}
