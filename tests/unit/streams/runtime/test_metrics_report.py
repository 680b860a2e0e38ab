"""Metrics of processors: exported in one way, on the Pipeline page, with bounded labels."""

from __future__ import annotations

import math
from queue import Queue
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from barograph_server.dashboards.page_files import panel_ids
from barograph_server.streams.health.endpoint import ReportCollector
from barograph_server.streams.runtime import metrics_report
from barograph_server.streams.runtime.metrics_report import Report, ReportWriter
from barograph_server.warehouse.client import Address
from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError
from barograph_server.warehouse.operations import metrics
from barograph_server.warehouse.operations.metrics import ALL, METRICS, OTHER
from barograph_server.warehouse.panels.named import named_queries


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


def test_every_metric_is_on_the_pipeline_page() -> None:
    queries = named_queries()
    for metric in METRICS:
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
    report.replace(metrics.LAG, {("predictions", 0): 7, ("predictions", 1): 5})
    report.replace(metrics.COMMITTED_AGE, {("predictions", 0): 7, ("predictions", 1): 5})
    for seconds in (0.005, 0.006, 1000.0):
        report.observe(metrics.FLUSH, seconds)
    metric_values = samples(report)
    assert metric_values["barograph_events_total", ("counted",)] == 15
    assert metric_values["barograph_events_total", ("dead",)] == 3
    assert metric_values["barograph_dead_letters_total", ("not-json",)] == 2
    assert metric_values["barograph_retries_total", ("kafka",)] == 1
    assert metric_values["barograph_lag_messages", ("0", "predictions")] == 7
    buckets = [n for (name, _), n in metric_values.items() if name == "barograph_flush_seconds_bucket"]
    assert (buckets[:2], buckets[-2:]) == ([1, 2], [2, 3])
    assert metric_values["barograph_flush_seconds_count", ()] == 3
    assert metric_values["barograph_flush_seconds_sum", ()] == pytest.approx(1000.011)
    assert metric_values["barograph_memory_bytes", ()] > 1e7
    row = report.row()
    details = row.details
    assert isinstance(details, dict)
    assert (row.events, row.dead_letters, row.retries, row.lag) == (15, 3, 1, 12)
    assert details["lag_messages predictions"] == 12
    assert details["committed_age_seconds predictions"] == 7, "the slowest partition's"
    assert details["events_total counted"] == 15
    assert details["flush_seconds"] == 1000
    again = report.row().details
    assert isinstance(again, dict)
    assert again["flush_seconds"] == 0, "the longest since the previous row"
    assert not any(math.isnan(value) for value in details.values())
    # Revoked partitions are no longer exported.
    report = Report("monitor", "m")
    report.replace(metrics.LAG, {("partials", 0): 7, ("partials", 1): 5})
    report.replace(metrics.LAG, {("partials", 1): 5})
    assert [key for key in samples(report) if key[0] == "barograph_lag_messages"] == [
        ("barograph_lag_messages", ("1", "partials"))
    ]


@pytest.mark.parametrize("secret", ["s3cret", 'a"b\n', "4111 1111", "", "-1", "1.5", "x" * 100_000])
def test_unlisted_label_values_are_replaced(secret: str) -> None:
    report = Report("sketcher", "s-1")
    report.count_dead_letters({secret: 1})
    report.count_retry(secret)
    report.add(metrics.EVENTS, 1, secret)
    report.count_inserted(secret, 1, 0.1)
    report.replace(metrics.LAG, {(secret, secret): 1})
    label_sets = {
        labels for name, labels in samples(report) if name != "barograph_processor_info" and "bucket" not in name
    }
    assert {value for labels in label_sets for value in labels} == {OTHER, "dead"}


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
