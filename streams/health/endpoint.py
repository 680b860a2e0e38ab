"""The HTTP endpoint of a processor: `/healthz` and `/metrics`, served from threads of its own.

A page in a browser can make its host name resolve to this address (DNS rebinding) and then read the answers. The
browser still sends that name as Host, so the endpoint answers only to IP addresses and to names that it knows.
"""

import json
import threading
from collections.abc import Callable, Collection, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import accumulate
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.health.watchdog import Health
from barograph_server.streams.runtime.http_server import is_known, known_names
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.settings import DEFAULT_PORTS, ProcessorSettings
from barograph_server.warehouse.operations.metrics import BUCKETS_S, PREFIX, MetricFamily

OFF = 0
"""Port in the settings that turns the endpoint off."""
ANY_FREE = 0
"""Port that makes the system choose a free one."""
REQUEST_S = 5.0
"""Timeout of a connection without a complete request."""
_UNKNOWN_NAME = b"This processor does not know the host name of the request. Add it to metrics.names.\n"


class ReportCollector(Collector):
    def __init__(self, report: Report) -> None:
        self._report = report

    def collect(self) -> Iterable[Any]:
        """Yield every metric of this kind of processor, also those without a value yet."""
        info = {"processor": self._report.kind, "name": self._report.instance}
        yield InfoMetricFamily(f"{PREFIX}processor", "Which processor this is, and its name.", value=info)
        for metric in self._report.definitions():
            yield self._histogram(metric) if metric.kind == "histogram" else self._number(metric)

    def _number(self, metric: MetricFamily) -> Any:
        kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
        family = kind(metric.name, metric.help, labels=[label.name for label in metric.labels])
        values = self._report.values(metric)
        if not values and not metric.labels:
            values = {(): 0.0}
        for labels, value in sorted(values.items()):
            family.add_metric(labels, value)
        return family

    def _histogram(self, metric: MetricFamily) -> Any:
        family = HistogramMetricFamily(metric.name, metric.help, labels=[label.name for label in metric.labels])
        ends = [*(str(end) for end in BUCKETS_S), "+Inf"]
        for labels, timed in sorted(self._report.times(metric).items()):
            family.add_metric(labels, list(zip(ends, accumulate(timed.counts), strict=True)), timed.sum_s)
        return family


class Endpoint:
    """The HTTP server of one processor."""

    def __init__(self, settings: ProcessorSettings, report: Report, health: Callable[[], Health]) -> None:
        """Bind the port; requests are answered after `start`.

        Args:
            settings: address and port. Port None means that of `DEFAULT_PORTS`, or a free one if it is in use.
        """
        registry = CollectorRegistry(auto_describe=False)
        registry.register(ReportCollector(report))
        host = settings.metrics_host
        names = known_names(host, settings.metrics_names)
        handler = _handler(registry, report, health, names)
        self._server = _listen(host, settings.metrics_port, DEFAULT_PORTS[report.kind], handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), name="endpoint", daemon=True)
        log = structlog.get_logger().bind(processor=report.kind, instance=report.instance)
        log.info("metrics", address=self.address)

    @property
    def address(self) -> str:
        """Host and port."""
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop, without waiting for open requests."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect during a request."""


def _listen(host: str, port: int | None, default: int, handler: type[BaseHTTPRequestHandler]) -> _Server:
    ports = [default, ANY_FREE] if port is None else [port]
    for candidate in ports:
        try:
            return _Server((host, candidate), handler)
        except OSError as error:
            reason = error.strerror
    raise ProcessorError(
        f"Metrics and health cannot be served at {host}:{ports[0]}: {reason}. Set metrics.host and metrics.port to "
        "a free address, a different one for each processor of one machine, or set metrics.port to 0 for no endpoint."
    )


def _handler(
    registry: CollectorRegistry, report: Report, health: Callable[[], Health], names: Collection[str]
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_S
        server_version, sys_version = "barograph", ""

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            # Clients of HTTP/1.0, such as probes of load balancers, send no Host; browsers always do.
            if not all(is_known(host, names) for host in self.headers.get_all("Host", [])):
                self._answer(421, "text/plain; charset=utf-8", _UNKNOWN_NAME)
            elif path == "/metrics":
                encode, kind = choose_encoder(self.headers.get("Accept", ""))
                self._answer(200, kind, encode(registry))
            elif path == "/healthz":
                current = health()
                status = {"status": current.status, "processor": report.kind, "instance": report.instance}
                body = json.dumps(status | ({"reason": current.reason} if current.reason else {})).encode()
                self._answer(200 if current.healthy else 503, "application/json", body + b"\n")
            else:
                self._answer(404, "text/plain; charset=utf-8", b"Not found. Available: /healthz, /metrics.\n")

        def _answer(self, code: int, kind: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Do not log requests."""

    return Handler
