"""Resets, missing and odd values: a fact is a value, zero, or not observed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from barograph_server.streams.scrape.exposition import parse_exposition
from barograph_server.streams.scrape.facts import MAX_FACT_LABELS, OTHER, FactReader, ScrapedFacts, quantile_bucket
from barograph_server.streams.scrape.server_table import ScrapeError, ScrapeOutcome, load_server_table


def scrape(*texts: str, labels: dict[str, str] | None = None) -> list[ScrapedFacts]:
    reader = FactReader(load_server_table(), "answers", "host:8000", labels)
    return [reader.read(parse_exposition(text.encode()), 15_000 * i) for i, text in enumerate(texts)]


def values(facts: ScrapedFacts) -> dict[str, float]:
    return {f"{row.name} {row.label}".strip(): row.value for row in facts.rows}


def tokens(n: float) -> str:
    return f"# TYPE vllm:prompt_tokens_total counter\nvllm:prompt_tokens_total {n}\n"


def ttft(counts: Sequence[int], total: float) -> str:
    name = "vllm:time_to_first_token_seconds"
    buckets = [f'{name}_bucket{{le="{end}"}} {n}' for end, n in zip(("0.1", "1", "+Inf"), counts, strict=True)]
    return "\n".join([f"# TYPE {name} histogram", *buckets, f"{name}_sum {total}", f"{name}_count {counts[-1]}", ""])


def test_a_counter_that_shrank_was_reset_and_counts_from_zero() -> None:
    facts = scrape(tokens(100), tokens(130), tokens(20), tokens(25))
    assert [values(each).get("input_tokens") for each in facts] == [None, 30, 20, 5]
    assert [each.resets for each in facts] == [0, 0, 1, 0]
    assert ["restarts" in values(each) for each in facts] == [False, False, True, False]
    # A series that appears grew from zero.
    stop = 'vllm:request_success_total{finished_reason="stop"} '
    error = 'vllm:request_success_total{finished_reason="error"} '
    _, second = scrape(f"{stop}5\n", f"{stop}6\n{error}2\n")
    assert values(second) == {"finished_requests stop": 1, "finished_requests error": 2, "up": 1}


@pytest.mark.parametrize("unreadable", ["NaN", "+Inf", "-1"])
def test_a_counter_grows_from_its_first_value_after_one_that_was_not_read(unreadable: str) -> None:
    def text(value: str) -> str:
        return f"vllm:prompt_tokens_total {value}\nvllm:num_requests_running 1\n"

    facts = scrape(*map(text, (unreadable, "100", "130", unreadable, "150", "151")))
    assert [values(each).get("input_tokens") for each in facts] == [None, None, 30, None, None, 1]
    assert not any(each.resets for each in facts)


def test_histograms_and_ratios() -> None:
    scrapes = scrape(ttft([1, 2, 2], math.nan), ttft([1, 2, 3], 5.0), ttft([1, 2, 4], 7.0))
    assert [values(each).get("ttft_ms") for each in scrapes] == [None, None, 2000], "it grows from its first values"
    # After the restart, more requests than before the restart were fast: only the sum shrank.
    _, facts = scrape(ttft([1, 2, 2], 9.0), ttft([4, 4, 4], 0.2))
    (row,) = [row for row in facts.rows if row.name == "ttft_ms"]
    assert [row.n, row.value, *row.bucket_counts] == pytest.approx([4, 50, 4, 0, 0])
    # Without observations neither a histogram nor a ratio is observed, nor is a share above one.
    hits = "vllm:prefix_cache_hits_total 6\nvllm:prefix_cache_queries_total 9\n"
    _, facts = scrape(ttft([1, 2, 2], 9.0) + hits + tokens(1), ttft([1, 2, 2], 9.0) + hits + tokens(1))
    assert values(facts) == {"input_tokens": 0, "up": 1}
    lines = "vllm:prefix_cache_hits_total {}\nvllm:prefix_cache_queries_total {}\n"
    _, facts = scrape(lines.format(0, 0), lines.format(9, 3))
    assert values(facts) == {"up": 1}
    assert facts.rejected == {"inconsistent": 1}
    # Buckets that do not add up are left out.
    _, facts = scrape(ttft([1, 2, 2], 1.0), ttft([3, 3, 4], 2.0))
    (row,) = [row for row in facts.rows if row.name == "ttft_ms"]
    assert (row.n, row.value, row.bucket_counts) == (2, 500, ())
    assert facts.rejected == {"inconsistent": 1}
    assert math.isnan(row.p50_low)
    ends = (1.0, 2.0, math.inf)
    assert quantile_bucket(ends, (19, 0, 1), 0.95) == (0, 1)
    assert quantile_bucket(ends, (19, 0, 1), 0.99) == (2, math.inf)
    assert quantile_bucket(ends, (0, 1, 0), 0.5) == (1, 2)
    assert math.isnan(quantile_bucket(ends, (0, 0, 0), 0.5).low)


def test_a_failed_scrape_between_two_loses_nothing() -> None:
    reader = FactReader(load_server_table(), "answers", "host:8000")
    reader.read(parse_exposition(tokens(10).encode()), 0)
    with pytest.raises(ScrapeError):
        reader.read(parse_exposition(b"other 3\n"), 15_000)
    facts = reader.read(parse_exposition(tokens(40).encode()), 30_000)
    (row,) = [row for row in facts.rows if row.name == "input_tokens"]
    assert (row.value, row.interval_s) == (30, 30)


@pytest.mark.parametrize(
    ("text", "expected", "reason"),
    [
        ("vllm:num_requests_running NaN\nvllm:num_requests_waiting 0\n", {"waiting_requests": 0}, "not-finite"),
        ("vllm:num_requests_running +Inf\nvllm:num_requests_waiting 0\n", {"waiting_requests": 0}, "not-finite"),
        ("vllm:num_requests_running -3\nvllm:num_requests_waiting 0\n", {"waiting_requests": 0}, "negative"),
        ("vllm:num_requests_running 3\nvllm:num_requests_running 5\n", {"running_requests": 3}, "duplicate"),
    ],
)
def test_a_value_that_is_no_count_is_not_observed(text: str, expected: dict[str, float], reason: str) -> None:
    (facts,) = scrape(text)
    assert values(facts) == expected | {"up": 1}
    assert facts.rejected == {reason: 1}


def test_labels_select_the_series_of_one_model_and_one_series_is_enough() -> None:
    text = 'nv_inference_pending_request_count{model="a"} 1\nnv_inference_pending_request_count{model="b"} 7\n'
    (facts,) = scrape(text, labels={"model": "b"})
    assert values(facts)["waiting_requests"] == 7
    text = 'nv_inference_pending_request_count{model="a"} 7\nnv_inference_queue_duration_us{model="b"} 1\n'
    (facts,) = scrape(text, labels={"model": "b"})
    assert values(facts) == {"up": 1}
    (facts,) = scrape(ttft([1, 2, 2], 9.0).replace("{", '{model="b",'), labels={"model": "b"})
    assert values(facts) == {"up": 1}


def test_labels_that_no_series_has_and_texts_without_known_metrics_are_errors() -> None:
    text = 'nv_inference_pending_request_count{model="b",version="1"} 7\nother{model="c",name="b",version="2"} 1\n'
    for labels in ({"model": "c"}, {"name": "b"}, {"model": "b", "version": "2"}):
        with pytest.raises(ScrapeError, match=r"No series has the label .*check `labels` of this target") as error:
            scrape(text, labels=labels)
        assert error.value.outcome is ScrapeOutcome.UNKNOWN_SERVER
    with pytest.raises(ScrapeError, match="None of its 1 metrics") as error:
        scrape("node_load1 3\n")
    assert error.value.outcome is ScrapeOutcome.UNKNOWN_SERVER


def test_values_of_a_label_are_bounded() -> None:
    def text(n: int) -> str:
        return "".join(f'tgi_request_failure{{err="e{i}"}} {n}\n' for i in range(MAX_FACT_LABELS + 5))

    _, facts = scrape(text(1), text(2))
    failed = [row for row in facts.rows if row.name == "failed_requests"]
    assert len(failed) == MAX_FACT_LABELS + 1
    assert values(facts)[f"failed_requests {OTHER}"] == 5
    # A server behind another supplies what the first lacks.
    (both,) = scrape("vllm:num_requests_running 3\nnv_inference_pending_request_count 2\n")
    assert both.servers == ("vllm", "triton")
    assert values(both) == {"running_requests": 3, "waiting_requests": 2, "up": 1}
