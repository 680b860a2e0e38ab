"""The processors of the demo as child processes, which end with it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cli.demo.errors import DemoError
from local.processes import ChildProcess

KINDS = ("sketcher", "recorder", "monitor")
STOP_S = 20.0


class Processors:
    """One of each kind."""

    def __init__(self, run_dir: Path, log_dir: Path, environ: Mapping[str, str]) -> None:
        """Describe the processors; nothing is started.

        Args:
            run_dir: where their pid files are.
            log_dir: where their logs are.
            environ: the settings that they find in their environment.
        """
        self._environ = {**os.environ, **environ}
        self._children = {
            kind: ChildProcess(kind, run_dir=run_dir, log_path=log_dir / f"demo-{kind}.log") for kind in KINDS
        }

    def start(self) -> None:
        """Start all of them."""
        for kind, child in self._children.items():
            # Those of a demo that was killed go on with its topics until their guard has ended them.
            if child.find():
                child.terminate(STOP_S)
            child.spawn([sys.executable, "-m", "cli.demo.processor", kind], environ=self._environ)

    def check(self) -> None:
        """See that all of them live.

        Raises:
            DemoError: one has ended.
        """
        for kind, child in self._children.items():
            if not child.is_running:
                raise DemoError(
                    f"The {kind} has ended with exit code {child.exit_code}. Its log is {child.log_path}; the end of "
                    f"it:\n{child.last_lines()}"
                )

    def stop(self) -> None:
        """End all of them in order."""
        with ThreadPoolExecutor(len(self._children)) as pool:
            list(pool.map(lambda child: child.terminate(STOP_S), self._children.values()))
