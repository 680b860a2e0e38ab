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


def read_dashboards(grafana: Grafana, tables: Iterable[str]) -> Iterator[GrafanaReader]:
    """Read the dashboards, other than Barograph's own pages, whose SQL selects from the tables.

    Args:
        grafana: the connection.
        tables: names of tables and views.

    Raises:
        GrafanaBusy: Grafana does not answer.
        GrafanaError: Grafana rejects a request.
    """
    pattern = _pattern(tables)
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


def read_rules(grafana: Grafana, tables: Iterable[str]) -> Iterator[GrafanaReader]:
    """Read the alert rules, except Barograph's own, whose SQL selects from the tables; raises as `read_dashboards`."""
    pattern = _pattern(tables)
    rules = grafana.read("list its alert rules", grafana.api.alertingprovisioning.get_alertrules_all)
    for rule in sorted(rules, key=lambda each: str(each["uid"])):
        if (rule.get("labels") or {}).get("source") == "barograph":
            continue
        texts = tuple(_texts(rule.get("data")))
        names = sorted({name for text in texts for name in pattern.findall(text)})
        if names:
            yield GrafanaReader("rule", str(rule["uid"]), str(rule.get("title", "")), tuple(names), texts)


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
