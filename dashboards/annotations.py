"""What is marked on the pages' panels: deployments, new baselines, drills. Alerts Grafana marks by itself."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import AnnotationQuery
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import DataSourceRef
from grafana_foundation_sdk.models.dashboard import AnnotationQuery as Built

from dashboards.query import DATASOURCE, Drills, Query
from warehouse.panels import PanelQuery, annotation_queries

GRAFANA = DataSourceRef(type_val="grafana", uid="-- Grafana --")
"""Grafana's own store of annotations."""


def happenings(*, one_model: bool) -> list[Builder[Built]]:
    """The annotations of a page, about the chosen model or about all."""
    deployments = annotation_queries.DEPLOYMENTS if one_model else annotation_queries.ALL_DEPLOYMENTS
    baselines = annotation_queries.BASELINES if one_model else annotation_queries.ALL_BASELINES
    return [
        _asked("Deployments", "blue", deployments),
        _asked("New baselines", "purple", baselines),
        # Whoever runs a drill posts an annotation with this tag: no table holds drills.
        AnnotationQuery().name("Drills").datasource(GRAFANA).enable(True).icon_color("orange").target(Drills()),
    ]


def _asked(name: str, colour: str, query: PanelQuery) -> AnnotationQuery:
    return AnnotationQuery().name(name).datasource(DATASOURCE).enable(True).icon_color(colour).target(Query(query))
