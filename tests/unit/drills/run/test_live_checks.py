"""A live drill that cannot run says why, and how long it would take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from barograph.contract.file import dump_contract

from barograph_server.alerts.settings import AlertSettings
from barograph_server.drills.errors import DrillError
from barograph_server.drills.faults import InjectionRequest, find_fault
from barograph_server.drills.run import live_checks
from barograph_server.drills.run.plan import DrillRequest, plan_drill
from barograph_server.errors import ApplyError
from barograph_server.provisioning.files import read_contracts
from barograph_server.settings import Settings
from tests.support.drill_events import CONTRACT, START_MS, baseline
from tests.support.live_model import LIVE_CONTRACT, live_events

KINDS = ("sketcher", "recorder", "monitor", "scorer")
CLIENT: Any = SimpleNamespace(where="clickhouse.example.com:8123")


def check(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, silent: tuple[str, ...] = (), timeout_s: float = 600
) -> None:
    rows = [SimpleNamespace(kind=kind, silent_s=60 if kind in silent else 1) for kind in KINDS]
    monkeypatch.setattr(live_checks, "processors", lambda client: rows)
    live_checks.check_live(CLIENT, settings, LIVE_CONTRACT, live_events(START_MS, 300), timeout_s)


def test_a_live_drill_needs_processors_on_the_live_clock_and_enough_time(monkeypatch: pytest.MonkeyPatch) -> None:
    check(monkeypatch, Settings())
    with pytest.raises(DrillError, match=r"^No sketcher and no scorer reports to ClickHouse at clickhouse.example.com"):
        check(monkeypatch, Settings(), silent=("sketcher", "scorer"))
    with pytest.raises(DrillError, match="run on the replay clock"):
        check(monkeypatch, replace(Settings(), clock="replay"))
    with pytest.raises(DrillError, match=r"takes as long as its events: 5m 20s.* with --timeout 320,"):
        check(monkeypatch, Settings(), timeout_s=200)


def test_the_windows_of_the_expected_rules_must_fit_into_the_events() -> None:
    request = DrillRequest(InjectionRequest(find_fault("mean-shift"), "x"))
    events = live_events(START_MS, 300)
    fitting = plan_drill("1", request, LIVE_CONTRACT, baseline(LIVE_CONTRACT), events, AlertSettings(), "live")
    live_checks.check_windows(fitting)
    long = plan_drill("1", request, CONTRACT, baseline(), events, AlertSettings(), "live")
    with pytest.raises(DrillError, match=r"windows of 1d, and only 3m 44s of events precede the end of the fault"):
        live_checks.check_windows(long)
    assert live_checks.live_range_s(CONTRACT, Settings()) >= 6 * 86_400, "long enough for the recovery"
    assert live_checks.live_range_s(LIVE_CONTRACT, Settings()) > 4 * 80


def test_apply_rejects_the_names_of_drills(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(dump_contract(msgspec.structs.replace(LIVE_CONTRACT, model="drill.shop.1")), encoding="utf-8")
    with pytest.raises(ApplyError, match=r"the model is called drill.shop.1, and names that begin with drill. belong"):
        read_contracts([path])
