"""Dashboards and alert rules of Grafana, other than Barograph's own, whose SQL reads the tables."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

from barograph_server.dashboards.uids import DASHBOARDS
from barograph_server.grafana.client import Grafana, escape_segment
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.operations.server import tables

MAX_DASHBOARDS = 5_000
_FOR_PEOPLE = frozenset({"title", "description", "content", "summary", "text"})
"""Members of dashboards and rules that people read."""
_ANY_SOURCE = frozenset({"", "datasource", "mixed"})
"""Types of a data source that do not say which plugin a query is for."""
OWN_PAGES = frozenset(DASHBOARDS.values())
"""Uids of Barograph's pages."""


GrafanaKind = Literal["dashboard", "rule"]
_GrafanaObject = tuple[GrafanaKind, str, str, Any]
"""Kind, uid, title and content."""


@dataclass(frozen=True, slots=True)
class GrafanaReader:
    """A dashboard or alert rule whose SQL reads the tables."""

    kind: GrafanaKind
    uid: str
    title: str
    tables: tuple[str, ...]
    texts: tuple[str, ...]
    """All its texts, SQL among them."""

    def names(self, field: str) -> bool:
        """Return whether its SQL names a field as a text."""
        return any(f"'{field}'" in text for text in self.texts)


def read_grafana(grafana: Grafana, client: Client) -> Iterator[GrafanaReader]:
    """Read the dashboards and alert rules, except Barograph's own, whose SQL selects from its tables and views.

    Raises:
        GrafanaBusy: Grafana does not answer.
    """
    pattern = _pattern(client)
    for kind, uid, title, content in chain(_dashboards(grafana), _rules(grafana)):
        texts = tuple(_texts(content))
        names = sorted({name for text in texts for name in pattern.findall(text)})
        if names:
            yield GrafanaReader(kind, uid, title, tuple(names), texts)


def _dashboards(grafana: Grafana) -> Iterator[_GrafanaObject]:
    entries = grafana.read("list its dashboards", "/search", {"type": "dash-db", "limit": MAX_DASHBOARDS})
    for uid, title in sorted((str(entry["uid"]), str(entry["title"])) for entry in entries):
        if uid not in OWN_PAGES:
            content = grafana.find("read a dashboard", f"/dashboards/uid/{escape_segment(uid)}")
            yield "dashboard", uid, title, content


def _rules(grafana: Grafana) -> Iterator[_GrafanaObject]:
    rules = grafana.read("list its alert rules", "/v1/provisioning/alert-rules")
    for rule in sorted(rules, key=lambda each: str(each["uid"])):
        if (rule.get("labels") or {}).get("source") != "barograph":
            yield "rule", str(rule["uid"]), str(rule.get("title", "")), rule.get("data")


def _pattern(client: Client) -> re.Pattern[str]:
    names = "|".join(sorted(map(re.escape, tables(client)), key=len, reverse=True))
    database = re.escape(client.database)
    return re.compile(rf"\b(?:FROM|JOIN)\s+(?:[`\"]?{database}[`\"]?\.)?[`\"]?({names})\b(?!\.)", re.IGNORECASE)


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
