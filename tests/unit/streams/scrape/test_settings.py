"""Targets of the scraper: what is read, and what is rejected with which advice."""

from __future__ import annotations

import pytest

from streams.errors import ProcessorError
from streams.scrape.settings import MAX_TARGETS, ScrapeSettings, ScrapeTarget


def test_targets_are_read() -> None:
    text = "answers=http://10.0.0.4:8000/metrics, answers=https://[::1], bot = https://gpu.example/m?x=1#model=a%20b ,"
    assert ScrapeSettings(targets=text).parsed_targets() == (
        ScrapeTarget("answers", False, "10.0.0.4", 8000, "/metrics"),
        ScrapeTarget("answers", True, "::1", 443, "/metrics"),
        ScrapeTarget("bot", True, "gpu.example", 443, "/m?x=1", {"model": "a b"}),
    )
    instances = [target.instance for target in ScrapeSettings(targets=text).parsed_targets()]
    assert instances == ["10.0.0.4:8000", "[::1]:443", "gpu.example:443#model=a b"]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ("", "is empty"),
        (" , ", "is empty"),
        ("http://host:1/metrics", "not MODEL=URL"),
        ("=http://host:1", "not MODEL=URL"),
        ("a=ftp://host", "http or https"),
        ("a=host:8000", "http or https"),
        ("a=http://host:999999", "no valid address"),
        ("a=http://me:hunter2@host", "user name or a password"),
        ("a=http://host/a b", "cannot have"),
        ("a=http://host#x", "selects no label"),
        ("a=http://host, a=http://host:80/other", "listed twice"),
        (", ".join(f"a=http://host:{i + 1}" for i in range(MAX_TARGETS + 1)), "at most 64"),
    ],
)
def test_bad_targets_are_rejected(targets: str, message: str) -> None:
    with pytest.raises(ProcessorError, match=message) as error:
        ScrapeSettings(targets=targets).parsed_targets()
    assert "hunter2" not in str(error.value)


def test_a_token_must_fit_into_a_header() -> None:
    with pytest.raises(ProcessorError, match="token") as error:
        ScrapeSettings(targets="a=http://host", token="se\ncret").parsed_targets()
    assert "cret" not in str(error.value)
    assert "hunter2" not in repr(ScrapeSettings(token="hunter2"))
