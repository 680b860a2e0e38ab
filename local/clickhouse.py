"""The ClickHouse engine as a child process behind ClickHouse's HTTP interface. Its data persist between runs.

The child is `local.http_gateway`. Only one process can open the engine (chDB), so that process serves all others. Its
passwords are in `data_dir`; see `local.clickhouse`.
"""

import netrc
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from barograph_server.local.child_process import LOOPBACK, LocalStackError
from barograph_server.local.managed_server import LocalServer
from barograph_server.local.private_files import write_private
from barograph_server.streams.runtime.http_exchange import HttpError, exchange_once
from barograph_server.warehouse.client import Address

# Header of /ping replies with the process id of the gateway.
PID_HEADER = "X-Barograph-Pid"


class LocalClickHouse(LocalServer):
    """An engine with its data in `data_dir`."""

    _name: ClassVar[str] = "clickhouse"
    _title: ClassVar[str] = "The local ClickHouse"
    _preferred_port: ClassVar[int] = 28123

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def address(self, database: str = "default", user: str = "default") -> Address:
        """The address of a database, with one of `USERS`."""
        return Address(self.host, self.port, database, user, read_passwords(self.data_dir)[user])

    def _prepare(self, state: dict[str, Any]) -> None:
        # The engine initializes an empty folder itself.
        create_passwords(self.data_dir)

    def _command(self, state: dict[str, Any]) -> tuple[Sequence[str | Path], Mapping[str, str] | None]:
        path, port = self.data_dir / "engine", str(state["port"])
        environ = {
            **os.environ,
            # The embedded engine takes its server's time zone from here.
            "TZ": "UTC",
            # The child must find this package wherever it was imported from.
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        return [sys.executable, "-m", "barograph_server.local.http_gateway", "--path", path, "--port", port], environ

    def _answers(self, state: Mapping[str, Any]) -> bool:
        return gateway_pid(state["port"], self.data_dir) == self.pid


def gateway_pid(port: int, data_dir: Path) -> int | None:
    """The process id of the gateway of `data_dir` that answers on this loopback port, None when none does."""
    try:
        # The reader's password: another program may have taken the port of a server that ended.
        headers = {"X-ClickHouse-User": READER, "X-ClickHouse-Key": read_passwords(data_dir)[READER]}
        pid = exchange_once("GET", f"http://{LOOPBACK}:{port}/ping", 5.0, headers).headers.get(PID_HEADER, "")
    except (HttpError, LocalStackError):
        return None
    return int(pid) if pid.isdigit() else None


# The passwords are random and persist with the data, so that a data source of Grafana and a waiting processor keep
# theirs when the server restarts. curl takes them from the files too: `curl --netrc-file
# .barograph/clickhouse/reader.netrc`.
FULL_USER = "default"
"""May run every statement."""
READER = "reader"
"""May only read."""
USERS = (FULL_USER, READER)

_PASSWORD_BYTES = 32


def create_passwords(folder: Path) -> None:
    """Create the password files that are missing in `folder`, which must exist."""
    for user in USERS:
        path = netrc_path(folder, user)
        if not path.exists():
            login = f"login {user} password {secrets.token_urlsafe(_PASSWORD_BYTES)}"
            write_private(path, f"machine {LOOPBACK} {login}\nmachine localhost {login}\n")


def read_passwords(folder: Path) -> Mapping[str, str]:
    return {user: _read_password(netrc_path(folder, user)) for user in USERS}


def netrc_path(folder: Path, user: str) -> Path:
    return folder / f"{user}.netrc"


def _read_password(path: Path) -> str:
    try:
        entry = netrc.netrc(path).authenticators(LOOPBACK)
    except OSError as error:
        raise LocalStackError(f"The password file {path} cannot be read: {error.strerror}.") from error
    except (netrc.NetrcParseError, UnicodeDecodeError):
        entry = None
    if entry is None or not entry[2]:
        # Without the cause, which would show a part of the file.
        raise LocalStackError(
            f"The password file {path} is damaged: delete it and start the local stack again."
        ) from None
    return entry[2]
