"""What Grafana has and what it is to have: new, changed, edited by hand, somebody else's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from cli.apply.grafana.alerting import ContactPoint, MuteTimingItem, RouteItem, RuleGroup
from cli.apply.grafana.bundle import Bundle
from cli.apply.grafana.checks import check_server
from cli.apply.grafana.client import Grafana
from cli.apply.grafana.compare import differences, fingerprint, holds, keyed_fingerprint
from cli.apply.grafana.errors import GrafanaError
from cli.apply.grafana.items import LEDGER_KEY, Dashboard, DataSource, Folder, GrafanaObject, Item
from cli.apply.grafana.ledger import Ledger, ledger_name, read_ledger


class State(Enum):
    """How an object in Grafana stands to ours."""

    NEW = "new"
    SAME = "same"
    CHANGED = "changed"
    """It is as we left it, and we want something else now."""
    EDITED = "edited"
    """Somebody changed it since we wrote it."""
    FOREIGN = "foreign"
    """It has our name and was never written by us."""
    LOCKED = "locked"
    """It differs and comes from a file, so that nobody can write it by the API."""


@dataclass(frozen=True, slots=True)
class ObjectDiff:
    """One object of the bundle and how it stands."""

    item: Item
    state: State
    found: GrafanaObject | None
    recorded: bool = False
    """Whether the ledger knows it as it is; of a new one, whether the ledger knows that it was there before."""

    def is_written(self, *, overwrite: bool) -> bool:
        """Whether `apply` writes it."""
        return self.state in (State.NEW, State.CHANGED) or (overwrite and self.state in (State.EDITED, State.FOREIGN))

    @property
    def differences(self) -> list[str]:
        """What makes ours of what was found; empty for a new one."""
        if self.found is None:
            return []
        lines = list(differences(self.found.content, self.item.content))
        if not self.item.shows_values:
            lines = [line.partition(": ")[0] for line in lines]
        return lines or (["~ secrets"] if self.state is State.CHANGED else [])


@dataclass(frozen=True, slots=True, kw_only=True)
class GrafanaPlan:
    """What is or was to be done in Grafana."""

    url: str
    findings: tuple[ObjectDiff, ...]
    ledger: Ledger
    overwrite: bool = False
    """Whether edits by hand and what is not ours are overwritten."""
    notes: tuple[str, ...] = ()
    """What is worth knowing and changes nothing."""

    @property
    def written(self) -> tuple[ObjectDiff, ...]:
        """What `apply` writes."""
        return tuple(finding for finding in self.findings if finding.is_written(overwrite=self.overwrite))

    @property
    def left(self) -> tuple[ObjectDiff, ...]:
        """What differs and is left as it is."""
        return tuple(
            finding
            for finding in self.findings
            if finding.state is not State.SAME and not finding.is_written(overwrite=self.overwrite)
        )

    @property
    def unrecorded(self) -> tuple[ObjectDiff, ...]:
        """What is as it should be and not in the ledger so, because an apply broke off, or the ledger is lost."""
        return tuple(finding for finding in self.findings if finding.state is State.SAME and not finding.recorded)

    @property
    def changes_nothing(self) -> bool:
        """Whether `apply` would write nothing."""
        return not (self.written or self.unrecorded)

    @property
    def is_empty(self) -> bool:
        """Whether everything is as it should be."""
        return self.changes_nothing and not self.left


def plan_grafana(grafana: Grafana, bundle: Bundle, *, overwrite: bool = False) -> GrafanaPlan:
    """Compare what Grafana has with a bundle; nothing is written.

    Args:
        grafana: a connection.
        bundle: what is to be there.
        overwrite: whether `apply` is to put ours in the place of what was edited by hand, or is not ours.

    Raises:
        GrafanaError: Grafana cannot be asked, is too old, lacks the plugin, or has a data source under our uid that
            is not ours to write.
    """
    check_server(grafana, bundle.data_source["type"])
    source = DataSource(bundle.data_source)
    ledger = stored_ledger(source.read(grafana))
    findings = tuple(judge(item, item.read(grafana), ledger, grafana.token) for item in items_of(bundle))
    _refuse_source(findings[0], overwrite=overwrite)
    has_folder = any(isinstance(finding.item, Folder) and finding.found is not None for finding in findings)
    notes = tuple(_others(grafana, bundle, ledger)) if has_folder else ()
    return GrafanaPlan(url=grafana.url, findings=findings, ledger=ledger, overwrite=overwrite, notes=notes)


def items_of(bundle: Bundle) -> Iterator[Item]:
    """The objects of a bundle in the order in which they rest on one another.

    The data source is the first: with it the ledger says what is about to be written, before anything else is.
    """
    yield DataSource(bundle.data_source)
    yield Folder({"uid": bundle.folder_uid, "title": bundle.folder_title})
    for point in bundle.contact_points:
        others = [other for other in bundle.contact_points if other is not point]
        yield ContactPoint(point, tuple(other for other in others if other["name"] == point["name"]))
    yield from map(MuteTimingItem, bundle.mute_timings)
    if bundle.route is not None:
        yield RouteItem(bundle.route)
    for dashboard in bundle.dashboards:
        yield Dashboard(dashboard, bundle.folder_uid)
    for group in bundle.rule_groups:
        yield RuleGroup(group, bundle.folder_uid)


def stored_ledger(source: GrafanaObject | None) -> Ledger:
    """The ledger that lies in our data source; an empty one where there is none."""
    return read_ledger((source.body.get("jsonData") or {}).get(LEDGER_KEY) if source is not None else None)


def sent_fingerprint(item: Item, token: str) -> str:
    """What is sent, as the ledger knows it; secrets are in it by a fingerprint that takes the token to try values."""
    secrets = keyed_fingerprint(item.secrets, token) if item.secrets else ""
    return fingerprint([item.content, secrets])


def judge(item: Item, found: GrafanaObject | None, ledger: Ledger, token: str) -> ObjectDiff:
    """Say how an object stands.

    What is in Grafana as a record knows it was written by us and not touched since. What is there just as we want it is
    as it should be, whoever wrote it. So is what holds all that we want and more, where we were about to write it or
    never did: Grafana may have added defaults of its own.
    """
    records = ledger.of(item.ledger_name)
    if found is None:
        return ObjectDiff(item, State.NEW, None, recorded=any(not record.open for record in records))
    sent, retained = sent_fingerprint(item, token), fingerprint(found.content)
    untouched = sorted((record for record in records if record.kept == retained), key=lambda record: record.open)
    if untouched:
        known = untouched[0]
        # Nobody can read whether secrets were written before an apply broke off.
        state = State.SAME if known.sent == sent and not (known.open and item.secrets) else State.CHANGED
        recorded = state is State.SAME and not known.open and len(records) == 1
    else:
        recorded = False
        expected = not records or any(record.open and record.sent == sent for record in records)
        if found.content == item.content or (expected and holds(found.content, item.content)):
            state = State.CHANGED if item.secrets else State.SAME
        else:
            state = State.EDITED if records else State.FOREIGN
    if found.locked and state is not State.SAME:
        state = State.LOCKED
    return ObjectDiff(item, state, found, recorded)


def _refuse_source(finding: ObjectDiff, *, overwrite: bool) -> None:
    """Refuse where the ledger cannot be written."""
    name = finding.item.name
    if finding.found is not None and finding.found.locked:
        raise GrafanaError(
            f"The data source {name} is in Grafana from a file, so that what was applied cannot be written down in it: "
            "take it out of Grafana's provisioning, or leave Grafana to its files with BAROGRAPH_GRAFANA_URL set to "
            "nothing."
        )
    if finding.state is State.FOREIGN and not overwrite:
        raise GrafanaError(
            f"Grafana has a data source with the uid {finding.item.key} that was not applied from here: look whose it "
            "is; `barograph apply --overwrite-grafana` takes it over."
        )


def _others(grafana: Grafana, bundle: Bundle, ledger: Ledger) -> Iterator[str]:
    """Say what is in our folder and not in the bundle."""
    ours = {item.ledger_name for item in items_of(bundle)}
    for name, title in _in_folder(grafana, bundle.folder_uid).items():
        if name in ours:
            continue
        kind = name.partition("/")[0]
        if ledger.of(name):
            yield f"{kind} {title} was applied before and is not asked for any more: delete it in Grafana."
        else:
            yield f"{kind} {title} in folder {bundle.folder_title} is not ours and is left alone."


def _in_folder(grafana: Grafana, folder: str) -> Mapping[str, str]:
    """Dashboards and rule groups of our folder: name in the ledger → title."""
    dashboards = grafana.read(
        "list its dashboards", grafana.api.search.search_dashboards, type_="dash-db", folder_uids=[folder]
    )
    rules = grafana.read("list its rules", grafana.api.alertingprovisioning.get_alertrules_all)
    groups = sorted({str(rule["ruleGroup"]) for rule in rules if rule.get("folderUID") == folder})
    result = {ledger_name(Dashboard.kind, str(entry["uid"])): str(entry["title"]) for entry in dashboards}
    return result | {ledger_name(RuleGroup.kind, group): group for group in groups}
