"""Annotations of the pages: deployments, new baselines, drills, prompts. Grafana annotates alerts by itself."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import AnnotationQuery
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import AnnotationQuery as Built

from barograph_server.dashboards import style
from barograph_server.dashboards.query import DATASOURCE, Query
from barograph_server.warehouse.panels import PanelQuery, annotation_queries


def page_annotations(*, one_model: bool) -> list[Builder[Built]]:
    """The annotations of a page, for the selected model or for all models."""
    deployments = annotation_queries.DEPLOYMENTS if one_model else annotation_queries.ALL_DEPLOYMENTS
    baselines = annotation_queries.BASELINES if one_model else annotation_queries.ALL_BASELINES
    drills = annotation_queries.DRILLS if one_model else annotation_queries.ALL_DRILLS
    prompts = annotation_queries.PROMPTS if one_model else annotation_queries.ALL_PROMPTS
    return [
        _annotation("Deployments", style.DEPLOYMENT, deployments),
        _annotation("New baselines", style.NEW_BASELINE, baselines),
        _annotation("Drills", style.DRILL, drills),
        _annotation("Prompts", style.PROMPT_CHANGE, prompts),
    ]


def _annotation(name: str, colour: str, query: PanelQuery) -> AnnotationQuery:
    return AnnotationQuery().name(name).datasource(DATASOURCE).enable(True).icon_color(colour).target(Query(query))
