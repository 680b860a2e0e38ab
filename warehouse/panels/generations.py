"""Latency, tokens and coverage of the generations of a language model.

They read the fields of the contract that have the name of their metric, such as `ttft_ms`.
"""

from __future__ import annotations

from collections.abc import Iterable

from barograph_server.warehouse.panels.fragments import MODEL, SLICE, VERSION, finite, window_seconds
from barograph_server.warehouse.panels.query import (
    ALL_EVENTS,
    DISTANCES_S,
    HOUR_S,
    PanelQuery,
    series,
    table,
    window_statistics,
)

TOKENS = {"input_tokens": "input", "cached_input_tokens": "cached", "output_tokens": "output"}
"""Field → its name on the page."""
COVERED = {
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "cached_input_tokens": "cached tokens",
    "ttft_ms": "first token",
    "cost_usd": "cost",
}


def _names(fields: Iterable[str]) -> str:
    return ", ".join(f"'{field}'" for field in fields)


def _named(fields: dict[str, str]) -> str:
    """Return the expression for the name of a field on the page."""
    return f"transform(field, [{_names(fields)}], [{', '.join(repr(name) for name in fields.values())}], field)"


def _last(name: str, field: str, expression: str) -> PanelQuery:
    return table(
        f"generations.{name}",
        f"""
        SELECT argMax({finite(expression)}, window_end) AS {name}
        FROM latest_distances AS stats
        WHERE {ALL_EVENTS} AND field = '{field}'
        """,
        name,
    )


def _tokens(column: str, expression: str) -> PanelQuery:
    return series(
        f"generations.tokens_{column}",
        f"""
        SELECT $__timeInterval(window_end) AS time, {_named(TOKENS)} AS tokens, max({finite(expression)}) AS {column}
        FROM latest_distances AS stats
        WHERE {ALL_EVENTS} AND field IN ({_names(TOKENS)})
        GROUP BY time, tokens
        ORDER BY time, tokens
        """,
        f"tokens:text | {column}",
        period_s=DISTANCES_S,
    )


def _coverage(fields: Iterable[str]) -> str:
    return f"{MODEL} AND {VERSION} AND {SLICE} AND field IN ({_names(fields)}) AND $__timeFilter(pane_start)"


_QUANTILES = ("p50", "p95", "p99")
FIRST_TOKEN = window_statistics("generations.first_token", "ttft_ms", *_QUANTILES)
PER_TOKEN = window_statistics("generations.per_token", "time_per_output_token_ms", *_QUANTILES)
TOTAL = window_statistics("generations.total", "latency_ms", *_QUANTILES)
FIRST_TOKEN_NOW = _last("first_token_now", "ttft_ms", "stats.p95")
PER_TOKEN_NOW = _last("per_token_now", "time_per_output_token_ms", "stats.p95")
OUTPUT_TOKENS_NOW = _last("output_tokens_now", "output_tokens", "stats.mean")

TOKENS_PER_GENERATION = _tokens("per_generation", "stats.mean")
TOKENS_PER_MINUTE = _tokens("per_minute", f"stats.mean * stats.n / {window_seconds('stats.window')} * 60")

COVERAGE = series(
    "generations.coverage",
    f"""
    SELECT
        $__timeInterval(pane_start) AS time,
        {_named(COVERED)} AS value,
        {finite("1 - sum(pane.nulls) / sum(pane.n)")} AS observed
    FROM all_panes AS pane
    WHERE {_coverage(COVERED)}
    GROUP BY time, value
    ORDER BY time, value
    """,
    "value:text | observed",
    period_s=HOUR_S,
)

TOKENS_OBSERVED = table(
    "generations.tokens_observed",
    f"""
    SELECT {finite("1 - sum(pane.nulls) / sum(pane.n)")} AS tokens_observed
    FROM all_panes AS pane
    WHERE {_coverage(["output_tokens"])}
    """,
    "tokens_observed",
)
