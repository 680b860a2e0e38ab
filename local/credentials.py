"""Users of the local ClickHouse: their passwords, each in a netrc file that only its owner can read.

The passwords are random and persist with the data, so that a data source of Grafana and a waiting processor keep theirs
when the server restarts. curl takes them from the files too: `curl --netrc-file .barograph/clickhouse/reader.netrc`.
"""

import netrc
import secrets
from collections.abc import Mapping
from pathlib import Path

from barograph_server.local.child_process import LOOPBACK, LocalStackError
from barograph_server.local.private_files import write_private

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
    """Read the password of each of `USERS`."""
    return {user: _read_password(netrc_path(folder, user)) for user in USERS}


def netrc_path(folder: Path, user: str) -> Path:
    """The password file of a user."""
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
