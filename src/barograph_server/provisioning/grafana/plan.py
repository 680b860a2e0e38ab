"""Plan of changes in Grafana: the state of each resource and whether `apply` writes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from barograph_server.grafana.client import Grafana
from barograph_server.grafana.errors import GrafanaError
from barograph_server.provisioning.grafana.alerting import (
    ContactPoint,
    GrafanaMuteTiming,
    NotificationPolicy,
    RuleGroup,
)
from barograph_server.provisioning.grafana.bundle import Bundle
from barograph_server.provisioning.grafana.checks import check_server
from barograph_server.provisioning.grafana.compare import contains, differences, fingerprint, keyed_fingerprint
from barograph_server.provisioning.grafana.ledger import Ledger, ledger_name, read_ledger
from barograph_server.provisioning.grafana.resources import (
    LEDGER_KEY,
    CurrentResource,
    Dashboard,
    DataSource,
    Folder,
    Resource,
)


class ResourceState(Enum):
    """State of a resource in Grafana, compared with the desired one."""

    NEW = "new"
    SAME = "same"
    CHANGED = "changed"
    """It is unchanged since the last apply, and the desired resource differs."""
    EDITED = "edited"
    """Someone changed it since the last apply."""
    FOREIGN = "foreign"
    """It has our identifier and was never applied from here."""
    LOCKED = "locked"
    """It differs and comes from a file, which the API cannot overwrite."""


@dataclass(frozen=True, slots=True)
class PlannedResource:
    """One resource of the bundle and its state in Grafana."""

    resource: Resource
    state: ResourceState
    current: CurrentResource | None
    recorded: bool = False
    """Whether the ledger matches the current resource; of a new one, whether an apply has created it before."""

    def is_written(self, *, overwrite: bool) -> bool:
        """Whether `apply` writes it."""
        return self.state in (ResourceState.NEW, ResourceState.CHANGED) or (
            overwrite and self.state in (ResourceState.EDITED, ResourceState.FOREIGN)
        )

    @property
    def differences(self) -> list[str]:
        """The changes from the current to the desired resource; empty for a new one."""
        if self.current is None:
            return []
        lines = list(differences(self.current.content, self.resource.content))
        if not self.resource.shows_values:
            lines = [line.partition(": ")[0] for line in lines]
        return lines or (["~ secrets"] if self.state is ResourceState.CHANGED else [])


@dataclass(frozen=True, slots=True, kw_only=True)
class GrafanaPlan:
    """The changes in Grafana, planned or made."""

    url: str
    resources: tuple[PlannedResource, ...]
    ledger: Ledger
    overwrite: bool = False
    """Whether resources that were edited by hand or not applied from here are overwritten."""
    notes: tuple[str, ...] = ()
    """Messages that require no change."""

    @property
    def written(self) -> tuple[PlannedResource, ...]:
        """The resources that `apply` writes."""
        return tuple(planned for planned in self.resources if planned.is_written(overwrite=self.overwrite))

    @property
    def skipped(self) -> tuple[PlannedResource, ...]:
        """The resources that differ and that `apply` does not write."""
        return tuple(
            planned
            for planned in self.resources
            if planned.state is not ResourceState.SAME and not planned.is_written(overwrite=self.overwrite)
        )

    @property
    def unrecorded(self) -> tuple[PlannedResource, ...]:
        """Up-to-date resources that the ledger lacks, because an apply was interrupted or the ledger was lost."""
        return tuple(
            planned for planned in self.resources if planned.state is ResourceState.SAME and not planned.recorded
        )

    @property
    def changes_nothing(self) -> bool:
        """Whether `apply` would write nothing."""
        return not (self.written or self.unrecorded)

    @property
    def is_empty(self) -> bool:
        """Whether Grafana is up to date."""
        return self.changes_nothing and not self.skipped


def plan_grafana(grafana: Grafana, bundle: Bundle, *, overwrite: bool = False) -> GrafanaPlan:
    """Compare Grafana with a bundle without writing.

    Args:
        grafana: a connection.
        bundle: the desired resources.
        overwrite: whether `apply` overwrites resources that were edited by hand or not applied from here.

    Raises:
        GrafanaError: Grafana cannot be queried, is too old, lacks the plugin, or has a data source with our uid that
            must not be written.
    """
    check_server(grafana, bundle.data_source["type"])
    source = DataSource(bundle.data_source)
    ledger = read_stored_ledger(source.read(grafana))
    resources = tuple(
        classify(resource, resource.read(grafana), ledger, grafana.token) for resource in list_resources(bundle)
    )
    _check_data_source(resources[0], overwrite=overwrite)
    has_folder = any(isinstance(planned.resource, Folder) and planned.current is not None for planned in resources)
    notes = tuple(_unmanaged_notes(grafana, bundle, ledger)) if has_folder else ()
    return GrafanaPlan(url=grafana.url, resources=resources, ledger=ledger, overwrite=overwrite, notes=notes)


def list_resources(bundle: Bundle) -> Iterator[Resource]:
    """Yield the resources of a bundle in order of dependency.

    The data source comes first because it stores the ledger, which must announce the other writes.
    """
    yield DataSource(bundle.data_source)
    for uid, title in _folders(bundle).items():
        yield Folder({"uid": uid, "title": title})
    for point in bundle.contact_points:
        others = [other for other in bundle.contact_points if other is not point]
        yield ContactPoint(point, tuple(other for other in others if other["name"] == point["name"]))
    yield from map(GrafanaMuteTiming, bundle.mute_timings)
    if bundle.route is not None:
        yield NotificationPolicy(bundle.route)
    for dashboard in bundle.dashboards:
        yield Dashboard(dashboard, bundle.folder_uid)
    for group in bundle.rule_groups:
        yield RuleGroup(group, bundle.alerts_folder_uid)


def _folders(bundle: Bundle) -> dict[str, str]:
    return {bundle.folder_uid: bundle.folder_title, bundle.alerts_folder_uid: bundle.alerts_folder_title}


def read_stored_ledger(source: CurrentResource | None) -> Ledger:
    """Return the ledger stored in our data source; an empty one if there is none."""
    return read_ledger((source.body.get("jsonData") or {}).get(LEDGER_KEY) if source is not None else None)


def sent_fingerprint(resource: Resource, token: str) -> str:
    """Fingerprint of the body sent; it covers secrets by a fingerprint keyed with the token."""
    secrets = keyed_fingerprint(resource.secrets, token) if resource.secrets else ""
    return fingerprint([resource.content, secrets])


def classify(resource: Resource, current: CurrentResource | None, ledger: Ledger, token: str) -> PlannedResource:
    """Determine the state of a resource.

    A resource that matches a record was applied from here and is unchanged since. A resource that equals the desired
    one is up to date, no matter who wrote it. So is one that contains the desired one and more, if a write of it is
    pending or it was never applied: Grafana may have added defaults.
    """
    records = ledger.records_of(resource.ledger_name)
    if current is None:
        return PlannedResource(
            resource, ResourceState.NEW, None, recorded=any(not record.pending for record in records)
        )
    sent, stored = sent_fingerprint(resource, token), fingerprint(current.content)
    matches = sorted((record for record in records if record.stored == stored), key=lambda record: record.pending)
    if matches:
        match = matches[0]
        # Secrets cannot be read back, so a pending record does not prove that they were written.
        is_same = match.sent == sent and not (match.pending and resource.secrets)
        state = ResourceState.SAME if is_same else ResourceState.CHANGED
        recorded = is_same and not match.pending and len(records) == 1
    else:
        recorded = False
        may_have_defaults = not records or any(record.pending and record.sent == sent for record in records)
        if current.content == resource.content or (may_have_defaults and contains(current.content, resource.content)):
            state = ResourceState.CHANGED if resource.secrets else ResourceState.SAME
        else:
            state = ResourceState.EDITED if records else ResourceState.FOREIGN
    if current.locked and state is not ResourceState.SAME:
        state = ResourceState.LOCKED
    return PlannedResource(resource, state, current, recorded)


def _check_data_source(planned: PlannedResource, *, overwrite: bool) -> None:
    """Check that the data source, which stores the ledger, can be written."""
    name = planned.resource.name
    if planned.current is not None and planned.current.locked:
        raise GrafanaError(
            f"The data source {name} is provisioned from a file, so the ledger of applied objects cannot be stored in "
            "it: remove it from Grafana's provisioning, or set BAROGRAPH_GRAFANA_URL to an empty value to keep the "
            "files."
        )
    if planned.state is ResourceState.FOREIGN and not overwrite:
        raise GrafanaError(
            f"Grafana has a data source with the uid {planned.resource.key} that was not applied from here: check who "
            "owns it. `barograph apply --overwrite-grafana` takes it over."
        )


def _unmanaged_notes(grafana: Grafana, bundle: Bundle, ledger: Ledger) -> Iterator[str]:
    """Describe the contents of our folders that are not in the bundle."""
    ours = {resource.ledger_name for resource in list_resources(bundle)}
    for name, (title, folder) in _in_folders(grafana, _folders(bundle)).items():
        if name in ours:
            continue
        kind = name.partition("/")[0]
        if ledger.records_of(name):
            yield f"{kind} {title} was applied before and is no longer in the contracts: delete it in Grafana."
        else:
            yield f"{kind} {title} in folder {folder} was not applied from here and stays unchanged."


def _in_folders(grafana: Grafana, folders: Mapping[str, str]) -> Mapping[str, tuple[str, str]]:
    """Read the dashboards and rule groups of folders: name in the ledger → its title and that of its folder."""
    dashboards = grafana.read(
        "list its dashboards", grafana.api.search.search_dashboards, type_="dash-db", folder_uids=list(folders)
    )
    rules = grafana.read("list its rules", grafana.api.alertingprovisioning.get_alertrules_all)
    groups = sorted({(str(rule["ruleGroup"]), str(rule.get("folderUID"))) for rule in rules})
    result = {
        ledger_name(Dashboard.kind, str(entry["uid"])): (str(entry["title"]), folders[str(entry["folderUid"])])
        for entry in dashboards
    }
    return result | {
        ledger_name(RuleGroup.kind, group): (group, folders[uid]) for group, uid in groups if uid in folders
    }
