"""The variables of the pages: the same ones in the same order, as many as a page needs."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models.dashboard import VariableOption, VariableRefresh, VariableSort

from dashboards.query import DATASOURCE, variable_query
from dashboards.style import PLUGIN, STYLE
from warehouse.panels import PanelQuery
from warehouse.panels import variables as asked

ORDER = ("datasource", "model", "version", "slice", "field", "window")


def datasource() -> build.DatasourceVariable:
    """Which ClickHouse is read."""
    return (
        build.DatasourceVariable(STYLE.datasource_variable)
        .label("Data source")
        .description("The ClickHouse that Barograph writes to")
        .type(PLUGIN)
        .current(VariableOption(selected=True, text="Barograph", value="barograph"))
    )


def model(*, all_models: bool = False) -> build.QueryVariable:
    """One model; with `all_models` also all of them."""
    variable = _of("model", "Model", "The model, by the name in its contract", asked.MODELS)
    if all_models:
        everything = VariableOption(selected=True, text="All", value="$__all")
        variable.include_all(True).current(everything)
    return variable


def version() -> build.QueryVariable:
    """One version; by default the one that began last within the range."""
    return _of("version", "Version", "A version that was asked within the range, the newest first", asked.VERSIONS)


def slice_of_events() -> build.QueryVariable:
    """The whole (`all`) or one slice."""
    return _of("slice", "Slice", "A named subset of the events; all is the whole", asked.SLICES)


def field() -> build.QueryVariable:
    """One field; by default the worst within the range."""
    return _of("field", "Field", "A feature or an output, the worst of the range first", asked.FIELDS)


def window() -> build.QueryVariable:
    """The length of the windows that are shown."""
    return _of("window", "Window", "The length of the windows that are judged, the longest first", asked.WINDOWS)


def _of(name: str, label: str, description: str, query: PanelQuery) -> build.QueryVariable:
    return (
        build.QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(DATASOURCE)
        .query(variable_query(query))
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.DISABLED)
        .multi(False)
        .include_all(False)
        .allow_custom_value(True)
    )
