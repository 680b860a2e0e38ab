"""The queries of the rows of the page LLM, for tests of what dashboards query."""

from __future__ import annotations

import json

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards import llm_cost, llm_serving
from dashboards.layout import add_rows
from dashboards.parse import queries_in


def llm_queries() -> set[str]:
    """Return the SQL of all panels of the rows Serving and Cost."""
    page = build.Dashboard("LLM")
    add_rows(page, [llm_serving.row(), llm_cost.row()])
    plain = json.loads(JSONEncoder().encode(page.build()))
    return {query.sql for query in queries_in({**plain, "templating": {"list": []}, "annotations": {"list": []}})}
