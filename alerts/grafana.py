"""Rules, contact points, policies and mute timings in Grafana's two formats: provisioning files and the HTTP API.

The formats differ in a few keys, and Grafana silently ignores a wrong key:

| | file | HTTP API |
|---|---|---|
| keep firing | `keepFiringFor` | `keep_firing_for` |
| missing series | `missing_series_evals_to_resolve` | `missingSeriesEvalsToResolve` |
| group, folder | `name`, `folder` (title) | `title`, `folderUid`, and `folderUID` of each rule |
| interval | `1m` | `60` |
| `$` in texts | `$$` | `$` |

Source: Grafana 13.2, pkg/services/provisioning/alerting and pkg/services/ngalert/api/tooling/definitions.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from barograph_server.alerts.routing import Policy, branch
from barograph_server.alerts.rule import Rule
from barograph_server.alerts.settings import FOLDER_UID, AlertsError, AlertSettings, Integration
from barograph_server.alerts.text import Text, digest, in_file, template

Json = dict[str, Any]

PLUGIN_VERSION = "4.20.0"
DATASOURCE = "grafana-clickhouse-datasource"
EXPRESSION = "__expr__"
CONDITION = "D"
RANGE_S = 600
ORG = 1
EXTERNAL_URL = '{{ reReplaceAll "/$" "" externalURL }}'
"""Grafana's own address (`root_url`) without the slash at its end, as an action of a template."""
_SUMMARY = (
    "{{ if .Annotations.Error }}{{ .Labels.rulename }} cannot be evaluated: {{ .Annotations.Error }}"
    "{{ else }}{{ .Annotations.summary }}{{ end }}"
)
"""The summary of one alert; Grafana adds the annotation `Error` to a rule that cannot be evaluated."""
_FIRST = "{{ range $i, $alert := .Alerts.%s }}{{ if eq $i 0 }}" + _SUMMARY + "{{ end }}{{ end }}"
HEADLINE = (
    f"{{{{ if .Alerts.Firing }}}}{_FIRST % 'Firing'}"
    "{{ if gt (len .Alerts.Firing) 1 }} (one of {{ len .Alerts.Firing }}){{ end }}"
    f"{{{{ else }}}}Resolved: {_FIRST % 'Resolved'}{{{{ end }}}}"
)
"""The first line of a message: the summary of the first alert that fires. Grafana's own has only labels."""
TEXT = (
    '{{ range .Alerts }}• {{ if eq .Status "resolved" }}resolved: {{ end }}'
    f"{{{{ if gt (len $.Alerts) 1 }}}}{_SUMMARY} {{{{ end }}}}"
    "{{ .Annotations.advice }} "
    'Firing since {{ .StartsAt.UTC.Format "2006-01-02 15:04" }} UTC. LINKS\n{{ end }}'
)
"""The text of a message, with a line for each alert."""
SLACK_TEXT = TEXT.replace("LINKS", "<{{ .Annotations.page }}|panel> <{{ .Annotations.runbook_url }}|runbook>")
PLAIN_TEXT = TEXT.replace("LINKS", "Panel: {{ .Annotations.page }} Runbook: {{ .Annotations.runbook_url }}")


@dataclass(frozen=True, slots=True)
class ApiAlerting:
    """All alerting resources in the format of the HTTP API."""

    folder_uid: str
    folder_title: str
    groups: tuple[Json, ...]
    """Rule groups for `PUT /api/v1/provisioning/folder/{folder}/rule-groups/{title}`."""
    contact_points: tuple[Json, ...]
    """One entry per integration; entries with the same name form one contact point."""
    mute_timings: tuple[Json, ...]
    policy: Json
    """Our branch of the policy tree, to be inserted into the existing tree."""


def to_files(rules: Iterable[Rule], settings: AlertSettings) -> dict[str, Json]:
    """Build the files for `provisioning/alerting/`: file name → content, to be written as YAML.

    Secrets appear as `$VARIABLE`, which Grafana resolves from its environment. The files define every contact point and
    mute timing that they name: Grafana 13 does not start if the policies name another. So alerts of other rules go to
    the default contact point of the settings.
    """
    rules = list(rules)
    files: dict[str, Json] = {
        "contact-points.yaml": {
            "contactPoints": [
                {
                    "orgId": ORG,
                    "name": in_file(name),
                    "receivers": [
                        _integration(name, each, {v: f"${v}" for v in each.variables}, in_file) for each in integrations
                    ],
                }
                for name, integrations in settings.contact_points.items()
            ]
        },
        "policies.yaml": {
            "policies": [
                {
                    "orgId": ORG,
                    "receiver": in_file(settings.default),
                    "group_by": ["grafana_folder", "alertname"],
                    "routes": [_policy(branch(rules, settings), in_file)],
                }
            ]
        },
    }
    if settings.mute_timings:
        files["mute-timings.yaml"] = {
            "muteTimes": [
                {"orgId": ORG, "name": in_file(name), "time_intervals": [timing.interval]}
                for name, timing in settings.mute_timings.items()
            ]
        }
    for title, members in _groups(rules):
        group = {
            "orgId": ORG,
            "name": in_file(title),
            "folder": in_file(settings.folder),
            "interval": _duration(members[0].every_s),
            "rules": [_file_rule(rule, settings) for rule in members],
        }
        files.setdefault(f"rules-{_file_name(members[0])}.yaml", {"groups": []})["groups"].append(group)
    return {name: {"apiVersion": 1, **content} for name, content in sorted(files.items())}


def to_api(rules: Iterable[Rule], settings: AlertSettings, environ: Mapping[str, str]) -> ApiAlerting:
    """Build the request bodies for the HTTP API.

    Raises:
        AlertsError: variables of contact points are not set; the message names all of them.
    """
    rules = list(rules)
    if missing := settings.missing_variables(environ):
        raise AlertsError(f"contact points need variables that are not set: {', '.join(missing)}; export them")
    return ApiAlerting(
        folder_uid=FOLDER_UID,
        folder_title=settings.folder,
        groups=tuple(
            {
                "title": title,
                "folderUid": FOLDER_UID,
                "interval": members[0].every_s,
                "rules": [_api_rule(rule, settings, title) for rule in members],
            }
            for title, members in _groups(rules)
        ),
        contact_points=tuple(
            {"name": name, **_integration(name, each, environ, str)}
            for name, integrations in settings.contact_points.items()
            for each in integrations
        ),
        mute_timings=tuple(
            {"name": name, "time_intervals": [timing.interval]} for name, timing in settings.mute_timings.items()
        ),
        policy=_policy(branch(rules, settings), str),
    )


# ------------------------------------------------------------------------------------------------ rules


def _file_rule(rule: Rule, settings: AlertSettings) -> Json:
    return {
        **_rule(rule, settings, in_file),
        "keepFiringFor": _duration(rule.keep_firing_for_s),
        "missing_series_evals_to_resolve": rule.missing_evaluations,
    }


def _api_rule(rule: Rule, settings: AlertSettings, group: str) -> Json:
    return {
        **_rule(rule, settings, str),
        "orgID": ORG,
        "folderUID": FOLDER_UID,
        "ruleGroup": group,
        "keep_firing_for": _duration(rule.keep_firing_for_s),
        "missingSeriesEvalsToResolve": rule.missing_evaluations,
    }


def _rule(rule: Rule, settings: AlertSettings, text: Any) -> Json:
    """The part that both formats share; `text` escapes strings."""
    return {
        "uid": rule.uid,
        "title": text(rule.title),
        "condition": CONDITION,
        "data": [*(_query(ref, sql, settings) for ref, sql in rule.queries.items()), _threshold_query(rule)],
        "noDataState": rule.no_data,
        "execErrState": rule.exec_err,
        "for": _duration(rule.for_s),
        "annotations": {name: text(value) for name, value in annotation_templates(rule, settings).items()},
        "labels": {name: text(template((value,))) for name, value in rule.labels.items()},
        "isPaused": False,
    }


def annotation_templates(rule: Rule, settings: AlertSettings) -> dict[str, str]:
    return {
        "summary": template(rule.message),
        "advice": template((rule.advice,)),
        "description": template((rule.description,)),
        "runbook_url": _absolute((settings.runbook(rule.runbook),), settings),
        "page": _absolute(rule.page_path, settings),
        "__dashboardUid__": rule.panel.dashboard_uid,
        "__panelId__": str(rule.panel.panel_id),
    }


def _absolute(address: Text, settings: AlertSettings) -> str:
    """Render a link; a path is one of the Grafana of the settings, or of the Grafana that sends the message."""
    is_path = str(address[0]).startswith("/")
    root = (template((settings.grafana_url,)) or EXTERNAL_URL) if is_path else ""
    return root + template(address)


def _query(ref: str, sql: str, settings: AlertSettings) -> Json:
    return {
        "refId": ref,
        "queryType": "",
        "relativeTimeRange": {"from": RANGE_S, "to": 0},
        "datasourceUid": settings.datasource,
        "model": {
            "refId": ref,
            "datasource": {"type": DATASOURCE, "uid": settings.datasource},
            "pluginVersion": PLUGIN_VERSION,
            "editorType": "sql",
            "rawSql": sql,
            # Format 1 is a table: text columns become labels of an instance, the number its value.
            "format": 1,
            "queryType": "table",
            "meta": {"timezone": "UTC"},
            "intervalMs": 60_000,
            "maxDataPoints": 43_200,
        },
    }


def _threshold_query(rule: Rule) -> Json:
    fires, clears = ("lt", "gt") if rule.below else ("gt", "lt")
    return {
        "refId": CONDITION,
        "queryType": "",
        "relativeTimeRange": {"from": RANGE_S, "to": 0},
        "datasourceUid": EXPRESSION,
        "model": {
            "refId": CONDITION,
            "type": "threshold",
            "datasource": {"type": EXPRESSION, "uid": EXPRESSION},
            "expression": "A",
            "conditions": [
                {
                    "evaluator": {"type": fires, "params": [rule.threshold]},
                    # A firing instance keeps firing until this condition holds.
                    "unloadEvaluator": {"type": clears, "params": [rule.clear]},
                }
            ],
            "intervalMs": 60_000,
            "maxDataPoints": 43_200,
        },
    }


def _groups(rules: list[Rule]) -> list[tuple[str, list[Rule]]]:
    groups: dict[str, list[Rule]] = {}
    for rule in rules:
        groups.setdefault(rule.group, []).append(rule)
    return list(groups.items())


def _file_name(rule: Rule) -> str:
    """Return a portable file name for the model of a rule."""
    if not rule.model:
        return "pipeline"
    plain = "".join(char if char.isascii() and char.isalnum() else "-" for char in rule.model)[:40].strip("-")
    return plain if plain == rule.model.replace("_", "-") else f"{plain}-{digest(rule.model)[:8]}"


# ------------------------------------------------------------------------------------------------ contact points


def _integration(name: str, integration: Integration, environ: Mapping[str, str], text: Any) -> Json:
    secret = environ[integration.variable]
    settings: Json
    if integration.kind == "pagerduty":
        details = {"alerts": text(PLAIN_TEXT)}
        settings = {"integrationKey": secret, "severity": "critical", "summary": text(HEADLINE), "details": details}
    elif integration.kind == "slack":
        settings = {"url": secret, "title": text(HEADLINE), "text": text(SLACK_TEXT)}
    else:
        settings = {"url": secret, "httpMethod": "POST", "title": text(HEADLINE), "message": text(PLAIN_TEXT)}
        if integration.bearer_variable:
            settings |= {
                "authorization_scheme": "Bearer",
                "authorization_credentials": environ[integration.bearer_variable],
            }
    return {
        "uid": f"bg-{integration.kind}-{digest(name, integration.kind)}",
        "type": integration.kind,
        "settings": settings,
        "disableResolveMessage": False,
    }


def _policy(policy: Policy, text: Any) -> Json:
    plain: Json = {
        "receiver": text(policy.point),
        "object_matchers": [[label, how, text(value)] for label, how, value in policy.matchers],
    }
    if policy.group_by:
        plain["group_by"] = list(policy.group_by)
    for key, seconds in (
        ("group_wait", policy.group_wait_s),
        ("group_interval", policy.group_interval_s),
        ("repeat_interval", policy.repeat_s),
    ):
        if seconds is not None:
            plain[key] = _duration(seconds)
    if policy.mute:
        plain["mute_time_intervals"] = [text(name) for name in policy.mute]
    if policy.routes:
        plain["routes"] = [_policy(child, text) for child in policy.routes]
    return plain


def _duration(seconds: int) -> str:
    """Format a duration as Prometheus does, in whole units."""
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
