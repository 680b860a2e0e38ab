"""Schemas of alerting resources in Grafana's file format. Grafana silently ignores keys that are not listed.

Grafana publishes no schema of its provisioning files and a loose one of its API. These schemas were derived from its
source: objects with a closed set of keys. A star marks an optional key. The API shares some of them.

Source: Grafana 13.2, pkg/services/provisioning/alerting/*_types.go and
pkg/services/ngalert/api/tooling/definitions/provisioning_*.go.
"""

import re
from collections.abc import Iterator
from typing import Any

DURATION = re.compile(r"(\d+[wdhms])+")
NO_DATA = ("OK", "KeepLast", "Alerting", "NoData")
EXEC_ERR = ("OK", "KeepLast", "Alerting", "Error")

Shape = Any
"""A type, a tuple of strings, a pattern, a list of one shape, or a dict of keys to shapes; `{"": shape}` is any map."""

_EVALUATOR = {"type": ("gt", "lt"), "params": [float]}
_QUERY = {
    "refId": str,
    "queryType": str,
    "relativeTimeRange": {"from": int, "to": int},
    "datasourceUid": str,
    "model": {"": object},
}
QUERY_MODEL: Shape = {
    "refId": str,
    "datasource": {"type": str, "uid": str},
    "pluginVersion": str,
    "editorType": ("sql",),
    "rawSql": str,
    "format": int,
    "queryType": str,
    "meta": {"timezone": str},
    "intervalMs": int,
    "maxDataPoints": int,
}
THRESHOLD_MODEL: Shape = {
    "refId": str,
    "type": ("threshold",),
    "datasource": {"type": str, "uid": str},
    "expression": str,
    "conditions": [{"evaluator": _EVALUATOR, "*unloadEvaluator": _EVALUATOR}],
    "intervalMs": int,
    "maxDataPoints": int,
}
RULE = {
    "uid": re.compile(r"[A-Za-z0-9_-]{1,40}"),
    "title": str,
    "condition": str,
    "data": [_QUERY],
    "noDataState": NO_DATA,
    "execErrState": EXEC_ERR,
    "for": DURATION,
    "annotations": {"": str},
    "labels": {"": str},
    "isPaused": bool,
}
FILE_RULE: Shape = RULE | {
    "keepFiringFor": DURATION,
    "missing_series_evals_to_resolve": int,
    "*dashboardUid": str,
    "*panelId": int,
}
_RECEIVER_SETTINGS = {
    **{key: str for key in ("*url", "*title", "*text", "*recipient", "*token")},  # slack
    **{key: str for key in ("*integrationKey", "*severity", "*summary", "*client")},  # pagerduty
    "*details": {"": str},  # pagerduty
    **{
        key: str for key in ("*message", "*httpMethod", "*authorization_scheme", "*authorization_credentials")
    },  # webhook
}
"""Keys of the integrations that we write; each integration ignores those of the others."""
RECEIVER = {
    "uid": re.compile(r"[A-Za-z0-9_-]{1,40}"),
    "type": ("pagerduty", "slack", "webhook"),
    "settings": _RECEIVER_SETTINGS,
    "disableResolveMessage": bool,
}
INTERVAL = {
    "*times": [{"start_time": str, "end_time": str}],
    "*weekdays": [str],
    "*days_of_month": [str],
    "*months": [str],
    "*years": [str],
    "*location": str,
}
POLICY: dict[str, Any] = {
    "receiver": str,
    "*object_matchers": [[str]],
    "*group_by": [str],
    "*group_wait": DURATION,
    "*group_interval": DURATION,
    "*repeat_interval": DURATION,
    "*continue": bool,
    "*mute_time_intervals": [str],
}
POLICY["*routes"] = [POLICY]

FILE: Shape = {
    "apiVersion": int,
    "*groups": [{"orgId": int, "name": str, "folder": str, "interval": DURATION, "rules": [FILE_RULE]}],
    "*contactPoints": [{"orgId": int, "name": str, "receivers": [RECEIVER]}],
    "*policies": [{"orgId": int} | POLICY],
    "*deleteRules": [{"orgId": int, "uid": str}],
    "*muteTimes": [{"orgId": int, "name": str, "time_intervals": [INTERVAL]}],
}


def faults(value: Any, shape: Shape, path: str = "") -> Iterator[str]:
    """List where a value is not of a shape, each as `path: what is wrong`."""
    where = path or "it"
    if isinstance(shape, dict):
        yield from _object_faults(value, shape, path)
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield f"{where}: is no list"
            return
        for position, item in enumerate(value):
            yield from faults(item, shape[0], f"{path}[{position}]")
    elif isinstance(shape, tuple):
        if value not in shape:
            yield f"{where}: is {value!r}, not one of {', '.join(shape)}"
    elif isinstance(shape, re.Pattern):
        if not isinstance(value, str) or shape.fullmatch(value) is None:
            yield f"{where}: is {value!r}, not of the form {shape.pattern}"
    elif shape is float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield f"{where}: is {value!r}, no number"
    elif not isinstance(value, shape) or (shape is int and isinstance(value, bool)):
        yield f"{where}: is {value!r}, no {shape.__name__}"


def _object_faults(value: Any, shape: dict[str, Shape], path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path or 'it'}: is no object"
        return
    if set(shape) == {""}:
        for key, item in value.items():
            yield from faults(item, shape[""], f"{path}.{key}")
        return
    known = {key.lstrip("*"): inner for key, inner in shape.items()}
    for key in shape:
        if not key.startswith("*") and key not in value:
            yield f"{path}.{key}: is missing"
    for key, item in value.items():
        if key not in known:
            yield f"{path}.{key}: is no key that Grafana reads here"
        else:
            yield from faults(item, known[key], f"{path}.{key}")
