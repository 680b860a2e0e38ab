import gzip
import logging
import math
import os
import signal
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from queue import Queue
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from barograph_server.dashboards.page_files import panel_ids
from barograph_server.streams.health.endpoint import ReportCollector
from barograph_server.streams.runtime import http_exchange, metrics_report
from barograph_server.streams.runtime.backoff import Backoff, RetryInterrupted
from barograph_server.streams.runtime.lifecycle import EXIT_OK, EXIT_STOPPED, SIGNALS, ShutdownSignal
from barograph_server.streams.runtime.metrics_report import Report, ReportWriter
from barograph_server.streams.runtime.periodic import Periodic
from barograph_server.warehouse.client import Address
from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError
from barograph_server.warehouse.operations import metrics
from barograph_server.warehouse.operations.metrics import ALL, METRICS, OTHER
from barograph_server.warehouse.panels.named import named_queries
from tests.support.fake_consumer import FakeStop
from tests.support.scripted_http import Answer, Exchange, ScriptedServer, cut, hang, reply

Serve = Callable[[Answer], ScriptedServer]
SECRET = "s3cret"
HEADERS = {"Authorization": f"Bearer {SECRET}"}


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as servers:
        yield lambda answer: servers.enter_context(ScriptedServer(answer))


def get(url: str, timeout_s: float = 20.0, max_bytes: int = 1000) -> http_exchange.HttpAnswer:
    return http_exchange.HttpClient(max_bytes).exchange("GET", f"{url}/{SECRET}", timeout_s, HEADERS)


def failure(url: str, timeout_s: float = 20.0, max_bytes: int = 1000) -> http_exchange.HttpFailure:
    with pytest.raises(http_exchange.HttpError) as error:
        get(url, timeout_s, max_bytes)
    shown = "".join(traceback.format_exception(error.value)) + repr(error.value) + error.value.reason
    assert SECRET not in shown
    assert "server text" not in shown
    return error.value.kind


def only(data: bytes) -> Answer:
    """An answer of these bytes, after which the connection is closed."""

    def answer(exchange: Exchange) -> None:
        exchange.wfile.write(data)
        exchange.close_connection = True

    return answer


def drip_the_head(exchange: Exchange) -> None:
    exchange.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not exchange.server.stopping.wait(0.02):
        exchange.wfile.write(b"X-More: 1\r\n")


def test_each_answer_that_cannot_be_used_has_its_failure(serve: Serve) -> None:
    bomb = gzip.compress(b" " * 10_000_000)
    for answer, kind in (
        (cut, http_exchange.HttpFailure.CLOSED),
        (only(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"choices": []}'), http_exchange.HttpFailure.CLOSED),
        (only(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nx"), http_exchange.HttpFailure.CLOSED),
        (only(b"220 server text ready\r\n\r\n"), http_exchange.HttpFailure.NOT_HTTP),
        (reply(bomb, Content_Encoding="gzip"), http_exchange.HttpFailure.COMPRESSED),
        (reply(b"a 1\n" * 500), http_exchange.HttpFailure.TOO_LARGE),
        (lambda exchange: exchange.drip(b"a 1\n" * 500), http_exchange.HttpFailure.TOO_LARGE),
    ):
        server = serve(answer)
        assert failure(server.url) is kind, answer
        assert len(server.requests) == 1, "a new connection is not tried twice"


def test_the_time_limit_is_for_the_whole_exchange(serve: Serve) -> None:
    for answer in (hang, lambda exchange: exchange.drip(b"#"), drip_the_head):
        assert failure(serve(answer).url, 0.3, 1 << 20) is http_exchange.HttpFailure.TIMEOUT


def test_a_server_that_is_down_or_has_no_tls_is_unreachable() -> None:
    with ScriptedServer(reply(b"up 1\n")) as server:
        assert failure(server.url.replace("http:", "https:")) is http_exchange.HttpFailure.TLS
    assert failure(server.url) is http_exchange.HttpFailure.UNREACHABLE
    for url in ("http://[s3cret", "http://h:s3cret", "http://ho st", "http://host/v1\r\nX: 1", "ftp://host", "s3cret"):
        assert failure(url) is http_exchange.HttpFailure.NOT_SENT, url
    with pytest.raises(http_exchange.HttpError) as error:
        http_exchange.HttpClient().exchange("GET", server.url, 1.0, {"Authorization": f"{SECRET}\nX: 1"})
    assert error.value.kind is http_exchange.HttpFailure.NOT_SENT
    assert http_exchange.tls_context() is http_exchange.tls_context()


def test_a_redirect_is_not_followed_and_other_bodies_are_not_read(serve: Serve) -> None:
    other = serve(reply(b"up 1\n"))
    answer = get(serve(reply(b"server text", 302, reason="server text", Location=f"{other.url}/")).url)
    assert (answer.status, answer.title, answer.body) == (302, "302 Found", b"")
    assert other.requests == []
    assert http_exchange.exchange_once("GET", serve(lambda exchange: exchange.drip(b"#")).url, 20.0).body == b""
    assert SECRET not in repr(get(serve(reply(SECRET.encode(), X=SECRET)).url))


def test_connections_are_reused_or_replaced(serve: Serve) -> None:
    server, client = serve(reply(b"Yes.")), http_exchange.HttpClient(1000)
    for _ in range(5):
        assert client.exchange("POST", server.url, 20.0, HEADERS, b"x").body == b"Yes."
    assert len({request.peer for request in server.requests}) == 1
    client.close()
    client.exchange("POST", server.url, 20.0)
    assert len({request.peer for request in server.requests}) == 2

    def close_unannounced(exchange: Exchange) -> None:
        exchange.send(b"Yes.")
        exchange.close_connection = True

    def cut_a_kept_connection(exchange: Exchange) -> None:
        if sum(request.peer == exchange.client_address for request in exchange.server.requests) > 1:
            return cut(exchange)
        return exchange.send(b"Yes.")

    for each in (close_unannounced, cut_a_kept_connection):
        url = serve(each).url
        assert [client.exchange("POST", url, 20.0, None, b"x").body for _ in range(3)] == [b"Yes."] * 3


def test_retry_after() -> None:
    for value, seconds in (
        ("7", 7.0),
        ("Fri, 31 Dec 2999 23:59:59 GMT", 3600.0),
        ("99999999999999999999", 0.0),
        ("-5", 0.0),
        ("", 0.0),
    ):
        assert http_exchange.HttpAnswer(429, {"Retry-After": value}, b"").retry_after_s == seconds, value


def test_a_proxy_is_used_only_on_request(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, server = serve(reply(status=202)), serve(reply())
    for address in (f"http://u:{SECRET}@127.0.0.1:{proxy.port}", f"127.0.0.1:{proxy.port}"):
        monkeypatch.setenv("http_proxy", address)
        assert get(server.url).status == 200
        assert http_exchange.HttpClient(uses_proxies=True).exchange("POST", "http://host.invalid/x", 20.0).status == 202
    assert proxy.requests[0].path == "http://host.invalid/x"
    assert proxy.requests[0].headers["Proxy-Authorization"].startswith("Basic ")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert http_exchange.HttpClient(uses_proxies=True).exchange("POST", server.url, 20.0).status == 200


def test_headers_that_cannot_be_read_do_not_reveal_the_url(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        get(serve(only(b"HTTP/1.1 200 OK\r\nno header\r\nContent-Length: 0\r\n\r\n")).url)
    assert SECRET not in caplog.text


def text_of(report: Report) -> str:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ReportCollector(report))
    return generate_latest(registry).decode()


def samples(report: Report) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text_of(report))
        for sample in family.samples
    }


def test_the_pipeline_page_shows_the_metrics_of_its_panels() -> None:
    queries = named_queries()
    for metric in filter(lambda metric: metric.panel, METRICS):
        assert metric.panel in panel_ids("pipeline"), metric.short
        assert (metric.column or metric.short) in queries[f"pipeline.{metric.panel}"].sql


@pytest.mark.parametrize("kind", ALL)
def test_a_processor_exports_its_own_metrics_from_the_start(kind: str) -> None:
    families = {family.name: family for family in text_string_to_metric_families(text_of(Report(kind, "i")))}
    declared = {metric.name: metric for metric in METRICS if kind in metric.processors}
    assert families.keys() == {"barograph_processor_info"} | {name.removesuffix("_total") for name in declared}
    for name, metric in declared.items():
        family = families[name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        if metric.kind != "histogram" and not metric.labels and metric is not metrics.HEALTHY:
            assert len(family.samples) == 1


def test_values_are_exported_as_recorded() -> None:
    report = Report("sketcher", "s-1")
    report.count_committed(10, "counted", {"not-json": 2, "too-old": 1})
    report.count_committed(5, "counted")
    report.count_retry("kafka")
    read_by = Counter(native=7, python=3, panics=1)
    report.count_json_messages(read_by)
    report.count_json_messages(read_by)
    report.replace(metrics.LAG, {("predictions", 0): 7, ("predictions", 1): 5})
    report.replace(metrics.COMMITTED_AGE, {("predictions", 0): 7, ("predictions", 1): 5})
    for seconds in (0.005, 0.006, 1000.0):
        report.observe(metrics.FLUSH, seconds)
    metric_values = samples(report)
    assert metric_values["barograph_events_total", ("counted",)] == 15
    assert metric_values["barograph_events_total", ("dead",)] == 3
    assert metric_values["barograph_dead_letters_total", ("not-json",)] == 2
    assert metric_values["barograph_retries_total", ("kafka",)] == 1
    assert [metric_values["barograph_json_messages_total", (by,)] for by in ("native", "python")] == [7, 3]
    assert metric_values["barograph_native_panics_total", ()] == 1
    assert metric_values["barograph_lag_messages", ("0", "predictions")] == 7
    buckets = [n for (name, _), n in metric_values.items() if name == "barograph_flush_seconds_bucket"]
    assert (buckets[:2], buckets[-2:]) == ([1, 2], [2, 3])
    assert metric_values["barograph_flush_seconds_count", ()] == 3
    assert metric_values["barograph_flush_seconds_sum", ()] == pytest.approx(1000.011)
    assert metric_values["barograph_memory_bytes", ()] > 1e7
    row = report.row()
    details: Any = row.details
    assert (row.events, row.dead_letters, row.retries, row.lag) == (15, 3, 1, 12)
    assert details["lag_messages predictions"] == 12
    assert details["committed_age_seconds predictions"] == 7, "the slowest partition's"
    assert (details["events_total counted"], details["flush_seconds"]) == (15, 1000)
    again: Any = report.row().details
    assert again["flush_seconds"] == 0, "the longest since the previous row"
    assert not any(math.isnan(value) for value in details.values())
    # Revoked partitions are no longer exported.
    report = Report("monitor", "m")
    report.replace(metrics.LAG, {("partials", 0): 7, ("partials", 1): 5})
    report.replace(metrics.LAG, {("partials", 1): 5})
    assert [labels for name, labels in samples(report) if name == "barograph_lag_messages"] == [("1", "partials")]


@pytest.mark.parametrize("secret", ["s3cret", 'a"b\n', "4111 1111", "", "-1", "1.5", "x" * 100_000])
def test_unlisted_label_values_are_replaced(secret: str) -> None:
    report = Report("sketcher", "s-1")
    report.count_dead_letters({secret: 1})
    report.count_retry(secret)
    report.add(metrics.EVENTS, 1, secret)
    report.count_inserted(secret, 1, 0.1)
    report.replace(metrics.LAG, {(secret, secret): 1})
    exported = [each for name, each in samples(report) if name != "barograph_processor_info" and "bucket" not in name]
    assert {value for labels in exported for value in labels} == {OTHER, "dead"}


def test_reports_are_written_again_after_an_outage_that_is_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    outages = [WarehouseBusy("down"), WarehouseError("no table")]
    rows: Queue[Any] = Queue()

    def connect(address: Address, timeout_s: float) -> None:
        if outages:
            raise outages.pop(0)

    monkeypatch.setattr(metrics_report, "connect", connect)
    monkeypatch.setattr(metrics_report, "insert_reports", lambda _, reports: rows.put(reports[0]))
    report = Report("sketcher", "s-1")
    writer = ReportWriter(report, Address(), interval_s=0.001)
    with capture_logs() as logs:
        writer.start()
        rows.get(timeout=60)
        report.count_committed(7, "counted")
        writer.stop(60)
    assert [(log["event"], log["error"]) for log in logs] == [("report not written", "down")]
    last = rows.queue[-1]
    assert last.events == 7, "a stop writes a last row"
    writer.stop()
    assert rows.queue[-1] is last, "a second stop writes none"


class Busy(Exception):
    """A server that cannot answer now."""


class Schedule:
    def __init__(self, failures: int, error: Exception | None = None, *, interrupt_at: int | None = None) -> None:
        self.failures, self.error, self.interrupt_at = failures, error or Busy("busy"), interrupt_at
        self.now_s = 0.0
        self.delays: list[float] = []
        self.calls = 0
        self.report = Report("monitor", "m")

    def backoff(self, uniform: Callable[[float, float], float] = lambda low, high: high, **bounds: Any) -> Backoff:
        return Backoff(
            0.2, 10.0, report=self.report, sleep=self.sleep, clock=lambda: self.now_s, uniform=uniform, **bounds
        )

    def sleep(self, seconds: float) -> bool:
        self.delays.append(seconds)
        self.now_s += seconds
        blockage: Any = self.report.heartbeat.blockage
        assert blockage.reason == "ClickHouse is busy."
        return len(self.delays) == self.interrupt_at

    def operation(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return "result"

    def run(self, backoff: Backoff, **options: Any) -> str:
        return backoff.retry(self.operation, Busy, blocked_on="ClickHouse is busy.", **options)


def test_delays_double_up_to_the_largest_and_start_over_for_the_next_operation() -> None:
    schedule = Schedule(failures=8)
    backoff = schedule.backoff()
    assert schedule.run(backoff) == "result"
    assert schedule.delays == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10])
    assert schedule.report.retries == 8
    assert schedule.report.heartbeat.blockage is None
    schedule.calls, schedule.failures, schedule.delays = 0, 1, []
    schedule.run(backoff)
    assert schedule.delays == [0.2]


def test_a_stop_request_interrupts_the_retries() -> None:
    schedule = Schedule(failures=99, interrupt_at=3)
    with pytest.raises(RetryInterrupted) as interrupted:
        schedule.run(schedule.backoff())
    assert (schedule.calls, interrupted.value.__cause__) == (3, schedule.error)
    assert schedule.report.heartbeat.blockage is None


@pytest.mark.parametrize("bounds", [{"max_attempts": 4}, {"max_elapsed_s": 1.0}])
def test_retries_are_bounded_by_attempts_and_by_time(bounds: dict[str, Any]) -> None:
    schedule = Schedule(failures=99)
    with pytest.raises(Busy):
        schedule.run(schedule.backoff(**bounds))
    assert (schedule.calls, schedule.report.retries) == (4, 3)
    assert schedule.report.heartbeat.blockage is None


def test_other_errors_are_not_retried_and_a_function_may_choose() -> None:
    schedule = Schedule(failures=99, error=ValueError("wrong"))
    with pytest.raises(ValueError, match="wrong"):
        schedule.run(schedule.backoff())
    assert schedule.calls == 1
    schedule = Schedule(failures=2)
    backoff = schedule.backoff()
    result = backoff.retry(schedule.operation, lambda error: schedule.calls < 9, blocked_on="ClickHouse is busy.")
    assert (result, schedule.calls) == ("result", 3)


def test_a_step_is_repeated_and_only_the_first_of_several_errors_is_reported() -> None:
    pauses, errors, ended = FakeStop(), list[Exception](), threading.Event()

    def outcomes() -> Iterator[float | None]:
        yield None
        yield from (ValueError("a"), ValueError("b"), 0.0, ValueError("c"))  # type: ignore[misc]
        pauses.set()
        yield 5.0

    steps = outcomes()

    def step() -> float | None:
        outcome = next(steps)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    periodic = Periodic("x", 9.0, step, errors=(ValueError,), on_error=errors.append, at_end=ended.set, stop=pauses)
    periodic.start()
    assert ended.wait(30)
    assert [str(error) for error in errors] == ["a", "c"]
    assert pauses.waits_s == [9.0, 9.0, 9.0, 9.0, 0.0, 9.0, 5.0]


def test_stop_waits_for_the_current_step() -> None:
    began, go_on = threading.Event(), threading.Event()

    def step() -> None:
        began.set()
        go_on.wait(30)

    periodic = Periodic("x", 0.0, step)
    periodic.stop()
    periodic = Periodic("x", 0.0, step)
    periodic.start()
    assert began.wait(30)
    periodic.stop()
    assert periodic.is_alive
    go_on.set()
    periodic.stop(None)
    assert not periodic.is_alive


def test_an_error_in_a_thread_or_a_signal_ends_the_process() -> None:
    calls: list[str] = []
    codes: Queue[int] = Queue()
    handlers, hook = {number: signal.getsignal(number) for number in SIGNALS}, threading.excepthook
    try:
        shutdown = ShutdownSignal("sketcher", "s-1", end=codes.put, sleep=lambda _: None)
        shutdown.add_hook(lambda: calls.append("early"))
        Periodic("x", 0.0, lambda: 1 / 0).start()
        assert codes.get(timeout=60) == EXIT_STOPPED
        assert not calls
        os.kill(os.getpid(), signal.SIGTERM)
        assert codes.get(timeout=60) == EXIT_OK
    finally:
        threading.excepthook = hook
        signal.set_wakeup_fd(-1)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert (calls, shutdown.requested.is_set(), shutdown._hooks) == (["early"], True, [])
    shutdown.add_hook(lambda: calls.append("late"))
    assert calls == ["early", "late"]
