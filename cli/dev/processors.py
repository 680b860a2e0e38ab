"""The processors of `barograph dev` as child processes of the command."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from cli.dev.supervisor import last_reason
from cli.settings import KEYS, PREFIX, Settings
from local.child_process import ChildProcess

KINDS = ("sketcher", "recorder", "monitor", "scorer")
INSTANCE = "dev"


class Processor:
    """One processor, told everything by a settings file and nothing by the environment."""

    def __init__(self, kind: str, settings_path: Path, *, run_dir: Path, log_dir: Path) -> None:
        """Describe it; nothing is started.

        Args:
            kind: one of `KINDS`.
            settings_path: what `write_settings` wrote.
            run_dir: where its pid is kept.
            log_dir: where its log is.
        """
        self.name = kind
        self._settings_path = settings_path
        self._child = ChildProcess(kind, run_dir=run_dir, log_path=log_dir / f"{kind}.log")

    @property
    def log_path(self) -> Path:
        """Its log."""
        return self._child.log_path

    @property
    def is_running(self) -> bool:
        """Whether it lives."""
        return self._child.is_running

    def start(self) -> None:
        """Start it; one that a crashed predecessor of this command left is ended first."""
        if self._child.find():
            self._child.terminate(20)
        command = [sys.executable, "-m", "cli.main", "run", self.name, "--instance", INSTANCE]
        self._child.spawn([*command, "--config", self._settings_path], environ=_clean(os.environ))

    def describe_end(self) -> str:
        """Say how it ended and why, as far as its log tells."""
        code = self._child.exit_code
        how = (
            "ended" if code is None else f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        )
        reason = last_reason(self._child.last_lines().splitlines())
        told = f": {reason.rstrip('.')}." if reason else "."
        return f"{how}{told} Its log is {self.log_path}."

    def terminate(self, timeout_s: float) -> bool:
        """Ask it to end; kill it after `timeout_s`, and say whether it ended by itself."""
        return self._child.terminate(timeout_s)


def write_settings(path: Path, settings: Settings) -> None:
    """Write the settings of the local stack as a file that `load_settings` reads; it holds no secret."""
    address = settings.warehouse
    lines = [
        "# Written by `barograph dev` for its processors, anew at each start.",
        *_lines(
            {
                "bootstrap_servers": settings.bootstrap_servers,
                "topic_prefix": settings.topic_prefix,
                "predictions_partitions": settings.predictions_partitions,
                "labels_partitions": settings.labels_partitions,
                "partials_partitions": settings.partials_partitions,
                "clock": settings.clock,
            }
        ),
        "[clickhouse]",
        *_lines({"host": address.host, "port": address.port, "database": address.database}),
        "[processors]",
        *_lines({name: value for name, value in settings.processor_overrides.items() if f"processors.{name}" in KEYS}),
    ]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _lines(values: Mapping[str, str | float]) -> list[str]:
    # A JSON string is a TOML string too, but for characters beyond the basic plane, which JSON writes as pairs.
    return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]


def _clean(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without settings, which would win over the file: they may name servers of production."""
    return {name: value for name, value in environ.items() if not name.startswith(PREFIX)}
