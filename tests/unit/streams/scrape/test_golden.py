"""Two scrapes of each server's text, from tests/golden/serving, become the expected facts."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from barograph_server.streams.scrape.exposition import parse_exposition
from barograph_server.streams.scrape.facts import FactReader, ScrapedFacts
from barograph_server.streams.scrape.server_table import load_server_table

FOLDER = Path(__file__).resolve().parents[3] / "golden" / "serving"
WITHOUT_VALUE = {"llamacpp": {"kv_cache_use", "draft_acceptance"}, "sglang": {"time_per_output_token_ms"}}
"""Facts whose metrics the newest version lacks, or did not count in the recorded time."""
LABELS = {"triton": {"model": "tensorrt_llm"}}


def scraped(server: str, scrape: int, reader: FactReader) -> ScrapedFacts:
    body = (FOLDER / f"{server}.{scrape}.txt").read_bytes()
    return reader.read(parse_exposition(body), 1_000_000 + scrape * 15_000)


EXPECTED = {
    "vllm": {
        "running_requests": 5, "waiting_requests": 2, "kv_cache_use": 0.4, "prefix_cache_hits": 0.75, "preemptions": 0,
        "draft_acceptance": 0.65, "queue_ms": 250, "prefill_ms": 50, "decode_ms": 800, "ttft_ms": 65,
        "time_per_output_token_ms": 20, "inter_token_ms": 20, "latency_ms": 900, "tokens_per_step": 5300 / 204,
        "input_tokens": 4200, "output_tokens": 1100, "finished_requests stop": 18, "finished_requests length": 2,
        "finished_requests abort": 0,
    },
    "sglang": {
        "running_requests": 6, "waiting_requests": 1, "kv_cache_use": 0.5, "prefix_cache_hits": 0.5, "preemptions": 1,
        "draft_acceptance": 0.62, "queue_ms": 6.25, "ttft_ms": 150, "inter_token_ms": 6000 / 592, "latency_ms": 1375,
        "input_tokens": 1000, "output_tokens": 600, "finished_requests": 8, "failed_requests": 2,
    },
    "tgi": {
        "running_requests": 4, "waiting_requests": 3, "batch_size": 2.5, "queue_ms": 800 / 6,
        "time_per_output_token_ms": 100 / 6, "latency_ms": 5000 / 6, "input_tokens": 900, "output_tokens": 230,
        "finished_requests": 6, "failed_requests overloaded": 1, "failed_requests validation": 0,
    },
    "trtllm": {
        "running_requests": 6, "waiting_requests": 0, "kv_cache_use": 0.62, "prefix_cache_hits": 0.75, "queue_ms": 25,
        "ttft_ms": 100, "latency_ms": 1000, "finished_requests stop": 4,
    },
    "triton": {
        "running_requests": 3, "waiting_requests": 2, "kv_cache_use": 0.5, "batch_size": 3, "queue_ms": 10,
        "latency_ms": 900, "finished_requests": 30, "failed_requests REJECTED": 1, "failed_requests OTHER": 0,
    },
    "llamacpp": {
        "running_requests": 2, "waiting_requests": 1, "prefix_cache_hits": 0.75, "time_per_output_token_ms": 20,
        "input_tokens": 200, "output_tokens": 120,
    },
}  # fmt: skip


@pytest.mark.parametrize("server", EXPECTED)
def test_two_scrapes_become_facts(server: str) -> None:
    reader = FactReader(load_server_table(), "answers", "host:8000", LABELS.get(server))
    first = scraped(server, 1, reader)
    assert {row.kind for row in first.rows} == {"gauge"}, "the first scrape adds nothing to a counter"
    facts = scraped(server, 2, reader)
    assert facts.servers == (server,)
    assert not facts.rejected
    assert facts.resets == 0
    values = {f"{row.name} {row.label}".strip(): row.value for row in facts.rows}
    assert values.pop("up") == 1
    assert values == pytest.approx(EXPECTED[server])


def test_every_server_and_fact_of_the_table_is_tested() -> None:
    table = load_server_table()
    assert set(EXPECTED) == set(table.servers)
    for server, kind in table.servers.items():
        facts = {metric.fact for metric in kind.metrics}
        assert facts <= set(table.facts)
        assert facts - WITHOUT_VALUE.get(server, set()) == {name.split()[0] for name in EXPECTED[server]}


def test_a_histogram_has_the_buckets_of_the_difference() -> None:
    reader = FactReader(load_server_table(), "answers", "host:8000")
    scraped("vllm", 1, reader)
    (ttft,) = [row for row in scraped("vllm", 2, reader).rows if row.name == "ttft_ms"]
    assert [ttft.n, ttft.total, ttft.interval_s] == pytest.approx([20, 1300, 15])
    assert ttft.bucket_ends == pytest.approx((1, 20, 40, 100, 250, 500, 1000, math.inf))
    assert ttft.bucket_counts == (0, 2, 10, 6, 1, 1, 0, 0)
    # Of 20 observations, the 10th is in (20, 40], the 19th in (100, 250], the 20th in (250, 500].
    assert (ttft.p50_low, ttft.p50_high) == pytest.approx((20, 40))
    assert (ttft.p95_low, ttft.p95_high) == pytest.approx((100, 250))
    assert (ttft.p99_low, ttft.p99_high) == pytest.approx((250, 500))
    # Metrics that the table does not list are counted.
    reader = FactReader(load_server_table(), "answers", "host:8000")
    assert scraped("vllm", 1, reader).unknown == {"vllm:cache_config_info", "vllm:request_params_n"}
    assert "llamacpp:n_decode" in scraped("llamacpp", 1, reader).unknown


def test_the_page_lists_the_facts_of_each_server() -> None:
    table = load_server_table()
    rows = [f"| fact | unit | {' | '.join(table.servers)} |", "|---|---|" + "---|" * len(table.servers)]
    for fact, definition in table.facts.items():
        named = [[metric.kind for metric in server.metrics if metric.fact == fact] for server in table.servers.values()]
        rows.append(f"| `{fact}` | {definition.unit} | {' | '.join(kinds[0] if kinds else '–' for kinds in named)} |")
    page = (Path(__file__).resolve().parents[4] / "docs" / "llm.md").read_text(encoding="utf-8")
    section = page.partition("<!-- servers: begin -->\n")[2].partition("<!-- servers: end -->")[0]
    assert section == "\n".join(rows) + "\n"
