"""Dashboards and alert rules of Grafana, other than Barograph's own, whose SQL reads the tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from cli.consumers.readers import Reader
from dashboards.uids import DASHBOARDS

if TYPE_CHECKING:
    # `cli.apply` imports this module.
    from cli.apply.grafana.client import Grafana

MAX_DASHBOARDS = 5_000
OWN_PAGES = frozenset(DASHBOARDS.values())
"""Uids of Barograph's pages."""


def read_dashboards(grafana: Grafana, tables: Iterable[str], own_uids: frozenset[str]) -> Iterator[Reader]:
    """Read which dashboards have SQL that selects from the tables.

    Args:
        grafana: the connection.
        tables: names of tables and views.
        own_uids: uids of Barograph's pages.

    Raises:
        GrafanaBusy: Grafana does not answer.
        GrafanaError: Grafana rejects a request.
    """
    pattern = _pattern(tables)
    entries = grafana.read(
        "list its dashboards", grafana.api.search.search_dashboards, type_="dash-db", limit=MAX_DASHBOARDS
    )
    for entry in sorted(entries, key=lambda each: str(each["uid"])):
        uid = str(entry["uid"])
        if uid in own_uids:
            continue
        stored = grafana.find("read a dashboard", grafana.api.dashboard.get_dashboard, uid)
        reads = sorted({name for sql in _texts(stored) for name in pattern.findall(sql)})
        if reads:
            yield Reader("dashboard", uid, tuple(reads), origin=str(entry["title"]))


def dashboards_with(grafana: Grafana, uids: Iterable[str], field: str) -> list[str]:
    """Return those of some dashboards whose SQL names a field as a text."""
    quoted = f"'{field}'"
    return [
        uid
        for uid in uids
        if any(
            quoted in sql for sql in _texts(grafana.find("read a dashboard", grafana.api.dashboard.get_dashboard, uid))
        )
    ]


def _pattern(tables: Iterable[str]) -> re.Pattern[str]:
    names = "|".join(sorted(map(re.escape, tables), key=len, reverse=True))
    return re.compile(rf"\b(?:FROM|JOIN)\s+(?:[`\"]?\w+[`\"]?\.)?[`\"]?({names})\b", re.IGNORECASE)


def _texts(value: Any) -> Iterator[str]:
    """Return all texts of a JSON document: each plugin has its own origin for SQL."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
