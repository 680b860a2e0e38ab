"""One Kafka broker and one ClickHouse engine for all workers of a test run, owned by the controlling pytest process.

A worker requests a server by a file in a folder that both know, and waits for the answer beside it; without workers the
fixtures start servers of their own.
"""

import json
import shutil
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from barograph_server.local.child_process import PartMissingError
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.local.kafka import LocalKafka
from barograph_server.local.managed_server import START_TIMEOUT_S, LocalServer

SERVERS: dict[str, type[LocalServer]] = {"kafka": LocalKafka, "clickhouse": LocalClickHouse}
_POLL_S = 0.05
_MEMORY = Path("/dev/shm")
_MEMORY_BYTES = 8 << 30
"""Free memory that the data of a whole run fit into several times."""


def _scratch_folder() -> Path | None:
    """Return a folder in memory, if there is room: the engine creates and deletes some hundred thousand small files."""
    with suppress(OSError):
        if shutil.disk_usage(_MEMORY).free >= _MEMORY_BYTES:
            return _MEMORY
    return None


class SharedServers:
    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="barograph-tests-", dir=_scratch_folder()))
        self._servers: dict[str, LocalServer] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="shared servers", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
        for server in self._servers.values():
            server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _serve(self) -> None:
        while not self._closed.wait(_POLL_S):
            for name in SERVERS:
                if name not in self._servers and (self.folder / f"{name}.request").exists():
                    self._start(name)

    def _start(self, name: str) -> None:
        server = self._servers[name] = SERVERS[name](self.folder / name, port=0)
        try:
            server.start()
            answer: dict[str, object] = {"port": server.port}
        except PartMissingError as error:
            answer = {"missing": str(error)}
        except Exception as error:
            answer = {"failed": f"{type(error).__name__}: {error}"}
        scratch = self.folder / f"{name}.new"
        scratch.write_text(json.dumps(answer), encoding="utf-8")
        scratch.replace(self.folder / f"{name}.json")


def shared(folder: Path, name: str) -> LocalServer:
    """Describe the server that the controlling process has started, or starts now."""
    server = SERVERS[name](folder / name, port=0)
    (folder / f"{name}.request").touch()
    deadline = time.monotonic() + 2 * START_TIMEOUT_S
    answer_path = folder / f"{name}.json"
    while not answer_path.exists():
        if time.monotonic() > deadline:
            raise RuntimeError(f"The shared {name} did not start within {2 * START_TIMEOUT_S} s.")
        time.sleep(_POLL_S)
    answer = json.loads(answer_path.read_text(encoding="utf-8"))
    if "missing" in answer:
        raise PartMissingError(answer["missing"])
    if "failed" in answer:
        raise RuntimeError(f"The shared {name} did not start: {answer['failed']}")
    server._port = int(answer["port"])
    return server
