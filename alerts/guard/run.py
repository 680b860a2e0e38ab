"""Entry point of the guard's process."""

import os

import structlog

from barograph_server.alerts.guard.processor import GuardProcessor
from barograph_server.alerts.settings import AlertSettings
from barograph_server.alerts.webhooks import Sender
from barograph_server.streams.broker.acl import require_acls
from barograph_server.streams.run import ProcessorServices, run_processor
from barograph_server.streams.runtime.lifecycle import ShutdownSignal
from barograph_server.streams.settings import ProcessorSettings


def run_guard(settings: ProcessorSettings, alerts: AlertSettings, *, sends: bool) -> int:
    """Run a guard until SIGTERM or SIGINT; return the exit code. Unless it sends notifications, Grafana does."""

    def work(services: ProcessorServices, shutdown: ShutdownSignal) -> None:
        require_acls(settings, "guard")
        log = structlog.get_logger().bind(processor="guard", instance=settings.instance)

        def log_change(text: str) -> None:
            log.info("change", text=text)

        sender = Sender(alerts, os.environ, log_change) if sends else None
        try:
            deliver = None if sender is None else sender.send
            guard = GuardProcessor(settings, alerts, services.registry, services.report, log_change, deliver)
            guard.run(shutdown.requested)
        finally:
            if sender is not None:
                sender.close()

    return run_processor("guard", settings, work)
