"""The local stack: Apache Kafka and the ClickHouse engine in one folder, started and discovered together."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from barograph_server.local import MODULES
from barograph_server.local.child_process import LOOPBACK, LocalStackError, OwnerLock
from barograph_server.local.clickhouse import FULL_USER, READER, LocalClickHouse, gateway_pid, read_passwords
from barograph_server.local.kafka import DEV_OPTIONS, LocalKafka, broker_answers
from barograph_server.local.private_files import make_private, write_private
from barograph_server.warehouse.client import Address

_CLICKHOUSE = "clickhouse"
_RECORD = "stack.json"


@dataclass(frozen=True)
class StackAddresses:
    """Addresses of a running stack.

    Attributes:
        bootstrap_servers: Kafka's address for its clients.
        clickhouse_port: The port of ClickHouse's HTTP interface.
        passwords: The password of each user of ClickHouse (`local.clickhouse`).
    """

    bootstrap_servers: str
    clickhouse_port: int
    passwords: Mapping[str, str] = field(repr=False)
    clickhouse_host: str = LOOPBACK

    @property
    def clickhouse_url(self) -> str:
        return f"http://{self.clickhouse_host}:{self.clickhouse_port}"

    def clickhouse(self, database: str) -> Address:
        """A database of ClickHouse, with the user who may run every statement."""
        return self._address(database, FULL_USER)

    def clickhouse_reader(self, database: str) -> Address:
        """A database of ClickHouse, with the user who may only read."""
        return self._address(database, READER)

    def _address(self, database: str, user: str) -> Address:
        return Address(self.clickhouse_host, self.clickhouse_port, database, user, self.passwords[user])


def default_root(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of the local stack: `BAROGRAPH_HOME`, else `.barograph` in the current folder."""
    return Path(environ.get("BAROGRAPH_HOME") or ".barograph").expanduser().absolute()


def find_stack(root: Path | None = None) -> StackAddresses | None:
    """Find the stack that runs in `root` (by default `default_root()`); None unless both servers answer."""
    folder = _root(root)
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        addresses = StackAddresses(**record, passwords=read_passwords(folder / _CLICKHOUSE))
    except (OSError, ValueError, TypeError, LocalStackError):
        # No record, an incomplete record, or one of another version.
        return None
    is_running = gateway_pid(addresses.clickhouse_port, folder / _CLICKHOUSE) is not None
    return addresses if is_running and broker_answers(addresses.bootstrap_servers) else None


class LocalStack:
    """Both servers, their data in `root`; also a context manager that starts and stops them.

    Attributes:
        root: The folder of everything: `kafka/`, `clickhouse/`, `logs/`, `stack.json` while it runs.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        kafka_port: int | None = None,
        clickhouse_port: int | None = None,
        jvm_options: Sequence[str] = DEV_OPTIONS,
    ) -> None:
        """Describe the stack; nothing is started.

        Args:
            root: Its folder, made when it is missing; by default `default_root()`.

        Raises:
            ModuleNotFoundError: the extra `local` is not installed.
        """
        for module in MODULES:
            if find_spec(module) is None:
                raise ModuleNotFoundError(name=module)
        self.root = _root(root)
        self.kafka = LocalKafka(self.root / "kafka", port=kafka_port, log_dir=self.log_dir, jvm_options=jvm_options)
        self.clickhouse = LocalClickHouse(self.root / _CLICKHOUSE, port=clickhouse_port, log_dir=self.log_dir)
        self._lock = OwnerLock(self.root / "owner.lock", "The local stack")

    @property
    def log_dir(self) -> Path:
        """The folder of all logs, including those of processors."""
        return self.root / "logs"

    @property
    def addresses(self) -> StackAddresses:
        servers = self.kafka.bootstrap_servers, self.clickhouse.port
        return StackAddresses(*servers, read_passwords(self.clickhouse.data_dir))

    def start(self) -> None:
        """Start both servers in parallel, and record their addresses."""
        self._lock.acquire()
        try:
            make_private(self.log_dir, contents=True)
            with ThreadPoolExecutor(2) as pool:
                starts = [pool.submit(server.start) for server in (self.kafka, self.clickhouse)]
            for start in starts:
                start.result()
        except BaseException:
            self.stop()
            raise
        servers = {"bootstrap_servers": self.kafka.bootstrap_servers, "clickhouse_port": self.clickhouse.port}
        write_private(self.root / _RECORD, json.dumps(servers))

    def stop(self, timeout_s: float = 30) -> None:
        """Stop both servers; kill one that takes longer than `timeout_s`."""
        if not self._lock.is_held:
            return
        (self.root / _RECORD).unlink(missing_ok=True)
        with ThreadPoolExecutor(2) as pool:
            stops = [pool.submit(server.stop, timeout_s) for server in (self.kafka, self.clickhouse)]
        self._lock.release()
        for stop in stops:
            stop.result()

    def reset(self) -> None:
        """Delete all data except logs."""
        if self._lock.is_held:
            raise LocalStackError(f"The local stack in {self.root} runs; stop it before its data is deleted.")
        self._lock.acquire()
        try:
            (self.root / _RECORD).unlink(missing_ok=True)
            for server in (self.kafka, self.clickhouse):
                server.end_leftover()
                shutil.rmtree(server.data_dir, ignore_errors=True)
        finally:
            self._lock.release()

    def __enter__(self) -> LocalStack:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _root(root: Path | None) -> Path:
    return root.absolute() if root else default_root()
