"""Pages of the preview over planted incidents.

The link of an alert, and at most a click on a folded row, lead to the panel that shows the number of the alert. In
every scene a page can be read: nothing is clipped, overlapping, unexplained, or too faint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
from playwright.sync_api import Browser

from barograph_server.dashboards.page_files import panel_ids
from barograph_server.dashboards.uids import DASHBOARDS
from tests.support.browser import PreviewPage
from tests.support.incident_models import DAY_S, HOUR_S, INCIDENTS, PlantedIncident
from tests.support.page_layout import layout_faults
from tests.support.page_scenes import SCENES, FiringAlert, Scene, ServedModels, firing_alert, walk

pytestmark = [pytest.mark.engine, pytest.mark.long]
Points = dict[str, dict[int, float]]
"""Name of a series → Unix seconds → value."""


@pytest.fixture
def screen(browser: Browser, served: dict[str, ServedModels]) -> Iterator[PreviewPage]:
    screen = PreviewPage(browser, served["twelve"].server.url)
    yield screen
    screen.close()
    assert screen.faults == []


def points_of(screen: PreviewPage, incident: PlantedIncident) -> Points:
    drawn = screen.traces(panel_ids(incident.page)[incident.panel])
    return {
        name: {round(at / 1000): value for at, value in points if value is not None} for name, points in drawn.items()
    }


def last_second(values: dict[int, float]) -> int:
    return max(at for at, value in values.items() if value > 0) + HOUR_S


def shows_psi(alert: FiringAlert, points: Points, incident: PlantedIncident) -> None:
    psi = points["psi"]
    assert psi[max(psi)] == pytest.approx(alert.numbers["E"])
    assert psi[max(psi)] > points["major threshold"][max(psi)]


def shows_rate(alert: FiringAlert, points: Points, incident: PlantedIncident) -> None:
    last = max(points["rate"])
    assert points["rate"][last] - points["baseline"][last] == pytest.approx(alert.numbers["E"])
    assert points["rate"][last] > points["major threshold"][last]


def shows_change(alert: FiringAlert, points: Points, incident: PlantedIncident) -> None:
    change = points["unseen"]
    assert change[max(change)] == pytest.approx(alert.numbers["E"])
    assert change[max(change)] > points["major threshold"][max(change)]


def shows_share(alert: FiringAlert, points: Points, incident: PlantedIncident) -> None:
    (name,) = (name for name in points if "SLO" not in name)
    last_day = [share for at, share in points[name].items() if incident.at_s - DAY_S <= at]
    assert last_day
    assert last_day == pytest.approx([alert.numbers["E"]] * len(last_day), abs=0.005)
    (slo,) = {value for name, values in points.items() if "SLO" in name for value in values.values()}
    assert min(last_day) > slo == pytest.approx(alert.rule.threshold)


def shows_silence(alert: FiringAlert, points: Points, incident: PlantedIncident) -> None:
    (requests,) = points.values()
    assert incident.at_s - last_second(requests) == pytest.approx(alert.numbers["B"], abs=HOUR_S)


def shows_metric(alert: FiringAlert, points: Points, incident: PlantedIncident) -> None:
    assert alert.numbers["E"] in [pytest.approx(value) for value in points["auc"].values()]
    (slo,) = set(points["auc SLO"].values())
    assert alert.numbers["E"] < slo == alert.rule.threshold


def shows_last_label(alert: FiringAlert, points: Points, incident: PlantedIncident) -> None:
    (labelled,) = points.values()
    age_s = alert.numbers["A"] * alert.numbers["C"]
    assert incident.at_s - last_second(labelled) == pytest.approx(age_s, abs=HOUR_S)


CHECKS: dict[str, Callable[[FiringAlert, Points, PlantedIncident], None]] = {
    "psi-major": shows_psi,
    "null-rate": shows_rate,
    "unseen-rate": shows_change,
    "latency": shows_share,
    "errors": shows_share,
    "silence": shows_silence,
    "performance": shows_metric,
    "label-stop": shows_last_label,
}


@pytest.mark.parametrize("incident", INCIDENTS, ids=[incident.rule for incident in INCIDENTS])
def test_the_link_leads_to_the_number(
    screen: PreviewPage, served: dict[str, ServedModels], incident: PlantedIncident
) -> None:
    alert = firing_alert(served["twelve"].client, incident)
    walk(screen, served["twelve"], incident, alert)
    address = urlparse(screen.page.url)
    chosen: dict[str, Any] = {name: values[0] for name, values in parse_qs(address.query).items()}
    assert address.path == f"/d/{DASHBOARDS[incident.page]}"
    assert chosen["var-model"] == incident.model
    assert chosen.get("var-field", "") == incident.key
    CHECKS[incident.rule](alert, points_of(screen, incident), incident)


CHECKED = [scene for scene in SCENES if (scene.models, scene.width) in {("one", 1920), ("twelve", 1280)}]
"""Half of the scenes: the wide screen with little on it, and the narrow one with much."""


@pytest.mark.parametrize("scene", CHECKED, ids=[scene.name for scene in CHECKED])
def test_a_scene_can_be_read(served: dict[str, ServedModels], browser: Browser, scene: Scene) -> None:
    models = served[scene.models]
    screen = PreviewPage(browser, models.server.url)
    scene.open(screen, models)
    assert screen.panels("failed") == []
    assert layout_faults(screen.page) == []
    screen.page.evaluate("() => { document.querySelector('footer').style.color = 'var(--line)'; }")
    assert [fault for fault in layout_faults(screen.page) if "low contrast: footer" in fault], "a fault is found"
    screen.close()
    assert screen.faults == []
