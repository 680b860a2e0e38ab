"""The least roles of ClickHouse, as SQL."""

from __future__ import annotations

from warehouse.roles import statements

_HEAD = """\
-- Roles of Barograph in the database {database}: run it as a user that may manage access, after `barograph apply` or
-- before. On a cluster put ON CLUSTER after the name of each role, profile and quota, and after GRANT.
-- Give each to a user of its own, with a password that the SQL here does not know:
--   CREATE USER sketcher IDENTIFIED WITH sha256_password BY '…' DEFAULT ROLE barograph_sketcher;
--   GRANT barograph_sketcher TO sketcher;"""


def role_lines(database: str) -> list[str]:
    """The SQL, each role's statements below a comment that says whose it is.

    Raises:
        WarehouseError: the database's name is no plain identifier.
    """
    found = statements(database)
    lines = _HEAD.format(database=database).splitlines()
    for role, those in found:
        lines += ["", f"-- {role.name}: {role.what}", *(f"{statement};" for statement in those)]
    return lines
