"""Template variables of the pages. Every page uses a subset of them, in one order."""

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models.dashboard import VariableHide, VariableOption, VariableRefresh, VariableSort

from barograph_server.dashboards.query import DATASOURCE, variable_query
from barograph_server.dashboards.style import PLUGIN, STYLE
from barograph_server.warehouse.panels.named import named_queries

ORDER = ("datasource", "model", "version", "slice", "field", "window", "worst_field", "candidate", "criterion")


def datasource() -> build.DatasourceVariable:
    """The ClickHouse data source to read."""
    return (
        build.DatasourceVariable(STYLE.datasource_variable)
        .label("Data source")
        .description("The ClickHouse that Barograph writes to")
        .type(PLUGIN)
        .current(VariableOption(selected=True, text="Barograph", value="barograph"))
    )


def model(*, all_models: bool = False, query: str = "models") -> build.QueryVariable:
    """One model, the worst first, of those that a query lists; with `all_models`, also the choice All."""
    variable = _of("model", "Model", "The model name from the contract, worst first", f"variables.{query}")
    if all_models:
        variable.include_all(True).current(_everything())
    return variable


_CHOICES = {
    "version": ("Version", "A version with predictions in the range, newest first", "variables.versions"),
    "slice": ("Slice", "A named subset of the events; `all` means every event", "variables.slices"),
    "field": ("Field", "A feature or an output, worst first", "variables.fields"),
    "window": ("Window", "The window length, longest first", "variables.windows"),
    "candidate": ("Candidate", "A version with pairs, the last one first", "variables.candidates"),
}
"""Label, description and query of variables with one value, by default the first."""
_REPEATED = {
    "worst_field": ("Worst fields", "The fields with the largest PSI", "drift.worst_fields"),
    "criterion": ("Criteria", "The criteria of the contract", "variables.criteria"),
}
"""The same of variables with all values, by which panels are repeated. They are not shown."""


def choice(name: str) -> build.QueryVariable:
    """One of `_CHOICES`."""
    return _of(name, *_CHOICES[name])


def repeated(name: str) -> build.QueryVariable:
    """One of `_REPEATED`."""
    variable = _of(name, *_REPEATED[name]).multi(True).include_all(True)
    return variable.current(_everything()).hide(VariableHide.HIDE_VARIABLE)


def _everything() -> VariableOption:
    return VariableOption(selected=True, text="All", value="$__all")


def _of(name: str, label: str, description: str, query: str) -> build.QueryVariable:
    return (
        build.QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(DATASOURCE)
        .query(variable_query(named_queries()[query]))
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.DISABLED)
        .multi(False)
        .include_all(False)
        .allow_custom_value(True)
    )
