"""Why a chart is empty: one line that it shows instead of nothing."""

from __future__ import annotations

_NO_WINDOW = "No window was judged in this range: too few events, or Pipeline is behind."
_NO_REPORT = "No processor reported in this range."
_NO_PREDICTION = "No predictions in this range: callers are down, or Pipeline is behind."

EMPTY = {
    "fleet": {
        "requests": _NO_PREDICTION,
        "errors": _NO_PREDICTION,
        "latency": "No predictions in this range, or no contract with a latency SLO.",
        "worst_psi_over_time": _NO_WINDOW,
        "levels_over_time": _NO_WINDOW,
    },
    "model": {
        "requests": _NO_PREDICTION,
        "errors": _NO_PREDICTION,
        "latency": "No predictions in this range, and no latency SLO in the contract.",
        "error_kinds": "No prediction failed in this range.",
        "latency_quantiles": "No window in this range, or latency_ms is not a field of the contract.",
        "psi": _NO_WINDOW,
        "rates": _NO_WINDOW,
        "levels": _NO_WINDOW,
        "score": "No window was judged in this range, or predictions have neither score nor class.",
        "class_shares": "No predictions in this range, or the model has no classes.",
        "score_quantiles": "No window in this range, or the model has no score.",
        "main_metric": "No metric has enough labels in this range.",
        "performance": "No metric has enough labels in this range.",
        "cbpe": "No estimate in this range: it needs scores, and labels of an earlier period.",
        "calibration": "No labelled prediction with a score in this range.",
        "label_coverage": "No prediction in this range was matched with labels.",
        "label_maturity": "No curve yet: it is learned once a day, when labels have arrived.",
    },
    "field": {
        "psi": _NO_WINDOW,
        "distribution": _NO_WINDOW,
        "quantiles": "No window in this range, or the field is not numeric.",
        "heatmap": "No full hour in this range on the bins of the last baseline.",
        "nulls": _NO_WINDOW,
        "unseen": "No window in this range, or the field is not categorical.",
        "range": "No window was judged in this range, or the field has no range.",
        "distances": "No window in this range, or the field is not numeric.",
    },
    "pipeline": {
        "lag": _NO_REPORT,
        "rate": _NO_REPORT,
        "retries": _NO_REPORT,
        "insert_times": _NO_REPORT,
        "watchdog": _NO_REPORT,
        "committed_age": _NO_REPORT,
        "waiting": _NO_REPORT,
        "healthy": _NO_REPORT,
        "memory": _NO_REPORT,
        "cpu": _NO_REPORT,
        "events": _NO_REPORT,
        "inserted": _NO_REPORT,
        "scored": "The scorer reported nothing in this range.",
        "rejected": "Processors dead-lettered and lost nothing in this range.",
        "completeness": "No window ended in this range, in event time.",
        "late": "No predictions in this range, in event time.",
        "dead_letters": "No dead letters in this range.",
        "duplicates": "No duplicates in this range, in event time, or no model with labels.",
        "unmatched_labels": "No labels without a prediction in this range.",
    },
}
"""Page → key of a chart → its text."""
