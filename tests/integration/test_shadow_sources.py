"""Candidates outside the serving process, as in docs/serving.md: behind an HTTP endpoint, and behind a mirror."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web
from barograph import Contract, Shadow

from tests.reference.shadow_pairs import BINARY, differences, joined, read_topics, stored
from tests.support.pipeline import ROOT, Pipeline, wait_for
from tests.support.scoring import HOUR_MS
from tests.support.scripted_kafka import ScriptedPublisher

GUIDE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")


def code_block(heading: str, language: str) -> str:
    """The first block of code in a language under a heading of the guide."""
    section = GUIDE.split(f"### {heading}\n")[1].split("\n## ")[0]
    match = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert match is not None
    return match[1]


RELEASED = web.AppKey("released", asyncio.Event)
"""Set when requests that hang may end."""


async def predict(request: web.Request) -> web.Response:
    features = await request.json()
    if features.get("hang"):
        await request.app[RELEASED].wait()
    return web.json_response({"score": features["x"] / 2}, status=features.get("status", 200))


@pytest.fixture
def endpoint() -> Iterator[str]:
    """The address of a model's HTTP server in a thread of this process."""
    loop, released = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> web.AppRunner:
        application = web.Application()
        application[RELEASED] = released
        application.router.add_post("/predict", predict)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    runner = asyncio.run_coroutine_threadsafe(start(), loop).result(60)
    port = runner.addresses[0][1]
    yield f"http://127.0.0.1:{port}/predict"
    loop.call_soon_threadsafe(released.set)
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(60)
    loop.close()


def test_an_http_candidate_is_awaited_and_its_failures_are_reasons(endpoint: str) -> None:
    code = code_block("A candidate behind an HTTP endpoint", "python")
    guide: dict[str, Any] = {}
    exec(code.split("shadow = Shadow(")[0], guide)
    serving = ScriptedPublisher(Contract(model="m"))
    with Shadow(
        serving.publisher, guide["HttpCandidate"](endpoint), version="4", timeout_ms=3_000, workers=50
    ) as shadow:
        shadow.submit(id="good", features={"x": 1})
        shadow.submit(id="server error", features={"x": 1, "status": 503})
        shadow.submit(id="wrong request", features={"x": 1, "status": 422})
        shadow.submit(id="hangs", features={"x": 1, "hang": True})
        shadow.submit(id="no JSON", features={"x": object()})
    with Shadow(
        serving.publisher, guide["HttpCandidate"]("http://127.0.0.1:9/"), version="5", timeout_ms=3_000
    ) as down:
        down.submit(id="down", features={"x": 1})
    events = {event["id"]: event for event in serving.flush_events()}
    assert events["good"]["score"] == 0.5
    assert {id: event.get("error") for id, event in events.items()} == {
        "good": None,
        "server error": "ClientResponseError",
        "wrong request": "ClientResponseError",
        "hangs": "shadow-timeout",
        "no JSON": "TypeError",
        "down": "ClientConnectorError",
    }
    serving.publisher.close()


@pytest.mark.slow
def test_events_of_a_mirror_are_paired(pipeline: Pipeline) -> None:
    """Labels arrive first, then the candidate's answers, then those of the primary."""
    example = json.loads(code_block("A mirror outside the process", "json"))
    start_ms = (int(time.time() * 1000) // HOUR_MS - 48) * HOUR_MS + HOUR_MS // 2
    primary = {"model": "m", "version": "3", "at": start_ms, "score": 0.6, "latency_ms": 8.0}
    primary |= {"context": {"country": "de"}}
    mirror = {**example, "model": "m", "at": start_ms + 120}
    requests = (
        *("paired", "clocks 59 min apart", "clocks 2 h apart", "no answer", "timed out"),
        *("answered twice", "own version"),
    )
    answers = [
        {**mirror, "id": "paired"},
        {**mirror, "id": "clocks 59 min apart", "at": start_ms + 59 * 60_000},
        {**mirror, "id": "clocks 2 h apart", "at": start_ms + 2 * HOUR_MS},
        {**mirror, "id": "timed out", "score": None, "error": "shadow-timeout"},
        {**mirror, "id": "answered twice", "score": 0.1},
        {**mirror, "id": "answered twice", "at": start_ms - 1},
        {**mirror, "id": "own version", "version": "3"},
        {**mirror, "id": "without primary"},
    ]
    pipeline.create()
    pipeline.register(BINARY, [])
    pipeline.start("recorder")
    pipeline.start("scorer", score_s=0.5)
    topics = pipeline.topics
    labels = [{"model": "m", "id": id, "label": True, "at": start_ms + HOUR_MS} for id in requests]
    for topic, table, events in (
        (topics.labels, "labels", labels),
        (topics.predictions, "shadow_predictions", answers),
        (topics.predictions, "predictions", [{**primary, "id": id} for id in requests]),
    ):
        pipeline.produce(((0, json.dumps(event).encode(), None) for event in events), topic)
        pipeline.wait_rows(f"SELECT count() = {len(events)} FROM {table}", f"rows of {table}")
    rows = read_topics(pipeline)
    expected = joined(rows)
    with pipeline.client as client:
        wait_for(lambda: not differences(stored(client), expected), "the pairs")
        result = stored(client)
    hour = start_ms // HOUR_MS * 3600
    counts = result["all", hour]
    assert (counts["requests"], counts["pairs"], counts["labelled"]) == (7, 3, 3)
    assert counts["missing"] == {"no-event": 3, "timeout": 1}
    assert counts["score_difference"] == pytest.approx(3 * (example["score"] - 0.6)), "the earliest answer counts"
    assert {key: each["unpaired"] for key, each in result.items() if each["unpaired"]} == {
        ("all", hour): 1,
        ("all", hour + 7200): 1,
    }
    assert pipeline.rows("SELECT count() FROM dead_letters") == [(0,)]
