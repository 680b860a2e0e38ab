"""The six pages, and the dashboard JSON that provisions Grafana."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders.dashboard import AnnotationQuery
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import AnnotationQuery as Built
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, GridPos

from barograph_server.dashboards import style, variables
from barograph_server.dashboards.links import TITLES, page_links
from barograph_server.dashboards.page_files import RowEntry, read_rows
from barograph_server.dashboards.panels import AnyPanel, make_panel
from barograph_server.dashboards.parse import panels_of
from barograph_server.dashboards.query import DATASOURCE, Query
from barograph_server.dashboards.uids import DASHBOARDS
from barograph_server.warehouse.panels.named import named_queries

FOLDER = Path(__file__).resolve().parents[1] / "deploy" / "grafana" / "dashboards"
"""Folder of the generated files, which Grafana reads."""

TAG = "barograph"
WIDTH = 24
"""Number of columns in Grafana's grid."""
_FIRST_ROW_ID = 1001


@dataclass(frozen=True, slots=True)
class Page:
    """One page: the question it answers, and its variables."""

    key: str
    question: str
    variables: tuple[build.QueryVariable | build.DatasourceVariable, ...]
    since: str
    one_model: bool = True
    refresh: str = "1m"

    def built(self) -> dict[str, Any]:
        """The dashboard as JSON values, in Grafana's classic model."""
        page = (
            build.Dashboard(f"Barograph / {TITLES[self.key]}")
            .uid(DASHBOARDS[self.key])
            .description(self.question)
            .tags([TAG])
            .timezone("utc")
            .time(self.since, "now")
            .refresh(self.refresh)
            .tooltip(DashboardCursorSync.CROSSHAIR)
            .editable()
            .links(page_links(self.key))
            .variables(list(self.variables))
            .annotations(page_annotations(one_model=self.one_model))
        )
        add_rows(page, read_rows(self.key))
        plain: dict[str, Any] = json.loads(JSONEncoder().encode(page.build()))
        _remove_unsupported(plain)
        return plain


def pages() -> list[Page]:
    """All pages, from overview to detail."""
    chosen = (variables.choice("version"), variables.choice("slice"))
    one = (variables.datasource(), variables.model(), *chosen)
    return [
        Page("fleet", "Which model needs attention now?", (variables.datasource(),), "now-7d", one_model=False),
        Page(
            "model",
            "What is wrong with this model, since when, and where?",
            (*one, variables.choice("window"), variables.repeated("worst_field")),
            "now-7d",
        ),
        Page(
            "field",
            "How did this field move, and is the cause the world, the data source or the mix of slices?",
            (*one, variables.choice("field"), variables.choice("window")),
            "now-7d",
        ),
        Page(
            "shadow",
            "May the candidate replace the primary, and if not, why and when?",
            (
                variables.datasource(),
                variables.model(query="models_with_candidate"),
                variables.choice("candidate"),
                variables.repeated("criterion"),
            ),
            "now-90d",
            refresh="1h",
        ),
        Page(
            "llm",
            "Is a language model slower, dearer or worse, and have the questions changed?",
            (variables.datasource(), variables.model(query="language_models"), *chosen, variables.choice("window")),
            "now-7d",
        ),
        Page(
            "pipeline",
            "Can the other pages be trusted?",
            (variables.datasource(), variables.model(all_models=True)),
            "now-6h",
            one_model=False,
        ),
    ]


def dashboards() -> dict[str, dict[str, Any]]:
    """Every dashboard as JSON values, by page."""
    return {page.key: page.built() for page in pages()}


def files() -> dict[Path, str]:
    """The files of `FOLDER` and their content."""
    return {
        FOLDER / f"{DASHBOARDS[key]}.json": json.dumps(plain, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
        for key, plain in dashboards().items()
    }


def _remove_unsupported(dashboard: dict[str, Any]) -> None:
    """Remove options that SDK 0.0.21 writes and that Grafana 13.2.3 does not know or misinterprets."""
    for panel in panels_of(dashboard):
        panel.get("options", {}).pop("footer", None)
        for link in (*panel.get("links", []), *panel["fieldConfig"]["defaults"].get("links", [])):
            link.pop("placement")
    # With a placement, Grafana hides links and annotations in a menu.
    for shown in (*dashboard["links"], *dashboard["annotations"]["list"]):
        shown.pop("placement")


def page_annotations(*, one_model: bool) -> list[Builder[Built]]:
    """The annotations of a page, for the selected model or for all models."""
    models = "" if one_model else "all_"
    return [
        _annotation("Deployments", style.DEPLOYMENT, f"{models}deployments"),
        _annotation("New baselines", style.NEW_BASELINE, f"{models}baselines"),
        _annotation("Drills", style.DRILL, f"{models}drills"),
        _annotation("Prompts", style.PROMPT_CHANGE, f"{models}prompts"),
    ]


def _annotation(name: str, colour: str, query: str) -> AnnotationQuery:
    target = Query(named_queries()[f"events.{query}"])
    return AnnotationQuery().name(name).datasource(DATASOURCE).enable(True).icon_color(colour).target(target)


def add_rows(page: build.Dashboard, rows: Sequence[RowEntry]) -> None:
    """Add rows to a page, from top to bottom."""
    top = 0
    for number, row in enumerate(rows):
        header = (
            build.Row(row.title)
            .id(_FIRST_ROW_ID + number)
            .collapsed(row.folded)
            .grid_pos(GridPos(h=1, w=WIDTH, x=0, y=top))
        )
        top += 1
        x, y, height = 0, top, 0
        panels: list[AnyPanel] = []
        for entry in row.panels:
            width, panel_height = entry.size
            if x + width > WIDTH:
                x, y, height = 0, y + height, 0
            panel = make_panel(entry).grid_pos(GridPos(h=panel_height, w=width, x=x, y=y))
            x, height = x + width, max(height, panel_height)
            panels.append(panel)
            if row.folded:
                header.with_panel(panel)
        page.with_row(header)
        if not row.folded:
            # A folded row occupies one grid line. Grafana moves the rows below when it is opened.
            top = y + height
            for panel in panels:
                page.with_panel(panel)
