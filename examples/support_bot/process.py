"""The process of the support bot, and what it measured."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from barograph_server.errors import CommandError

STOP_S = 30.0


class BotProcess:
    def __init__(self, name: str, options: Mapping[str, Any], log: Path) -> None:
        """Start the process.

        Args:
            options: those of `examples.support_bot.bot.BotOptions`; `record` is the file of its calls.
        """
        self._record, self._log = Path(options["record"]), log
        self._record.write_text("", encoding="utf-8")
        module = "barograph_server.examples.support_bot.bot"
        command = [sys.executable, "-m", module, msgspec.json.encode(options).decode()]
        environ = {
            **os.environ,
            "OTEL_SERVICE_NAME": name,
            # The receiver computes features of the texts and drops them.
            "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "span_only",
            "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental",
        }
        with log.open("w", encoding="utf-8") as output:
            self._process = subprocess.Popen(  # noqa: S603
                command, stdin=subprocess.PIPE, stdout=output, stderr=output, text=True, env=environ
            )

    def command(self, line: str) -> None:
        """Send a command of `examples.support_bot.bot`."""
        self.check()
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def check(self) -> None:
        """Check that the process runs.

        Raises:
            CommandError: it ended.
        """
        if self._process.poll() is not None:
            lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
            last = lines[-1].strip() if lines else f"exit code {self._process.returncode}"
            raise CommandError(f"The support bot ended: {last}. Its log is {self._log}.")

    def calls(self) -> list[dict[str, Any]]:
        """Return all completed calls in the order in which they ended, as the client and the server measured them."""
        lines = self._record.read_text(encoding="utf-8").splitlines(keepends=True)
        return [_call(i, json.loads(line)) for i, line in enumerate(lines) if line.endswith("\n")]

    def stop(self) -> None:
        """Let it end its calls and send its spans; kill it if that takes too long."""
        if self._process.poll() is None and self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _call(number: int, line: dict[str, Any]) -> dict[str, Any]:
    timings, first_s = line["timings"], line["first_token_s"]
    return {
        "number": number,
        "id": line["id"],
        "prompt": line["prompt"],
        "input_tokens": timings["cache_n"] + timings["prompt_n"],
        "output_tokens": timings["predicted_n"],
        "cached_input_tokens": timings["cache_n"],
        "first_token_ms": None if first_s is None else first_s * 1000,
    }
