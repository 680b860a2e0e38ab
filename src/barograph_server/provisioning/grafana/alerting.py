"""Alerting resources: contact points, mute timings, our notification policy, rule groups.

All but the policy are written with provenance `api`. Grafana then shows them as provisioned and its UI rejects edits,
as it does for resources from files: change the contract instead. The tree of notification policies is shared with
other users and keeps its provenance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from barograph_server.grafana.client import Grafana, escape_segment
from barograph_server.provisioning.grafana.compare import Json, drop_empty, drop_keys, duration_s, normalize
from barograph_server.provisioning.grafana.resources import CurrentResource, Resource

_WRITABLE_PROVENANCES = frozenset({"", "api", None})
"""Provenances of objects that the API may overwrite."""
_REDACTED = "[REDACTED]"
_SECRET_SETTINGS = {
    "pagerduty": {"integrationKey"},
    "slack": {"url", "token"},
    "webhook": {"password", "authorization_credentials"},
}
"""Type of contact point → settings that Grafana never returns."""
_RULE_READ_ONLY = frozenset(
    {"id", "guid", "orgID", "folderUID", "ruleGroup", "updated", "updatedBy", "version", "provenance"}
)
_DURATIONS = frozenset({"for", "keep_firing_for", "group_wait", "group_interval", "repeat_interval"})


@dataclass(frozen=True, slots=True)
class ContactPoint(Resource):
    """One integration of a contact point."""

    siblings: tuple[Json, ...] = ()
    """Our other integrations of the same name."""

    kind: ClassVar[str] = "contact point"
    shows_values: ClassVar[bool] = False  # webhook URLs contain tokens

    @property
    def key(self) -> str:
        return str(self.desired.get("uid") or f"{self.name}/{self.desired['type']}")

    @property
    def name(self) -> str:
        return str(self.desired["name"])

    @property
    def label(self) -> str:
        return f"{self.kind} {self.name} ({self.desired['type']})"

    @property
    def secrets(self) -> Json:
        settings = self.desired.get("settings") or {}
        return {key: settings[key] for key in self._secret_settings if settings.get(key)}

    @property
    def _secret_settings(self) -> set[str]:
        return _SECRET_SETTINGS.get(self.desired["type"], set())

    def normalize_body(self, body: Json) -> Json:
        settings = {
            key: value
            for key, value in (body.get("settings") or {}).items()
            if key not in self._secret_settings and value != _REDACTED
        }
        return {
            "name": body["name"],
            "type": body["type"],
            "settings": normalize(settings),
            **drop_empty({"disableResolveMessage": body.get("disableResolveMessage")}),
        }

    def read(self, grafana: Grafana) -> CurrentResource | None:
        """Read the integration by uid, else by name and type, else any integration of its name that is not ours.

        The last belongs to someone else: writing beside it would send our alerts to its receiver and its alerts to
        ours.
        """
        named = grafana.read(f"read {self.label}", grafana.api.alertingprovisioning.get_contactpoints, self.name)
        ours = sorted(
            (body for body in named if body["name"] == self.name and not self._is_sibling(body)),
            key=lambda body: (body["uid"] != self.desired.get("uid"), body["type"] != self.desired["type"]),
        )
        return CurrentResource(ours[0], self.normalize_body(ours[0]), locked=_is_locked(ours[0])) if ours else None

    def _is_sibling(self, body: Json) -> bool:
        return any(
            body["uid"] == sibling["uid"] if sibling.get("uid") else body["type"] == sibling["type"]
            for sibling in self.siblings
        )

    def write(self, grafana: Grafana, current: CurrentResource | None) -> None:
        points, action = grafana.api.alertingprovisioning, f"write {self.label}"
        if current is None:
            grafana.write(action, points.create_contactpoint, self.desired)
        else:
            grafana.write(action, points.update_contactpoint, escape_segment(current.body["uid"]), self.desired)


class GrafanaMuteTiming(Resource):
    """A mute timing, by name: times without notifications."""

    kind = "mute timing"

    @property
    def key(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        return str(self.desired["name"])

    def normalize_body(self, body: Json) -> Json:
        return {"name": body["name"], "time_intervals": normalize(drop_empty(body.get("time_intervals") or []))}

    def read(self, grafana: Grafana) -> CurrentResource | None:
        body = grafana.find(
            f"read {self.label}", grafana.api.alertingprovisioning.get_mute_timing, escape_segment(self.name)
        )
        return None if body is None else CurrentResource(body, self.normalize_body(body), locked=_is_locked(body))

    def write(self, grafana: Grafana, current: CurrentResource | None) -> None:
        timings, action = grafana.api.alertingprovisioning, f"write {self.label}"
        if current is None:
            grafana.write(action, timings.create_mute_timing, self.desired)
            return
        version = drop_empty({"version": current.body.get("version")})
        grafana.write(action, timings.update_mute_timing, escape_segment(self.name), {**self.desired, **version})


class NotificationPolicy(Resource):
    """Our branch of the tree of notification policies; other branches are written back unchanged."""

    kind = "notification policy"

    @property
    def key(self) -> str:
        return "route"

    @property
    def name(self) -> str:
        return " ".join("".join(map(str, matcher)) for matcher in self.desired["object_matchers"])

    def normalize_body(self, body: Json) -> Json:
        content = _seconds(drop_empty(drop_keys(body, {"provenance"})))
        if "object_matchers" in content:
            content["object_matchers"] = sorted(content["object_matchers"])
        if "routes" in content:
            content["routes"] = [self.normalize_body(route) for route in content["routes"]]
        return content

    def read(self, grafana: Grafana) -> CurrentResource | None:
        tree = self._tree(grafana)
        position = self._find_route(tree)
        locked = _is_locked(tree)
        if position is None:
            # Our policy is missing; a tree from a file cannot take it.
            return CurrentResource(tree, {}, locked=True) if locked else None
        return CurrentResource(tree, self.normalize_body(tree["routes"][position]), locked=locked)

    def write(self, grafana: Grafana, current: CurrentResource | None) -> None:
        """Write the tree with our policy at its current position, or before all others if it is new.

        The tree is read again first, because it has no version by which Grafana could reject a stale write. A new
        policy goes first because a catch-all policy before it would take our notifications; ours matches only our own.
        """
        tree = self._tree(grafana)
        position = self._find_route(tree)
        routes = list(tree.get("routes") or [])
        if position is None:
            routes.insert(0, self.desired)
        else:
            routes[position] = self.desired
        grafana.write(
            f"write {self.label}",
            grafana.api.alertingprovisioning.set_notification_policy_tree,
            {**drop_keys(tree, {"provenance"}), "routes": routes},
            disable_provenance=not tree.get("provenance"),
        )

    def _tree(self, grafana: Grafana) -> Json:
        tree: Json = grafana.read(
            "read the notification policies", grafana.api.alertingprovisioning.get_notification_policy_tree
        )
        return tree

    def _find_route(self, tree: Json) -> int | None:
        ours = sorted(map(list, self.desired["object_matchers"]))
        for position, route in enumerate(tree.get("routes") or []):
            if sorted(map(list, route.get("object_matchers") or [])) == ours:
                return position
        return None


@dataclass(frozen=True, slots=True)
class RuleGroup(Resource):
    """A group of rules in our folder; a write deletes rules that are not in the body."""

    folder: str

    kind: ClassVar[str] = "rule group"

    @property
    def key(self) -> str:
        return self.name

    def normalize_body(self, body: Json) -> Json:
        return {"interval": body.get("interval"), "rules": [_rule(rule) for rule in body.get("rules") or []]}

    def read(self, grafana: Grafana) -> CurrentResource | None:
        groups = grafana.api.alertingprovisioning
        body = grafana.find(
            f"read {self.label}", groups.get_rule_group, escape_segment(self.folder), escape_segment(self.name)
        )
        if body is None or not body.get("rules"):
            return None
        return CurrentResource(body, self.normalize_body(body), locked=any(map(_is_locked, body["rules"])))

    def write(self, grafana: Grafana, current: CurrentResource | None) -> None:
        groups = grafana.api.alertingprovisioning
        body = {**self.desired, "folderUid": self.folder}
        grafana.write(
            f"write {self.label}",
            groups.update_rule_group,
            escape_segment(self.folder),
            escape_segment(self.name),
            body,
        )


def _rule(body: Json) -> Json:
    rule: Json = _seconds(drop_empty(drop_keys(body, _RULE_READ_ONLY | {"data"})))
    queries = [
        {**drop_empty(drop_keys(query, {"model"})), "model": normalize(query.get("model"))}
        for query in body.get("data") or []
    ]
    return {**rule, "data": queries}


def _seconds(body: Json) -> Json:
    """Convert the durations of a body to seconds; zero durations are dropped, as Grafana does."""
    converted = {key: duration_s(value) if key in _DURATIONS else value for key, value in body.items()}
    return {key: value for key, value in converted.items() if key not in _DURATIONS or value != 0}


def _is_locked(body: Json) -> bool:
    return body.get("provenance") not in _WRITABLE_PROVENANCES
