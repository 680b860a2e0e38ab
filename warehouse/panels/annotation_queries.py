"""Annotations: the first traffic of a version, and new baselines."""

from __future__ import annotations

from warehouse.panels.fragments import MODEL
from warehouse.panels.query import PanelQuery, table

_COLUMNS = ("time:time", "text:text", "tags:text")


def _deployments(name: str, model: str) -> PanelQuery:
    return table(
        f"events.{name}",
        f"""
        SELECT min(pane_start) AS time, concat(model, ': version ', version) AS text, 'deployment' AS tags
        FROM volume
        WHERE {model} slice = 'all' AND n > 0
        GROUP BY model, version
        HAVING $__timeFilter(time)
        ORDER BY time
        LIMIT 200
        """,
        *_COLUMNS,
    )


def _baselines(name: str, model: str) -> PanelQuery:
    # The first baseline of a version applies to all event times, so it is shown at the time it was applied.
    return table(
        f"events.{name}",
        f"""
        SELECT
            if(toUnixTimestamp(effective_from) = 0, toDateTime(accepted_at), effective_from) AS time,
            concat(model, ': new baseline of ', version, if(reason = '', '', concat(' – ', reason))) AS text,
            'baseline' AS tags
        FROM baselines FINAL
        WHERE {model} $__timeFilter(time)
        ORDER BY time
        LIMIT 200
        """,
        *_COLUMNS,
    )


DEPLOYMENTS, ALL_DEPLOYMENTS = _deployments("deployments", f"{MODEL} AND"), _deployments("all_deployments", "")
BASELINES, ALL_BASELINES = _baselines("baselines", f"{MODEL} AND"), _baselines("all_baselines", "")
