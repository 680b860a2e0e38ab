"""Resources of every kind, with names that fail where they are not quoted, and their deployment to the stub."""

from collections.abc import Sequence
from typing import Any

from barograph_server.alerts import ApiAlerting
from barograph_server.provisioning.grafana import Grafana, GrafanaPlan, apply_grafana, plan_grafana
from barograph_server.provisioning.grafana.bundle import list_resources
from barograph_server.provisioning.grafana.resources import Resource
from tests.support.stub_grafana import StubGrafana

Json = dict[str, Any]
ODD_NAME = 'it\'s "$5 {{ ${model} }}" · Größe 尺寸 <b>%2F?#&+'
KEY = "pd-key-not-to-be-seen"


def dashboard(uid: str, title: str) -> Json:
    panels = [
        {"id": 1, "title": "Drift", "type": "timeseries", "fieldConfig": {"defaults": {"min": 0.0, "unit": "none"}}},
        {"id": 2, "title": "Rate $model", "type": "stat", "targets": [{"refId": "A", "rawSql": "SELECT '${v:raw}'"}]},
    ]
    return {"uid": uid, "title": title, "schemaVersion": 42, "tags": ["barograph"], "panels": panels}


def rule(uid: str, title: str, **changes: Any) -> Json:
    model = {"refId": "A", "format": 1, "rawSql": "SELECT 1", "intervalMs": 60000, "maxDataPoints": 100}
    query = {"refId": "A", "relativeTimeRange": {"from": 600, "to": 0}, "datasourceUid": "barograph", "model": model}
    evaluated: Json = {"condition": "A", "data": [query], "noDataState": "OK", "execErrState": "Error"}
    evaluated |= {"annotations": {"summary": "PSI of {{ $labels.field }}"}}
    labels = {"model": ODD_NAME, "severity": "page"}
    known = {"uid": uid, "title": title, "folderUID": "barograph-alerts", "for": "90m", "keep_firing_for": "24h"}
    return {**known, **evaluated, "labels": labels, **changes}


def group(title: str, *rules: Json) -> Json:
    return {"title": title, "folderUid": "barograph-alerts", "interval": 60, "rules": list(rules)}


DATA_SOURCE: Json = {
    "uid": "barograph",
    "name": "Barograph",
    "type": "grafana-clickhouse-datasource",
    "access": "proxy",
    "jsonData": {"host": "clickhouse", "port": 8123, "secure": False},
    "secureJsonData": {"password": "swordfish"},
}
PAGER: Json = {"uid": "bg-pager", "name": f"pager {ODD_NAME}", "type": "pagerduty"}
PAGER["settings"] = {"integrationKey": KEY, "severity": "error"}
TICKETS: Json = {"uid": "bg-tickets", "name": "tickets", "type": "webhook"}
TICKETS["settings"] = {"url": "http://tickets", "password": "xyzzy"}
PAGES: Json = {
    "receiver": f"pager {ODD_NAME}",
    "object_matchers": [["severity", "=", "page"]],
    "group_wait": "30s",
    "mute_time_intervals": [f"retraining {ODD_NAME}"],
    "continue": False,
}
ROUTE: Json = {
    "receiver": "tickets",
    "object_matchers": [["team", "=", "ml"], ["product", "=", "barograph"]],
    "group_by": ["model"],
    "repeat_interval": "24h",
    "routes": [PAGES],
}
TIMING: Json = {
    "name": f"retraining {ODD_NAME}",
    "time_intervals": [{"weekdays": ["sunday"], "location": "Europe/Berlin"}],
}
FLEET, MODEL = dashboard("barograph-fleet", "Fleet"), dashboard("barograph-model", f"Model {ODD_NAME}")
GROUP = group(f"model {ODD_NAME}", rule("r-1", "drift"), rule("r-2", "nulls"))
FOLDER = f"Models {ODD_NAME}"


def bundle(
    *,
    source: Json = DATA_SOURCE,
    folder: str = FOLDER,
    dashboards: Sequence[Json] = (FLEET, MODEL),
    points: Sequence[Json] = (PAGER, TICKETS),
    timings: Sequence[Json] = (TIMING,),
    route: Json = ROUTE,
    groups: Sequence[Json] = (GROUP,),
) -> tuple[Resource, ...]:
    parts: Json = {"groups": tuple(groups), "contact_points": tuple(points), "mute_timings": tuple(timings)}
    alerting = ApiAlerting("barograph-alerts", f"Alerts {ODD_NAME}", **parts, policy=route)
    return list_resources(source, folder, dashboards, alerting)


TIMEOUT_S = 5.0

Desired = Sequence[Resource] | None


def apply(
    stub: StubGrafana, desired: Desired = None, *, overwrite: bool = False, timeout_s: float = TIMEOUT_S
) -> GrafanaPlan:
    with Grafana(stub.settings(), timeout_s=timeout_s, pause_s=0) as grafana:
        return apply_grafana(grafana, desired or bundle(), overwrite=overwrite)


def plan(stub: StubGrafana, desired: Desired = None, *, overwrite: bool = False) -> GrafanaPlan:
    with Grafana(stub.settings(), timeout_s=TIMEOUT_S, pause_s=0) as grafana:
        return plan_grafana(grafana, desired or bundle(), overwrite=overwrite)


def assert_settled(stub: StubGrafana, desired: Desired = None) -> None:
    before = len(stub.writes)
    assert apply(stub, desired).is_empty
    assert stub.writes[before:] == []
