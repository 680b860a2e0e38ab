"""The dashboards in a browser: panels show the values of ClickHouse, and every link leads to its target."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
from playwright.sync_api import Browser

from barograph_server.dashboards.pages import dashboards
from barograph_server.dashboards.uids import DASHBOARDS, panel_link
from barograph_server.local.child_process import choose_port
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.local.preview import PreviewServer
from barograph_server.operations.dev.page import open_page
from barograph_server.settings import Settings
from tests.support.browser import PreviewPage
from tests.support.http import request
from tests.support.page_layout import open_rows
from tests.support.pipeline import Pipeline
from tests.support.shop_model import HOURS, Shop

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def server(shop_pipeline: Pipeline, engine: LocalClickHouse) -> Iterator[PreviewServer]:
    settings = Settings(bootstrap_servers=shop_pipeline.bootstrap, warehouse=shop_pipeline.address)
    reader = engine.reader_address(shop_pipeline.address.database)
    with open_page(settings, reader, choose_port()) as server:
        yield server


@pytest.fixture
def preview(browser: Browser, server: PreviewServer) -> Iterator[PreviewPage]:
    screen = PreviewPage(browser, server.url)
    yield screen
    screen.close()
    assert screen.faults == []


def ms(shop: Shop, hours: float) -> int:
    return round(shop.at(hours).timestamp() * 1000)


def span(shop: Shop, start: float = 0, end: float = HOURS) -> str:
    return f"from={ms(shop, start)}&to={ms(shop, end)}"


def chosen(preview: PreviewPage) -> dict[str, str]:
    return {key: value[0] for key, value in parse_qs(urlparse(preview.page.url).query).items()}


def judged(points: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """What is drawn of a field by time; where data were too little to judge, the line has a gap."""
    result = {at: value for at, value in points if value is not None}
    assert result
    return result


def follow(preview: PreviewPage, selector: str) -> None:
    """Click something that leads to another page, and wait until that is drawn."""
    with preview.page.expect_navigation():
        preview.page.click(selector)
    preview.wait_drawn()


@pytest.mark.parametrize("page", DASHBOARDS)
def test_every_panel_is_drawn(preview: PreviewPage, shop: Shop, page: str) -> None:
    preview.open(f"/d/{DASHBOARDS[page]}?{span(shop)}&open={open_rows(page)}")
    assert preview.panels("failed") == []
    expected = [
        panel["id"]
        for each in dashboards()[page]["panels"]
        for panel in (each.get("panels", []) if each["type"] == "row" else [each])
    ]
    # A repeated panel is drawn once for each value of its variable.
    assert {int(panel.partition(" ")[0]) for panel in preview.panels("drawn")} == set(expected)
    assert [panel for panel in preview.panels("drawn") if panel.endswith(" No data in this range.")] == []


def test_from_fleet_to_model_to_field(preview: PreviewPage, shop: Shop, shop_pipeline: Pipeline) -> None:
    preview.open(f"/?{span(shop)}")
    assert urlparse(preview.page.url).path == f"/d/{DASHBOARDS['fleet']}"
    preview.open(f"/d/{DASHBOARDS['fleet']}?{span(shop)}")
    model = shop.contract.model
    # What processors wrote is found: France's amounts are judged, and the page does not call that no verdict.
    assert "no verdict" not in preview.page.inner_text(f'[data-panel="{panel_link("fleet", "levels").panel_id}"]')
    follow(preview, f'[data-panel="{panel_link("fleet", "levels").panel_id}"] td a span:text-is("{model}")')
    assert urlparse(preview.page.url).path == f"/d/{DASHBOARDS['model']}"
    assert chosen(preview)["var-model"] == model
    assert chosen(preview)["from"] == str(ms(shop, 0))
    psi = panel_link("model", "psi").panel_id
    drawn = preview.traces(psi)
    window = preview.page.input_value("[data-variable=window]")
    tables: dict[str, list[tuple[Any, Any]]] = {}
    for field, at, value in shop_pipeline.rows(
        "SELECT field, toUnixTimestamp(window_end) * 1000, psi FROM latest_drift WHERE slice = 'all' "
        "AND window = {window:String} AND version = '1' AND isFinite(psi) ORDER BY field, window_end",
        {"window": window},
    ):
        tables.setdefault(field, []).append((at, value))
    # Fields are named alone, without the refId of the query and the column.
    assert set(drawn) - {"minor threshold", "major threshold"} <= set(tables)
    assert {"amount", "age", "minor threshold", "major threshold"} <= set(drawn)
    for field in set(drawn) & set(tables):
        assert judged(drawn[field]).items() <= dict(tables[field]).items(), field
    follow(preview, f'[data-panel="{panel_link("model", "fields").panel_id}"] td a span:text-is("amount")')
    assert urlparse(preview.page.url).path == f"/d/{DASHBOARDS['field']}"
    assert (chosen(preview)["var-field"], chosen(preview)["var-model"]) == ("amount", model)
    follow(preview, 'nav a:text-is("Fleet")')
    assert chosen(preview)["from"] == str(ms(shop, 0))


def test_a_slice_and_a_range_are_chosen(preview: PreviewPage, shop: Shop, shop_pipeline: Pipeline) -> None:
    preview.open(f"/d/{DASHBOARDS['model']}?{span(shop)}")
    with preview.page.expect_navigation():
        preview.page.select_option("[data-variable=slice]", "country=FR")
    preview.wait_drawn()
    assert chosen(preview)["var-slice"] == "country=FR"
    drawn = preview.traces(panel_link("model", "psi").panel_id)["amount"]
    window = preview.page.input_value("[data-variable=window]")
    tables = dict(
        shop_pipeline.rows(
            "SELECT toUnixTimestamp(window_end) * 1000, psi FROM latest_drift WHERE slice = 'country=FR' "
            "AND window = {window:String} AND field = 'amount'",
            {"window": window},
        )
    )
    assert judged(drawn).items() <= tables.items()
    assert preview.page.input_value("#from") == shop.at(0).strftime("%Y-%m-%d %H:%M")
    preview.page.fill("#from", shop.at(24).strftime("%Y-%m-%d %H:%M"))
    preview.page.fill("#to", shop.at(48).strftime("%Y-%m-%d %H:%M"))
    follow(preview, "#range button")
    again = preview.traces(panel_link("model", "psi").panel_id)["amount"]
    assert {at for at, _ in again} <= {at for at, _ in drawn}
    assert min(at for at, _ in again) >= ms(shop, 24)
    assert max(at for at, _ in again) <= ms(shop, 48)


def test_incidents_lead_to_the_panel_with_their_number(preview: PreviewPage, shop: Shop) -> None:
    """From Tuesday noon on a tenth of the ages are null, which opens an incident; none is about ages before."""
    preview.open(f"/d/{DASHBOARDS['fleet']}?{span(shop, 0, 30)}")
    preview.page.wait_for_selector("#incidents[data-state=drawn]")
    of_age = re.compile(r"\bage\b")
    assert preview.page.locator("#incidents a", has_text=of_age).count() == 0
    preview.open(f"/d/{DASHBOARDS['fleet']}?{span(shop)}")
    preview.page.wait_for_selector("#incidents[data-state=drawn]")
    # Pages are above tickets.
    kinds = [line.get_attribute("class") or "" for line in preview.page.query_selector_all("#incidents > details")]
    assert kinds == sorted(kinds, key=["page", "ticket", "pending"].index)
    incident = preview.page.locator("#incidents > details:is(.page, .ticket)", has_text=of_age).first
    since = re.search(r"since (before )?([\d-]+ [\d:]+)", incident.locator("summary").inner_text())
    assert since is not None
    opened = datetime.strptime(since[2], "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    assert shop.at(36) <= opened <= shop.at(HOURS)
    assert "docs/runbooks/" in incident.locator("summary").inner_text()
    incident.locator("summary").click()
    alert = incident.locator("a[data-state=Alerting]", has_text=of_age).first
    # The summary names its window and version.
    assert " , " not in alert.inner_text()
    with preview.page.expect_navigation():
        alert.click()
    preview.wait_drawn()
    assert chosen(preview)["var-model"] == shop.contract.model
    assert chosen(preview)["to"] == str(ms(shop, HOURS))
    assert preview.panels("failed") == []


def test_a_panel_cannot_change_anything(server: PreviewServer, shop: Shop) -> None:
    """The server runs queries read-only, so a page with a writing query fails."""
    page = json.loads(json.dumps(dashboards()["fleet"]))
    panel = next(each for each in page["panels"] if each.get("targets"))
    panel["targets"] = [{"refId": "A", "format": 1, "rawSql": "INSERT INTO contracts SELECT * FROM contracts"}]
    with PreviewServer([page], server.address) as other:
        arguments = {"from": ms(shop, 0), "to": ms(shop, 1), "variables": {}}
        url = f"{other.url}api/pages/{page['uid']}/panels/{panel['id']}"
        refused = request("POST", url, json.dumps(arguments).encode(), {"Content-Type": "application/json"})
        assert refused.status == 502
        assert "readonly" in refused.json()["error"]
