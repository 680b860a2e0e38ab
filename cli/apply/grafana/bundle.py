"""What is to be in Grafana: one frozen bundle of plain JSON, as Grafana's HTTP API takes it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from barograph.contract import Contract

from alerts import rules_for, to_api
from cli.apply.grafana.compare import Json
from cli.errors import ApplyError
from cli.settings import Settings

DATA_SOURCE_UID = "barograph"
"""Here and in the file that `docker compose` provisions."""
PLUGIN = "grafana-clickhouse-datasource"

_UID = re.compile(r"[A-Za-z0-9_-]{1,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Everything that one installation has in Grafana.

    Grafana's identities must be in it, since they are what is looked for: uids of the folder, the data source,
    dashboards and rules; names of contact points, mute timings and groups; matchers of the route.
    """

    folder_uid: str
    folder_title: str
    data_source: Json
    """As `POST /api/datasources` takes it; what is in `secureJsonData` is never read back or shown."""
    contact_points: tuple[Json, ...] = ()
    """Integrations; several of one name are one contact point."""
    mute_timings: tuple[Json, ...] = ()
    route: Json | None = None
    """The branch of the notification policies that is ours."""
    dashboards: tuple[Json, ...] = ()
    """Classic dashboards."""
    rule_groups: tuple[Json, ...] = ()
    """As `PUT …/rule-groups/{group}` takes them."""

    def __post_init__(self) -> None:
        """Check the identities.

        Raises:
            ApplyError: one is missing, comes twice, or Grafana would not take it.
        """
        _refuse_uids("folder", [self.folder_uid])
        _refuse_uids("data source", [self.data_source.get("uid")])
        _refuse_uids("dashboard", [dashboard.get("uid") for dashboard in self.dashboards])
        _refuse_uids("rule", [rule.get("uid") for group in self.rule_groups for rule in group.get("rules", ())])
        _refuse_names("mute timing", [timing.get("name") for timing in self.mute_timings])
        _refuse_names("rule group", [group.get("title") for group in self.rule_groups])
        _refuse_names("contact point", [point.get("uid") or _integration(point) for point in self.contact_points])
        if self.route is not None and not self.route.get("object_matchers"):
            raise ApplyError("Our route of notifications has no object_matchers: without them it is not found again.")


def bundle_of(contracts: Mapping[str, Contract], settings: Settings, environ: Mapping[str, str] = os.environ) -> Bundle:
    """Put together what these contracts and settings ask for.

    Args:
        contracts: model → the contract in force.
        settings: with `grafana` set.
        environ: holds the secrets of contact points.

    Raises:
        AlertsError: a contract names a route or a mute timing that the settings lack, or a variable with a secret of a
            contact point is not set.
    """
    # The builders of dashboards take a second to load, which the other commands need not wait for.
    from dashboards.pages import dashboards

    assert settings.grafana is not None
    alerting = to_api(rules_for(contracts.values(), settings.alerts), settings.alerts, environ)
    return Bundle(
        folder_uid=alerting.folder_uid,
        folder_title=settings.grafana.folder or alerting.folder_title,
        data_source=data_source_of(settings),
        contact_points=alerting.contact_points,
        mute_timings=alerting.mute_timings,
        route=alerting.policy,
        dashboards=tuple(dashboards().values()),
        rule_groups=tuple(group.body for group in alerting.groups),
    )


def data_source_of(settings: Settings) -> Json:
    """The data source: the project's ClickHouse over HTTP, as a user that only reads."""
    grafana, warehouse = settings.grafana, settings.warehouse
    assert grafana is not None
    return {
        "uid": DATA_SOURCE_UID,
        "name": "Barograph",
        "type": PLUGIN,
        "access": "proxy",
        "jsonData": {
            "host": grafana.clickhouse_host or warehouse.host,
            "port": grafana.clickhouse_port or warehouse.port,
            "protocol": "http",
            "secure": warehouse.secure,
            "username": grafana.reader,
            "defaultDatabase": warehouse.database,
        },
        "secureJsonData": {"password": grafana.reader_password},
    }


def _integration(point: Json) -> str:
    return f"{point.get('name') or ''} ({point.get('type')})" if point.get("name") else ""


def _refuse_uids(what: str, uids: Sequence[str | None]) -> None:
    for uid in uids:
        if not uid or not _UID.fullmatch(uid):
            raise ApplyError(
                f"A {what} for Grafana has the uid {uid!r}: write 1 to 40 letters, digits, hyphens and underscores, so "
                "that it is found again."
            )
    _refuse_repeats(what, uids)


def _refuse_names(what: str, names: Sequence[str | None]) -> None:
    for name in names:
        if not name or len(name) > 190:
            raise ApplyError(f"A {what} for Grafana has the name {name!r}: write 1 to 190 characters.")
        if name in (".", ".."):
            raise ApplyError(f"The {what} {name!r} cannot be part of an address of Grafana: give it another name.")
    _refuse_repeats(what, names)


def _refuse_repeats(what: str, names: Iterable[str | None]) -> None:
    known: set[str | None] = set()
    for name in names:
        if name in known:
            raise ApplyError(f"The {what} {name!r} is meant for Grafana twice: two would overwrite one another.")
        known.add(name)
