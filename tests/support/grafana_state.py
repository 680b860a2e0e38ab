"""State and answers of Grafana, for the endpoints that `apply` uses; `stub_grafana` serves them.

Source: Grafana 13.2 (pkg/api/dashboard.go, datasources.go, pkg/services/ngalert/api/api_provisioning.go and
pkg/services/ngalert/provisioning), also for what it adds, redacts and drops.
"""

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Json = dict[str, Any]

EDITOR_PERMISSIONS = (
    "folders:create", "folders:write", "datasources:create", "datasources:write", "dashboards:create",
    "dashboards:write", "dashboards:delete", "alert.provisioning:write", "dashboards:read",
)  # fmt: skip
READER_PERMISSIONS = ("dashboards:read", "datasources:read", "folders:read", "alert.provisioning:read")
REDACTED = "[REDACTED]"
SECRET_SETTINGS = {
    "pagerduty": {"integrationKey"},
    "slack": {"url", "token"},
    "webhook": {"password", "authorization_credentials"},
}
RULE_KEYS = {
    "uid", "title", "condition", "data", "noDataState", "execErrState", "for", "keep_firing_for", "annotations",
    "labels", "isPaused", "notification_settings", "missingSeriesEvalsToResolve",
}  # fmt: skip
DURATIONS = {"for", "keep_firing_for", "group_wait", "group_interval", "repeat_interval"}
UNITS_MS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))


class Answer(NamedTuple):
    status: int
    body: Any


def refused(status: int, message: str) -> Answer:
    return Answer(status, {"message": message})


@dataclass
class GrafanaState:
    version: str = "13.2.3"
    plugins: dict[str, str] = field(default_factory=lambda: {"grafana-clickhouse-datasource": "4.20.0"})
    permissions: tuple[str, ...] | None = EDITOR_PERMISSIONS
    """Permissions of the token. None allows all writes."""
    folders: dict[str, Json] = field(default_factory=dict)
    sources: dict[str, Json] = field(default_factory=dict)
    secrets: dict[str, Json] = field(default_factory=dict)
    """Secrets of data sources and contact points, by uid."""
    dashboard_defaults: Json = field(default_factory=dict)
    """What it adds to dashboards."""
    dashboards: dict[str, Json] = field(default_factory=dict)
    """By uid: `dashboard`, `folder`, `version`, `by`, `provisioned`."""
    groups: dict[tuple[str, str], Json] = field(default_factory=dict)
    """By folder and title: `interval`, `rules`."""
    points: list[Json] = field(default_factory=list)
    timings: dict[str, Json] = field(default_factory=dict)
    tree: Json = field(default_factory=lambda: {"receiver": "empty", "group_by": ["grafana_folder", "alertname"]})
    receivers: set[str] = field(default_factory=lambda: {"empty"})
    """Receivers without integrations; a new Grafana 12.4 or later has one."""
    tree_provenance: str = ""
    next_id: int = 1
    source_problem: str = ""
    """Error message of the health check of data sources; empty if they are healthy."""
    evaluations: dict[str, Json] = field(default_factory=dict)
    """By uid of a rule: result of its last evaluation, unless it is healthy and inactive."""

    def answer(self, method: str, path: list[str], query: dict[str, list[str]], body: Any, headers: Any) -> Answer:
        provenance = "" if headers.get("X-Disable-Provenance") else "api"
        match method, *path:
            case "GET", "health":
                return Answer(200, {"database": "ok", "version": self.version, "commit": "0"})
            case "GET", "access-control", "user", "permissions":
                return Answer(200, {name: ["*"] for name in self.permissions or ()})
            case "GET", "plugins", plugin, "settings":
                if plugin not in self.plugins:
                    return refused(404, "Plugin not found, no installed plugin with that id")
                return Answer(200, {"id": plugin, "info": {"version": self.plugins[plugin]}, "enabled": True})
            case "GET", "datasources", "uid", uid, "health":
                if uid not in self.sources:
                    return refused(404, "Data source not found")
                works = self.source_problem == ""
                return Answer(
                    200 if works else 400, {"status": "OK" if works else "ERROR", "message": self.source_problem}
                )
            case "GET", "prometheus", "grafana", "api", "v1", "rules":
                return Answer(200, {"status": "success", "data": {"groups": self._evaluated()}})
            case "GET", "search":
                return Answer(200, self._search(query))
            case _, "folders", *rest:
                return self._folder(method, rest, body)
            case _, "datasources", *rest:
                return self._source(method, rest, body)
            case "GET", "dashboards", "uid", uid:
                return self._dashboard(uid)
            case "DELETE", "dashboards", "uid", uid:
                result = self.dashboards.pop(uid, None)
                return refused(404, "Dashboard not found") if result is None else Answer(200, {"message": "deleted"})
            case "POST", "dashboards", "db":
                return self._save_dashboard(body)
            case _, "v1", "provisioning", *rest:
                return self._provisioning(method, rest, query, body, provenance)
        return refused(404, "Not found")

    def _search(self, query: dict[str, list[str]]) -> list[Json]:
        expected = query.get("folderUIDs", [])
        return [
            {"uid": uid, "title": entry["dashboard"]["title"], "folderUid": entry["folder"], "type": "dash-db"}
            for uid, entry in self.dashboards.items()
            if not expected or entry["folder"] in expected
        ]

    def _evaluated(self) -> list[Json]:
        usual = {"state": "inactive", "health": "ok"}

        def rule_of(rule: Json) -> Json:
            own = {"name": rule["title"], "labels": rule.get("labels", {})}
            return {**usual, **own, **self.evaluations.get(rule["uid"], {})}

        return [
            {"name": title, "folderUid": folder, "rules": [rule_of(rule) for rule in group["rules"]]}
            for (folder, title), group in self.groups.items()
        ]

    def _folder(self, method: str, rest: list[str], body: Json) -> Answer:
        match method, *rest:
            case ("GET",):
                return Answer(200, [{key: folder[key] for key in ("uid", "title")} for folder in self.folders.values()])
            case ("POST",):
                uid = body.get("uid") or f"f{self._id()}"
                if uid in self.folders:
                    return refused(412, "The folder has been changed by someone else")
                if body["title"] in [folder["title"] for folder in self.folders.values()]:
                    return refused(409, "a folder with the same name already exists in the same location")
                self.folders[uid] = {"id": self._id(), "uid": uid, "title": body["title"], "version": 1}
                return Answer(200, self.folders[uid])
            case "GET", uid:
                return Answer(200, self.folders[uid]) if uid in self.folders else refused(404, "folder not found")
            case "PUT", uid:
                folder = self.folders.get(uid)
                if folder is None:
                    return refused(404, "folder not found")
                if body.get("version") != folder["version"] and not body.get("overwrite"):
                    return refused(412, "The folder has been changed by someone else")
                folder |= {"title": body["title"], "version": folder["version"] + 1}
                return Answer(200, folder)
        return refused(404, "Not found")

    def folder_of(self, title: str, uid: str = "") -> str:
        """Find a folder as provisioning does, by its uid, or its title if it has none; create it if it is missing."""
        for known, folder in self.folders.items():
            if known == uid or (not uid and folder["title"] == title):
                return known
        uid = uid or f"f{self._id()}"
        self.folders[uid] = {"id": self._id(), "uid": uid, "title": title, "version": 1}
        return uid

    def _source(self, method: str, rest: list[str], body: Json) -> Answer:
        match method, *rest:
            case "GET", "uid", uid:
                return Answer(200, self._shown(uid)) if uid in self.sources else refused(404, "Data source not found")
            case ("POST",):
                uid = body.get("uid") or f"s{self._id()}"
                if uid in self.sources or body["name"] in [source["name"] for source in self.sources.values()]:
                    return refused(409, "data source with the same name already exists")
                self.store_source(uid, body, {"id": self._id(), "orgId": 1, "version": 1, "readOnly": False})
                return Answer(200, {"message": "Datasource added", "datasource": self._shown(uid)})
            case "PUT", "uid", uid:
                result = self.sources.get(uid)
                if result is None:
                    return refused(404, "Data source not found")
                if body.get("version") not in (None, 0, result["version"]):
                    return refused(409, "Datasource has already been updated by someone else.")
                stored = {key: result[key] for key in ("id", "orgId", "readOnly")}
                self.store_source(uid, body, {**stored, "version": result["version"] + 1})
                return Answer(200, {"message": "Datasource updated", "datasource": self._shown(uid)})
        return refused(404, "Not found")

    def store_source(self, uid: str, body: Json, own: Json) -> None:
        secrets = {key: value for key, value in (body.get("secureJsonData") or {}).items() if value}
        self.secrets[uid] = {**self.secrets.get(uid, {}), **secrets}
        defaults = {"url": "", "user": "", "database": "", "basicAuth": False, "isDefault": False, "jsonData": {}}
        stored = {key: value for key, value in body.items() if key != "secureJsonData"}
        self.sources[uid] = {**defaults, **copy.deepcopy(stored), "uid": uid, **own}

    def _shown(self, uid: str) -> Json:
        return {**self.sources[uid], "typeLogoUrl": "", "secureJsonFields": dict.fromkeys(self.secrets[uid], True)}

    def _dashboard(self, uid: str) -> Answer:
        entry = self.dashboards.get(uid)
        if entry is None:
            return refused(404, "Dashboard not found")
        meta = {"folderUid": entry["folder"], "updatedBy": entry["by"], "updated": "2026-03-01T03:04:05Z"}
        meta |= {"version": entry["version"], "provisioned": entry["provisioned"]}
        return Answer(200, {"dashboard": {**entry["dashboard"], "version": entry["version"]}, "meta": meta})

    def _save_dashboard(self, body: Json) -> Answer:
        sent = dict(body["dashboard"])
        uid, folder = sent.get("uid") or f"d{self._id()}", body.get("folderUid") or ""
        if folder and folder not in self.folders:
            return refused(400, "Folder not found")
        result = self.dashboards.get(uid)
        if result is not None and result["provisioned"]:
            return refused(400, "Cannot save provisioned dashboard")
        if result is not None and not body.get("overwrite") and sent.get("version") != result["version"]:
            return refused(412, "The dashboard has been changed by someone else")
        version = result["version"] + 1 if result else 1
        own = {"id": result["dashboard"]["id"] if result else self._id(), "uid": uid}
        sent.pop("version", None)
        stored = {**self.dashboard_defaults, **copy.deepcopy(sent), **own}
        known = {"folder": folder, "version": version, "by": "sa-barograph", "provisioned": False}
        self.dashboards[uid] = {"dashboard": stored, **known}
        return Answer(200, {**own, "status": "success", "version": version})

    def _provisioning(
        self, method: str, rest: list[str], query: dict[str, list[str]], body: Any, provenance: str
    ) -> Answer:
        match method, *rest:
            case "GET", "alert-rules":
                rules = [rule for group in self.groups.values() for rule in group["rules"]]
                return Answer(200, rules)
            case "GET", "folder", folder, "rule-groups", title:
                group = self.groups.get((folder, title))
                if group is None:
                    return refused(404, "rule group not found")
                return Answer(200, {"title": title, "folderUid": folder, **group})
            case "PUT", "folder", folder, "rule-groups", title:
                return self._put_group(folder, title, body, provenance)
            case "DELETE", "folder", folder, "rule-groups", title:
                group = self.groups.pop((folder, title), None)
                return refused(404, "rule group not found") if group is None else Answer(204, None)
            case "GET", "contact-points":
                names = query.get("name")
                return Answer(200, [self._redacted(p) for p in self.points if names is None or p["name"] in names])
            case "POST", "contact-points":
                uid = body.get("uid") or f"c{self._id()}"
                self.points.append(self.stored_point({**body, "uid": uid}, provenance))
                return Answer(202, self._redacted(self.points[-1]))
            case "PUT", "contact-points", uid:
                return self._put_point(uid, body, provenance)
            case "GET", "mute-timings", name:
                result = self.timings.get(name)
                return refused(404, "time interval not found") if result is None else Answer(200, result)
            case "POST", "mute-timings":
                if body["name"] in self.timings:
                    return refused(409, "time interval with the name already exists")
                return Answer(201, self.store_timing(body, provenance))
            case "PUT", "mute-timings", name:
                return self._put_timing(name, body, provenance)
            case "GET", "policies":
                shown = {"provenance": self.tree_provenance} if self.tree_provenance else {}
                return Answer(200, {**self.tree, **shown})
            case "PUT", "policies":
                return self._put_tree(body, provenance)
        return refused(404, "Not found")

    def _put_group(self, folder: str, title: str, body: Json, provenance: str) -> Answer:
        if folder not in self.folders:
            return refused(400, "invalid alert rule: folder does not exist")
        before = {rule["uid"]: rule for rule in self.groups.get((folder, title), {"rules": []})["rules"]}
        if any(rule.get("provenance") == "file" for rule in before.values()):
            return refused(409, "cannot change provenance from 'file' to 'api'")
        others = [group for position, group in self.groups.items() if position != (folder, title)]
        taken = {rule["uid"] for group in others for rule in group["rules"]}
        rules = []
        for rule in body["rules"]:
            uid = rule.get("uid") or f"r{self._id()}"
            if uid in taken:
                return refused(400, "alert rule uid must be unique")
            stored = spelled({key: value for key, value in rule.items() if key in RULE_KEYS})
            stored["data"] = [{"queryType": "", **query} for query in stored.get("data", [])]
            own = {"uid": uid, "orgID": 1, "folderUID": folder, "ruleGroup": title}
            own["id"] = before[uid]["id"] if uid in before else self._id()
            own["updated"] = f"2026-03-01T00:00:{self._id() % 60:02}Z"
            rules.append({"isPaused": False, **stored, **own, **({"provenance": provenance} if provenance else {})})
        self.groups[folder, title] = {"interval": body["interval"], "rules": rules}
        return Answer(200, body)

    def stored_point(self, body: Json, provenance: str) -> Json:
        secret = SECRET_SETTINGS.get(body["type"], set())
        before = self.secrets.get(body["uid"], {})
        settings = dict(body["settings"])
        self.secrets[body["uid"]] = {
            key: before.get(key) if settings[key] == REDACTED else settings[key] for key in secret if settings.get(key)
        }
        return {
            **body,
            "settings": {key: value for key, value in settings.items() if key not in secret},
            "disableResolveMessage": bool(body.get("disableResolveMessage")),
            "provenance": provenance,
        }

    def _redacted(self, point: Json) -> Json:
        return {**point, "settings": {**point["settings"], **dict.fromkeys(self.secrets[point["uid"]], REDACTED)}}

    def _put_point(self, uid: str, body: Json, provenance: str) -> Answer:
        for position, point in enumerate(self.points):
            if point["uid"] == uid:
                if point["provenance"] not in ("", provenance):
                    return refused(500, f"cannot changed provenance from '{point['provenance']}' to '{provenance}'")
                self.points[position] = self.stored_point({**body, "uid": uid}, provenance)
                return Answer(202, {"message": "contactpoint updated"})
        return refused(404, f"contact point with uid '{uid}' not found")

    def store_timing(self, body: Json, provenance: str) -> Json:
        stored = {"name": body["name"], "time_intervals": copy.deepcopy(body["time_intervals"])}
        self.timings[body["name"]] = stored | {"version": f"{self._id():016x}", "provenance": provenance}
        return self.timings[body["name"]]

    def _put_timing(self, name: str, body: Json, provenance: str) -> Answer:
        result = self.timings.get(name)
        if result is None:
            return refused(404, "time interval not found")
        if result["provenance"] not in ("", provenance):
            return refused(409, "cannot change provenance")
        if body.get("version") not in (None, "", result["version"]):
            return refused(409, "provided version does not match current version")
        return Answer(202, self.store_timing({**body, "name": name}, provenance))

    def tree_problem(self, tree: Json) -> str:
        """Why Grafana rejects notification policies, from the API or a file; empty if it accepts them."""
        known = {point["name"] for point in self.points} | self.receivers
        for route in routes_of(tree):
            is_inherited = route is not tree and not route.get("receiver")
            if not is_inherited and route.get("receiver") not in known:
                return f"invalid object specification: receiver '{route.get('receiver')}' does not exist"
            for timing in route.get("mute_time_intervals") or []:
                if timing not in self.timings:
                    return f"invalid object specification: mute time interval '{timing}' does not exist"
        return ""

    def _put_tree(self, body: Json, provenance: str) -> Answer:
        if problem := self.tree_problem(body):
            return refused(400, problem)
        self.tree = stored_tree(body)
        self.tree_provenance = provenance
        return Answer(202, {"message": "policies updated"})

    def _id(self) -> int:
        self.next_id += 1
        return self.next_id

    def edit_dashboard(self, uid: str, edit: Callable[[Json], Any], by: str = "anna") -> None:
        entry = self.dashboards[uid]
        edit(entry["dashboard"])
        entry |= {"version": entry["version"] + 1, "by": by}

    def edit_source(self, uid: str, edit: Callable[[Json], Any]) -> None:
        """Save a data source as a user of Grafana's UI does, which keeps unknown keys."""
        edit(self.sources[uid])
        self.sources[uid]["version"] += 1


def routes_of(route: Json) -> list[Json]:
    return [route, *(below for inner in route.get("routes") or [] for below in routes_of(inner))]


def stored_tree(route: Json) -> Json:
    stored = spelled({key: value for key, value in route.items() if value not in (None, [], "", False)})
    if "object_matchers" in stored:
        stored["object_matchers"] = sorted(stored["object_matchers"])
    if "routes" in stored:
        stored["routes"] = [stored_tree(inner) for inner in stored["routes"]]
    return stored


def spelled(body: Json) -> Json:
    """Format the durations of a body as Prometheus' Go library does: 24h is 1d, 90m is 1h30m."""
    stored = copy.deepcopy(body)
    return stored | {
        key: duration(value) for key, value in stored.items() if key in DURATIONS and isinstance(value, str)
    }


def duration(text: str) -> str:
    units = {"w": 604_800_000, **dict(UNITS_MS)}
    rest_ms = sum(int(count) * units[unit] for count, unit in re.findall(r"(\d+)(ms|[wdhms])", text))
    if not rest_ms:
        return "0s"
    words = []
    for unit, length_ms in UNITS_MS:
        # Like that library, use days only without a remainder.
        if unit == "d" and rest_ms % length_ms:
            continue
        count, rest_ms = divmod(rest_ms, length_ms)
        words += [f"{count}{unit}"] if count else []
    return "".join(words)
