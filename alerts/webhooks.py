"""Sends notifications without Grafana: webhooks, Slack, PagerDuty, each with one HTTP request.

A message gets three attempts of at most five seconds each. Failures are reported and never block: evaluation continues,
and the next evaluation repeats what still fires.

The path of a webhook's URL is often its password. Reports name the contact point and the environment variable, and
never quote the URL, the token or a text of the server or of the HTTP library, which may quote them.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import BoundedSemaphore
from typing import Any
from urllib.parse import urlsplit

from barograph.publisher.retry_schedule import RetrySchedule

from barograph_server.alerts.settings import AlertSettings, Integration
from barograph_server.alerts.simulator.notify import Alert, Notification
from barograph_server.alerts.text import digest
from barograph_server.streams.runtime.http_exchange import HttpClient, HttpError, HttpFailure

TIMEOUT_S = 5.0
TRIES = 3
MAX_QUEUED = 100
"""Maximum number of queued messages, so that a hanging contact point cannot exhaust memory."""
PAGERDUTY_URL = "https://events.pagerduty.com/v2/enqueue"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class AlertMessage:
    """The content of a notification about one alert."""

    alert: Alert
    title: str
    summary: str
    """One sentence or two, with the name of the model."""
    advice: str
    """What it means for users, and the first step."""
    description: str
    page_url: str
    """The page with details; a path if the address of Grafana is not known."""
    runbook_url: str
    numbers: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class AlertRequest:
    """A POST to the server of a contact point; every member may hold a secret."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(slots=True)
class Sender:
    """Sends messages in the background."""

    settings: AlertSettings
    environ: Mapping[str, str] = field(repr=False)
    report: Callable[[str], None]
    """Receives a sentence for each message that was not delivered, and one for each setting that prevents messages."""
    pause_s: float = 1.0
    """Nominal delay before the second attempt; doubled before the third."""
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(4, "send"))
    _queue_slots: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(MAX_QUEUED))
    _reported: set[str] = field(default_factory=set)
    """Settings that prevent messages and were reported: the environment of a process does not change."""

    def send(self, notification: Notification, alerts: Sequence[AlertMessage]) -> None:
        """Send a notification to every integration of its contact point."""
        for integration in self.settings.contact_points.get(notification.point, ()):
            request = self.request(integration, notification, alerts)
            if isinstance(request, str):
                if request not in self._reported:
                    self._reported.add(request)
                    self.report(f"{notification.point}: {request}")
            elif self._queue_slots.acquire(blocking=False):
                self._pool.submit(self._deliver, notification.point, integration, request)
            else:
                self.report(
                    f"{notification.point}: {MAX_QUEUED} messages are queued; the message to {integration.kind} was "
                    "dropped."
                )

    def close(self) -> None:
        """Wait for queued messages."""
        self._pool.shutdown(wait=True)

    def request(
        self, integration: Integration, notification: Notification, alerts: Sequence[AlertMessage]
    ) -> AlertRequest | str:
        """Build the request for one integration, or return the reason why there is none."""
        values = {variable: self.environ.get(variable, "").strip() for variable in integration.variables}
        for variable, value in values.items():
            if not value:
                return f"{variable} is not set, so no {integration.kind} notification is sent; export it."
        secret = values[integration.variable]
        headers = {"Content-Type": "application/json"}
        if integration.kind == "pagerduty":
            url, body = PAGERDUTY_URL, pagerduty_body(notification, alerts, secret)
        elif integration.kind == "slack":
            url, body = secret, slack_body(notification, alerts)
        else:
            url, body = secret, webhook_body(notification, alerts)
            if integration.bearer_variable:
                headers["Authorization"] = f"Bearer {values[integration.bearer_variable]}"
        try:
            if urlsplit(url).scheme in ("http", "https"):
                return AlertRequest(url, headers, json.dumps(body, ensure_ascii=False).encode())
        except ValueError:
            # Its text quotes the URL.
            pass
        return f"{integration.variable} is not a URL that starts with http:// or https://; no notification is sent."

    def _deliver(self, point: str, integration: Integration, request: AlertRequest) -> None:
        try:
            schedule = RetrySchedule(self.pause_s, self.pause_s * 2**TRIES)
            for remaining in reversed(range(TRIES)):
                problem, again = _post(request)
                if problem is None:
                    return
                if not again or not remaining:
                    break
                time.sleep(schedule.record_failure())
            self.report(f"{point}: notification by {integration.kind} failed: {problem}.")
        finally:
            self._queue_slots.release()


def _post(request: AlertRequest) -> tuple[str | None, bool]:
    """Send once; return the problem and whether a retry may help. The problem never quotes the URL or the token."""
    client = HttpClient(uses_proxies=True)
    try:
        answer = client.exchange("POST", request.url, TIMEOUT_S, request.headers, request.body)
    except HttpError as error:
        return _failure(error), error.kind is not HttpFailure.NOT_SENT
    finally:
        client.close()
    if 200 <= answer.status < 300:
        return None, False
    text = f"the server returned {answer.title}"
    if 300 <= answer.status < 400:
        text += "; redirects are not followed, set the URL that it redirects to"
    return text, answer.status == 429 or answer.status >= 500


def _failure(error: HttpError) -> str:
    if error.kind is HttpFailure.NOT_SENT:
        return "the URL or the bearer token contains characters that HTTP does not allow; correct the variable"
    if error.kind is HttpFailure.NOT_HTTP:
        return f"the server did not answer with HTTP ({error.reason})"
    return error.reason[:1].lower() + error.reason[1:]


def webhook_body(notification: Notification, alerts: Sequence[AlertMessage]) -> Json:
    """Message body in the format of Grafana's webhooks."""
    return {
        "receiver": notification.point,
        "status": "firing" if notification.firing else "resolved",
        "groupLabels": dict(notification.group),
        "title": headline(notification, alerts),
        "message": "\n".join(f"{each.summary} {each.advice}" for each in alerts),
        "alerts": [
            {
                "status": "firing" if each.alert in notification.firing else "resolved",
                "labels": each.alert.label_map,
                "annotations": {
                    "summary": each.summary,
                    "advice": each.advice,
                    "description": each.description,
                    "page": each.page_url,
                    "runbook_url": each.runbook_url,
                },
                "startsAt": _iso(each.alert.start),
                "endsAt": _iso(each.alert.end) if each.alert.end is not None else None,
                "values": {ref: value for ref, value in each.numbers.items() if value == value},
                "fingerprint": digest(*(f"{name}={value}" for name, value in each.alert.labels)),
            }
            for each in alerts
        ],
    }


def slack_body(notification: Notification, alerts: Sequence[AlertMessage]) -> Json:
    lines = [f"*{_escaped(headline(notification, alerts))}*"]
    for each in alerts:
        mark = "" if each.alert in notification.firing else "resolved: "
        page = f" <{each.page_url}|panel>" if "://" in each.page_url else ""
        summary = f"{_escaped(each.summary)} " if len(alerts) > 1 else ""
        text = f"{mark}{summary}{_escaped(each.advice)} {_since(each.alert)}"
        lines.append(f"• {text}{page} <{each.runbook_url}|runbook>")
    return {"text": "\n".join(lines)}


def pagerduty_body(notification: Notification, alerts: Sequence[AlertMessage], key: str) -> Json:
    """Message body for PagerDuty; a group is one incident."""
    body: Json = {
        "routing_key": key,
        "event_action": "trigger" if notification.firing else "resolve",
        "dedup_key": digest(notification.point, *(f"{name}={value}" for name, value in notification.group)),
    }
    if notification.firing:
        body["payload"] = {
            "summary": headline(notification, alerts)[:1024],
            "source": "barograph",
            "severity": "critical",
            "custom_details": {each.title: f"{each.summary} {each.advice} {_since(each.alert)}" for each in alerts},
        }
        body["links"] = [{"href": each.page_url, "text": each.title} for each in alerts if "://" in each.page_url]
    return body


def headline(notification: Notification, alerts: Sequence[AlertMessage]) -> str:
    """The first line: the summary of the first alert. Alerts that fire come first."""
    n = len(notification.firing)
    return f"{'' if n else 'Resolved: '}{alerts[0].summary}{f' (one of {n})' if n > 1 else ''}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _since(alert: Alert) -> str:
    return f"Firing since {datetime.fromtimestamp(alert.start, UTC):%Y-%m-%d %H:%M} UTC."


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()
