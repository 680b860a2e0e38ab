"""Pages of the preview and of `barograph review` in Chromium."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
from barograph.contract import Contract, Text
from barograph.contract.evaluator_contracts import evaluator_contracts
from barograph.contract.evaluators import Evaluator
from playwright.sync_api import Browser, Page

from barograph_server.alerts.example import RUNBOOKS
from barograph_server.dashboards.page_files import panel_ids
from barograph_server.dashboards.pages import dashboards
from barograph_server.dashboards.uids import DASHBOARDS, panel_link
from barograph_server.evaluation.review.gold_labels import GoldLabels
from barograph_server.evaluation.review.server import ReviewServer
from barograph_server.local.child_process import choose_port
from barograph_server.local.clickhouse import READER, LocalClickHouse
from barograph_server.local.preview import PreviewServer
from barograph_server.operations.dev.page import open_page
from barograph_server.settings import Settings
from barograph_server.streams.evaluator.checks.documents import DocumentSet
from barograph_server.warehouse.evaluation.evaluation_rates import read_evaluation_rates
from barograph_server.warehouse.evaluation.review_queue import read_queue
from barograph_server.warehouse.evaluation.reviews import Review, read_reviews, unsent_gold
from tests.support.browser import PreviewPage
from tests.support.http import request
from tests.support.incident_models import DAY_S, HOUR_S, INCIDENTS, SHORT_DRIFT, PlantedIncident
from tests.support.page_scenes import (
    SCENES,
    FiringAlert,
    Scene,
    ServedModels,
    firing_alert,
    layout_faults,
    open_rows,
    panel_selector,
    walk,
)
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract, wait_for
from tests.support.reviewed_answers import EVALUATOR, MODEL, SOURCE, answer_row, evaluation_row, store
from tests.support.shop_model import HOURS, Shop

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def server(shop_pipeline: Pipeline, engine: LocalClickHouse) -> Iterator[PreviewServer]:
    settings = Settings(bootstrap_servers=shop_pipeline.bootstrap, warehouse=shop_pipeline.address)
    reader = engine.address(shop_pipeline.address.database, READER)
    with open_page(settings, reader, choose_port()) as server:
        yield server


@pytest.fixture
def preview(browser: Browser, server: PreviewServer) -> Iterator[PreviewPage]:
    with PreviewPage(browser, server.url) as screen:
        yield screen


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
    assert "no verdict" not in preview.page.inner_text(f'[data-panel="{panel_link("fleet", "models_now").panel_id}"]')
    follow(preview, f'[data-panel="{panel_link("fleet", "models_now").panel_id}"] td a span:text-is("{model}")')
    assert urlparse(preview.page.url).path == f"/d/{DASHBOARDS['model']}"
    assert (chosen(preview)["var-model"], chosen(preview)["from"]) == (model, str(ms(shop, 0)))
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
    sql = (
        "SELECT toUnixTimestamp(window_end) * 1000, psi FROM latest_drift WHERE slice = 'country=FR' "
        "AND window = {window:String} AND field = 'amount'"
    )
    tables = dict(shop_pipeline.rows(sql, {"window": window}))
    assert judged(drawn).items() <= tables.items()
    assert preview.page.input_value("#from") == shop.at(0).strftime("%Y-%m-%d %H:%M")
    preview.page.fill("#from", shop.at(24).strftime("%Y-%m-%d %H:%M"))
    preview.page.fill("#to", shop.at(48).strftime("%Y-%m-%d %H:%M"))
    follow(preview, "#range button")
    again = preview.traces(panel_link("model", "psi").panel_id)["amount"]
    times = [at for at, _ in again]
    assert {*times} <= {at for at, _ in drawn}
    assert ms(shop, 24) <= min(times) <= max(times) <= ms(shop, 48)


INCIDENTS_PANEL = f'[data-panel="{panel_link("fleet", "incidents").panel_id}"]'


def test_incidents_lead_to_the_panel_with_their_number(preview: PreviewPage, shop: Shop) -> None:
    """From Tuesday noon on a tenth of the ages are null, which opens an incident; none is about ages before."""
    preview.open(f"/d/{DASHBOARDS['fleet']}?{span(shop, 0, 30)}")
    of_age = re.compile(r"\bage\b")
    assert preview.page.locator(f"{INCIDENTS_PANEL} a", has_text=of_age).count() == 0
    preview.open(f"/d/{DASHBOARDS['fleet']}?{span(shop)}")
    # Pages are above tickets.
    lines = preview.page.query_selector_all(f"{INCIDENTS_PANEL} details")
    kinds = [line.get_attribute("class") or "" for line in lines]
    assert kinds == sorted(kinds, key=["page", "ticket", "pending"].index)
    incident = preview.page.locator(f"{INCIDENTS_PANEL} details:is(.page, .ticket)", has_text=of_age).first
    since = re.search(r"since (before )?([\d-]+ [\d:]+)", incident.locator("summary").inner_text())
    assert since is not None
    opened = datetime.strptime(since[2], "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    assert shop.at(36) <= opened <= shop.at(HOURS)
    assert "runbook null-rate" in incident.locator("summary").inner_text()
    incident.locator("summary").click()
    alert = incident.locator("a[data-state=Alerting]", has_text=of_age).first
    # The summary names its window and version.
    assert " , " not in alert.inner_text()
    with preview.page.expect_navigation():
        alert.click()
    preview.wait_drawn()
    assert (chosen(preview)["var-model"], chosen(preview)["to"]) == (shop.contract.model, str(ms(shop, HOURS)))
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


Points = dict[str, dict[int, float]]
"""Name of a series → Unix seconds → value."""


@pytest.fixture
def screen(browser: Browser, served: dict[str, ServedModels]) -> Iterator[PreviewPage]:
    with PreviewPage(browser, served["twelve"].server.url) as screen:
        yield screen


def points_of(screen: PreviewPage, incident: PlantedIncident) -> Points:
    drawn = screen.traces(panel_ids(incident.page)[incident.panel])
    return {
        name: {round(at / 1000): value for at, value in points if value is not None} for name, points in drawn.items()
    }


def last_second(values: dict[int, float]) -> int:
    return max(at for at, value in values.items() if value > 0) + HOUR_S


Check = Callable[[FiringAlert, Points, PlantedIncident], None]
Cells = Callable[[FiringAlert], set[str]]


def shows_major(series: str, base: str = "") -> Check:
    """The last value of a series, less that of another one, is the alert's; it exceeds the threshold."""

    def check(alert: FiringAlert, points: Points, incident: PlantedIncident) -> None:
        last = max(points[series])
        known = points[base][last] if base else 0.0
        assert points[series][last] - known == pytest.approx(alert.numbers["E"])
        assert points[series][last] > points["major threshold"][last]

    return check


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


CHECKS: dict[str, Check] = {
    "psi-major": shows_major("psi"),
    "null-rate": shows_major("rate", "baseline"),
    "unseen-rate": shows_major("unseen"),
    "latency": shows_share,
    "errors": shows_share,
    "silence": shows_silence,
    "performance": shows_metric,
    "label-stop": shows_last_label,
}
CELLS: dict[str, Cells] = {
    "cost-budget": lambda alert: {f"${10 * alert.numbers['E']:g}", "$10"},
    "prompt-harm": lambda alert: {
        "answer@8", "refusals", "harm", "{:g} – {:g}".format(*(100 * alert.numbers[ref] for ref in "BC")),
    },
}  # fmt: skip
"""Cells of tables that show an alert's numbers."""
MESSAGES = {
    "psi-major": "PSI of {key} is ",
    "null-rate": "More nulls in {key} than in training, by 30.1% of all values in the 1d window until ",
    "unseen-rate": "More unseen categories in {key} than in training, by 19.9% of all values in the 1d window until ",
    "latency": "8% of predictions are slower than 250 ms in the 1d window until ",
    "errors": "5% of predictions fail in the 1d window until ",
    "silence": "No prediction for 2d 5h; the usual maximum is 3h.",
    "performance": "auc with mature labels is 0.62 in the 1d window until ",
    "label-stop": "No label for 1.94 times the usual maximum (1d 1h).",
    "cost-budget": "Cost of the day, spent or forecast: 150% of the budget of 10 US dollars; the threshold is 100%.",
    "prompt-harm": (
        "{key} higher than with answer@7, by 5% to 11%: at least 3% beyond the margin. To roll back: "
        "`barograph prompts rollback answer --label production --reason …`."
    ),
}
"""How the message of each rule begins, after the name of the model."""

LINKED = (*INCIDENTS, PlantedIncident("psi-major", SHORT_DRIFT, "age", "field", "psi"))


@pytest.mark.parametrize("incident", LINKED, ids=[f"{incident.rule} of {incident.model}" for incident in LINKED])
def test_the_link_leads_there(screen: PreviewPage, served: dict[str, ServedModels], incident: PlantedIncident) -> None:
    alert = firing_alert(served["twelve"].client, incident)
    walk(screen, served["twelve"], incident, alert)
    address = urlparse(screen.page.url)
    chosen: dict[str, Any] = {name: values[0] for name, values in parse_qs(address.query).items()}
    assert address.path == f"/d/{DASHBOARDS[incident.page]}"
    assert chosen["var-model"] == incident.model
    assert chosen.get("var-field", "") == (incident.key if incident.page == "field" else "")
    assert alert.message.startswith(f"{incident.model}: {MESSAGES[incident.rule].format(key=incident.key)}")
    assert (RUNBOOKS / alert.rule.runbook).is_file()
    if incident.rule in CELLS:
        assert CELLS[incident.rule](alert) <= {*screen.page.locator(f"{panel_selector(incident)} td").all_inner_texts()}
    else:
        CHECKS[incident.rule](alert, points_of(screen, incident), incident)


CHECKED = [scene for scene in SCENES if (scene.models, scene.width) in {("one", 1920), ("twelve", 1280)}]
"""Half of the scenes: the wide screen with little on it, and the narrow one with much."""


@pytest.mark.parametrize("scene", CHECKED, ids=[scene.name for scene in CHECKED])
def test_a_scene_can_be_read(served: dict[str, ServedModels], browser: Browser, scene: Scene) -> None:
    models = served[scene.models]
    with PreviewPage(browser, models.server.url) as screen:
        scene.open(screen, models)
        assert screen.panels("failed") == []
        assert layout_faults(screen.page) == []
        screen.page.evaluate("() => { document.querySelector('footer').style.color = 'var(--line)'; }")
        assert [fault for fault in layout_faults(screen.page) if "low contrast: footer" in fault], "a fault is found"


DOCUMENTS = DocumentSet({"returns": "Customers may return goods within 30 days of delivery."})
HOSTILE = (
    "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\"> \u202etxet\u202c שלום"
)
N = 10
KEYS = "fssufsfssf"
LABELS = {"f": "faulty", "s": "sound", "u": "unsure"}


def contract() -> Contract:
    evaluators = {"cited": Evaluator(check="citations", documents="documents"), "judge": Evaluator(check="refusal")}
    return simple_contract(model=MODEL, text=Text(content="keep", sample=1.0), evaluators=evaluators)


@dataclass
class ReviewPage:
    pipeline: Pipeline
    browser: Browser

    @property
    def settings(self) -> Settings:
        own = self.pipeline
        return Settings(bootstrap_servers=own.bootstrap, warehouse=own.address, topic_prefix=own.prefix)

    def gold(self, **changes: Any) -> GoldLabels:
        derived = next(each for each in evaluator_contracts(contract()) if each.model == EVALUATOR)
        # The clock does not advance: labels can be taken back until they are sent on request, or at the end.
        return GoldLabels(derived, replace(self.settings, **changes), clock=lambda: 0.0)

    def server(self, reviewer: str = "ana", gold: GoldLabels | None = None, **options: Any) -> ReviewServer:
        with self.pipeline.client as client:
            queue = read_queue(client, SOURCE, read_reviews(client, EVALUATOR), reviewer, "gold", 1.0, 0.0)
        options = {"documents": DOCUMENTS, **options}
        return ReviewServer(
            self.pipeline.address, SOURCE, queue.items, reviewer, self.gold() if gold is None else gold, **options
        )

    def open(self, server: ReviewServer) -> Page:
        page = self.browser.new_page()
        page.goto(server.url)
        page.wait_for_selector("body[data-state=ready]")
        return page

    def reviews(self) -> list[Review]:
        with self.pipeline.client as client:
            return read_reviews(client, EVALUATOR)

    def published(self) -> list[dict[str, Any]]:
        values = [message.value() for message in self.pipeline.read_all(self.pipeline.topics.labels)]
        return [json.loads(value) for value in values if value]


def press(page: Page, key: str) -> None:
    page.wait_for_selector("body[data-state=ready]")
    page.keyboard.press(key)


def saved(page: Page) -> None:
    page.wait_for_selector("body[data-pending='0']")


@pytest.fixture
def review(pipeline: Pipeline, browser: Browser) -> ReviewPage:
    pipeline.create()
    with pipeline.client as client:
        texts = [f"“Customers may return goods within {30 + i} days of delivery” [returns]." for i in range(N)]
        texts[3] = HOSTILE
        rows = [answer_row(f"a{i}", text) for i, text in enumerate(texts)]
        rows += [evaluation_row(f"a{i}", "faulty" if i else "sound", explanation=HOSTILE) for i in range(N)]
        store(client, rows)
    own = contract()
    pipeline.register(own, [simple_baseline()])
    for derived in evaluator_contracts(own):
        pipeline.register(derived, [])
    return ReviewPage(pipeline, browser)


def test_ten_answers_are_labelled_by_keyboard(review: ReviewPage) -> None:
    expected: dict[str, str] = {}
    with review.server() as server:
        page = review.open(server)
        faults: list[str] = []
        page.on("console", lambda entry: faults.append(entry.text) if entry.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        press(page, "?")
        assert page.is_visible("#help")
        for i, key in enumerate(KEYS):
            page.wait_for_selector("body[data-state=ready]")
            event_id = page.inner_text("#position").split(" · ")[1]
            assert event_id not in expected
            assert page.inner_text("#progress-text") == f"{i} of {N} labelled"
            assert page.is_hidden("#verdict")
            if event_id == "a3":
                assert page.inner_text("#answer") == HOSTILE.replace("\u202e", "\\u202e").replace("\u202c", "\\u202c")
            if event_id == "a5":
                assert page.inner_text("#citations mark") == "Customers may return goods within 30 days of delivery"
                assert "altered: number" in page.inner_text("#citations")
            if i == 4:
                press(page, "n")
                page.keyboard.type("fuss? no: <b>")
                page.keyboard.press("Escape")
            if i == 5:
                press(page, "e")
                assert "<script>" in page.inner_text("#verdict")
            expected[event_id] = LABELS[key]
            if i == 4:
                noted = event_id
            press(page, key)
        page.wait_for_selector("#done:visible")
        saved(page)
        # The last label is taken back before it is sent, and replaced.
        press(page, "Backspace")
        saved(page)
        assert page.is_hidden("#message")
        expected[event_id] = "sound"
        press(page, "s")
        # Movement changes nothing.
        press(page, "k")
        press(page, "j")
        saved(page)
        assert page.inner_text("#progress-text") == f"{N} of {N} labelled"
        assert page.title() == "Review"
        assert faults == []
        page.close()
    stored = review.reviews()
    assert {each.id: each.label for each in stored} == expected
    assert {each.id: each.note for each in stored if each.note} == {noted: "fuss? no: <b>"}
    assert {(each.reviewer, each.reason, each.probability) for each in stored} == {("ana", "random", 1.0)}
    decided = {event_id: label == "faulty" for event_id, label in expected.items() if label != "unsure"}
    published = review.published()
    assert {each["id"]: each["label"] for each in published} == decided
    assert len(published) == len(decided)
    assert {each["model"] for each in published} == {EVALUATOR}
    # Nothing is left for the same reviewer, nor, without a second share, for others.
    with review.pipeline.client as client:
        for name in ("ana", "ben"):
            assert read_queue(client, SOURCE, stored, name, "gold", 1.0, 0.0).items == ()
    review.pipeline.start("recorder")
    with review.pipeline.client as client:
        wait_for(lambda: not unsent_gold(client, EVALUATOR), "recorded labels")
        rates = read_evaluation_rates(client, [EVALUATOR], SOURCE.since, SOURCE.until)
    (group,) = rates.groups
    faulty = {f"a{i}" for i in range(1, N)}
    agreeing = sum((event_id in faulty) == is_faulty for event_id, is_faulty in decided.items())
    assert (group.judged, group.labels, group.agreeing) == (N, len(decided), agreeing)


def test_labels_survive_outages(review: ReviewPage) -> None:
    """Without Kafka labels wait in ClickHouse; without ClickHouse they wait in the page."""
    gold = review.gold(bootstrap_servers="127.0.0.1:1")
    with review.server(gold=gold) as server:
        page = review.open(server)
        reachable, server._address = server._address, type(server._address)("127.0.0.1", 1)
        with server._using_client:
            server._disconnect()
        press(page, "f")
        page.wait_for_selector("#problem:visible")
        assert "Not saved, will be tried again: ClickHouse at 127.0.0.1:1" in page.inner_text("#problem")
        assert page.get_attribute("body", "data-pending") == "1"
        assert review.reviews() == []
        server._address = reachable
        saved(page)
        assert [each.label for each in review.reviews()] == ["faulty"]
        gold.send_due(everything=True)
        page.wait_for_selector("#problem:visible")
        page.wait_for_function("document.getElementById('problem').textContent.includes('Kafka does not take them')")
        assert "1 not sent to Kafka yet" in page.inner_text("#saving")
        page.close()
    assert gold.waiting == 1
    assert review.published() == []
    with review.pipeline.client as client:
        unsent = unsent_gold(client, EVALUATOR, "ana")
    again = review.gold()
    for each in unsent:
        again.add(each)
    again.close()
    assert (again.waiting, again.problem) == (0, "")
    assert [(each["label"], each["at"]) for each in review.published()] == [
        (True, round(unsent[0].at.timestamp() * 1000))
    ]


def test_a_closed_page_keeps_what_was_not_saved(review: ReviewPage) -> None:
    with review.server() as server:
        context = review.browser.new_context()
        page = context.new_page()
        page.goto(server.url)
        page.route("**/api/labels", lambda route: route.abort())
        press(page, "s")
        page.wait_for_selector("#problem:visible")
        page.close()
        assert review.reviews() == []
        page = context.new_page()
        page.goto(server.url)
        wait_for(review.reviews, "the label of the closed page")
        context.close()
    assert [each.label for each in review.reviews()] == ["sound"]
