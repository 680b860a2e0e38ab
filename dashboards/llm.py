"""The page LLM: is a language model slower, dearer or worse, and have the questions changed?"""

from __future__ import annotations

from functools import partial

from barograph_server.dashboards import llm_cost, llm_prompts, llm_quality, llm_serving, llm_text
from barograph_server.dashboards.layout import PlacedPanel, Row
from barograph_server.dashboards.panels import AnyPanel, PanelInfo, stat_panel, time_series
from barograph_server.dashboards.style import STYLE
from barograph_server.warehouse.panels import generations, traffic

UNITS = STYLE.units
_info = partial(PanelInfo, "llm")


def _requests() -> AnyPanel:
    info = _info("requests", "Generations", "Generations of the version in the range, failed ones too.", UNITS.count)
    return stat_panel(info, traffic.REQUESTS_NOW)


def _errors() -> AnyPanel:
    info = _info("errors", "Errors", "Share of the generations in the range that failed.", UNITS.share)
    return stat_panel(info, traffic.ERRORS_NOW)


def _first_token_now() -> AnyPanel:
    info = _info(
        "first_token_now",
        "First token, p95",
        "95 % of the streams in the last window had their first token within this time.",
        UNITS.milliseconds,
    )
    return stat_panel(info, generations.FIRST_TOKEN_NOW)


def _per_token_now() -> AnyPanel:
    info = _info(
        "per_token_now",
        "Per output token, p95",
        "Time after the first token, divided by the output tokens without the first: 95 % of the streams in the last "
        "window took at most this.",
        UNITS.milliseconds,
    )
    return stat_panel(info, generations.PER_TOKEN_NOW)


def _output_tokens_now() -> AnyPanel:
    info = _info(
        "output_tokens_now", "Output tokens", "Mean output tokens of a generation in the last window.", UNITS.plain
    )
    return stat_panel(info, generations.OUTPUT_TOKENS_NOW, decimals=1)


def _tokens_observed() -> AnyPanel:
    info = _info(
        "tokens_observed",
        "Tokens observed",
        "Share of the generations in the range whose output tokens were observed. Streams have none unless the client "
        "requests the usage, and failed calls have none.",
        UNITS.share,
    )
    return stat_panel(info, generations.TOKENS_OBSERVED)


def _first_token() -> AnyPanel:
    info = _info(
        "first_token",
        "Time to the first token",
        "Quantiles of the time to the first token in the selected window, over all streams. Calls without streaming "
        "have none.",
        UNITS.milliseconds,
    )
    return time_series(info, generations.FIRST_TOKEN, at_least=0)


def _per_token() -> AnyPanel:
    info = _info(
        "per_token",
        "Time per output token",
        "Quantiles of the time per output token after the first, in the selected window.",
        UNITS.milliseconds,
    )
    return time_series(info, generations.PER_TOKEN, at_least=0)


def _total() -> AnyPanel:
    info = _info(
        "total", "Whole duration", "Quantiles of the whole duration in the selected window.", UNITS.milliseconds
    )
    return time_series(info, generations.TOTAL, at_least=0)


def _tokens() -> AnyPanel:
    info = _info(
        "tokens",
        "Tokens per generation",
        "Mean tokens of the generations in the selected window. Cached tokens are a part of the input.",
    )
    return time_series(info, generations.TOKENS_PER_GENERATION, at_least=0)


def _tokens_per_minute() -> AnyPanel:
    info = _info(
        "tokens_per_minute",
        "Tokens per minute",
        "Tokens of the selected window divided by its length. Cached tokens are a part of the input.",
    )
    return time_series(info, generations.TOKENS_PER_MINUTE, at_least=0)


def _coverage() -> AnyPanel:
    info = _info(
        "coverage",
        "Observed values",
        "Share of the generations whose value was observed, zero included. A fall means that an instrumentation, a "
        "client or a server no longer reports it: means and sums then cover fewer generations.",
        UNITS.share,
    )
    return time_series(info, generations.COVERAGE, at_least=0)


def rows() -> list[Row]:
    """The rows of the page, from top to bottom."""
    return [
        Row(
            "Now, at the end of the range",
            (
                PlacedPanel(_requests(), 4, 4),
                PlacedPanel(_errors(), 4, 4),
                PlacedPanel(_first_token_now(), 4, 4),
                PlacedPanel(_per_token_now(), 4, 4),
                PlacedPanel(_output_tokens_now(), 4, 4),
                PlacedPanel(_tokens_observed(), 4, 4),
            ),
        ),
        Row(
            "Latency",
            (
                PlacedPanel(_first_token(), 8, 8),
                PlacedPanel(_per_token(), 8, 8),
                PlacedPanel(_total(), 8, 8),
            ),
        ),
        Row(
            "Tokens",
            (PlacedPanel(_tokens(), 8, 8), PlacedPanel(_tokens_per_minute(), 8, 8), PlacedPanel(_coverage(), 8, 8)),
        ),
        llm_prompts.row(),
        llm_cost.row(),
        llm_text.row(),
        llm_quality.row(),
        llm_serving.row(),
    ]
