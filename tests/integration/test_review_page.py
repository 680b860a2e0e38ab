"""The page of `barograph review` in Chromium: keys, hostile texts, and servers that do not answer."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import pytest
from barograph.contract import Contract, Text
from barograph.contract.evaluator_contracts import evaluator_contracts
from barograph.contract.evaluators import Evaluator
from playwright.sync_api import Browser, Page

from barograph_server.evaluation.review.gold_labels import GoldLabels
from barograph_server.evaluation.review.server import ReviewServer
from barograph_server.settings import Settings
from barograph_server.streams.evaluator.checks.documents import DocumentSet
from barograph_server.warehouse.evaluation.evaluation_rates import read_evaluation_rates
from barograph_server.warehouse.evaluation.review_queue import read_queue
from barograph_server.warehouse.evaluation.reviews import Review, read_reviews, unsent_gold
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract, wait_for
from tests.support.reviewed_answers import EVALUATOR, MODEL, SOURCE, answer_row, evaluation_row, store

pytestmark = pytest.mark.long
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
        return Settings(
            bootstrap_servers=self.pipeline.bootstrap,
            warehouse=self.pipeline.address,
            topic_prefix=self.pipeline.topics.prefix,
        )

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
    server = review.server()
    expected: dict[str, str] = {}
    with server:
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
    server = review.server(gold=gold)
    with server:
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
    server = review.server()
    with server:
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
