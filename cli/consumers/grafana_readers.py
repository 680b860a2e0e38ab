"""Dashboards and alert rules of Grafana, other than Barograph's own, whose SQL reads the tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dashboards.uids import DASHBOARDS

if TYPE_CHECKING:
    # `cli.apply` imports this module.
    from cli.apply.grafana.client import Grafana

MAX_DASHBOARDS = 5_000
_FOR_PEOPLE = frozenset({"title", "description", "content", "summary", "text"})
"""Members of dashboards and rules that people read."""
_ANY_SOURCE = frozenset({"", "datasource", "mixed"})
"""Types of a data source that do not say which plugin a query is for."""
OWN_PAGES = frozenset(DASHBOARDS.values())
"""Uids of Barograph's pages."""


@dataclass(frozen=True, slots=True)
class GrafanaReader:
    """A dashboard or alert rule whose SQL reads the tables."""

    kind: Literal["dashboard", "rule"]
    uid: str
    title: str
    tables: tuple[str, ...]
    texts: tuple[str, ...]
    """All its texts, SQL among them."""

    def names(self, field: str) -> bool:
        """Return whether its SQL names a field as a text."""
        return any(f"'{field}'" in text for text in self.texts)


def read_dashboards(grafana: Grafana, database: str, tables: Iterable[str]) -> Iterator[GrafanaReader]:
    """Read the dashboards, other than Barograph's own pages, whose SQL selects from the tables.

    Args:
        grafana: the connection.
        database: the database that has the tables.
        tables: names of tables and views.

    Raises:
        GrafanaBusy: Grafana does not answer.
        GrafanaError: Grafana rejects a request.
    """
    pattern = _pattern(database, tables)
    entries = grafana.read(
        "list its dashboards", grafana.api.search.search_dashboards, type_="dash-db", limit=MAX_DASHBOARDS
    )
    for uid, title in sorted((str(entry["uid"]), str(entry["title"])) for entry in entries):
        if uid in OWN_PAGES:
            continue
        texts = tuple(_texts(grafana.find("read a dashboard", grafana.api.dashboard.get_dashboard, uid)))
        names = sorted({name for text in texts for name in pattern.findall(text)})
        if names:
            yield GrafanaReader("dashboard", uid, title, tuple(names), texts)


def read_rules(grafana: Grafana, database: str, tables: Iterable[str]) -> Iterator[GrafanaReader]:
    """Read the alert rules, except Barograph's own, whose SQL selects from the tables; raises as `read_dashboards`."""
    pattern = _pattern(database, tables)
    rules = grafana.read("list its alert rules", grafana.api.alertingprovisioning.get_alertrules_all)
    for rule in sorted(rules, key=lambda each: str(each["uid"])):
        if (rule.get("labels") or {}).get("source") == "barograph":
            continue
        texts = tuple(_texts(rule.get("data")))
        names = sorted({name for text in texts for name in pattern.findall(text)})
        if names:
            yield GrafanaReader("rule", str(rule["uid"]), str(rule.get("title", "")), tuple(names), texts)


def _pattern(database: str, tables: Iterable[str]) -> re.Pattern[str]:
    names = "|".join(sorted(map(re.escape, tables), key=len, reverse=True))
    return re.compile(
        rf"\b(?:FROM|JOIN)\s+(?:[`\"]?{re.escape(database)}[`\"]?\.)?[`\"]?({names})\b(?!\.)", re.IGNORECASE
    )


def _texts(value: Any) -> Iterator[str]:
    """Return the texts of a JSON document that may be SQL: not those for people, and not those of other data sources.

    Each plugin has a member of its own for SQL.
    """
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        source = value.get("datasource")
        kind = str(source.get("type", "")) if isinstance(source, dict) else ""
        if kind in _ANY_SOURCE or "clickhouse" in kind:
            for key, each in value.items():
                if key not in _FOR_PEOPLE:
                    yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
