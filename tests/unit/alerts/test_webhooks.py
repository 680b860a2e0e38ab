"""Requests to contact points: addresses, headers and bodies, and what is not sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from barograph_server.alerts.settings import Integration
from barograph_server.alerts.simulator.notify import Alert, Notification
from barograph_server.alerts.webhooks import PAGERDUTY_URL, AlertMessage, AlertRequest, Sender
from tests.support.alerting import installation

HOOK = Integration("webhook", "HOOK_URL", "HOOK_TOKEN")
PAGER = Integration("pagerduty", "PAGER_KEY")
SLACK = Integration("slack", "SLACK_URL")
ENVIRON = {
    "HOOK_URL": "https://hook.example/in",
    "HOOK_TOKEN": "swordfish",
    "PAGER_KEY": "k" * 32,
    "SLACK_URL": "https://slack.example/services/s",
}
ALERT = Alert((("field", "x"), ("model", "m")), 1_767_225_600, None)
ENDED = Alert((("field", "y"), ("model", "m")), 1_767_225_600, 1_767_229_200)


def message(alert: Alert, page_url: str = "https://grafana.example/d/field?var-model=m") -> AlertMessage:
    texts = ("PSI <major>", "PSI of x is 0.3", "text", page_url, "https://runbook.example/psi")
    return AlertMessage(alert, *texts, {"A": 0.3, "B": float("nan")})


def request(integration: Integration, *messages: AlertMessage, environ: dict[str, str] = ENVIRON) -> Any:
    firing = tuple(each.alert for each in messages if each.alert.end is None)
    resolved = tuple(each.alert for each in messages if each.alert.end is not None)
    notification = Notification(1_767_225_630, "oncall", (("model", "m"),), firing, resolved, is_repeat=False)
    return Sender(installation(), environ, pytest.fail).request(integration, notification, messages)


def body(sent: AlertRequest) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(sent.body)
    return parsed


def test_a_webhook_gets_every_alert_and_the_bearer_token() -> None:
    sent = request(HOOK, message(ALERT), message(ENDED))
    assert sent.url == "https://hook.example/in"
    assert sent.headers["Authorization"] == "Bearer swordfish"
    assert "swordfish" not in repr(sent)
    parsed = body(sent)
    assert (parsed["status"], parsed["title"], parsed["groupLabels"]) == ("firing", "[FIRING:1] m", {"model": "m"})
    assert [(each["status"], each["endsAt"]) for each in parsed["alerts"]] == [
        ("firing", None),
        ("resolved", "2026-01-01T01:00:00+00:00"),
    ]
    assert parsed["alerts"][0]["values"] == {"A": 0.3}
    assert request(Integration("webhook", "HOOK_URL"), message(ALERT)).headers.keys() == {"Content-Type"}


def test_pagerduty_closes_the_incident_that_it_opened() -> None:
    opened, closed = body(request(PAGER, message(ALERT))), body(request(PAGER, message(ENDED)))
    assert request(PAGER, message(ALERT)).url == PAGERDUTY_URL
    assert (opened["event_action"], closed["event_action"]) == ("trigger", "resolve")
    assert opened["dedup_key"] == closed["dedup_key"]
    assert opened["routing_key"] == "k" * 32
    assert opened["payload"]["summary"] == "[FIRING:1] m"
    assert opened["payload"]["custom_details"] == {"PSI <major>": "PSI of x is 0.3 Since 2026-01-01 00:00 UTC."}
    assert opened["links"] == [{"href": "https://grafana.example/d/field?var-model=m", "text": "PSI <major>"}]
    assert "payload" not in closed


def test_slack_text_is_escaped_and_links_only_to_absolute_urls() -> None:
    (text,) = body(request(SLACK, message(ALERT), message(ENDED, "/d/field?var-model=m"))).values()
    heading, firing, resolved = text.splitlines()
    assert heading == "*[FIRING:1] m*"
    page = "<https://grafana.example/d/field?var-model=m|page> <https://runbook.example/psi|runbook>"
    assert firing == f"• PSI &lt;major&gt;: PSI of x is 0.3 Since 2026-01-01 00:00 UTC. {page}"
    assert resolved.startswith("• resolved: ")
    assert "|page>" not in resolved


def test_a_missing_variable_and_what_is_no_url_are_named_and_not_quoted() -> None:
    for variable in ("HOOK_URL", "HOOK_TOKEN"):
        problem = request(HOOK, message(ALERT), environ={**ENVIRON, variable: " "})
        assert problem == f"{variable} is not set, so no webhook notification is sent; export it."
    for url in ("swordfish", "file:///etc/passwd", "http://[swordfish"):
        problem = request(HOOK, message(ALERT), environ={**ENVIRON, "HOOK_URL": url})
        assert problem.startswith("HOOK_URL is not a URL that starts with http:// or https://")
        assert "swordfish" not in problem
