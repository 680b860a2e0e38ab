"""The ClickHouse plugin's query, which the SDK does not know, in the form that Grafana stores."""

from __future__ import annotations

import textwrap
from typing import Any

from grafana_foundation_sdk.cog import builder as cog_builder
from grafana_foundation_sdk.cog import runtime, variants
from grafana_foundation_sdk.models.common import DataSourceRef

from dashboards.style import PLUGIN, PLUGIN_VERSION, STYLE
from warehouse.panels import TABLE, TIME_SERIES, Format, PanelQuery

DATASOURCE = DataSourceRef(type_val=PLUGIN, uid=STYLE.datasource_uid)
"""The data source that is chosen on the page."""

_QUERY_TYPES = {TIME_SERIES: "timeseries", TABLE: "table"}


class ClickHouseQuery(variants.Dataquery):
    """A query in SQL.

    `editor_type` is always `sql`, or Grafana opens the query in its builder; a missing `format` would be read as 0.
    """

    def __init__(self, sql: str, query_format: Format, ref_id: str = "A") -> None:
        self.sql, self.format, self.ref_id = sql, query_format, ref_id

    def to_json(self) -> dict[str, object]:
        """The query as a panel holds it."""
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

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ClickHouseQuery:
        """Read what `to_json` wrote."""
        return cls(data["rawSql"], data.get("format", TIME_SERIES), data.get("refId", "A"))


class Query(cog_builder.Builder[ClickHouseQuery]):
    """Builds the query of a panel or an annotation from a named one."""

    def __init__(self, query: PanelQuery, ref_id: str = "A") -> None:
        self._query = ClickHouseQuery(laid_out(query.sql), query.format, ref_id)

    def build(self) -> ClickHouseQuery:
        """The query itself."""
        return self._query


class DrillsQuery(variants.Dataquery):
    """Asks Grafana's own store for annotations with the tag `drill`."""

    def to_json(self) -> dict[str, object]:
        """The query as an annotation holds it."""
        return {"type": "tags", "tags": ["drill"], "matchAny": False, "limit": 100}


class Drills(cog_builder.Builder[DrillsQuery]):
    """Builds the query for drills."""

    def build(self) -> DrillsQuery:
        """The query itself."""
        return DrillsQuery()


def laid_out(sql: str) -> str:
    """A query without the indentation that it has in Python."""
    return textwrap.dedent(sql).strip()


def variable_query(query: PanelQuery) -> dict[str, object]:
    """The query of a variable: its rows are the choices."""
    return {"editorType": "sql", "rawSql": laid_out(query.sql), "refId": "A"}


def register() -> None:
    """Let the SDK read our queries back from JSON."""
    runtime.register_dataquery_variant(runtime.DataqueryConfig(PLUGIN, ClickHouseQuery.from_json))
