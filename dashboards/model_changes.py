"""The row Changes of the page Model: what changed, which change came before a field moved, and lineage."""

from __future__ import annotations

from functools import partial

from barograph_server.dashboards.layout import PlacedPanel, Row
from barograph_server.dashboards.links import TO_FIELD
from barograph_server.dashboards.panels import AnyPanel, PanelInfo, node_graph, table_panel
from barograph_server.warehouse.panels import changes, lineage

_info = partial(PanelInfo, "model")


def _causes() -> AnyPanel:
    info = _info(
        "causes",
        "What changed before a verdict became major",
        "For each verdict that became major: when the field moved, estimated from panes with a 95 % interval, and the "
        "three changes that fit best. `likely`: a change of a declared source of the field, or of the model, at the "
        "onset. The ranking compares times and declarations and proves nothing. Click to open the field.",
    )
    return table_panel(info, changes.CAUSES, link=TO_FIELD)


def _changes() -> AnyPanel:
    info = _info(
        "changes",
        "Changes",
        "Reported with `barograph changes`, or recorded by Barograph: contracts, baselines, promotions, prompts, and "
        "the first traffic of versions and arms. `any`: it may concern every model.",
    )
    return table_panel(info, changes.CHANGES)


def _lineage() -> AnyPanel:
    info = _info(
        "lineage",
        "Lineage",
        "From the sources of the fields over the model to its consumers, as the contract declares them. The ring of a "
        "field has the colour of its last verdict in the range, for the selected version, slice and window.",
    )
    return node_graph(info, lineage.NODES, lineage.EDGES)


def row() -> Row:
    """The row, folded."""
    panels = (PlacedPanel(_causes(), 24, 9), PlacedPanel(_changes(), 24, 9), PlacedPanel(_lineage(), 24, 16))
    return Row("Changes", panels, folded=True)
