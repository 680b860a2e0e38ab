"""Tells contact points without Grafana: webhooks, Slack, PagerDuty, each by one HTTP request.

A message is tried three times, each time for five seconds at most; what cannot be delivered is said, never waited for:
evaluation goes on meanwhile, and the next look repeats what is still true.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import BoundedSemaphore
from typing import Any

from alerts.settings import AlertSettings, Integration
from alerts.simulator.notify import Alert, Notification
from alerts.text import digest

TIMEOUT_S = 5.0
TRIES = 3
WAITING = 100
"""Messages that may wait at once; a contact point that hangs must not fill the memory."""
PAGERDUTY_URL = "https://events.pagerduty.com/v2/enqueue"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of one alert."""

    alert: Alert
    title: str
    summary: str
    description: str
    runbook_url: str
    numbers: Mapping[str, float]


@dataclass(slots=True)
class Sender:
    """Sends messages in the background."""

    settings: AlertSettings
    environ: Mapping[str, str] = field(repr=False)
    say: Callable[[str], None]
    """Is given a sentence for each message that was not delivered."""
    pause_s: float = 1.0
    """Before the second try; twice as long before the third."""
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(4, "send"))
    _places: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(WAITING))

    def send(self, told: Notification, alerts: Sequence[Told]) -> None:
        """Send a message to every integration of its contact point."""
        for integration in self.settings.contact_points.get(told.point, ()):
            request = self.request(integration, told, alerts)
            if isinstance(request, str):
                self.say(f"{told.point}: {request}")
            elif self._places.acquire(blocking=False):
                self._pool.submit(self._deliver, told.point, integration, request)
            else:
                self.say(f"{told.point}: {WAITING} messages wait already; this one to {integration.kind} was dropped.")

    def close(self) -> None:
        """Wait for what is under way."""
        self._pool.shutdown(wait=True)

    def request(
        self, integration: Integration, told: Notification, alerts: Sequence[Told]
    ) -> urllib.request.Request | str:
        """Make the request for one integration, or say why there is none."""
        secret = self.environ.get(integration.variable, "") if integration.variable else ""
        if integration.variable and not secret:
            return f"{integration.variable} is not set, so nobody is told by {integration.kind}; export it."
        headers = {"Content-Type": "application/json", "User-Agent": "barograph"}
        if integration.kind == "pagerduty":
            url, body = PAGERDUTY_URL, pagerduty_body(told, alerts, secret)
        elif integration.kind == "slack":
            url, body = secret, slack_body(told, alerts)
        else:
            url, body = secret or integration.url, webhook_body(told, alerts)
            if integration.bearer_variable:
                headers["Authorization"] = f"Bearer {self.environ.get(integration.bearer_variable, '')}"
        if not url.startswith(("http://", "https://")):
            where = integration.variable or "its url"
            return f"{where} holds no address that begins with http:// or https://; nobody is told."
        data = json.dumps(body, ensure_ascii=False).encode()
        # The scheme was looked at above.
        return urllib.request.Request(url, data, headers, method="POST")  # noqa: S310

    def _deliver(self, point: str, integration: Integration, request: urllib.request.Request) -> None:
        try:
            for attempt in range(TRIES):
                if attempt:
                    time.sleep(self.pause_s * 2 ** (attempt - 1))
                problem, again = _post(request)
                if problem is None:
                    return
                if not again:
                    break
            self.say(f"{point}: {integration.kind} was not told: {problem}.")
        finally:
            self._places.release()


def _post(request: urllib.request.Request) -> tuple[str | None, bool]:
    """Send once; return what went wrong, and whether another try may help. Never shows the address, a secret."""
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):  # noqa: S310 - the scheme was looked at
            return None, False
    except urllib.error.HTTPError as error:
        with error:
            return f"it answered {error.code} {error.reason}", error.code == 429 or error.code >= 500
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        text = getattr(reason, "strerror", None) or str(reason) or type(error).__name__
        return text[:1].lower() + text[1:], True


def webhook_body(told: Notification, alerts: Sequence[Told]) -> Json:
    """The message as Grafana's webhooks have it, as far as both know the same."""
    return {
        "receiver": told.point,
        "status": "firing" if told.firing else "resolved",
        "groupLabels": dict(told.group),
        "title": title(told),
        "message": "\n".join(each.summary for each in alerts),
        "alerts": [
            {
                "status": "firing" if each.alert in told.firing else "resolved",
                "labels": each.alert.label_map,
                "annotations": {
                    "summary": each.summary,
                    "description": each.description,
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


def slack_body(told: Notification, alerts: Sequence[Told]) -> Json:
    """The message as text."""
    lines = [f"*{_escaped(title(told))}*"]
    for each in alerts:
        mark = "" if each.alert in told.firing else "resolved: "
        lines.append(f"• {mark}{_escaped(each.title)}: {_escaped(each.summary)} <{each.runbook_url}|runbook>")
    return {"text": "\n".join(lines)}


def pagerduty_body(told: Notification, alerts: Sequence[Told], key: str) -> Json:
    """The message as an event of PagerDuty; the group is one incident."""
    body: Json = {
        "routing_key": key,
        "event_action": "trigger" if told.firing else "resolve",
        "dedup_key": digest(told.point, *(f"{name}={value}" for name, value in told.group)),
    }
    if told.firing:
        body["payload"] = {
            "summary": title(told)[:1024],
            "source": "barograph",
            "severity": "critical",
            "custom_details": {each.title: each.summary for each in alerts},
        }
    return body


def title(told: Notification) -> str:
    """The message in one line."""
    who = ", ".join(value for _, value in told.group if value) or "barograph"
    if told.firing:
        return f"[FIRING:{len(told.firing)}] {who}"
    return f"[RESOLVED] {who}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()
