import dataclasses
import json
import socket
from pathlib import Path
from unittest.mock import Mock

import pytest
from barograph.contract import Contract
from barograph.contract.file import dump_contract, parse_contract

from barograph_server.cli.dev import first_verdict
from barograph_server.local import stack
from barograph_server.operations.dev.processors import write_settings
from barograph_server.operations.dev.supervisor import HEALTHY_S, LONGEST_PAUSE_S, Supervisor, last_reason
from barograph_server.settings import Settings, load_settings
from barograph_server.warehouse.client import Address
from tests.support.command_line import run


class Child:
    def __init__(self, name: str = "sketcher", *, obeys: bool = True) -> None:
        self.name = name
        self.is_running = False
        self.starts = 0
        self._obeys = obeys

    def start(self) -> None:
        assert not self.is_running
        self.is_running = True
        self.starts += 1

    def describe_end(self) -> str:
        return "ended with exit code 1."

    def terminate(self, timeout_s: float) -> bool:
        assert timeout_s > 0
        self.is_running = False
        return self._obeys


class Bench:
    def __init__(self, other: Child | None = None) -> None:
        self.child, self.other = Child(), other or Child("monitor")
        self.now_s = 1000.0
        self.reports: list[str] = []
        self.supervisor = Supervisor(
            [self.child, self.other], self.reports.append, clock=lambda: self.now_s, uniform=lambda low, high: high
        )
        self.supervisor.start()

    def fail_and_count_pause(self) -> float:
        """End the child and poll every quarter of a second until it is restarted."""
        self.child.is_running = False
        started_s = self.now_s
        self.supervisor.poll()
        assert not self.child.is_running
        while not self.child.is_running:
            self.now_s += 0.25
            self.supervisor.poll()
        return self.now_s - started_s


def test_the_pause_before_a_restart_doubles_up_to_a_limit_and_a_long_run_resets_it() -> None:
    bench = Bench()
    for _ in range(3):
        bench.supervisor.poll()
    assert (bench.child.starts, bench.other.starts, bench.reports) == (1, 1, [])
    pauses = [bench.fail_and_count_pause() for _ in range(7)]
    assert pauses == [1, 2, 4, 8, 16, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    assert bench.reports[:2] == ["sketcher ended with exit code 1. It restarts in 1 s.", "sketcher was restarted."]
    assert bench.other.starts == 1
    bench.now_s += HEALTHY_S
    assert bench.fail_and_count_pause() == 1


def test_all_children_are_stopped_and_one_that_does_not_obey_is_reported() -> None:
    bench = Bench(Child("monitor", obeys=False))
    bench.supervisor.stop(5)
    assert not bench.child.is_running
    assert bench.reports == ["monitor did not stop within 5 s and was killed."]


def test_the_reason_of_an_end_is_in_the_last_record_of_the_log() -> None:
    stopped = json.dumps({"event": "stopped", "reason": "no topic partials. Run apply."})
    started = json.dumps({"event": "started"})
    assert last_reason([started, "%4|noise", stopped, "%4|noise"]) == "no topic partials. Run apply."
    assert last_reason([started, " TypeError: x "]) == "TypeError: x"
    assert last_reason([]) == ""


def test_processors_read_the_settings_of_the_command(tmp_path: Path) -> None:
    settings = Settings(
        bootstrap_servers="127.0.0.1:1",
        warehouse=Address(port=2, database="d"),
        topic_prefix='a"\\ü-',
        predictions_partitions=3,
        clock="replay",
        processor_overrides={"flush_s": 0.5, "flush_events": 10},
    )
    path = tmp_path / "p.toml"
    for each in (settings, dataclasses.replace(settings, processor_overrides={})):
        write_settings(path, each)
        assert load_settings(path, environ={}, find=lambda: None) == each
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    touched = AssertionError("the stack was touched before everything was checked")
    monkeypatch.setattr(stack, "LocalStack", Mock(side_effect=touched))
    (tmp_path / "m.yaml").write_text(dump_contract(Contract(model="m")))
    return tmp_path


def dev_error(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run("dev", *words) == 1
    return capsys.readouterr().err


def test_a_typo_and_a_taken_port_are_reported_before_a_start(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        error = dev_error(capsys, "m.yaml", "--reset", "--page-port", str(port))
    assert f"Port {port} of the dashboards is taken" in error
    (folder / "m.yaml").write_text("model: m\nwindowz: 1d\n")
    assert "windowz" in dev_error(capsys, "m.yaml", "--reset")
    (folder / "barograph.toml").write_text("clok = 'replay'")
    assert "clok" in dev_error(capsys, "m.yaml", "--reset")


def test_the_first_verdict_waits_for_the_shortest_window_and_its_last_pane() -> None:
    contract = parse_contract(
        "contract: 1\nmodel: m\nlateness: 2m\nout_of_order: 1m\n"
        "windows: [{length: 1d, hop: 1h}, {length: 15m, hop: 1m}]\n"
    )
    assert first_verdict(contract) == (
        "First verdict of m: about 18m after its first event. Its shortest window is 15m long, and panes are sealed 3m "
        "after their end."
    )
