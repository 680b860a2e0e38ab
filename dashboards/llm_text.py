"""The row Text of the page LLM: topics, languages and code in prompts; never text or ids."""

from __future__ import annotations

from functools import partial

from barograph_server.dashboards.layout import PlacedPanel, Row
from barograph_server.dashboards.panels import AnyPanel, PanelInfo, time_series
from barograph_server.dashboards.style import STYLE
from barograph_server.warehouse.panels import llm_text

UNITS = STYLE.units
_info = partial(PanelInfo, "llm")


def _topics() -> AnyPanel:
    info = _info(
        "topics",
        "Topics",
        "Share of each topic per hour, of the field `topic`: the nearest centroid of the codebook. Topics that are "
        "rare in the baseline or not in it, such as `new`, are `other`; the rarer ones of the range are `further`.",
        UNITS.share,
    )
    return time_series(info, llm_text.TOPICS, stacked=True, at_least=0)


def _new() -> AnyPanel:
    info = _info(
        "new_topics",
        "Prompts far from every topic",
        "Share of each hour's recorded prompts whose distance to the nearest topic exceeds the codebook's threshold. "
        "`unseen`: topics that are not in the baseline, in the selected window, with the thresholds in force.",
        UNITS.share,
    )
    return time_series(info, llm_text.NEW, llm_text.NEW_THRESHOLDS, at_least=0)


def _languages() -> AnyPanel:
    info = _info(
        "languages",
        "Languages",
        "Share of each language of prompts per hour, of the field `language`. `unknown`: short, ambiguous, or code.",
        UNITS.share,
    )
    return time_series(info, llm_text.LANGUAGES, stacked=True, at_least=0)


def _code() -> AnyPanel:
    info = _info(
        "code_share",
        "Code in prompts and answers",
        "Share of characters that are program code, in the selected window.",
        UNITS.share,
    )
    return time_series(info, llm_text.CODE_SHARE, at_least=0)


def _distance() -> AnyPanel:
    info = _info(
        "topic_distance",
        "Distance to the topic",
        "One minus the cosine to the nearest centroid, in the selected window. It rises before topics change.",
    )
    return time_series(info, llm_text.DISTANCE, at_least=0)


def row() -> Row:
    """The row, folded."""
    panels = (
        PlacedPanel(_topics(), 12, 9),
        PlacedPanel(_new(), 12, 9),
        PlacedPanel(_languages(), 8, 8),
        PlacedPanel(_code(), 8, 8),
        PlacedPanel(_distance(), 8, 8),
    )
    return Row("Text", panels, folded=True)
