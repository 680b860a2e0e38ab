"""Users of ClickHouse that read the tables of Barograph, from `system.query_log`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from barograph_server.warehouse.errors import WarehouseError
from barograph_server.warehouse.roles import PREFIX

if TYPE_CHECKING:
    from barograph_server.warehouse.client import Client

UNKNOWN_TABLE, NO_ACCESS = 60, 497
QUERY_LOG = "system.query_log"
# Users of other roles are Barograph's processors and commands, and Grafana, whose API tells which dashboards read.
_OF_PEOPLE = ("barograph_analyst",)
_OF_OTHERS = """
FROM QUERY_LOG
WHERE type = 'QueryFinish' AND query_kind = 'Select' AND is_initial_query
    AND event_date >= toDate({since:DateTime}) AND event_time >= {since:DateTime}
    AND arrayExists(each -> startsWith(each, {prefix:String}), tables)
    AND user != currentUser() AND user NOT IN {own_users:Array(String)}
"""
_READERS = f"""
SELECT
    user,
    arraySort(groupUniqArrayArray(200)(arrayFilter(each -> startsWith(each, {{prefix:String}}), tables))),
    arraySort(groupUniqArrayArray(1000)(arrayFilter(each -> startsWith(each, {{prefix:String}}), columns))),
    min(event_time),
    max(event_time),
    count(),
    arraySort(groupUniqArray(20)(concat(
        multiIf(http_user_agent != '', http_user_agent, client_name != '', client_name, 'unknown client'),
        ' at ', toString(address)))) AS origins
{_OF_OTHERS}
GROUP BY user
ORDER BY user
"""
_OF_FIELD = f"""
SELECT user, count()
{_OF_OTHERS}
    AND position(query, concat('\'\'', {{field:String}}, '\'\'')) > 0
GROUP BY user
ORDER BY user
"""
_LAST_READS = f"""
SELECT arrayJoin(arrayFilter(text -> position(query, text) > 0, {{texts:Array(String)}})) AS text, max(event_time)
{_OF_OTHERS} AND event_time < {{until:DateTime}}
GROUP BY text
"""
_LOG_START = "SELECT count() > 0, min(event_time) FROM QUERY_LOG"


class QueryLogMissing(Exception):
    """ClickHouse keeps no query log, or this user may not read it; the message says which."""


class UserReads(NamedTuple):
    """What a user has selected from the tables."""

    user: str
    tables: tuple[str, ...]
    columns: tuple[str, ...]
    """As `table.column`."""
    first: datetime
    last: datetime
    queries: int
    origins: list[str]
    """Programs and their addresses."""


def read_users(client: Client, since: datetime, log: str = QUERY_LOG) -> list[UserReads]:
    """Read which other users have selected from the tables.

    Args:
        client: the connection; its user needs SELECT on the query log.

    Raises:
        QueryLogMissing: there is no log that can be read.
    """
    prefix = f"{client.database}."
    return [
        UserReads(
            user,
            tuple(each.removeprefix(prefix) for each in tables),
            tuple(each.removeprefix(prefix) for each in columns),
            *rest,
        )
        for user, tables, columns, *rest in _ask(client, _READERS, log, since)
    ]


def users_of_field(client: Client, field: str, since: datetime, log: str = QUERY_LOG) -> dict[str, int]:
    """Return the users whose queries name a field as a text, with the number of such queries.

    Raises:
        QueryLogMissing: there is no log that can be read.
    """
    return dict(_ask(client, _OF_FIELD, log, since, field=field))


def last_reads(
    client: Client, texts: Sequence[str], since: datetime, until: datetime, log: str = QUERY_LOG
) -> tuple[dict[str, datetime], datetime | None]:
    """Return when a query of another user last contained each text, and when the log begins; None if it is empty.

    Texts, such as `'seats'` with its quotes, that no query from `since` to `until` contained are left out.

    Raises:
        QueryLogMissing: there is no log that can be read.
    """
    [(has_rows, begins)] = _ask(client, _LOG_START, log, since)
    last = dict(_ask(client, _LAST_READS, log, since, texts=list(texts), until=until))
    return last, begins if has_rows else None


def roles_note(client: Client) -> str:
    """Return why users of processors cannot be left out; empty if they are."""
    return "" if _own_users(client) is not None else _NO_ROLES


def _ask(client: Client, sql: str, log: str, since: datetime, **parameters: Any) -> list[tuple[Any, ...]]:
    values = {"since": since, "prefix": f"{client.database}.", "own_users": _own_users(client) or []}
    try:
        return client.rows(sql.replace("QUERY_LOG", log), values | parameters)
    except WarehouseError as error:
        if error.code == UNKNOWN_TABLE:
            raise QueryLogMissing(
                "ClickHouse keeps no query log, so users that read tables are unknown: enable query_log in its "
                "configuration."
            ) from error
        if error.code == NO_ACCESS:
            raise QueryLogMissing(
                f"The user may not read {log}, so users that read tables are unknown: GRANT SELECT ON {log}."
            ) from error
        raise


_NO_ROLES = (
    "The user may not read system.role_grants, so users of processors are listed, too: GRANT SHOW ACCESS ON *.* to it."
)


def _own_users(client: Client) -> list[str] | None:
    """Return the users with a role of Barograph's processors or commands; None if they cannot be read."""
    try:
        rows = client.rows(
            "SELECT DISTINCT user_name FROM system.role_grants WHERE user_name IS NOT NULL "
            "AND startsWith(granted_role_name, {prefix:String}) AND granted_role_name NOT IN {people:Array(String)}",
            {"prefix": PREFIX, "people": list(_OF_PEOPLE)},
        )
    except WarehouseError as error:
        if error.code != NO_ACCESS:
            raise
        return None
    return [str(name) for (name,) in rows]


MAX_CALLERS = 1_000


class ModelCaller(NamedTuple):
    name: str
    """Empty for predictions that name none."""
    first: datetime
    last: datetime
    predictions: int
    producers: list[str]


def model_callers(client: Client, model: str, member: str, since: datetime) -> list[ModelCaller]:
    """Read the callers with the most predictions, at most `MAX_CALLERS`.

    Args:
        client: the connection; its user may read predictions.
        member: the member of the context that names them.
        since: start of the range of predictions, in event time.
    """
    rows = client.rows(
        "SELECT context[{member:String}] AS caller, min(at), max(at), count(), "
        "groupUniqArray(20)(toString(producer)) FROM predictions FINAL "
        "WHERE model = {model:String} AND at >= {since:DateTime64(3)} "
        "GROUP BY caller ORDER BY count() DESC LIMIT {limit:UInt32}",
        {"member": member, "model": model, "since": since, "limit": MAX_CALLERS},
    )
    return [ModelCaller(*row) for row in rows]
