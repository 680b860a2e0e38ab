"""Delivers the notifications of a drill to a real HTTP webhook, and receives them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from barograph_server.alerts.settings import AlertSettings, Integration
from barograph_server.alerts.simulator import Alert, Notification, Simulation
from barograph_server.alerts.text import words
from barograph_server.alerts.webhooks import AlertMessage, Sender
from barograph_server.drills.errors import DrillError
from barograph_server.streams.runtime.http_server import HttpServer

VARIABLE = "DRILL_WEBHOOK"
"""Variable with the address of the webhook, in the environment that only the sender of the drill sees."""
PAUSE_S = 0.2
"""Nominal pause before the second attempt; each attempt takes at most five seconds, so a delivery ends in 16 s."""
MAX_FAILURES = 2
"""Failed deliveries after which no more are attempted."""
MAX_BODY_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class DeliveredAlert:
    """A firing alert in a notification that the webhook accepted."""

    at_s: int
    """Event time of the notification, Unix seconds."""
    since_s: int
    """Event time since which the alert fires, Unix seconds."""
    point: str
    labels: Mapping[str, str]


@dataclass(slots=True)
class WebhookReceiver:
    """A webhook on loopback that records the bodies that it gets. Use it as a context manager."""

    status: int = 200
    """The status of its answers."""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    _server: HttpServer | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.port}/drill"

    def __enter__(self) -> WebhookReceiver:
        app = Starlette(routes=[Route("/drill", self._record, methods=["POST"])])
        self._server = HttpServer(app, "127.0.0.1", 0, "drill-webhook", log_level="critical", lifespan="off")
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.stop(10)

    async def _record(self, request: Request) -> Response:
        if int(request.headers.get("Content-Length", 0)) > MAX_BODY_BYTES:
            return Response(status_code=413)
        try:
            body = json.loads(await request.body())
        except ValueError:
            return Response(status_code=400)
        if self.status < 400:
            self.bodies.append(body)
        return Response(status_code=self.status)


def to_webhook(settings: AlertSettings) -> AlertSettings:
    """Replace every integration by the drill's webhook: routes and contact points stay, and nobody is paged."""
    webhook = (Integration("webhook", VARIABLE),)
    return replace(settings, contact_points=dict.fromkeys(settings.contact_points, webhook))


@dataclass(slots=True)
class Deliveries:
    alerts: list[DeliveredAlert] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Why notifications were not delivered."""


def check_address(url: str) -> None:
    if not url.startswith(("http://", "https://")):
        raise DrillError("The address of --webhook does not start with http:// or https://.")


class WebhookDelivery:
    """Sends the notifications of one drill to a webhook, one after the other."""

    def __init__(self, settings: AlertSettings, url: str, receiver: WebhookReceiver | None) -> None:
        """Check the address; nothing is sent yet.

        Args:
            receiver: the webhook's recorder; None if the webhook is another server, whose answers then decide.
        """
        check_address(url)
        self.result = Deliveries()
        self._settings, self._url, self._receiver = to_webhook(settings), url, receiver

    def send(self, notification: Notification, alerts: Sequence[AlertMessage]) -> None:
        """Send a notification and record what arrived; repeats, and all after `MAX_FAILURES`, are not sent."""
        result, receiver = self.result, self._receiver
        if notification.is_repeat or len(result.problems) >= MAX_FAILURES:
            return
        n_received = len(receiver.bodies) if receiver is not None else 0
        problems: list[str] = []
        sender = Sender(self._settings, {VARIABLE: self._url}, problems.append, pause_s=PAUSE_S)
        sender.send(notification, alerts)
        sender.close()
        result.problems += problems
        if len(result.problems) >= MAX_FAILURES:
            result.problems.append("The remaining notifications were not sent.")
        if problems:
            return
        firing = [(alert.start, alert.label_map) for alert in notification.firing]
        point = notification.point
        if receiver is not None:
            bodies = receiver.bodies[n_received:]
            if not bodies:
                result.problems.append(f"{point}: the message of {len(firing)} alerts did not arrive.")
                return
            point = str(bodies[0]["receiver"])
            firing = [
                (int(datetime.fromisoformat(each["startsAt"]).timestamp()), each["labels"])
                for each in bodies[0]["alerts"]
                if each["status"] == "firing"
            ]
        result.alerts += [DeliveredAlert(notification.at, since_s, point, labels) for since_s, labels in firing]


def deliver(simulation: Simulation, settings: AlertSettings, url: str, receiver: WebhookReceiver | None) -> Deliveries:
    """Send the notifications of a simulation to a webhook; arguments and errors are those of `WebhookDelivery`."""
    delivery = WebhookDelivery(settings, url, receiver)
    for notification in simulation.notifications:
        delivery.send(notification, messages(simulation, notification, settings))
    return delivery.result


def messages(simulation: Simulation, notification: Notification, settings: AlertSettings) -> list[AlertMessage]:
    """Write the messages of a notification as the guard would."""
    return [
        *(_message(simulation, alert, notification.at, settings) for alert in notification.firing),
        *(_message(simulation, alert, alert.end or notification.at, settings) for alert in notification.resolved),
    ]


def _message(simulation: Simulation, alert: Alert, at: int, settings: AlertSettings) -> AlertMessage:
    labels = alert.label_map
    replay = next(each for each in simulation.replays if each.rule.title == labels["alertname"])
    rule = replay.rule
    key = labels.get(rule.signal.label, "") if rule.signal.label else ""
    changes = replay.changes[key]
    numbers = changes.numbers(at)
    details = changes.details(at) | ({rule.signal.label: key} if rule.signal.label else {})
    return AlertMessage(
        alert,
        rule.title,
        words(rule.message, details, numbers),
        rule.advice,
        rule.description,
        settings.grafana_url + words(rule.page_path, details, numbers),
        settings.runbook(rule.runbook),
        numbers,
    )
