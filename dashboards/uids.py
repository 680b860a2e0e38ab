"""Stable identifiers of pages and panels.

Alert rules, runbooks and bookmarks link to pages by uid and to panels by id. A key therefore never changes its id, and
the id of a removed panel is never reused.
"""

from __future__ import annotations

from typing import NamedTuple

DASHBOARDS = {
    "fleet": "barograph-fleet",
    "model": "barograph-model",
    "field": "barograph-field",
    "shadow": "barograph-shadow",
    "llm": "barograph-llm",
    "pipeline": "barograph-pipeline",
}
"""Page → uid of its dashboard."""

PANELS: dict[str, dict[str, int]] = {
    "fleet": {
        "models": 1,
        "in_breach": 2,
        "insufficient": 3,
        "silent": 4,
        "worst_psi": 5,
        "requests": 6,
        "errors": 7,
        "latency": 8,
        "levels": 10,
        "worst_psi_over_time": 11,
        "performance": 12,
        "levels_over_time": 13,
        "note": 14,
        "drills": 15,
    },
    "model": {
        "level": 1,
        "worst_field": 2,
        "requests_now": 3,
        "errors_now": 4,
        "freshness": 5,
        "completeness": 6,
        "requests": 10,
        "errors": 11,
        "latency": 12,
        "error_kinds": 13,
        "latency_quantiles": 14,
        "psi": 21,
        "rates": 22,
        "levels": 23,
        "fields": 24,
        "violations": 25,
        "slices": 26,
        "distributions": 27,
        "score": 31,
        "class_shares": 32,
        "versions": 33,
        "score_quantiles": 34,
        "performance": 41,
        "cbpe": 42,
        "calibration": 43,
        "label_coverage": 44,
        "label_maturity": 45,
        "metrics": 46,
        "label_counts": 47,
        "main_metric": 48,
        "performance_errors": 49,
        "arms": 51,
        "arm_ratio": 52,
        "arm_performance": 53,
        "health": 61,
        "health_reasons": 62,
        "blind_spots": 71,
        "detectable": 72,
        "causes": 73,
        "changes": 74,
        "lineage": 75,
    },
    "field": {
        "level": 1,
        "psi_now": 2,
        "nulls_now": 3,
        "unseen_now": 4,
        "range_now": 5,
        "psi": 21,
        "distribution": 22,
        "quantiles": 23,
        "heatmap": 24,
        "nulls": 25,
        "range": 27,
        "categories": 28,
        "slices": 29,
        "verdicts": 30,
        "distances": 31,
        "note": 32,
    },
    "shadow": {
        "decision": 1,
        "days_left": 2,
        "days": 3,
        "criteria_met": 4,
        "paired": 5,
        "slice_evidence": 6,
        "criteria": 10,
        "intervals": 11,
        "outcomes": 12,
        "slices": 21,
        "right": 22,
        "requests": 31,
        "missing": 32,
        "traffic": 33,
        "latency": 41,
        "latencies": 44,
        "agreement": 42,
        "scores": 43,
        "disagreements": 51,
        "class_pairs": 53,
        "note": 52,
    },
    "llm": {
        "requests": 1,
        "errors": 2,
        "first_token_now": 3,
        "per_token_now": 4,
        "output_tokens_now": 5,
        "tokens_observed": 6,
        "first_token": 11,
        "per_token": 12,
        "total": 13,
        "tokens": 21,
        "tokens_per_minute": 22,
        "coverage": 23,
        "serving_requests": 61,
        "kv_cache": 62,
        "cache_hits": 63,
        "draft_acceptance": 64,
        "serving_counts": 65,
        "server_times": 66,
        "span_times": 67,
        "server_tokens": 68,
        "instances": 69,
        "deployments": 70,
        "prompt_comparisons": 71,
        "prompt_intervals": 72,
        "prompt_outcomes": 73,
        "prompt_changes": 74,
        "cost_day": 81,
        "cost_month": 82,
        "cost_versions": 83,
        "cost_prompts": 84,
        "cost_per_call": 85,
        "cost_coverage": 86,
        "cost_users": 87,
        "topics": 91,
        "new_topics": 92,
        "languages": 93,
        "code_share": 94,
        "topic_distance": 95,
        "fault_rates": 101,
        "flagged": 102,
        "without_result": 103,
        "judge_cost": 104,
        "judge_latency": 105,
        "agreement": 106,
        "suites": 107,
        "reviews": 108,
        "citation_faults": 109,
        "stored_rates": 110,
        "evaluator_trust": 111,
    },
    "pipeline": {
        "lag": 1,
        "silent": 2,
        "completeness": 3,
        "late": 4,
        "dead_letters": 5,
        "duplicates": 6,
        "processors": 7,
        "rate": 8,
        "retries": 9,
        "insert_times": 10,
        "watchdog": 11,
        "sealed_age": 12,
        "losses": 13,
        "producer_gaps": 14,
        "unmatched_labels": 16,
        "lag_now": 21,
        "completeness_now": 22,
        "late_now": 23,
        "dead_letters_now": 24,
        "duplicates_now": 25,
        "committed_age": 30,
        "waiting": 31,
        "healthy": 32,
        "memory": 33,
        "cpu": 34,
        "events": 35,
        "rejected": 36,
        "inserted": 37,
        "scored": 38,
    },
}
"""Page → key of a panel → its id on that page."""


class PanelLink(NamedTuple):
    """A link from an alert rule to a panel: its annotations `__dashboardUid__` and `__panelId__`."""

    dashboard_uid: str
    panel_id: int


def panel_link(page: str, key: str) -> PanelLink:
    """Return the link to a panel.

    Args:
        page: `fleet`, `model`, `field`, `shadow`, `llm` or `pipeline`.
        key: the panel's key on that page, one of `PANELS`.

    Raises:
        KeyError: no such page or panel; the message lists the valid ones.
    """
    if page not in PANELS:
        raise KeyError(f"{page!r} is not a page; choose one of {', '.join(PANELS)}")
    if key not in PANELS[page]:
        raise KeyError(f"{key!r} is not a panel of page {page}; choose one of {', '.join(PANELS[page])}")
    return PanelLink(DASHBOARDS[page], PANELS[page][key])
