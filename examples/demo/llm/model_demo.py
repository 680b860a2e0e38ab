"""What the demos with a language model share: the model's server, and waiting."""

from __future__ import annotations

import time
from collections.abc import Callable

from barograph_server.examples.demo.demo_run import DemoRun
from barograph_server.examples.demo.errors import DemoError
from barograph_server.local.language_model import LocalLanguageModel

POLL_S = 0.5


class ModelDemo(DemoRun):
    """A demo with a small real language model on this machine."""

    def _start_model(self) -> LocalLanguageModel:
        with self._timed("model"):
            model = LocalLanguageModel(self._local.root / "language-model", log_dir=self._local.log_dir)
            model.start()
            self._stack.callback(model.stop)
        return model

    def _wait(
        self, condition: Callable[[], bool], timeout_s: float, what: str, check: Callable[[], None] = lambda: None
    ) -> None:
        """Wait until a condition is true; fail after a time, if a processor ends, or if `check` raises."""
        assert self._supervisor is not None
        until_s = time.monotonic() + timeout_s
        while not condition():
            self._supervisor.poll()
            check()
            if time.monotonic() > until_s:
                raise DemoError(f"Waited {timeout_s:.0f} s for {what}. See the logs in {self._local.log_dir}.")
            time.sleep(POLL_S)
