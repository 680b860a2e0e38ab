"""A sketcher in the test's own process, driven flush by flush."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from barograph_server.streams.broker.assigned_consumer import Rebalanced
from barograph_server.streams.records import Progress, decode
from barograph_server.streams.registry.registry import RegisteredBaseline, Registry, build_registry
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.streams.sketcher.sketcher import Sketcher
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract, wait_for


def settings_of(pipeline: Pipeline, **changes: Any) -> ProcessorSettings:
    values: dict[str, Any] = {"instance": "s", "clock": "replay", "session_timeout_s": 6.0, **changes}
    return ProcessorSettings(
        bootstrap_servers=pipeline.bootstrap, warehouse=pipeline.address, topics=pipeline.topics, **values
    )


def toy_registry() -> Registry:
    baseline = simple_baseline()
    return build_registry([(simple_contract(), 1)], [RegisteredBaseline(baseline, baseline.id, 0, 1)])


@contextmanager
def open_sketcher(pipeline: Pipeline, **settings: Any) -> Iterator[Sketcher]:
    registry = toy_registry()
    created = Sketcher(settings_of(pipeline, **settings), lambda: registry, Report("sketcher", "s"))
    created._transactions.start()
    created._consumer.subscribe()
    yield created
    created._consumer.close()


def covered(pipeline: Pipeline) -> dict[int, int]:
    ends: dict[int, int] = {}
    for message in pipeline.read_all(pipeline.topics.partials):
        record = decode(message.value())
        if isinstance(record, Progress):
            for read in record.ranges:
                ends[read.partition] = max(ends.get(read.partition, 0), read.end)
    return ends


def flush_once(sketcher: Sketcher) -> None:
    try:
        sketcher.flush_once(threading.Event())
    except Rebalanced:
        sketcher._consumer.restart()


def flush_until(
    pipeline: Pipeline, sketcher: Sketcher, ends: dict[int, int], between: Callable[[], None] = lambda: None
) -> None:
    """Flush until the partitions are covered up to their ends; `between` is called after each flush."""

    def check() -> bool:
        flush_once(sketcher)
        between()
        return covered(pipeline) == ends

    wait_for(check, f"offsets {ends} to be covered")
