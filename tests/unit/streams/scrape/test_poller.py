"""Metrics that are not read: each is counted and logged once, whenever it appears."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

from structlog.testing import capture_logs

from streams.runtime.metrics_report import Report
from streams.scrape.fact_buffer import FactBuffer
from streams.scrape.poller import MAX_LOGGED_NAMES, MAX_UNKNOWN_NAMES, TargetPoller
from streams.scrape.settings import ScrapeTarget
from warehouse import metrics
from warehouse.client import Client


def scrape(*scrapes: list[str]) -> tuple[list[float], list[MutableMapping[str, Any]]]:
    """Return the count after each scrape of a server with these unlisted metrics, and what was logged about them."""
    report = Report("scrape", "test")
    bodies: Iterator[bytes] = iter([_text(names).encode() for names in scrapes])
    target = ScrapeTarget("answers", False, "127.0.0.1", 1, "/metrics")
    poller = TargetPoller(target, lambda _: next(bodies), FactBuffer(_connect, report), report, interval_s=15.0)
    counts = []
    with capture_logs() as lines:
        for _ in scrapes:
            poller.scrape()
            counts.append(report.values(metrics.UNKNOWN_METRICS).get((), 0.0))
    return counts, [line for line in lines if line["event"] == "metrics that are not read"]


def _text(names: list[str]) -> str:
    return "".join(f"{name} 1\n" for name in ("vllm:num_requests_running", *names))


def _connect() -> Client:
    raise AssertionError("nothing is written before the start")


def test_names_that_appear_later_are_counted_and_logged_too() -> None:
    counts, lines = scrape(["vllm:one"], ["vllm:one", "vllm:two"], ["vllm:one", "vllm:two"])
    assert counts == [1, 2, 2]
    assert [(line["n"], line["names"]) for line in lines] == [(1, ["vllm:one"]), (1, ["vllm:two"])]


def test_names_beyond_the_limit_are_not_counted_again_by_each_scrape() -> None:
    names = [f"vllm:unlisted_{i:04}" for i in range(MAX_UNKNOWN_NAMES + 5)]
    counts, lines = scrape(names, names, [*names, "vllm:later"])
    assert counts == [MAX_UNKNOWN_NAMES] * 3
    assert [line["n"] for line in lines] == [MAX_UNKNOWN_NAMES]
    assert len(lines[0]["names"]) == MAX_LOGGED_NAMES
