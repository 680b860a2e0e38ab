"""The embedded engine with the limits of a role: `python -m tests.support.limited_engine ROLE READONLY`.

It reads a JSON list of statements and writes the code of each statement's error, or 0. The engine reads profiles from a
configuration file, and does not implement CHANGEABLE_IN_READONLY.
"""

import json
import re
import sys
import tempfile
from pathlib import Path
from xml.sax.saxutils import escape

from chdb.state.sqlitelike import Connection

from barograph_server.warehouse.roles import LEAST, ROLES, Role


def write_users(folder: Path, profile: str, sections: str, granted: str = "") -> Path:
    """Write a configuration whose only user `default` has a profile, further sections and grants; return its path."""
    users, config = folder / "users.xml", folder / "config.xml"
    users.write_text(
        f"<clickhouse>{sections}<quotas><default/></quotas><users><default><password></password><networks><ip>::/0</ip>"
        f"</networks><profile>{profile}</profile><quota>default</quota>{granted}</default></users></clickhouse>"
    )
    config.write_text(f"<clickhouse><users_config>{escape(str(users))}</users_config></clickhouse>")
    return config


def profile(role: Role) -> str:
    """Return the profile of a role as ClickHouse's configuration files have it, without `readonly`."""
    values = constraints = ""
    for limit in role.limits:
        name = limit.setting
        values += "" if limit.value is None else f"<{name}>{limit.value}</{name}>"
        bounds = "<const/>" if limit.most is None else f"<min>{LEAST}</min><max>{limit.most}</max>"
        constraints += f"<{name}>{bounds}</{name}>"
    return f"{values}<constraints>{constraints}</constraints>"


def main(name: str, readonly: str) -> None:
    (role,) = (role for role in ROLES if role.name == name)
    with tempfile.TemporaryDirectory() as folder:
        profiles = f"<profiles><default/><limited>{profile(role)}</limited></profiles>"
        config = write_users(Path(folder), "limited", profiles)
        codes = []
        for statement in json.load(sys.stdin):
            connection = Connection(f"{folder}/data?config-file={config}")
            try:
                # The engine itself cannot start as a user with readonly = 1.
                connection.query(f"SET readonly = {readonly}", "CSV")
                for part in statement.split(";"):
                    connection.query(part, "CSV")
                codes.append(0)
            except Exception as error:  # the engine raises no narrower class
                match = re.search(r"Code: (\d+)", str(error))
                codes.append(int(match[1]) if match else -1)
            finally:
                connection.close()
        json.dump(codes, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
