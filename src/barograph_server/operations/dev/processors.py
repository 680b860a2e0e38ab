"""The processors of `barograph dev`, as child processes of the command."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from barograph_server.local.child_process import ChildProcess
from barograph_server.local.private_files import write_private
from barograph_server.operations.dev.supervisor import last_reason
from barograph_server.settings import KEYS, PREFIX, Settings, variable_of

KINDS = ("sketcher", "recorder", "monitor", "scorer")
INSTANCE = "dev"
TERMINATE_S = 20
"""Time limit for stopping a process that an earlier command left, in seconds."""


class Processor(ChildProcess):
    """One processor, configured by a settings file; of the environment it uses only the password of ClickHouse."""

    def __init__(
        self,
        kind: str,
        settings_path: Path,
        password: str,
        *,
        run_dir: Path,
        log_dir: Path,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Describe the process without starting it.

        Args:
            password: the password of ClickHouse, which the file must not hold.
        """
        super().__init__(kind, run_dir=run_dir, log_path=log_dir / f"{kind}.log")
        self._settings_path = settings_path
        self._variables = {variable_of("clickhouse.password"): password, **(variables or {})}

    def start(self) -> None:
        """Start it, after stopping a process that a crashed `barograph dev` left."""
        if self.find():
            self.terminate(TERMINATE_S)
        command = [sys.executable, "-m", "barograph_server.cli.main", "run", self.name, "--instance", INSTANCE]
        # Settings of the environment would override the file, and may name production servers.
        others = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        environ = {**others, **self._variables}
        self.spawn([*command, "--config", self._settings_path], environ=environ)

    def describe_end(self) -> str:
        """Describe how it ended and why, according to its log."""
        code = self.exit_code
        if code is None:
            end = "ended"
        else:
            end = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        reason = last_reason(self.last_lines().splitlines()).rstrip(".")
        return f"{end}{f': {reason}' if reason else ''}. Its log is {self.log_path}."


def write_settings(path: Path, settings: Settings) -> None:
    """Write the settings of the local stack as a file for `load_settings`. It holds no secret."""
    address = settings.warehouse
    overrides = settings.processor_overrides
    names = [name for name in KEYS if "." not in name and name != "instance"]
    lines = [
        "# Written by `barograph dev` for its processors, at each start.",
        *_assignments({name: getattr(settings, name) for name in names}),
        "[clickhouse]",
        *_assignments({"host": address.host, "port": address.port, "database": address.database}),
        "[processors]",
        *_assignments({name: value for name, value in overrides.items() if f"processors.{name}" in KEYS}),
    ]
    write_private(path, "".join(f"{line}\n" for line in lines))


def _assignments(values: Mapping[str, Any]) -> list[str]:
    # A JSON string is a TOML string, except for characters beyond the basic plane, which JSON would write as pairs.
    return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
