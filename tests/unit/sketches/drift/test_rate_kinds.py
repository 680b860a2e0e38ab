"""A kind of rate is declared once, and each list of kinds has it; baselines older than a kind are not judged on it."""

from pathlib import Path

import numpy as np
import pytest

from barograph_server.alerts.templates.fields import RATE_RULES
from barograph_server.sketches.baseline.baseline import (
    Baseline,
    FieldBaseline,
    SliceCounts,
    dump_baseline,
    load_baseline,
)
from barograph_server.sketches.baseline.columns import COLUMN_KEYS, FieldColumn
from barograph_server.sketches.baseline.layout import Layout
from barograph_server.sketches.detection.effects import changed_values, trained_shares
from barograph_server.sketches.drift.rate_cells import RateCells
from barograph_server.sketches.drift.rates import RATE_KIND_NAMES, RATE_KINDS
from barograph_server.warehouse import migrate
from barograph_server.warehouse.governance import major_verdicts
from barograph_server.warehouse.tables import SCHEMAS

DOCS = Path(__file__).parents[4] / "docs"


def test_every_list_of_kinds_has_each_kind() -> None:
    assert {kind.rule for kind in RATE_KINDS} - {None} == RATE_RULES.keys()
    assert sorted(name for names, _ in RATE_RULES.values() for name in names) == sorted(
        kind.name for kind in RATE_KINDS if kind.rule
    )
    assert major_verdicts._CELLS.keys() == {"psi", "error", *RATE_KIND_NAMES}
    (views,) = (migration for migration in migrate.load() if migration.number == migrate.VIEWS)
    (shown,) = (view for view in views.statements if view.startswith("CREATE OR REPLACE VIEW all_panes\n"))
    for key in (column.key for column in FieldColumn):
        assert key in SCHEMAS["panes"].names, key
        assert key in SCHEMAS["rollups"].names, key
        assert f"\n    {key} " in shown, key
    order = [name for name in SCHEMAS["panes"].names if name in COLUMN_KEYS]
    assert sorted(order) == sorted(COLUMN_KEYS)
    statistics = (DOCS / "statistics.md").read_text()
    rates = statistics[statistics.index("\n## Rates") :]
    assert [name for name in RATE_KIND_NAMES if f"`{name}`" not in rates] == []


def baseline(below: int | None, above: int | None = 0) -> Baseline:
    quantiles = tuple(np.linspace(0, 1, 1001).tolist())
    trained = SliceCounts(cells=(400, 500, 50), invalid=50, below=below, above=above)
    field = FieldBaseline(
        name="x",
        kind="numeric",
        edges=(0.5,),
        low=0.0,
        high=1.0,
        std=0.3,
        quantiles=quantiles,
        slices={"all": trained},
    )
    return Baseline(model="m", version="1", rows=1000, slice_rows={"all": 1000}, fields=(field,))


def test_a_count_that_a_baseline_lacks_is_unknown_and_its_rate_is_not_judged() -> None:
    known, older = baseline(below=3, above=7), load_baseline(dump_baseline(baseline(below=3, above=None)), "older")
    assert older.fields[0].slices["all"].above is None
    cells, all_cells = RateCells(Layout(older)), RateCells(Layout(known))
    retained = all_cells.kind_index != RATE_KIND_NAMES.index("above")
    assert cells.n_groups == all_cells.n_groups - 1
    others = all_cells.select(retained)
    counts = np.arange(Layout(known).width, dtype=np.int64)[None, None]
    for name in ("kind_index", "base_k", "base_n", "base_phi"):
        assert getattr(cells, name).tolist() == getattr(others, name).tolist(), name
    assert cells.k(counts).tolist() == others.k(counts).tolist()
    trained = trained_shares(older.fields[0])
    rates = trained_shares(known.fields[0]).rates
    assert trained.rates == {name: rate for name, rate in rates.items() if name != "above"}
    changed = changed_values(older.fields[0], lambda values: values + 2)
    assert "above" not in changed.rates
    assert changed.rates.keys() == trained.rates.keys()


def test_a_known_count_is_part_of_the_id_and_checked() -> None:
    ids = {baseline(below=below).id for below in (None, 0, 3)}
    assert len(ids) == 3
    with pytest.raises(ValueError, match="above is 901, only 900 rows have a valid value"):
        dump_baseline(baseline(below=0, above=901))
