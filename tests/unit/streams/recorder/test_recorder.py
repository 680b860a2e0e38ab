"""The recorder while ClickHouse is busy, without Kafka and ClickHouse."""

from __future__ import annotations

import json
import threading
from unittest.mock import Mock

import pytest
from structlog.testing import capture_logs

from barograph_server.streams.recorder import recorder
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.warehouse.errors import WarehouseBusy
from tests.support.fake_consumer import TOPIC, FakeConsumer, FakeMessage, assigned_consumer, fake_settings
from tests.support.sketching import toy_registry


def test_a_busy_warehouse_pauses_reading_and_loses_no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    paused: list[bool] = []

    def on_fetch() -> None:
        nonlocal now_s
        now_s += recorder.BATCH_S / 2
        paused.append((TOPIC, 0) in fake.paused)

    client, transactions = Mock(), Mock()
    client.insert.side_effect = [WarehouseBusy("down"), None]
    connect = Mock(side_effect=[WarehouseBusy("unreachable"), client, client])
    event = {"model": "toy", "version": "1", "id": "e1", "at": 999_000}
    fake = FakeConsumer([[FakeMessage(0, json.dumps(event).encode())]], during_fetch=on_fetch)
    report, registry = Report("recorder", "s"), toy_registry()
    for name, result in {
        "AssignedConsumer": assigned_consumer(fake, {(TOPIC, 0): 0}, report, (TOPIC, "labels")),
        "Transactions": transactions,
        "ReplayVerifier": Mock(verify=dict),
        "TopicMetadata": Mock(describe=lambda _: ("id", 1), describe_unchanged=lambda *_: ("id", 1)),
        "epoch_of": 0,
    }.items():
        monkeypatch.setattr(recorder, name, Mock(return_value=result))
    own = recorder.Recorder(fake_settings(), lambda: registry, report, connect_to=connect, monotonic=lambda: now_s)
    with capture_logs() as logs:
        assert own.record_once(threading.Event())
    assert [(call.args[0], len(call.args[1])) for call in client.insert.call_args_list] == [("predictions", 1)] * 2
    assert [end.offset for end in transactions.commit.call_args.args[1]] == [1]
    assert (any(paused), fake.paused) == (True, set()), "it polls while paused, and reads again"
    assert (connect.call_count, client.close.call_count, report.retries) == (3, 1, 2)
    assert [(log["event"], log.get("error")) for log in logs if "warehouse" in log["event"]] == [
        ("warehouse busy: reading is paused", "unreachable"),
        ("warehouse writes again", None),
    ]
