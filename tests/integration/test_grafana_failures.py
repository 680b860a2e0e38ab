"""Applies to Grafana that fail at each write: rejected, lost, hanging or killed; the next apply completes them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from barograph_server.cli.main import main
from barograph_server.errors import EXIT_INTERRUPTED
from barograph_server.grafana.client import Grafana
from barograph_server.grafana.errors import GrafanaBusy
from barograph_server.provisioning.grafana import GrafanaError
from barograph_server.provisioning.grafana.alerting import RuleGroup
from barograph_server.provisioning.grafana.resources import Resource
from tests.support.grafana_apply import apply, assert_settled
from tests.support.grafana_bundle import PAGER, ROUTE, TICKETS, bundle, dashboard, group, rule
from tests.support.stub_grafana import StubGrafana, cutting, failing, losing, serving

WRITES = 11
"""Number of writes of a first apply: one per object, and the final record."""
CREATES_AGAIN = 4
"""The write of a contact point: a second one would create a second contact point of the same name."""
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
EACH_WRITE = [
    number if number == CREATES_AGAIN else pytest.param(number, marks=pytest.mark.long)
    for number in range(1, WRITES + 1)
]


@pytest.fixture
def stub() -> Iterator[StubGrafana]:
    with serving() as server:
        yield server


def assert_whole(stub: StubGrafana) -> None:
    state = stub.state
    assert list(state.folders) == ["barograph", "barograph-alerts"]
    assert list(state.sources) == ["barograph"]
    assert len(state.points) == 2
    assert len(state.timings) == 1
    assert len(state.tree["routes"]) == 1
    assert len(state.dashboards) == 2
    assert [len(stored["rules"]) for stored in state.groups.values()] == [2]
    assert_settled(stub)


@pytest.mark.parametrize("number", EACH_WRITE)
def test_a_failed_write_is_reported_and_the_next_apply_completes_it(stub: StubGrafana, number: int) -> None:
    stub.faults = {number: failing(500, "database is locked")}
    with pytest.raises(GrafanaError) as caught:
        apply(stub)
    text = str(caught.value)
    assert "(500: database is locked): check its log" in text
    assert text.endswith("`barograph apply` completes it.")
    written, _, missing = text.partition(" Not written: ")
    done = written.partition("Written to Grafana: ")[2]
    assert (done.count(",") + 1 if done else 0) == number - 1, text
    for position, name in enumerate(NAMES, 1):
        assert name in (done if position < number else missing), (name, text)
    apply(stub)
    assert_whole(stub)


@pytest.mark.parametrize("number", EACH_WRITE)
def test_a_write_without_an_answer_is_checked_and_completed(number: int) -> None:
    for fault in (losing, cutting, failing(503, "starting")):
        with serving() as stub:
            stub.faults = {number: fault}
            assert not apply(stub).skipped
            assert_whole(stub)


class Killed(BaseException):
    """Stands for the death of the process."""


def killing(monkeypatch: pytest.MonkeyPatch, number: int, *, before: bool, error: type[BaseException] = Killed) -> None:
    """End the process at its nth write, before it is sent or before its answer is received."""
    exchange, count = Grafana._exchange, 0

    def dying(self: Grafana, action: str, method: str, *args: Any) -> Any:
        nonlocal count
        count += method != "GET"
        if count == number and before:
            raise error
        result = exchange(self, action, method, *args)
        if count == number:
            raise error
        return result

    monkeypatch.setattr(Grafana, "_exchange", dying)


@pytest.mark.parametrize("number", EACH_WRITE)
def test_a_first_apply_that_is_killed_is_completed_by_the_next(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    for before in (True, False):
        with serving() as stub:
            with monkeypatch.context() as patched:
                killing(patched, number, before=before)
                with pytest.raises(Killed):
                    apply(stub)
            assert not apply(stub).skipped
            assert_whole(stub)


def changed(number: int) -> tuple[Resource, ...]:
    return bundle(
        folder="Renamed",
        points=({**PAGER, "settings": {"integrationKey": f"new {number}"}}, TICKETS),
        dashboards=(dashboard("barograph-fleet", f"Fleet {number}"), dashboard("barograph-new", "New")),
        groups=(group("new", rule("r-1", "drift", **{"for": f"{number}m"})),),
        route={**ROUTE, "group_by": ["model", "field"]},
    )


EACH_CHANGE = [number if number == 1 else pytest.param(number, marks=pytest.mark.long) for number in range(1, 10)]


@pytest.mark.parametrize("number", EACH_CHANGE)
def test_a_killed_change_is_completed_or_followed_by_another(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Objects of an interrupted apply are ours, even if the contract changes again."""
    for before, desired in itertools.product((True, False), (changed(2), changed(3), bundle())):
        with serving() as stub:
            apply(stub)
            with monkeypatch.context() as patched:
                killing(patched, number, before=before)
                with pytest.raises(Killed):
                    apply(stub, changed(2))
            assert not apply(stub, desired).skipped
            assert_settled(stub, desired)
            groups = {each.name for each in desired if isinstance(each, RuleGroup)}
            assert {group for _, group in stub.state.groups} == groups
            assert len(stub.state.dashboards) == 2


def test_an_unavailable_server_is_tried_three_times(stub: StubGrafana) -> None:
    stub.always = failing(503, "starting")
    with pytest.raises(GrafanaBusy, match=r"is temporarily unable to check its health \(503: starting\)"):
        apply(stub)
    assert len(stub.requests) == 3


def test_an_interrupt_reports_the_completed_writes(
    stub: StubGrafana, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    killing(monkeypatch, 4, before=True, error=KeyboardInterrupt)

    def run(**_: Any) -> None:
        apply(stub)

    monkeypatch.setattr("barograph_server.cli.main.app", run)
    with pytest.raises(SystemExit) as caught:
        main(["apply"])
    assert caught.value.code == EXIT_INTERRUPTED
    error = capsys.readouterr().err
    assert error.startswith("Interrupted. Written to Grafana: data source Barograph, folder Models")
    assert "Not written: contact point pager" in error
