"""The row Serving of the page LLM: what inference servers report, and how versions are served."""

from __future__ import annotations

from functools import partial

from barograph_server.dashboards.layout import PlacedPanel, Row
from barograph_server.dashboards.panels import AnyPanel, PanelInfo, table_panel, time_series
from barograph_server.dashboards.style import STYLE
from barograph_server.warehouse.panels import serving

UNITS = STYLE.units
_info = partial(PanelInfo, "llm")


def _requests() -> AnyPanel:
    info = _info(
        "serving_requests",
        "Running and waiting requests",
        "Requests in all instances of the model's servers: the largest number in each step. Waiting requests mean that "
        "the servers are full.",
        UNITS.count,
    )
    return time_series(info, serving.REQUESTS, stacked=True, at_least=0)


def _kv_cache() -> AnyPanel:
    info = _info(
        "kv_cache",
        "KV cache in use",
        "Share of the KV cache that is in use, by instance. Near 100 % requests wait or are preempted.",
        UNITS.share,
    )
    return time_series(info, serving.KV_CACHE, at_least=0)


def _cache_hits() -> AnyPanel:
    info = _info(
        "cache_hits",
        "Prefix cache hits",
        "Share of input tokens (or blocks) that were read from the prefix cache, by instance.",
        UNITS.share,
    )
    return time_series(info, serving.CACHE_HITS, at_least=0)


def _drafts() -> AnyPanel:
    info = _info(
        "draft_acceptance",
        "Accepted draft tokens",
        "Share of the tokens drafted by speculative decoding that were accepted, by instance.",
        UNITS.share,
    )
    return time_series(info, serving.DRAFTS, at_least=0)


def _counts() -> AnyPanel:
    info = _info(
        "serving_counts",
        "Preemptions, failures and restarts",
        "Preempted requests, failed requests by reason, and restarts of servers, in each step.",
        UNITS.count,
    )
    return time_series(info, serving.COUNTS, counted=True)


def _server_times() -> AnyPanel:
    info = _info(
        "server_times",
        "Queue, prefill and decode: servers",
        "Mean time of a request in each part, from the servers' histograms. Parts that a server does not report are "
        "missing.",
        UNITS.milliseconds,
    )
    return time_series(info, serving.SERVER_TIMES, stacked=True, at_least=0)


def _span_times() -> AnyPanel:
    info = _info(
        "span_times",
        "Queue, prefill and decode: spans",
        "Mean time of a call in each part, from the spans of calls that have it. It differs from the servers' numbers "
        "if only some applications send spans.",
        UNITS.milliseconds,
    )
    return time_series(info, serving.SPAN_TIMES, stacked=True, at_least=0)


def _first_token() -> AnyPanel:
    info = _info(
        "server_tokens",
        "First token and time per token: servers",
        "Mean time to the first token and per further token, by instance, from the servers' metrics.",
        UNITS.milliseconds,
    )
    return time_series(info, serving.FIRST_TOKEN, at_least=0)


def _instances() -> AnyPanel:
    info = _info(
        "instances",
        "Servers",
        "The polled endpoints of the model. `silent`: the last scrape failed.",
    )
    return table_panel(info, serving.INSTANCES, units={"scrapes read": UNITS.share, "finished": UNITS.count})


def _deployments() -> AnyPanel:
    info = _info(
        "deployments",
        "Deployments",
        "How versions are served, from the section `deployments` of the contract in effect.",
    )
    return table_panel(info, serving.DEPLOYMENTS)


def row() -> Row:
    return Row(
        "Serving",
        (
            *(PlacedPanel(panel, 8, 8) for panel in (_requests(), _kv_cache(), _cache_hits())),
            *(PlacedPanel(panel, 8, 8) for panel in (_server_times(), _span_times(), _first_token())),
            *(PlacedPanel(panel, 12, 8) for panel in (_counts(), _drafts())),
            *(PlacedPanel(panel, 12, 8) for panel in (_instances(), _deployments())),
        ),
    )
