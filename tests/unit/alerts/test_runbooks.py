"""Runbooks name the panel to which the link of the alert leads, and show it."""

from __future__ import annotations

from pathlib import Path

import pytest

from alerts.settings import AlertSettings
from dashboards.pages import dashboards
from dashboards.uids import PANELS
from tests.support.incident_models import INCIDENTS, PlantedIncident

DOCS = Path(__file__).parents[3] / "docs"
PICTURE_BYTES = 80_000


def path_of(incident: PlantedIncident) -> list[str]:
    """The titles of the incident's row and panel."""
    panel_id = PANELS[incident.page][incident.panel]
    row = ""
    for panel in dashboards()[incident.page]["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
        for each in (panel, *panel.get("panels", ())):
            if each["id"] == panel_id and each["type"] != "row":
                return [row, each["title"]]
    raise AssertionError(incident)


@pytest.mark.parametrize("incident", INCIDENTS, ids=[incident.rule for incident in INCIDENTS])
def test_a_runbook_names_the_page_the_row_and_the_panel(incident: PlantedIncident) -> None:
    runbook = AlertSettings().runbook(f"{incident.rule}.md")
    text = (DOCS.parent / str(runbook)).read_text(encoding="utf-8")
    section = " ".join(text.partition("## From the alert\n")[2].partition("\n## ")[0].split())
    assert "Open the link in the message" in section
    for title in (incident.page.capitalize(), *path_of(incident)):
        assert f"*{title}*" in section
    picture = DOCS / "pictures" / f"runbook-{incident.rule}.png"
    assert f"](../pictures/{picture.name})" in section
    assert 0 < picture.stat().st_size < PICTURE_BYTES
