"""Links between pages. They carry the time range and the selected variables."""

from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import DashboardLink as Built
from grafana_foundation_sdk.models.dashboard import DashboardLinkType

from barograph_server.dashboards.uids import DASHBOARDS

TITLES = {page: page.title() for page in DASHBOARDS} | {"llm": "LLM"}


@dataclass(frozen=True, slots=True)
class DataLink:
    """A link from a point, a row or a number to another page.

    `variables` maps a variable of the target page to its value: a variable of this page (`$model`), also one of another
    name, or a column (`model`) or label (`label:field`) of the clicked item.
    """

    page: str
    title: str
    variables: dict[str, str]

    @property
    def url(self) -> str:
        parts = ["${__url_time_range}", "${datasource:queryparam}"]
        for variable, source in self.variables.items():
            if source == f"${variable}":
                parts.append(f"${{{variable}:queryparam}}")
            elif source.startswith("$"):
                parts.append(f"var-{variable}=${{{source[1:]}:percentencode}}")
            elif source.startswith("label:"):
                parts.append(f"var-{variable}=${{__field.labels.{source[6:]}:percentencode}}")
            else:
                parts.append(f"var-{variable}=${{__data.fields.{_path(source)}:percentencode}}")
        return f"/d/{DASHBOARDS[self.page]}?" + "&".join(parts)

    def built(self) -> build.DashboardLink:
        return build.DashboardLink(self.title).type(DashboardLinkType.LINK).url(self.url).target_blank(False)


def _path(column: str) -> str:
    return column if column.isidentifier() else f'["{column}"]'


def page_links(page: str) -> list[Builder[Built]]:
    """The links at the top of a page to the other pages."""
    return [
        build.DashboardLink(title)
        .type(DashboardLinkType.LINK)
        .url(f"/d/{DASHBOARDS[other]}")
        .icon("dashboard")
        .include_vars(True)
        .keep_time(True)
        .target_blank(False)
        for other, title in TITLES.items()
        if other != page
    ]


def _down(page: str, title: str, *carried: str, **variables: str) -> DataLink:
    return DataLink(page, title, {name: f"${name}" for name in carried} | variables)


LINKS = {
    "model": _down("model", "Open the model", model="model"),
    "model_of_label": _down("model", "Open the model", model="label:model"),
    "version": _down("model", "Open this version", model="model", version="version"),
    "field": _down("field", "Open the field", "model", "version", "slice", "window", field="field"),
    "field_of_label": _down("field", "Open the field", "model", "version", "slice", "window", field="label:field"),
    "worst_field": _down("field", "Open the field", "model", "version", "slice", "window", field="$worst_field"),
    "slice": _down("model", "Show this slice", "model", "version", "window", slice="slice"),
    "field_of_slice": _down("field", "Show this slice", "model", "version", "field", "window", slice="slice"),
    "slice_of_model": _down("model", "Open this slice of the primary", "model", slice="slice"),
    "pipeline": _down("pipeline", "Open the pipeline", "model"),
}
"""Links of panels by the names that files of pages use."""
