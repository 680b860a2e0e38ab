import math
import re
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from structlog.testing import capture_logs

from barograph_server.errors import SettingsError
from barograph_server.settings import load_settings
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.scrape import exposition
from barograph_server.streams.scrape.fact_buffer import FactBuffer
from barograph_server.streams.scrape.facts import MAX_FACT_LABELS, OTHER, FactReader, ScrapedFacts, quantile_bucket
from barograph_server.streams.scrape.run import MAX_LOGGED_NAMES, MAX_UNKNOWN_NAMES, TargetPoller, fetch
from barograph_server.streams.scrape.settings import MAX_TARGETS, ScrapeSettings, ScrapeTarget
from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError
from barograph_server.warehouse.operations import metrics
from barograph_server.warehouse.operations.serving_facts import ServingFact
from tests.support.scripted_http import Answer, ScriptedServer, cut, hang, reply


def reader_of(labels: dict[str, str] | None = None) -> FactReader:
    return FactReader(exposition.load_server_table(), "answers", "host:8000", labels)


def scrape(*texts: str, labels: dict[str, str] | None = None) -> list[ScrapedFacts]:
    reader = reader_of(labels)
    return [reader.read(exposition.parse_exposition(text.encode()), 15_000 * i) for i, text in enumerate(texts)]


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
    stop, error = (f'vllm:request_success_total{{finished_reason="{reason}"}} ' for reason in ("stop", "error"))
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
    cases = ((19, 0, 1), 0.95), ((19, 0, 1), 0.99), ((0, 1, 0), 0.5)
    assert [quantile_bucket(ends, counts, rank) for counts, rank in cases] == [(0, 1), (2, math.inf), (1, 2)]
    assert math.isnan(quantile_bucket(ends, (0, 0, 0), 0.5)[0])


def test_a_failed_scrape_between_two_loses_nothing() -> None:
    reader = reader_of()
    reader.read(exposition.parse_exposition(tokens(10).encode()), 0)
    with pytest.raises(exposition.ScrapeError):
        reader.read(exposition.parse_exposition(b"other 3\n"), 15_000)
    facts = reader.read(exposition.parse_exposition(tokens(40).encode()), 30_000)
    (row,) = [row for row in facts.rows if row.name == "input_tokens"]
    assert (row.value, row.interval_s) == (30, 30)


def test_a_value_that_is_no_count_is_not_observed() -> None:
    for text, expected, reason in (
        ("vllm:num_requests_running NaN\nvllm:num_requests_waiting 0\n", {"waiting_requests": 0}, "not-finite"),
        ("vllm:num_requests_running +Inf\nvllm:num_requests_waiting 0\n", {"waiting_requests": 0}, "not-finite"),
        ("vllm:num_requests_running -3\nvllm:num_requests_waiting 0\n", {"waiting_requests": 0}, "negative"),
        ("vllm:num_requests_running 3\nvllm:num_requests_running 5\n", {"running_requests": 3}, "duplicate"),
    ):
        (facts,) = scrape(text)
        assert values(facts) == expected | {"up": 1}
        assert facts.rejected == {reason: 1}


def test_labels_select_the_series_of_one_model_and_one_series_is_enough() -> None:
    text = 'nv_inference_pending_request_count{model="a"} 1\nnv_inference_pending_request_count{model="b"} 7\n'
    (facts,) = scrape(text, labels={"model": "b"})
    assert values(facts)["waiting_requests"] == 7
    text = 'nv_inference_pending_request_count{model="a"} 7\nnv_inference_queue_duration_us{model="b"} 1\n'
    for each in (text, ttft([1, 2, 2], 9.0).replace("{", '{model="b",')):
        (facts,) = scrape(each, labels={"model": "b"})
        assert values(facts) == {"up": 1}


def test_labels_that_no_series_has_and_texts_without_known_metrics_are_errors() -> None:
    text = 'nv_inference_pending_request_count{model="b",version="1"} 7\nother{model="c",name="b",version="2"} 1\n'
    for labels in ({"model": "c"}, {"name": "b"}, {"model": "b", "version": "2"}):
        problem = r"No series has the label .*check `labels` of this target"
        with pytest.raises(exposition.ScrapeError, match=problem) as error:
            scrape(text, labels=labels)
        assert error.value.outcome is exposition.ScrapeOutcome.UNKNOWN_SERVER
    with pytest.raises(exposition.ScrapeError, match="None of its 1 metrics") as error:
        scrape("node_load1 3\n")
    assert error.value.outcome is exposition.ScrapeOutcome.UNKNOWN_SERVER


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


FOLDER = Path(__file__).resolve().parents[2] / "golden" / "serving"
WITHOUT_VALUE = {"llamacpp": {"kv_cache_use", "draft_acceptance"}, "sglang": {"time_per_output_token_ms"}}
"""Facts whose metrics the newest version lacks, or did not count in the recorded time."""
LABELS = {"triton": {"model": "tensorrt_llm"}}


def scraped(server: str, scrape: int, reader: FactReader) -> ScrapedFacts:
    body = (FOLDER / f"{server}.{scrape}.txt").read_bytes()
    return reader.read(exposition.parse_exposition(body), 1_000_000 + scrape * 15_000)


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
    reader = reader_of(LABELS.get(server))
    first = scraped(server, 1, reader)
    assert {row.kind for row in first.rows} == {"gauge"}, "the first scrape adds nothing to a counter"
    facts = scraped(server, 2, reader)
    assert (facts.servers, facts.rejected, facts.resets) == ((server,), {}, 0)
    assert values(facts) == pytest.approx({**EXPECTED[server], "up": 1})


def test_every_server_and_fact_of_the_table_is_tested() -> None:
    table = exposition.load_server_table()
    assert set(EXPECTED) == set(table.servers)
    for server, kind in table.servers.items():
        facts = {metric.fact for metric in kind.metrics}
        assert facts <= set(table.facts)
        assert facts - WITHOUT_VALUE.get(server, set()) == {name.split()[0] for name in EXPECTED[server]}


def test_a_histogram_has_the_buckets_of_the_difference() -> None:
    reader = reader_of()
    scraped("vllm", 1, reader)
    (ttft,) = [row for row in scraped("vllm", 2, reader).rows if row.name == "ttft_ms"]
    assert [ttft.n, ttft.total, ttft.interval_s] == pytest.approx([20, 1300, 15])
    assert ttft.bucket_ends == pytest.approx((1, 20, 40, 100, 250, 500, 1000, math.inf))
    assert ttft.bucket_counts == (0, 2, 10, 6, 1, 1, 0, 0)
    # Of 20 observations, the 10th is in (20, 40], the 19th in (100, 250], the 20th in (250, 500].
    quantiles = ttft.p50_low, ttft.p50_high, ttft.p95_low, ttft.p95_high, ttft.p99_low, ttft.p99_high
    assert quantiles == pytest.approx((20, 40, 100, 250, 250, 500))
    # Metrics that the table does not list are counted.
    reader = reader_of()
    assert scraped("vllm", 1, reader).unknown == {"vllm:cache_config_info", "vllm:request_params_n"}
    assert "llamacpp:n_decode" in scraped("llamacpp", 1, reader).unknown


Serve = Callable[[Answer], ScrapeTarget]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as servers:
        yield lambda answer: target_of(servers.enter_context(ScriptedServer(answer)))


def target_of(server: ScriptedServer, *, tls: bool = False) -> ScrapeTarget:
    return ScrapeTarget("answers", f"http{'s' * tls}://127.0.0.1:{server.port}/metrics")


def outcome(target: ScrapeTarget, timeout_s: float = 20.0, max_bytes: int = 1000) -> exposition.ScrapeOutcome:
    with pytest.raises(exposition.ScrapeError) as error:
        fetch(target, timeout_s, max_bytes=max_bytes)
    assert "secret" not in str(error.value)
    return error.value.outcome


def test_the_token_is_sent_and_the_body_returned() -> None:
    with ScriptedServer(reply(b"up 1\n")) as server:
        assert fetch(target_of(server), 20.0, "t0ken") == b"up 1\n"
        assert fetch(target_of(server), 20.0) == b"up 1\n"
    tokens = [(request.path, request.headers["Authorization"]) for request in server.requests]
    assert tokens == [("/metrics", "Bearer t0ken"), ("/metrics", None)]


@pytest.mark.parametrize("status", [401, 404, 500, 204, 302])
def test_another_status_is_rejected(serve: Serve, status: int) -> None:
    kind = exposition.ScrapeOutcome.REDIRECTED if status == 302 else exposition.ScrapeOutcome.BAD_STATUS
    assert outcome(serve(reply(b"secret", status))) is kind


def test_an_exchange_that_fails_has_an_outcome(serve: Serve) -> None:
    assert outcome(serve(reply(b"a 1\n" * 500))) is exposition.ScrapeOutcome.TOO_LARGE
    assert outcome(serve(reply(b"a 1\n", Content_Encoding="gzip"))) is exposition.ScrapeOutcome.UNREADABLE
    assert outcome(serve(hang), timeout_s=0.2) is exposition.ScrapeOutcome.TIMEOUT
    assert outcome(serve(cut)) is exposition.ScrapeOutcome.UNREACHABLE
    with ScriptedServer(reply(b"up 1\n")) as server:
        assert outcome(target_of(server, tls=True)) is exposition.ScrapeOutcome.UNREACHABLE
    assert outcome(target_of(server)) is exposition.ScrapeOutcome.UNREACHABLE


def test_a_body_that_is_not_a_text_of_metrics_is_unreadable() -> None:
    for body in (
        b"<html><body>secret</body></html>",
        b"\xff\xfe\x00",
        b'a{le="1" 3\n',
        b"a " + b"9" * 400 + b"e400000000000000000 x\n",
        b'a{b="' + b"x" * exposition.MAX_LINE_CHARS + b'"} 1\n',
        b"a{" + b",".join(b'l%d="v"' % i for i in range(100)) + b"} 1\n",
        b"".join(b"a%d 1\n" % i for i in range(exposition.MAX_SAMPLES + 1)),
    ):
        with pytest.raises(exposition.ScrapeError) as error:
            exposition.parse_exposition(body)
        assert error.value.outcome is exposition.ScrapeOutcome.UNREADABLE
        assert "secret" not in str(error.value)


def histogram(count: float, total: float, *, n_series: int = 1) -> str:
    name = "vllm:time_to_first_token_seconds"
    lines = [f"# TYPE {name} histogram"]
    for part, value in (("bucket", count), ("sum", total), ("count", count)):
        end = ',le="+Inf"' if part == "bucket" else ""
        lines += [f'{name}_{part}{{engine="{i}"{end}}} {value!r}' for i in range(n_series)]
    return "\n".join([*lines, ""])


@pytest.mark.parametrize(
    ("count", "total", "n_series", "n_rows"),
    [(1e300, 1.0, 1, 1), (2.0**64, 1.0, 1, 1), (1.7e308, 1.0, 2, 0), (3.0, 1.7e308, 2, 0), (3.0, 1.7e308, 1, 0)],
)
def test_absurd_numbers_of_a_histogram_are_inconsistent(count: float, total: float, n_series: int, n_rows: int) -> None:
    absurd = histogram(count, total, n_series=n_series)
    _, facts, again = scrape(histogram(0.0, 0.0, n_series=n_series), absurd, absurd)
    rows = [row for row in facts.rows if row.name == "ttft_ms"]
    assert [(row.n, row.bucket_counts) for row in rows] == [(count, ())] * n_rows
    assert facts.rejected == {"inconsistent": 1}
    assert [row.name for row in again.rows] == ["up"]


def test_the_largest_count_of_a_bucket_is_stored() -> None:
    _, facts = scrape(histogram(0.0, 0.0), histogram(2.0**64 - 2048, 1.0))
    assert [row.bucket_counts for row in facts.rows if row.name == "ttft_ms"] == [(2**64 - 2048,)]
    assert not facts.rejected


def read(text: str) -> ScrapeSettings:
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


def poll(*scrapes: list[str]) -> tuple[list[float], list[MutableMapping[str, Any]]]:
    """Return the count after each scrape of a server with these unlisted metrics, and what was logged about them."""
    report = Report("scrape", "test")
    texts = ("".join(f"{name} 1\n" for name in ("vllm:num_requests_running", *names)) for names in scrapes)
    target = ScrapeTarget("answers", "http://127.0.0.1:1/metrics")
    facts = FactBuffer(Mock(side_effect=AssertionError("nothing is written before the start")), report)
    poller = TargetPoller(target, lambda _: next(texts).encode(), facts, report, interval_s=15.0)
    counts = []
    with capture_logs() as lines:
        for _ in scrapes:
            poller.scrape()
            counts.append(report.values(metrics.UNKNOWN_METRICS).get((), 0.0))
    return counts, [line for line in lines if line["event"] == "metrics that are not read"]


def test_names_that_appear_later_are_counted_and_logged_up_to_a_limit() -> None:
    counts, lines = poll(["vllm:one"], ["vllm:one", "vllm:two"], ["vllm:one", "vllm:two"])
    assert counts == [1, 2, 2]
    assert [(line["n"], line["names"]) for line in lines] == [(1, ["vllm:one"]), (1, ["vllm:two"])]
    names = [f"vllm:unlisted_{i:04}" for i in range(MAX_UNKNOWN_NAMES + 5)]
    counts, lines = poll(names, names, [*names, "vllm:later"])
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
    assert buffer.error is (error if is_refusal else None)
    assert (client.insert.call_count == 1) is is_refusal, "a busy server is tried once more"
