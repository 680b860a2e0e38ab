"""The minimal roles of ClickHouse as SQL: `plan --roles`."""

from barograph_server.warehouse.roles import statements

_HEADER = """\
-- Roles of Barograph in the database {database}: run it as a user that may manage access, before or after
-- `barograph apply`. On a cluster put ON CLUSTER after the name of each role, profile and quota, and after GRANT.
-- Run it again after an upgrade: a role then has the privileges below and no others.
-- Run it for one database of a server only: the roles of a second one replace those of the first.
-- Give each role to a user of its own, whose name is not that of a role, with a password of your choice:
--   CREATE USER sketcher IDENTIFIED WITH sha256_password BY '…' DEFAULT ROLE barograph_sketcher;
--   GRANT barograph_sketcher TO sketcher;"""

_WIDTH = 110


def role_lines(database: str) -> list[str]:
    """Write the SQL, with each role's statements below a comment.

    Raises:
        WarehouseError: the database's name is not a plain identifier.
    """
    lines = _HEADER.format(database=database).splitlines()
    for role, role_statements in statements(database):
        lines += ["", f"-- {role.name}: {role.info}", *(f"{_wrapped(statement)};" for statement in role_statements)]
    return lines


def _wrapped(statement: str) -> str:
    """Break a long statement after its commas."""
    lines = [""]
    for part in statement.replace(", ", ",\0").split("\0"):
        if lines[-1] and len(lines[-1]) + len(part) > _WIDTH:
            lines.append("   ")
        lines[-1] += f" {part}" if lines[-1] else part
    return "\n".join(lines)
