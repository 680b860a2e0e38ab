"""The four pages, and the JSON that Grafana is provisioned with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync

from dashboards import field, fleet, model, pipeline, variables
from dashboards.annotations import happenings
from dashboards.layout import Row, place
from dashboards.links import TITLES, page_links
from dashboards.parse import panels_of
from dashboards.uids import DASHBOARDS

FOLDER = Path(__file__).parents[1] / "deploy" / "grafana" / "dashboards"
"""Where the generated files stand; Grafana reads them from there."""

TAG = "barograph"


@dataclass(frozen=True, slots=True)
class Page:
    """One page: what it asks, what can be chosen on it, and its rows."""

    key: str
    question: str
    variables: tuple[build.QueryVariable | build.DatasourceVariable, ...]
    rows: Callable[[], list[Row]]
    since: str
    one_model: bool = True

    def built(self) -> dict[str, Any]:
        """The dashboard as plain JSON values, in Grafana's classic form."""
        page = (
            build.Dashboard(f"Barograph / {TITLES[self.key]}")
            .uid(DASHBOARDS[self.key])
            .description(self.question)
            .tags([TAG])
            .timezone("utc")
            .time(self.since, "now")
            .refresh("1m")
            .tooltip(DashboardCursorSync.CROSSHAIR)
            .editable()
            .links(page_links(self.key))
            .variables(list(self.variables))
            .annotations(happenings(one_model=self.one_model))
        )
        place(page, self.rows())
        plain: dict[str, Any] = json.loads(JSONEncoder().encode(page.build()))
        _mend(plain)
        return plain


def pages() -> list[Page]:
    """All pages, from the general to the special."""
    one = (variables.datasource(), variables.model(), variables.version(), variables.slice_of_events())
    return [
        Page(
            "fleet",
            "Which model needs somebody now?",
            (variables.datasource(),),
            fleet.rows,
            "now-24h",
            one_model=False,
        ),
        Page(
            "model",
            "What is wrong with this model, since when, and where?",
            (*one, variables.window()),
            model.rows,
            "now-24h",
        ),
        Page(
            "field",
            "How did this field move, and is it the world, its source or the mix?",
            (*one, variables.field(), variables.window()),
            field.rows,
            "now-7d",
        ),
        Page(
            "pipeline",
            "Can what the other pages show be relied on?",
            (variables.datasource(), variables.model(all_models=True)),
            pipeline.rows,
            "now-6h",
            one_model=False,
        ),
    ]


def dashboards() -> dict[str, dict[str, Any]]:
    """Every dashboard as plain JSON values, by page."""
    return {page.key: page.built() for page in pages()}


def files() -> dict[Path, str]:
    """The files of `FOLDER` and what they hold."""
    return {
        FOLDER / f"{DASHBOARDS[key]}.json": json.dumps(plain, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
        for key, plain in dashboards().items()
    }


def _mend(dashboard: dict[str, Any]) -> None:
    """Take out what the SDK 0.0.21 writes by itself and Grafana 13.2.3 does not know, or takes for something else."""
    for panel in panels_of(dashboard):
        panel.get("options", {}).pop("footer", None)
        for link in panel["fieldConfig"]["defaults"].get("links", []):
            link.pop("placement")
    # Else links and annotations are hidden in a menu.
    for shown in (*dashboard["links"], *dashboard["annotations"]["list"]):
        shown.pop("placement")
