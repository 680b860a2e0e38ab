"""Guards on threads of a test, a serving process's view of them, and verdicts that make their rules fire."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from barograph.contract import Contract
from barograph.contract.file import parse_contract

from barograph_server.alerts import AlertSettings
from barograph_server.alerts.guard.processor import GuardProcessor
from barograph_server.streams.registry.registry import Registry, build_registry
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse.client import Client, connect
from tests.support import sketching
from tests.support.pipeline import Pipeline
from tests.support.warehouse import add_row

HOUR_S = 3600


def contract_every(every_s: int, recover_s: int) -> Contract:
    return parse_contract(
        "contract: 1\nmodel: m\nwindows: [{length: 1h, hop: 1m}]\n"
        "fields: {temp: {type: float, critical: true}}\n"
        f"fallback: {{rules: [psi-major], recover: {recover_s}s}}\n"
        f"alerts: {{every: {every_s}s, for: 0s, keep_firing_for: 0s}}"
    )


CONTRACT = contract_every(60, 2)
REGISTRY = build_registry([(CONTRACT, 1)], [])
WAIT_S = 60.0


class FastClock:
    def __init__(self) -> None:
        self._start_s, self._began_s = time.time(), time.monotonic()

    def __call__(self) -> float:
        return self._start_s + 100 * (time.monotonic() - self._began_s)


def settings_of(pipeline: Pipeline, instance: str) -> ProcessorSettings:
    return sketching.settings_of(pipeline, instance=instance, clock="live")


def insert_verdict(client: Client, at: int, psi: float, record_seq: int) -> None:
    add_row(
        client,
        "drift",
        **{"model": "m", "version": "1", "slice": "all", "field": "temp", "window": "1h", "n": 5000},
        **{"record_seq": record_seq, "window_start": at - HOUR_S, "window_end": at},
        **{"psi": psi, "psi_low": psi, "psi_high": psi, "level": "major" if psi > 0.2 else "stable"},
        judged_at=at * 1000,
    )


@contextmanager
def running(pipeline: Pipeline, instance: str, clock: Any, registry: Registry = REGISTRY) -> Iterator[threading.Event]:
    stop = threading.Event()
    errors: list[BaseException] = []
    settings = settings_of(pipeline, instance)
    guard = GuardProcessor(
        settings,
        AlertSettings(),
        lambda: registry,
        Report("guard", instance),
        print,
        clock=clock,
        connect_to=partial(connect, timeout_s=2),
    )

    def run() -> None:
        try:
            guard.run(stop)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(WAIT_S)
        assert not thread.is_alive()
        if errors:
            raise errors[0]
