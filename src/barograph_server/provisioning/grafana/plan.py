"""Plan of changes in Grafana: which resources `apply` creates, changes, deletes or skips, and why.

Our data source stores a record of the applied resources: their ids, each with a digest of what was sent and of what
Grafana made of it. Resources that are not in the record belong to somebody else. The digest tells a default that
Grafana adds from an edit, and notices a changed secret, which cannot be read back.
"""

import hmac
import json
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Literal

from barograph_server.grafana.client import Grafana, escape_segment
from barograph_server.grafana.errors import GrafanaError
from barograph_server.provisioning.grafana.alerting import RuleGroup
from barograph_server.provisioning.grafana.compare import differences
from barograph_server.provisioning.grafana.resources import RECORD_KEY, CurrentResource, Dashboard, Folder, Resource

Record = Mapping[str, str]
"""Id of each applied resource → its `digest`; empty while `apply` writes it."""
_ADDRESS = ("host", "port", "defaultDatabase")


@dataclass(frozen=True, slots=True)
class GrafanaChange:
    """One resource, and what `apply` does with it."""

    resource: Resource
    current: CurrentResource | None
    mark: Literal["+", "~", "-", "!", ""]
    """Created, changed, deleted, skipped, or up to date."""
    reason: str = ""
    """The end of the line about it."""

    @property
    def is_written(self) -> bool:
        """Whether `apply` creates, changes or deletes it."""
        return self.mark in ("+", "~", "-")

    @property
    def differences(self) -> list[str]:
        """The changes from the current to the desired resource, if both exist."""
        if self.current is None:
            return []
        lines = list(differences(self.current.content, self.resource.content))
        if not self.resource.shows_values:
            lines = [line.partition(": ")[0] for line in lines]
        return lines or (["~ secrets"] if self.resource.secrets else [])


@dataclass(frozen=True, slots=True, kw_only=True)
class GrafanaPlan:
    changes: tuple[GrafanaChange, ...]
    """All resources, also those that are up to date, in the order of writes."""
    record: Record
    notes: tuple[str, ...] = ()
    """Messages that require no change."""

    @property
    def written(self) -> tuple[GrafanaChange, ...]:
        """The resources that `apply` creates, changes or deletes."""
        return tuple(change for change in self.changes if change.is_written)

    @property
    def skipped(self) -> tuple[GrafanaChange, ...]:
        """The resources that differ and that `apply` must not write."""
        return tuple(change for change in self.changes if change.mark == "!")

    @property
    def is_empty(self) -> bool:
        return not (self.written or self.skipped)


def plan_grafana(grafana: Grafana, resources: Sequence[Resource], *, overwrite: bool = False) -> GrafanaPlan:
    """Compare Grafana with the desired resources without writing.

    Args:
        overwrite: whether `apply` overwrites resources that were not applied from here.

    Raises:
        GrafanaError: Grafana cannot be queried, is too old, lacks the plugin, or has a data source with our uid that
            must not be written.
    """
    check_server(grafana, resources[0].desired["type"])
    current = [resource.read(grafana) for resource in resources]
    record = read_record(current[0])
    changes = [
        classify(resource, each, record, grafana.token, overwrite=overwrite)
        for resource, each in zip(resources, current, strict=True)
    ]
    _check_data_source(changes[0], overwrite=overwrite)
    ids, notes = {resource.id for resource in resources}, []
    stored = (change.resource for change in changes if change.current is not None)
    folders = {resource.key: resource.name for resource in stored if isinstance(resource, Folder)}
    for resource in _in_folders(grafana, folders) if folders else ():
        if resource.id in ids:
            continue
        if resource.id in record:
            changes.append(GrafanaChange(resource, None, "-", ", which is no longer in the contracts"))
        else:
            notes.append(
                f"{resource.label} in folder {folders[resource.folder]} was not applied from here and stays unchanged."
            )
    return GrafanaPlan(changes=tuple(changes), record=record, notes=tuple(notes))


def read_record(source: CurrentResource | None) -> Record:
    """Return the record that our data source stores; an empty one if it has none."""
    stored = (source.body.get("jsonData") or {}).get(RECORD_KEY) if source is not None else None
    return {name: str(digest) for name, digest in stored.items()} if isinstance(stored, Mapping) else {}


def digest(resource: Resource, current: CurrentResource, token: str) -> str:
    """Hash what is sent and what Grafana stores, under the token: nobody without it can test guesses of a secret."""
    content = json.dumps([resource.content, resource.secrets, current.content], sort_keys=True)
    return hmac.new(token.encode(), content.encode(), "sha256").hexdigest()[:16]


def classify(
    resource: Resource, current: CurrentResource | None, record: Record, token: str, *, overwrite: bool = False
) -> GrafanaChange:
    recorded = record.get(resource.id)
    if current is None:
        return GrafanaChange(resource, None, "+", ", which someone deleted" if recorded else "")
    lines = list(differences(current.content, resource.content))
    if recorded == digest(resource, current, token):
        return GrafanaChange(resource, current, "")
    if not (lines or resource.secrets) and (recorded is not None or current.locked):
        return GrafanaChange(resource, current, "")
    if current.locked:
        reason = " is provisioned from a file and differs; remove it from Grafana's provisioning"
        return GrafanaChange(resource, current, "!", reason)
    editor = f" ({current.editor})" if current.editor else ""
    # Without a record, what Grafana adds to a resource looks like an edit.
    if recorded is None and not all(line.startswith("- ") for line in lines):
        if not overwrite:
            reason = f" exists and was not applied from here{editor}; --overwrite-grafana takes it over"
            return GrafanaChange(resource, current, "!", reason)
        return GrafanaChange(resource, current, "~", f", overwriting an object that was not applied from here{editor}")
    if recorded is None:
        return GrafanaChange(resource, current, "~", ", whose record is missing")
    return GrafanaChange(resource, current, "~", f", last changed {current.editor}" if current.editor else "")


def _check_data_source(change: GrafanaChange, *, overwrite: bool) -> None:
    """Check that the data source, which stores the record, can be written and is not of another installation."""
    name, current = change.resource.name, change.current
    if current is None:
        return
    if current.locked:
        raise GrafanaError(
            f"The data source {name} is provisioned from a file, so the record of applied objects cannot be stored in "
            "it: remove it from Grafana's provisioning, or set BAROGRAPH_GRAFANA_URL to an empty value to keep the "
            "files."
        )
    if overwrite:
        return
    if change.mark == "!":
        raise GrafanaError(
            f"Grafana has a data source with the uid {change.resource.key} that was not applied from here: check who "
            "owns it. `barograph apply --overwrite-grafana` takes it over."
        )
    stored, desired = current.content["jsonData"], change.resource.content["jsonData"]
    moved = [line for line in differences(stored, desired) if line[2:].partition(":")[0] in _ADDRESS]
    if moved:
        raise GrafanaError(
            f"The data source {name} in Grafana reads another ClickHouse ({'; '.join(moved)}): check whether another "
            "installation uses it. `barograph apply --overwrite-grafana` changes it."
        )


def _in_folders(grafana: Grafana, folders: Mapping[str, str]) -> Iterator[Resource]:
    query = {"type": "dash-db", "folderUIDs": list(folders)}
    boards = grafana.read("list its dashboards", "/search", query)
    for board in boards:
        yield Dashboard({"uid": str(board["uid"]), "title": str(board["title"])}, str(board["folderUid"]))
    rules = grafana.read("list its rules", "/v1/provisioning/alert-rules")
    for folder, group in sorted({(str(rule.get("folderUID")), str(rule["ruleGroup"])) for rule in rules}):
        if folder in folders:
            yield RuleGroup({"title": group}, folder)


MIN_GRAFANA = (13, 0)
"""Minimum version of Grafana; older ones silently drop keys of our rules and dashboards."""
MIN_PLUGIN = (4, 20, 0)
"""Minimum version of the plugin; queries use its macros."""
_PROVISIONING = frozenset({"alert.rules.provisioning:write", "alert.notifications.provisioning:write"})
"""What `alert.provisioning:write` includes."""


def check_server(grafana: Grafana, plugin: str) -> None:
    """Check that Grafana can store and show the resources.

    Raises:
        GrafanaError: the server is not Grafana, is too old, is unhealthy, rejects the token, or lacks the plugin.
    """
    health = grafana.read("check its health", "/health")
    if not isinstance(health, dict) or "database" not in health:
        raise GrafanaError(
            f"The server at {grafana.url} is not Grafana: set grafana.url to the URL of Grafana, including its path."
        )
    version = str(health.get("version") or "")
    # Grafana can be configured to hide its version from anonymous users; an incompatible call then fails by itself.
    if _is_below(version, MIN_GRAFANA):
        raise GrafanaError(
            f"Grafana at {grafana.url} has version {version}, but dashboards and rules need {MIN_GRAFANA[0]} or later: "
            "older versions drop unknown keys. Upgrade it, or set BAROGRAPH_GRAFANA_URL to an empty value to skip "
            "Grafana."
        )
    required = ".".join(map(str, MIN_PLUGIN))
    result = grafana.find("read the plugin", f"/plugins/{escape_segment(plugin)}/settings")
    if result is None:
        raise GrafanaError(
            f"Grafana at {grafana.url} lacks the plugin {plugin}: install {required} or later "
            f"(GF_PLUGINS_PREINSTALL_SYNC={plugin}@{required}, or Administration, Plugins), then run the command again."
        )
    installed = str((result.get("info") or {}).get("version") or "")
    if _is_below(installed, MIN_PLUGIN):
        raise GrafanaError(
            f"Grafana at {grafana.url} has the plugin {plugin} {installed}, but the queries need {required} or later: "
            "update it (Administration, Plugins)."
        )


def check_permissions(grafana: Grafana, actions: Set[str]) -> None:
    """Check before the first write that the token has these permissions.

    A Grafana without this endpoint is assumed to grant all permissions; its API rejects each write otherwise.

    Raises:
        GrafanaError: a permission is missing.
    """
    granted = grafana.find("read the token's permissions", "/access-control/user/permissions")
    if granted is None:
        return
    missing = actions - granted.keys() - (_PROVISIONING if "alert.provisioning:write" in granted else set())
    if missing:
        raise GrafanaError(
            f"The token can read Grafana at {grafana.url} but not write all resources; it lacks "
            f"{', '.join(sorted(missing))}. Grant its service account the role Admin, or the permissions listed in "
            "docs/security.md. Nothing was written to Grafana."
        )


def _is_below(version: str, minimum: tuple[int, ...]) -> bool:
    """Whether a version (`13.2.3`, `13.3.0-pre`) is too old; a version without numbers is assumed to be new."""
    result = re.match(r"v?(\d+(?:\.\d+)*)", version)
    return result is not None and tuple(map(int, result[1].split("."))) < minimum
