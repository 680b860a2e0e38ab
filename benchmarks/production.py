"""Processors with what they have in production and no more: `python -m benchmarks.production KIND SETTINGS`."""

from __future__ import annotations

import json
import sys

SESSION_S = 45.0


def hide_pandas() -> None:
    """Hide pandas from what is imported from now on: it comes with the developers' tools.

    pyarrow imports it at its first array where it is installed, for up to 0.9 s of CPU and 50 MB.
    """
    sys.meta_path.insert(0, _WithoutPandas())


class _WithoutPandas:
    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def main() -> int:
    """Run a processor."""
    hide_pandas()
    from streams import run
    from streams.settings import ProcessorSettings
    from streams.topics import Topics
    from warehouse.client import Address

    kind, parameters = sys.argv[1], json.loads(sys.argv[2])
    settings = ProcessorSettings(
        instance=parameters["instance"],
        bootstrap_servers=parameters["bootstrap_servers"],
        warehouse=Address(parameters["host"], parameters["port"], parameters["database"]),
        topics=Topics(parameters["prefix"]),
        session_timeout_s=SESSION_S,
        **{name: parameters[name] for name in ("clock", "flush_s", "flush_events") if name in parameters},
    )
    if parameters.get("until") is not None:
        _log_when_reached(parameters["until"])
    work = {"sketcher": run.run_sketcher, "monitor": run.run_monitor, "recorder": run.run_recorder}[kind]
    return int(work(settings))


def _log_when_reached(until: int) -> None:
    """Let the monitor's worker say when it has worked on the record before an offset."""
    import structlog

    from streams.monitor.worker import IncomingRecord, Worker

    handle = Worker.handle
    message = False

    def handle_and_log(self: Worker, record: IncomingRecord) -> int:
        nonlocal message
        durable = handle(self, record)
        if not message and record.offset >= until - 2:
            message = True
            structlog.get_logger().info("reached", offset=record.offset)
        return durable

    Worker.handle = handle_and_log  # type: ignore[method-assign]


if __name__ == "__main__":
    sys.exit(main())
