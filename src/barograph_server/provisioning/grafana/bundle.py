"""Bundle of the desired Grafana resources, in the JSON of Grafana's HTTP API."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from barograph.contract import Contract

from barograph_server.alerts import rules_for, to_api
from barograph_server.errors import ApplyError
from barograph_server.provisioning.grafana.compare import Json
from barograph_server.settings import Settings

DATA_SOURCE_UID = FOLDER_UID = "barograph"
"""The uids here and in the files that `docker compose` provisions."""
PLUGIN = "grafana-clickhouse-datasource"

_UID = re.compile(r"[A-Za-z0-9_-]{1,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """All Grafana resources of one installation.

    Each resource needs the identifier by which it is read again: uids of the folder, the data source, dashboards and
    rules; names of contact points, mute timings and rule groups; matchers of the notification policy.
    """

    folder_uid: str
    folder_title: str
    """The folder of dashboards."""
    alerts_folder_uid: str
    alerts_folder_title: str
    """The folder of rules."""
    data_source: Json
    """Body of `POST /api/datasources`; `secureJsonData` is never read back or shown."""
    contact_points: tuple[Json, ...] = ()
    """Integrations; those with the same name form one contact point."""
    mute_timings: tuple[Json, ...] = ()
    route: Json | None = None
    """Our branch of the notification policies."""
    dashboards: tuple[Json, ...] = ()
    """Classic dashboards."""
    rule_groups: tuple[Json, ...] = ()
    """Bodies of `PUT …/rule-groups/{group}`."""

    def __post_init__(self) -> None:
        """Check the identifiers.

        Raises:
            ApplyError: an identifier is missing, repeated, or invalid in Grafana.
        """
        _check_uids("folder", [self.folder_uid, self.alerts_folder_uid])
        _check_names("folder", [self.folder_title, self.alerts_folder_title])
        _check_uids("data source", [self.data_source.get("uid")])
        _check_uids("dashboard", [dashboard.get("uid") for dashboard in self.dashboards])
        _check_uids("rule", [rule.get("uid") for group in self.rule_groups for rule in group.get("rules", ())])
        _check_names("mute timing", [timing.get("name") for timing in self.mute_timings])
        _check_names("rule group", [group.get("title") for group in self.rule_groups])
        _check_names("contact point", [point.get("uid") or _integration(point) for point in self.contact_points])
        if self.route is not None and not self.route.get("object_matchers"):
            raise ApplyError("The notification policy has no object_matchers, which identify it: add them.")


def build_bundle(
    contracts: Mapping[str, Contract], settings: Settings, environ: Mapping[str, str] = os.environ
) -> Bundle:
    """Build the Grafana resources of contracts and settings.

    Args:
        contracts: model → the contract in force.
        settings: the settings, with `grafana` set.
        environ: environment variables, with the secrets of contact points.

    Raises:
        AlertsError: a contract names a route or a mute timing that the settings lack, or a variable with a secret of a
            contact point is not set.
    """
    # The dashboard builders take a second to load; other commands do not need them.
    from barograph_server.dashboards.pages import dashboards

    assert settings.grafana is not None
    alerting = to_api(rules_for(contracts.values(), settings.alerts), settings.alerts, environ)
    return Bundle(
        folder_uid=FOLDER_UID,
        folder_title=settings.grafana.folder,
        alerts_folder_uid=alerting.folder_uid,
        alerts_folder_title=alerting.folder_title,
        data_source=build_data_source(settings),
        contact_points=alerting.contact_points,
        mute_timings=alerting.mute_timings,
        route=alerting.policy,
        dashboards=tuple(dashboards().values()),
        rule_groups=tuple(group.body for group in alerting.groups),
    )


def build_data_source(settings: Settings) -> Json:
    """Build the data source: the project's ClickHouse over HTTP, as the read-only user."""
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


def _check_uids(what: str, uids: Sequence[str | None]) -> None:
    for uid in uids:
        if not uid or not _UID.fullmatch(uid):
            raise ApplyError(
                f"A {what} for Grafana has the uid {uid!r}: use 1 to 40 letters, digits, hyphens and underscores."
            )
    _check_unique(what, uids)


def _check_names(what: str, names: Sequence[str | None]) -> None:
    for name in names:
        if not name or len(name) > 190:
            raise ApplyError(f"A {what} for Grafana has the name {name!r}: use 1 to 190 characters.")
        if name in (".", ".."):
            raise ApplyError(f"The {what} {name!r} cannot be part of a Grafana URL: rename it.")
    _check_unique(what, names)


def _check_unique(what: str, names: Iterable[str | None]) -> None:
    known: set[str | None] = set()
    for name in names:
        if name in known:
            raise ApplyError(f"The bundle for Grafana has the {what} {name!r} twice: rename one of them.")
        known.add(name)
