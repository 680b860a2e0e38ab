"""Run a processor with the packages of production only: `python -m benchmarks.production KIND SETTINGS`."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from benchmarks.measured_process import PASSWORD_VARIABLE

if TYPE_CHECKING:
    from barograph_server.streams.settings import ProcessorSettings

SESSION_S = 45.0


def hide_pandas() -> None:
    """Make later imports of pandas fail, because only the development environment contains it.

    If it is installed, pyarrow imports it with the first array, which costs up to 0.9 s of CPU and 50 MB.
    """
    sys.meta_path.insert(0, _WithoutPandas())


class _WithoutPandas:
    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def make_settings(parameters: dict[str, Any], session_timeout_s: float) -> ProcessorSettings:
    """The settings of a processor from the parameters of a process."""
    from barograph_server.streams.settings import ProcessorSettings
    from barograph_server.streams.topics import Topics
    from barograph_server.warehouse.client import Address

    return ProcessorSettings(
        instance=parameters.get("instance", "benchmark"),
        bootstrap_servers=parameters["bootstrap_servers"],
        warehouse=Address(
            parameters["host"], parameters["port"], parameters["database"], password=os.environ[PASSWORD_VARIABLE]
        ),
        topics=Topics(parameters["prefix"]),
        session_timeout_s=session_timeout_s,
        **{name: parameters[name] for name in ("clock", "flush_s", "flush_events") if name in parameters},
    )


def main() -> int:
    """Run the processor that the command line names."""
    hide_pandas()
    from barograph_server.streams import run

    kind, parameters = sys.argv[1], json.loads(sys.argv[2])
    settings = make_settings(parameters, SESSION_S)
    if parameters.get("until") is not None:
        _log_when_reached(parameters["until"])
    if kind == "otlp":
        from barograph_server.streams.otlp.run import run_otlp
        from barograph_server.streams.otlp.settings import OtlpSettings

        return run_otlp(settings, OtlpSettings(port=parameters["otlp_port"], wait_s=parameters["wait_s"]))
    work = {"sketcher": run.run_sketcher, "monitor": run.run_monitor, "recorder": run.run_recorder}[kind]
    return int(work(settings))


def _log_when_reached(until: int) -> None:
    """Make the monitor's worker log `reached` once it has processed the last record before an offset."""
    import structlog

    from barograph_server.streams.monitor.worker import IncomingRecord, Worker

    handle = Worker.handle
    is_logged = False

    def handle_and_log(self: Worker, record: IncomingRecord) -> int:
        nonlocal is_logged
        durable = handle(self, record)
        if not is_logged and record.offset >= until - 2:
            is_logged = True
            structlog.get_logger().info("reached", offset=record.offset)
        return durable

    Worker.handle = handle_and_log  # type: ignore[method-assign]


if __name__ == "__main__":
    sys.exit(main())
