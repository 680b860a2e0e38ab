"""Finds what cannot be read on a page of the preview: `page_layout.js` looks at what Chromium draws."""

from pathlib import Path

from playwright.sync_api import Page

from barograph_server.dashboards import style
from barograph_server.dashboards.pages import dashboards
from barograph_server.dashboards.style import STYLE

SCRIPT = Path(__file__).with_suffix(".js")
COLOURS = sorted(
    {
        *STYLE.level_colours.values(),
        *STYLE.word_colours.values(),
        *STYLE.series_colours.values(),
        *(style.TEXT, style.NOTHING, style.INSUFFICIENT, style.DEPLOYMENT, style.NEW_BASELINE, style.DRILL),
    }
)
"""The palette: names of Grafana's colours, which the preview translates, and hexadecimal colours."""


def open_rows(page: str) -> str:
    return ",".join(str(panel["id"]) for panel in dashboards()[page]["panels"] if panel["type"] == "row")


def layout_faults(page: Page) -> list[str]:
    """Return a line for each fault of a page whose panels are drawn: its kind, where, and the text or the colour."""
    faults = page.evaluate(SCRIPT.read_text(encoding="utf-8"), COLOURS)
    return [f"{fault['kind']}: {fault['where']}: {fault['text']}" for fault in faults]
