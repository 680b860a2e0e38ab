"""Notifications arrive at a real HTTP webhook, with the routes of the installation; a failing one is reported."""

from __future__ import annotations

import socket
import time

import pytest

from barograph_server.alerts.rules import rules_of
from barograph_server.alerts.simulator import Simulation
from barograph_server.drills.errors import DrillError
from barograph_server.drills.webhook import WebhookReceiver, deliver, to_webhook
from tests.support.drill_events import CONTRACT, without
from tests.support.drill_simulation import HOUR_S, ON_CALL, rule_of, simulation

ROUTED = without(CONTRACT, route="shop")


def happened(n: int = 1) -> Simulation:
    rules = rules_of(ROUTED, ON_CALL)
    periods = [
        (rule_of(ROUTED, "psi-major", "x"), "x", (10 + 50 * i) * HOUR_S, (30 + 50 * i) * HOUR_S) for i in range(n)
    ]
    return simulation(
        rules, [*periods, (rule_of(ROUTED, "psi-major", "y"), "y", 40 * HOUR_S, 50 * HOUR_S)], 2000 * HOUR_S
    )


def test_notifications_arrive_at_the_contact_points_of_the_routes() -> None:
    with WebhookReceiver() as receiver:
        deliveries = deliver(happened(), ON_CALL, receiver.url, receiver)
        bodies = receiver.bodies
    assert not deliveries.problems
    assert [(each.point, each.labels["rule"], each.labels["field"]) for each in deliveries.alerts] == [
        ("on-call", "psi-major", "x"),
        ("tickets", "psi-major", "y"),
    ]
    assert (deliveries.alerts[0].at_s, deliveries.alerts[0].since_s) == (10 * HOUR_S + 30, 10 * HOUR_S)
    assert [body["status"] for body in bodies] == ["firing", "resolved", "firing", "resolved"]
    assert bodies[0]["alerts"][0]["annotations"]["summary"].startswith("PSI of x is 1")


def test_nobody_is_paged() -> None:
    integrations = {each for point in to_webhook(ON_CALL).contact_points.values() for each in point}
    assert {(each.kind, each.variable) for each in integrations} == {("webhook", "DRILL_WEBHOOK")}


def test_a_webhook_that_fails_or_never_answers_is_reported_and_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    start_s = time.monotonic()
    with WebhookReceiver(status=500) as receiver:
        failing = deliver(happened(20), ON_CALL, receiver.url, receiver)
    monkeypatch.setattr("barograph_server.alerts.webhooks.TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        silent = deliver(happened(20), ON_CALL, f"http://127.0.0.1:{server.getsockname()[1]}/", None)
    assert time.monotonic() - start_s < 40
    assert not failing.alerts
    assert failing.problems[0].startswith("on-call: notification by webhook failed: the server returned 500")
    assert failing.problems[-1] == "The remaining notifications were not sent."
    text = "on-call: notification by webhook failed: timed out."
    assert not silent.alerts
    assert silent.problems == [text, text, "The remaining notifications were not sent."]


def test_another_webhook_decides_by_its_answers() -> None:
    with WebhookReceiver() as receiver:
        assert len(deliver(happened(), ON_CALL, receiver.url, None).alerts) == 2
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    deliveries = deliver(happened(), ON_CALL, f"http://127.0.0.1:{port}/", None)
    assert not deliveries.alerts
    assert "connection refused" in deliveries.problems[0]
    with pytest.raises(DrillError, match="does not start with http"):
        deliver(happened(), ON_CALL, "ftp://x", None)
