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
        everything = VariableOption(selected=True, text="All", value="$__all")
        variable.include_all(True).current(everything)
    return variable


def version() -> build.QueryVariable:
    """One version. The default is the version that started most recently within the range."""
    return _of("version", "Version", "A version with predictions in the range, newest first", "variables.versions")


def slice_of_events() -> build.QueryVariable:
    """All events (`all`) or one slice."""
    return _of("slice", "Slice", "A named subset of the events; `all` means every event", "variables.slices")


def field() -> build.QueryVariable:
    """One field. The default is the worst field in the range."""
    return _of("field", "Field", "A feature or an output, worst first", "variables.fields")


def window() -> build.QueryVariable:
    """The length of the windows to show."""
    return _of("window", "Window", "The window length, longest first", "variables.windows")


def worst_field() -> build.QueryVariable:
    """The fields with the largest PSI at the end of the range, all of them, to repeat a panel by. It is not shown."""
    return _of_all("worst_field", "Worst fields", "The fields with the largest PSI", "drift.worst_fields")


def candidate() -> build.QueryVariable:
    """One candidate. The default is the one whose pairs were counted last."""
    return _of("candidate", "Candidate", "A version with pairs, the last one first", "variables.candidates")


def criterion() -> build.QueryVariable:
    """The criteria of the candidate, all of them, to repeat a panel by. It is not shown."""
    return _of_all("criterion", "Criteria", "The criteria of the contract", "variables.criteria")


def _of_all(name: str, label: str, description: str, query: str) -> build.QueryVariable:
    everything = VariableOption(selected=True, text="All", value="$__all")
    variable = _of(name, label, description, query)
    return variable.multi(True).include_all(True).current(everything).hide(VariableHide.HIDE_VARIABLE)


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
