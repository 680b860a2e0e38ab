"""The desired Grafana resources, in the JSON of Grafana's HTTP API."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

from barograph.contract import Contract

from barograph_server.alerts import ApiAlerting, rules_for, to_api
from barograph_server.errors import ApplyError
from barograph_server.provisioning.grafana.alerting import (
    ContactPoint,
    GrafanaMuteTiming,
    NotificationPolicy,
    RuleGroup,
)
from barograph_server.provisioning.grafana.compare import Json
from barograph_server.provisioning.grafana.resources import Dashboard, DataSource, Folder, Resource
from barograph_server.settings import Settings

DATA_SOURCE_UID = FOLDER_UID = "barograph"
"""The uids here and in the files that `docker compose` provisions."""
PLUGIN = "grafana-clickhouse-datasource"


def build_resources(
    contracts: Mapping[str, Contract], settings: Settings, environ: Mapping[str, str] = os.environ
) -> tuple[Resource, ...]:
    """Build the Grafana resources of contracts and settings, in order of dependency.

    Raises:
        AlertsError: a contract names a route or a mute timing that the settings lack, or a variable with a secret of a
            contact point is not set.
        ApplyError: a name is repeated or invalid in Grafana.
    """
    # The dashboard builders take a second to load; other commands do not need them.
    from barograph_server.dashboards.pages import dashboards

    assert settings.grafana is not None
    alerting = to_api(rules_for(contracts.values(), settings.alerts), settings.alerts, environ)
    return list_resources(build_data_source(settings), settings.grafana.folder, dashboards().values(), alerting)


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


def list_resources(
    data_source: Json, folder_title: str, dashboards: Iterable[Json], alerting: ApiAlerting
) -> tuple[Resource, ...]:
    """List resources in order of dependency, the data source first, because it stores the record of the others.

    Raises:
        ApplyError: a name is repeated or invalid in Grafana.
    """
    uids = frozenset(str(point["uid"]) for point in alerting.contact_points)
    resources = (
        DataSource(data_source),
        Folder({"uid": FOLDER_UID, "title": folder_title}),
        Folder({"uid": alerting.folder_uid, "title": alerting.folder_title}),
        *(ContactPoint(point, siblings=uids - {point["uid"]}) for point in alerting.contact_points),
        *(GrafanaMuteTiming(timing) for timing in alerting.mute_timings),
        NotificationPolicy(alerting.policy),
        *(Dashboard(dashboard, FOLDER_UID) for dashboard in dashboards),
        *(RuleGroup(group, alerting.folder_uid) for group in alerting.groups),
    )
    for problem in _problems(resources):
        raise ApplyError(problem)
    return resources


def _problems(resources: Sequence[Resource]) -> Iterator[str]:
    known = set[str]()
    for resource in resources:
        kind, name = resource.kind, resource.name
        if not 1 <= len(name) <= 190:
            yield f"A {kind} for Grafana has the name {name!r}: use 1 to 190 characters."
        if name in (".", ".."):
            yield f"The {kind} {name!r} cannot be part of a Grafana URL: rename it."
        for each in {resource.id, f"folder {name}" if kind == Folder.kind else resource.id}:
            if each in known:
                yield f"The settings and contracts give Grafana two of the {kind} {name!r}: rename one of them."
            known.add(each)
