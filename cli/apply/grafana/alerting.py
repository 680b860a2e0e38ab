"""Alerting's objects: contact points, mute timings, our route of notifications, groups of rules.

All but the route are written with provenance `api`: Grafana then shows them as provisioned, and its pages refuse to
edit them, as with those that come from files: the contract is where they change. The tree of notification policies is
shared with others and keeps the provenance that it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cli.apply.grafana.client import Grafana, in_path
from cli.apply.grafana.compare import Json, duration_s, plain, without, without_empty
from cli.apply.grafana.items import GrafanaObject, Item

_OTHERS = frozenset({"", "api", None})
"""Provenances over which the API may write."""
_REDACTED = "[REDACTED]"
_SECRET_SETTINGS = {
    "pagerduty": {"integrationKey"},
    "slack": {"url", "token"},
    "webhook": {"password", "authorization_credentials"},
}
"""Type of contact point → settings that Grafana does not give back."""
_RULE_READ_ONLY = frozenset(
    {"id", "guid", "orgID", "folderUID", "ruleGroup", "updated", "updatedBy", "version", "provenance"}
)
_DURATIONS = frozenset({"for", "keep_firing_for", "group_wait", "group_interval", "repeat_interval"})


@dataclass(frozen=True, slots=True)
class ContactPoint(Item):
    """One integration of a contact point."""

    siblings: tuple[Json, ...] = ()
    """Our other integrations of the same name."""

    kind: ClassVar[str] = "contact point"
    shows_values: ClassVar[bool] = False  # addresses of webhooks hold tokens

    @property
    def key(self) -> str:
        return str(self.wanted.get("uid") or f"{self.name}/{self.wanted['type']}")

    @property
    def name(self) -> str:
        return str(self.wanted["name"])

    @property
    def label(self) -> str:
        return f"{self.kind} {self.name} ({self.wanted['type']})"

    @property
    def secrets(self) -> Json:
        settings = self.wanted.get("settings") or {}
        return {key: settings[key] for key in self._secret_settings if settings.get(key)}

    @property
    def _secret_settings(self) -> set[str]:
        return _SECRET_SETTINGS.get(self.wanted["type"], set())

    def compared(self, body: Json) -> Json:
        settings = {
            key: value
            for key, value in (body.get("settings") or {}).items()
            if key not in self._secret_settings and value != _REDACTED
        }
        return {
            "name": body["name"],
            "type": body["type"],
            "settings": plain(settings),
            **without_empty({"disableResolveMessage": body.get("disableResolveMessage")}),
        }

    def read(self, grafana: Grafana) -> GrafanaObject | None:
        """Ask for it by uid, else for one of its name and type, else for any of its name that is none of ours.

        The last is somebody else's: theirs would be told of our alerts, and theirs to us.
        """
        named = grafana.read(f"read {self.label}", grafana.api.alertingprovisioning.get_contactpoints, self.name)
        ours = sorted(
            (body for body in named if body["name"] == self.name and not self._is_siblings(body)),
            key=lambda body: (body["uid"] != self.wanted.get("uid"), body["type"] != self.wanted["type"]),
        )
        return GrafanaObject(ours[0], self.compared(ours[0]), locked=_locked(ours[0])) if ours else None

    def _is_siblings(self, body: Json) -> bool:
        return any(
            body["uid"] == sibling["uid"] if sibling.get("uid") else body["type"] == sibling["type"]
            for sibling in self.siblings
        )

    def write(self, grafana: Grafana, found: GrafanaObject | None) -> None:
        points, action = grafana.api.alertingprovisioning, f"write {self.label}"
        if found is None:
            grafana.write(action, points.create_contactpoint, self.wanted)
        else:
            grafana.write(action, points.update_contactpoint, in_path(found.body["uid"]), self.wanted)


class MuteTimingItem(Item):
    """Times in which nobody is told, by name."""

    kind = "mute timing"

    @property
    def key(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        return str(self.wanted["name"])

    def compared(self, body: Json) -> Json:
        return {"name": body["name"], "time_intervals": plain(without_empty(body.get("time_intervals") or []))}

    def read(self, grafana: Grafana) -> GrafanaObject | None:
        body = grafana.find(f"read {self.label}", grafana.api.alertingprovisioning.get_mute_timing, in_path(self.name))
        return None if body is None else GrafanaObject(body, self.compared(body), locked=_locked(body))

    def write(self, grafana: Grafana, found: GrafanaObject | None) -> None:
        timings, action = grafana.api.alertingprovisioning, f"write {self.label}"
        if found is None:
            grafana.write(action, timings.create_mute_timing, self.wanted)
            return
        version = without_empty({"version": found.body.get("version")})
        grafana.write(action, timings.update_mute_timing, in_path(self.name), {**self.wanted, **version})


class RouteItem(Item):
    """Our branch of the tree of notification policies; the others' are put back as they were found."""

    kind = "notification policy"

    @property
    def key(self) -> str:
        return "route"

    @property
    def name(self) -> str:
        return " ".join("".join(map(str, matcher)) for matcher in self.wanted["object_matchers"])

    def compared(self, body: Json) -> Json:
        content = _seconds(without_empty(without(body, {"provenance"})))
        if "object_matchers" in content:
            content["object_matchers"] = sorted(content["object_matchers"])
        if "routes" in content:
            content["routes"] = [self.compared(route) for route in content["routes"]]
        return content

    def read(self, grafana: Grafana) -> GrafanaObject | None:
        tree = self._tree(grafana)
        position = self._location_properties(tree)
        locked = _locked(tree)
        if position is None:
            # Nothing of ours is there; a tree from a file takes nothing of ours either.
            return GrafanaObject(tree, {}, locked=True) if locked else None
        return GrafanaObject(tree, self.compared(tree["routes"][position]), locked=locked)

    def write(self, grafana: Grafana, found: GrafanaObject | None) -> None:
        """Put the tree back with our route in it: in its old place, or before all others.

        The tree is read again, since it has no version that would be refused. Before others, because a route that
        catches everything would keep our notifications; ours matches none but our own.
        """
        tree = self._tree(grafana)
        position = self._location_properties(tree)
        routes = list(tree.get("routes") or [])
        if position is None:
            routes.insert(0, self.wanted)
        else:
            routes[position] = self.wanted
        grafana.write(
            f"write {self.label}",
            grafana.api.alertingprovisioning.set_notification_policy_tree,
            {**without(tree, {"provenance"}), "routes": routes},
            disable_provenance=not tree.get("provenance"),
        )

    def _tree(self, grafana: Grafana) -> Json:
        tree: Json = grafana.read(
            "read the notification policies", grafana.api.alertingprovisioning.get_notification_policy_tree
        )
        return tree

    def _location_properties(self, tree: Json) -> int | None:
        ours = sorted(map(list, self.wanted["object_matchers"]))
        for position, route in enumerate(tree.get("routes") or []):
            if sorted(map(list, route.get("object_matchers") or [])) == ours:
                return position
        return None


@dataclass(frozen=True, slots=True)
class RuleGroup(Item):
    """A group of rules in our folder; what is in it and not wanted goes."""

    folder: str

    kind: ClassVar[str] = "rule group"

    @property
    def key(self) -> str:
        return self.name

    def compared(self, body: Json) -> Json:
        return {"interval": body.get("interval"), "rules": [_rule(rule) for rule in body.get("rules") or []]}

    def read(self, grafana: Grafana) -> GrafanaObject | None:
        groups = grafana.api.alertingprovisioning
        body = grafana.find(f"read {self.label}", groups.get_rule_group, in_path(self.folder), in_path(self.name))
        if body is None or not body.get("rules"):
            return None
        return GrafanaObject(body, self.compared(body), locked=any(map(_locked, body["rules"])))

    def write(self, grafana: Grafana, found: GrafanaObject | None) -> None:
        groups = grafana.api.alertingprovisioning
        body = {**self.wanted, "folderUid": self.folder}
        grafana.write(f"write {self.label}", groups.update_rule_group, in_path(self.folder), in_path(self.name), body)


def _rule(body: Json) -> Json:
    rule: Json = _seconds(without_empty(without(body, _RULE_READ_ONLY | {"data"})))
    queries = [
        {**without_empty(without(query, {"model"})), "model": plain(query.get("model"))}
        for query in body.get("data") or []
    ]
    return {**rule, "data": queries}


def _seconds(body: Json) -> Json:
    """A body whose durations are seconds; those of none are left out, as Grafana leaves them out."""
    read = {key: duration_s(value) if key in _DURATIONS else value for key, value in body.items()}
    return {key: value for key, value in read.items() if key not in _DURATIONS or value != 0}


def _locked(body: Json) -> bool:
    return body.get("provenance") not in _OTHERS
