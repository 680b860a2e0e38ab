"""Alerting resources: contact points, mute timings, our notification policy, rule groups.

All but the policy are written with provenance `api`. Grafana then shows them as provisioned and its UI rejects edits,
as it does for resources from files: change the contract instead. The tree of notification policies is shared with
other users and keeps its provenance.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from barograph_server.grafana.client import Grafana, escape_segment
from barograph_server.provisioning.grafana.compare import Json, drop_empty, drop_keys, duration_s
from barograph_server.provisioning.grafana.resources import CurrentResource, Resource, is_locked

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
_NOTIFICATION_ACTIONS = frozenset({"alert.notifications.provisioning:write"})


@dataclass(frozen=True, slots=True)
class ContactPoint(Resource):
    """One integration of a contact point."""

    siblings: frozenset[str] = frozenset()
    """The uids of our other integrations."""

    kind: ClassVar[str] = "contact point"
    collection: ClassVar[str] = "/v1/provisioning/contact-points"
    actions: ClassVar[frozenset[str]] = _NOTIFICATION_ACTIONS
    shows_values: ClassVar[bool] = False  # webhook URLs contain tokens

    @property
    def path(self) -> str:
        return f"{self.collection}/{escape_segment(self.key)}"

    @property
    def label(self) -> str:
        return f"{self.kind} {self.name} ({self.desired['type']})"

    @property
    def secrets(self) -> Json:
        names = _SECRET_SETTINGS.get(self.desired["type"], set())
        return {key: value for key, value in self.desired["settings"].items() if key in names and value}

    def normalize(self, body: Json) -> Json:
        hidden = _SECRET_SETTINGS.get(self.desired["type"], set())
        settings = {
            key: value
            for key, value in (body.get("settings") or {}).items()
            if key not in hidden and value != _REDACTED
        }
        return {
            "name": body["name"],
            "type": body["type"],
            "settings": settings,
            **drop_empty({"disableResolveMessage": body.get("disableResolveMessage")}),
        }

    def read(self, grafana: Grafana) -> CurrentResource | None:
        """Read the integration by uid, else any integration of its name that is not ours.

        The latter belongs to someone else: writing beside it would send our alerts to its receiver and its alerts to
        ours.
        """
        named = grafana.read(f"read {self.label}", self.collection, {"name": self.name})
        others = [body for body in named if body["name"] == self.name and body["uid"] not in self.siblings]
        body = min(others, key=lambda body: body["uid"] != self.key, default=None)
        return None if body is None else self.parse(body)

    def write(self, grafana: Grafana, current: CurrentResource | None) -> None:
        """Keep the uid of an integration that belonged to someone else."""
        uid = self.key if current is None else current.body["uid"]
        Resource.write(replace(self, desired={**self.desired, "uid": uid}), grafana, current)


class GrafanaMuteTiming(Resource):
    """A mute timing, by name: times without notifications."""

    kind = "mute timing"
    collection = "/v1/provisioning/mute-timings"
    actions = _NOTIFICATION_ACTIONS

    @property
    def path(self) -> str:
        return f"{self.collection}/{escape_segment(self.name)}"

    def normalize(self, body: Json) -> Json:
        return {"name": body["name"], "time_intervals": drop_empty(body.get("time_intervals") or [])}


class NotificationPolicy(Resource):
    """Our branch of the tree of notification policies; other branches are written back unchanged."""

    kind = "notification policy"
    actions = _NOTIFICATION_ACTIONS
    path = "/v1/provisioning/policies"

    @property
    def key(self) -> str:
        return "route"

    @property
    def name(self) -> str:
        return " ".join("".join(map(str, matcher)) for matcher in self.desired["object_matchers"])

    def normalize(self, body: Json) -> Json:
        content = _seconds(drop_empty(drop_keys(body, {"provenance"})))
        if "object_matchers" in content:
            content["object_matchers"] = sorted(content["object_matchers"])
        if "routes" in content:
            content["routes"] = [self.normalize(route) for route in content["routes"]]
        return content

    def read(self, grafana: Grafana) -> CurrentResource | None:
        tree = grafana.read("read the notification policies", self.path)
        position = self._find_route(tree)
        if position is not None:
            return CurrentResource(tree, self.normalize(tree["routes"][position]), locked=is_locked(tree))
        # A tree from a file cannot take our policy.
        return CurrentResource(tree, {}, locked=True) if is_locked(tree) else None

    def write(self, grafana: Grafana, current: CurrentResource | None) -> None:
        """Write the tree with our policy at its current position, or before all others if it is new.

        The tree is read again first, because it has no version by which Grafana could reject a stale write. A new
        policy goes first because a catch-all policy before it would take our notifications; ours matches only our own.
        """
        tree = grafana.read("read the notification policies", self.path)
        position = self._find_route(tree)
        routes = list(tree.get("routes") or [])
        if position is None:
            routes.insert(0, self.desired)
        else:
            routes[position] = self.desired
        body = {**drop_keys(tree, {"provenance"}), "routes": routes}
        headers = {} if tree.get("provenance") else {"X-Disable-Provenance": "true"}
        grafana.write(f"write {self.label}", "PUT", self.path, body, headers)

    def _find_route(self, tree: Json) -> int | None:
        ours = sorted(map(list, self.desired["object_matchers"]))
        for position, route in enumerate(tree.get("routes") or []):
            if sorted(map(list, route.get("object_matchers") or [])) == ours:
                return position
        return None


class RuleGroup(Resource):
    """A group of rules in our folder; a write deletes rules that are not in the body."""

    kind = "rule group"
    actions = frozenset({"alert.rules.provisioning:write"})

    @property
    def path(self) -> str:
        return f"/v1/provisioning/folder/{escape_segment(self.folder)}/rule-groups/{escape_segment(self.name)}"

    def normalize(self, body: Json) -> Json:
        return {"interval": body.get("interval"), "rules": [_rule(rule) for rule in body.get("rules") or []]}

    def parse(self, body: Json) -> CurrentResource:
        return CurrentResource(body, self.normalize(body), locked=any(map(is_locked, body["rules"])))

    def read(self, grafana: Grafana) -> CurrentResource | None:
        body = grafana.find(f"read {self.label}", self.path)
        return self.parse(body) if body is not None and body.get("rules") else None


def _rule(body: Json) -> Json:
    rule = _seconds(drop_empty(drop_keys(body, _RULE_READ_ONLY | {"data"})))
    queries = [
        {**drop_empty(drop_keys(query, {"model"})), "model": query.get("model")} for query in body.get("data") or []
    ]
    return {**rule, "data": queries}


def _seconds(body: Json) -> Json:
    """Convert the durations of a body to seconds; zero durations are dropped, as Grafana does."""
    converted = {key: duration_s(value) if key in _DURATIONS else value for key, value in body.items()}
    return {key: value for key, value in converted.items() if key not in _DURATIONS or value != 0}
