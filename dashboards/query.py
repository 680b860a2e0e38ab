"""Query model of the ClickHouse plugin, which the SDK lacks, in the form that Grafana stores."""

from __future__ import annotations

import textwrap

from grafana_foundation_sdk.cog import builder as cog_builder
from grafana_foundation_sdk.cog import variants
from grafana_foundation_sdk.models.common import DataSourceRef

from barograph_server.dashboards.style import PLUGIN, PLUGIN_VERSION, STYLE
from barograph_server.warehouse.panels import TABLE, TIME_SERIES, Format, PanelQuery

DATASOURCE = DataSourceRef(type_val=PLUGIN, uid=STYLE.datasource_uid)
"""The data source selected on the page."""

_QUERY_TYPES = {TIME_SERIES: "timeseries", TABLE: "table"}


class ClickHouseQuery(variants.Dataquery):
    """A SQL query.

    `editor_type` is always `sql`; otherwise Grafana opens the query in its query builder. A missing `format` means 0.
    """

    def __init__(self, sql: str, query_format: Format, ref_id: str = "A") -> None:
        self.sql, self.format, self.ref_id = sql, query_format, ref_id

    def to_json(self) -> dict[str, object]:
        return {
            "refId": self.ref_id,
            "datasource": DATASOURCE,
            "pluginVersion": PLUGIN_VERSION,
            "editorType": "sql",
            "rawSql": self.sql,
            "format": self.format,
            "queryType": _QUERY_TYPES[self.format],
            "meta": {"timezone": "UTC"},
        }


class Query(cog_builder.Builder[ClickHouseQuery]):
    """Builds the query of a panel or an annotation from a named query."""

    def __init__(self, query: PanelQuery, ref_id: str = "A") -> None:
        self._query = ClickHouseQuery(dedent_sql(query.sql), query.format, ref_id)

    def build(self) -> ClickHouseQuery:
        return self._query


def dedent_sql(sql: str) -> str:
    """Remove the indentation that a query has in Python source."""
    return textwrap.dedent(sql).strip()


def variable_query(query: PanelQuery) -> dict[str, object]:
    """The query of a template variable; its rows are the options."""
    return {"editorType": "sql", "rawSql": dedent_sql(query.sql), "refId": "A"}
