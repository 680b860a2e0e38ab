"""Annotations: the first traffic of a version, new baselines, drills, and changes of the labels of prompts."""

from __future__ import annotations

from barograph_server.warehouse.drill_models import NO_DRILLS
from barograph_server.warehouse.panels.fragments import MODEL
from barograph_server.warehouse.panels.query import PanelQuery, table

_COLUMNS = "time:time | text:text | tags:text"


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
        _COLUMNS,
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
        _COLUMNS,
    )


DEPLOYMENTS, ALL_DEPLOYMENTS = (
    _deployments("deployments", f"{MODEL} AND"),
    _deployments("all_deployments", f"{NO_DRILLS} AND"),
)
BASELINES, ALL_BASELINES = _baselines("baselines", f"{MODEL} AND"), _baselines("all_baselines", f"{NO_DRILLS} AND")


def _drills(name: str, model: str) -> PanelQuery:
    return table(
        f"events.{name}",
        f"""
        SELECT
            fault_start AS time, fault_end AS "timeEnd",
            concat(
                model, ': drill ', fault, if(field = '', '', concat(' ', field)),
                if(mode = 'live', '', ' on replayed events'), if(passed, ' passed', ' failed')
            ) AS text,
            'drill' AS tags
        FROM drills FINAL
        WHERE {model} fault_start <= $__toTime AND fault_end >= $__fromTime
        ORDER BY time
        LIMIT 200
        """,
        "time:time | timeEnd:time | text:text | tags:text",
    )


DRILLS, ALL_DRILLS = _drills("drills", f"{MODEL} AND"), _drills("all_drills", "")


def _prompts(name: str, prompts: str) -> PanelQuery:
    return table(
        f"events.{name}",
        f"""
        SELECT
            changed_at AS time,
            concat(
                if(kind = 'prompt-rollback', 'prompt rolled back: ', 'prompt: '),
                subject, ' ', if(before = '', '', concat(before, ' → ')), after,
                if(reason = '', '', concat(' – ', reason))
            ) AS text,
            'prompt' AS tags
        FROM changes FINAL
        WHERE kind IN ('prompt-label', 'prompt-rollback') {prompts} AND $__timeFilter(changed_at)
        ORDER BY time
        LIMIT 200
        """,
        _COLUMNS,
    )


# A model has the prompts whose versions were compared as its arms.
PROMPTS = _prompts(
    "prompts",
    "AND splitByChar(':', subject)[1] IN "
    f"(SELECT DISTINCT splitByChar('@', toString(arm))[1] FROM arm_comparisons WHERE {MODEL})",
)
ALL_PROMPTS = _prompts("all_prompts", "")
