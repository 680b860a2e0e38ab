"""Applies to Grafana that fail at each write: rejected, lost, hanging or killed; the next apply completes them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.apply.grafana import Bundle, GrafanaError, apply_grafana, connect
from cli.apply.grafana.client import Grafana
from cli.apply.grafana.errors import GrafanaBusy
from cli.errors import EXIT_INTERRUPTED
from cli.main import main
from tests.support.grafana_apply import apply, assert_settled
from tests.support.grafana_bundle import bundle, dashboard, group, rule
from tests.support.grafana_state import Answer
from tests.support.stub_grafana import TOKEN, StubGrafana, cutting, failing, hanging, losing, serving

WRITES = 11
"""Number of writes of a first apply: one per object, and the final ledger."""
NAMES = [
    "data source",
    "folder Models",
    "folder Alerts",
    "pager",
    "tickets",
    "retraining",
    "policy",
    "Fleet",
    "dashboard Model",
    "rule group",
]


@pytest.fixture
def stub() -> Iterator[StubGrafana]:
    with serving() as server:
        yield server


def assert_whole(stub: StubGrafana) -> None:
    """Check that each resource exists exactly once."""
    state = stub.state
    assert list(state.folders) == ["barograph", "barograph-alerts"]
    assert list(state.sources) == ["barograph"]
    assert len(state.points) == 2
    assert len(state.timings) == 1
    assert len(state.tree["routes"]) == 1
    assert len(state.dashboards) == 2
    assert [len(stored["rules"]) for stored in state.groups.values()] == [2]
    assert "open" not in str(state.sources["barograph"]["jsonData"])
    assert_settled(stub)


@pytest.mark.parametrize("number", range(1, WRITES + 1))
def test_a_failed_write_is_reported_and_the_next_apply_completes_it(stub: StubGrafana, number: int) -> None:
    stub.faults = {number: failing(500, "database is locked")}
    with pytest.raises(GrafanaError) as caught:
        apply(stub)
    text = str(caught.value)
    assert "(500: database is locked): check its log" in text
    assert text.endswith("`barograph apply` completes it.")
    done = re.search(r"Written to Grafana: (.*?)\.(?: Not written|`| `)", text)
    missing = re.search(r"Not written: (.*)\. `", text)
    assert (done[1].count(",") + 1 if done else 0) == min(number, WRITES) - 1
    for position, name in enumerate(NAMES, 1):
        if position < number:
            assert done is not None
            assert name in done[1]
        else:
            assert missing is not None
            assert name in missing[1]
    apply(stub)
    assert_whole(stub)


@pytest.mark.parametrize("number", range(1, WRITES + 1))
@pytest.mark.parametrize("fault", [losing, cutting, failing(503, "starting")])
def test_a_write_without_an_answer_is_checked_and_completed(stub: StubGrafana, number: int, fault: Any) -> None:
    stub.faults = {number: fault}
    assert not apply(stub).skipped
    assert_whole(stub)


class Killed(BaseException):
    """Stands for the death of the process."""


def killing(monkeypatch: pytest.MonkeyPatch, number: int, *, before: bool) -> None:
    """End the process at its nth write, before it is sent or before its answer is received."""
    write, count = Grafana.write, 0

    def dying(self: Grafana, *args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count == number and before:
            raise Killed
        result = write(self, *args, **kwargs)
        if count == number:
            raise Killed
        return result

    monkeypatch.setattr(Grafana, "write", dying)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("number", range(1, WRITES + 1))
def test_a_first_apply_that_is_killed_is_completed_by_the_next(
    stub: StubGrafana, monkeypatch: pytest.MonkeyPatch, number: int, before: bool
) -> None:
    with monkeypatch.context() as patched:
        killing(patched, number, before=before)
        with pytest.raises(Killed):
            apply(stub)
    assert not apply(stub).skipped
    assert_whole(stub)


CHANGED = bundle(
    folder_title="Renamed",
    contact_points=({**bundle().contact_points[0], "settings": {"integrationKey": "new"}}, bundle().contact_points[1]),
    dashboards=(dashboard("barograph-fleet", "Fleet 2"), dashboard("barograph-model", "Model 2")),
    rule_groups=(group(bundle().rule_groups[0]["title"], rule("r-1", "drift", **{"for": "1m"}), rule("r-2", "nulls")),),
    route={**(bundle().route or {}), "group_by": ["model", "field"]},
)
CHANGED_AGAIN = bundle(
    dashboards=(dashboard("barograph-fleet", "Fleet 3"), dashboard("barograph-model", "Model 3")),
    rule_groups=(group(bundle().rule_groups[0]["title"], rule("r-1", "drift", **{"for": "2m"}), rule("r-2", "nulls")),),
)


@pytest.mark.parametrize("desired", [CHANGED, CHANGED_AGAIN], ids=["the same", "another"])
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("number", range(1, 9))
def test_a_change_that_is_killed_is_completed_or_followed_by_another(
    stub: StubGrafana, monkeypatch: pytest.MonkeyPatch, number: int, before: bool, desired: Bundle
) -> None:
    """The remains of an interrupted apply are not taken for a manual edit, even if the contract changes again."""
    apply(stub)
    with monkeypatch.context() as patched:
        killing(patched, number, before=before)
        with pytest.raises(Killed):
            apply(stub, CHANGED)
    assert not apply(stub, desired).skipped
    assert_settled(stub, desired)


KILLED_PROCESS = """
import json, sys
from cli.apply.grafana import apply_grafana, connect
from cli.settings import GrafanaSettings
from tests.support.grafana_bundle import bundle
with connect(GrafanaSettings(url=sys.argv[1], token=sys.argv[2])) as grafana:
    apply_grafana(grafana, bundle())
"""


def test_the_next_apply_completes_one_killed_by_signal_9(stub: StubGrafana) -> None:
    def kill(_: StubGrafana, answer: Callable[[], Answer]) -> None:
        answer()
        os.kill(process.pid, signal.SIGKILL)

    stub.faults = {8: kill}
    root = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-c", KILLED_PROCESS, stub.url, TOKEN], cwd=root)
    assert process.wait(timeout=60) == -signal.SIGKILL
    assert len(stub.writes) == 8
    assert "barograph-model" not in stub.state.dashboards
    apply(stub)
    assert_whole(stub)


def test_a_grafana_that_hangs_times_out_with_the_completed_writes(stub: StubGrafana) -> None:
    stub.faults = {8: hanging, 9: hanging, 10: hanging}
    with pytest.raises(GrafanaError, match=r"did not answer within 0.3 s to write dashboard Fleet") as caught:
        apply(stub, timeout_s=0.3)
    assert "Written to Grafana: data source Barograph, folder Models" in str(caught.value)
    assert "Not written: dashboard Fleet" in str(caught.value)
    apply(stub)
    assert_whole(stub)


def test_a_temporarily_unavailable_server_is_retried(stub: StubGrafana) -> None:
    answers = iter([failing(502), None, None, cutting, None] * 100)

    def flaky(server: StubGrafana, answer: Callable[[], Answer]) -> Answer | None:
        fault = next(answers)
        return answer() if fault is None else fault(server, answer)

    stub.always = flaky
    apply(stub)
    stub.always = None
    assert_whole(stub)


def test_an_unavailable_server_is_tried_three_times(stub: StubGrafana) -> None:
    stub.always = failing(503, "starting")
    with pytest.raises(GrafanaBusy, match=r"is temporarily unable to check its health \(503: starting\)"):
        apply(stub)
    assert len(stub.requests) == 3


def test_an_interrupt_reports_the_completed_writes(
    stub: StubGrafana, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write, count = Grafana.write, 0

    def interrupted(self: Grafana, *args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt
        return write(self, *args, **kwargs)

    monkeypatch.setattr(Grafana, "write", interrupted)

    def run(**_: Any) -> None:
        apply(stub)

    monkeypatch.setattr("cli.main.app", run)
    with pytest.raises(SystemExit) as caught:
        main(["apply"])
    assert caught.value.code == EXIT_INTERRUPTED
    error = capsys.readouterr().err
    assert error.startswith("Interrupted. Written to Grafana: data source Barograph, folder Models")
    assert "Not written: contact point pager" in error


def test_two_concurrent_applies_complete_each_other(stub: StubGrafana) -> None:
    """The second apply runs and finishes while the first one writes a dashboard."""

    def meanwhile(_: StubGrafana, answer: Callable[[], Answer]) -> Answer:
        with connect(stub.settings(), pause_s=0) as grafana:
            apply_grafana(grafana, bundle())
        return answer()

    stub.faults = {7: meanwhile}
    apply(stub)
    assert_whole(stub)
