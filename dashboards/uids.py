"""Stable identifiers of pages and panels: alert rules, runbooks and bookmarks link to pages by uid, to panels by id."""

from typing import NamedTuple

from barograph_server.dashboards.page_files import panel_ids

DASHBOARDS = {page: f"barograph-{page}" for page in ("fleet", "model", "field", "shadow", "llm", "pipeline")}
"""Page → uid of its dashboard."""


class PanelLink(NamedTuple):
    """A link from an alert rule to a panel: its annotations `__dashboardUid__` and `__panelId__`."""

    dashboard_uid: str
    panel_id: int


def panel_link(page: str, key: str) -> PanelLink:
    """Return the link to a panel.

    Raises:
        KeyError: no such page or panel; the message lists the valid ones.
    """
    if page not in DASHBOARDS:
        raise KeyError(f"{page!r} is not a page; choose one of {', '.join(DASHBOARDS)}")
    ids = panel_ids(page)
    if key not in ids:
        raise KeyError(f"{key!r} is not a panel of page {page}; choose one of {', '.join(ids)}")
    return PanelLink(DASHBOARDS[page], ids[key])
