"""Targets of the scraper: how they are written, and metrics of theirs that are not read."""

from __future__ import annotations

import re
from collections.abc import Iterator, MutableMapping
from typing import Any
from unittest.mock import Mock

import pytest
from structlog.testing import capture_logs

from barograph_server.errors import SettingsError
from barograph_server.settings import load_settings
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.scrape.fact_buffer import FactBuffer
from barograph_server.streams.scrape.poller import MAX_LOGGED_NAMES, MAX_UNKNOWN_NAMES, TargetPoller
from barograph_server.streams.scrape.settings import MAX_TARGETS, ScrapeSettings, ScrapeTarget
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError
from barograph_server.warehouse.operations import metrics
from barograph_server.warehouse.operations.serving_facts import ServingFact


def read(text: str) -> ScrapeSettings:
    """Read targets as the variable of the environment holds them."""
    return load_settings(needs=(), environ={"BAROGRAPH_SCRAPE_TARGETS": text}, find=lambda: None).scrape


def test_targets_are_read() -> None:
    targets = read(
        "[{model: answers, url: 'http://10.0.0.4:8000/metrics'}, {model: answers, url: 'https://[::1]'}, "
        "{model: bot, url: 'https://gpu.example/m?x=1', labels: {model: a b}}]"
    ).checked_targets()
    assert [(target.model, target.secure, target.host, target.port, target.address) for target in targets] == [
        ("answers", False, "10.0.0.4", 8000, "http://10.0.0.4:8000/metrics"),
        ("answers", True, "::1", 443, "https://[::1]/metrics"),
        ("bot", True, "gpu.example", 443, "https://gpu.example/m?x=1"),
    ]
    assert [target.instance for target in targets] == ["10.0.0.4:8000", "[::1]:443", "gpu.example:443#model=a b"]


def test_bad_targets_are_rejected() -> None:
    for text, message in (
        ("a=http://host:1/metrics", "write a list"),
        ("[{model: a, url: 'ftp://host'}]", "[0].url: is no address of http or https; write http://HOST:PORT/metrics"),
        ("[{model: a, url: 'http://host:999999'}]", "[0].url: is no valid address"),
        ("[{model: a, url: 'http://me:hunter2@host'}]", "[0].url: holds a user name or a password; remove them"),
        ("[{model: a, url: 'http://host/a b'}]", "[0].url: has characters that an address cannot have; encode them"),
        ("[{model: a, url: 'http://host#x'}]", "[0].url: has a part after #; remove it"),
        ("[{url: 'http://host'}]", "[0].model: is missing; write model: MODEL"),
    ):
        with pytest.raises(SettingsError, match=re.escape(message)) as error:
            read(text)
        assert "hunter2" not in str(error.value)
    for targets, message in (
        ([], "is empty"),
        (["http://host", "http://host:80/other"], "listed twice"),
        ([f"http://host:{i + 1}" for i in range(MAX_TARGETS + 1)], "at most 64"),
    ):
        with pytest.raises(ProcessorError, match=message):
            ScrapeSettings(targets=tuple(ScrapeTarget("a", url) for url in targets)).checked_targets()


def test_a_token_must_fit_into_a_header() -> None:
    with pytest.raises(ProcessorError, match="token") as error:
        ScrapeSettings(targets=(ScrapeTarget("a", "http://host"),), token="se\ncret").checked_targets()
    assert "cret" not in str(error.value)
    assert "hunter2" not in repr(ScrapeSettings(token="hunter2"))


def scrape(*scrapes: list[str]) -> tuple[list[float], list[MutableMapping[str, Any]]]:
    """Return the count after each scrape of a server with these unlisted metrics, and what was logged about them."""
    report = Report("scrape", "test")
    bodies: Iterator[bytes] = iter([_text(names).encode() for names in scrapes])
    target = ScrapeTarget("answers", "http://127.0.0.1:1/metrics")
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


def test_names_that_appear_later_are_counted_and_logged_up_to_a_limit() -> None:
    counts, lines = scrape(["vllm:one"], ["vllm:one", "vllm:two"], ["vllm:one", "vllm:two"])
    assert counts == [1, 2, 2]
    assert [(line["n"], line["names"]) for line in lines] == [(1, ["vllm:one"]), (1, ["vllm:two"])]
    names = [f"vllm:unlisted_{i:04}" for i in range(MAX_UNKNOWN_NAMES + 5)]
    counts, lines = scrape(names, names, [*names, "vllm:later"])
    assert counts == [MAX_UNKNOWN_NAMES] * 3
    assert [line["n"] for line in lines] == [MAX_UNKNOWN_NAMES]
    assert len(lines[0]["names"]) == MAX_LOGGED_NAMES


@pytest.mark.parametrize("error", [WarehouseBusy("busy"), WarehouseError("no such table")])
def test_a_stop_reports_the_rows_that_clickhouse_does_not_take(error: Exception) -> None:
    client = Mock()
    client.insert.side_effect = error
    buffer = FactBuffer(lambda: client, Report("scrape", "test"))
    buffer.start()
    buffer.add([ServingFact("answers", "host:1", "up", "", 1, "vllm", "gauge", "", 1.0)] * 3)
    assert [buffer.stop(60), buffer.stop(60)] == [3, 3]
    is_refusal = isinstance(error, WarehouseError)
    assert (buffer.is_writing, buffer.error) == (False, error if is_refusal else None)
    assert (client.insert.call_count == 1) is is_refusal, "a busy server is tried once more"
