"""Writes created, changed and deleted objects to Grafana; the next apply completes an interrupted one.

Each write replaces a whole object, so it can be repeated. An object that somebody saved since it was read is not
overwritten if Grafana has versions of its kind: Grafana then rejects the write.
"""

from collections.abc import Sequence
from dataclasses import replace

from barograph_server.grafana.client import Grafana
from barograph_server.grafana.errors import GrafanaBusy, GrafanaError
from barograph_server.provisioning.grafana.alerting import RuleGroup
from barograph_server.provisioning.grafana.compare import differences
from barograph_server.provisioning.grafana.plan import (
    GrafanaChange,
    GrafanaPlan,
    check_permissions,
    digest,
    plan_grafana,
)
from barograph_server.provisioning.grafana.resources import CurrentResource, DataSource, Resource


def apply_grafana(grafana: Grafana, resources: Sequence[Resource], *, overwrite: bool = False) -> GrafanaPlan:
    """Deploy resources to Grafana and return the changes made; a second run writes nothing.

    Arguments are those of `plan_grafana`.

    Raises:
        GrafanaError: Grafana rejects a request, fails or does not answer; the text lists the objects that were written
            and those that were not.
    """
    plan = check_grafana(grafana, resources, overwrite=overwrite)
    return _Deployment(grafana, plan).run() if plan.written else plan


def check_grafana(grafana: Grafana, resources: Sequence[Resource], *, overwrite: bool = False) -> GrafanaPlan:
    """Plan `apply_grafana` and check its permissions without writing; arguments and errors are the same."""
    plan = plan_grafana(grafana, resources, overwrite=overwrite)
    if plan.written:
        check_permissions(grafana, DataSource.actions.union(*(change.resource.actions for change in plan.written)))
    return plan


class _Deployment:
    def __init__(self, grafana: Grafana, plan: GrafanaPlan) -> None:
        self._grafana = grafana
        self._plan = plan
        self._record = dict(plan.record)
        self._stored = plan.record
        self._done: list[str] = []
        self._notes: list[str] = []

    def run(self) -> GrafanaPlan:
        try:
            self._write_all()
        except KeyboardInterrupt as error:
            error.add_note(f"Interrupted. {self._unfinished()}")
            raise
        except GrafanaError as error:
            raise GrafanaError(f"{error} {self._unfinished()}") from error
        return replace(self._plan, record=self._record, notes=(*self._plan.notes, *self._notes))

    def _write_all(self) -> None:
        source, *others = self._plan.changes
        desired = {change.resource.id for change in self._plan.changes if change.mark != "-"}
        for change in self._plan.written:
            if change.mark != "-":
                self._record.setdefault(change.resource.id, "")
        # New ids are recorded before their objects exist: after an interruption they are known as ours.
        if source.mark:
            self._write(source)
        elif self._record.keys() != self._plan.record.keys():
            self._send(source.resource, source.current)
        # Rules may move from a group that is deleted to another, and no two groups may have the same rule.
        for change in sorted(others, key=lambda each: isinstance(each.resource, RuleGroup) and each.mark != "-"):
            if change.is_written:
                self._write(change)
        self._record = {name: digest for name, digest in self._record.items() if name in desired}
        if self._record != self._stored:
            self._send(source.resource, source.resource.read(self._grafana))

    def _write(self, change: GrafanaChange) -> None:
        """Create, change or delete one object, and record what Grafana stored."""
        resource = change.resource
        if change.mark == "-":
            self._grafana.find(f"delete {resource.label}", resource.path, method="DELETE")
            self._done.append(resource.label)
            return
        self._send(resource, change.current)
        self._done.append(resource.label)
        current = resource.read(self._grafana)
        if current is None:
            raise GrafanaError(f"Grafana accepted the {resource.label} but does not return it: check its log.")
        lost = [text for text in differences(current.content, resource.content) if not text.startswith("- ")]
        if lost:
            self._notes.append(f"{resource.label}: Grafana stored it differently than sent: {'; '.join(lost[:5])}")
        self._record[resource.id] = digest(resource, current, self._grafana.token)

    def _send(self, resource: Resource, current: CurrentResource | None) -> None:
        if isinstance(resource, DataSource):
            self._stored = dict(self._record)
            resource = resource.with_record(self._stored)
        for is_last in self._grafana.attempts():
            try:
                return resource.write(self._grafana, current)
            except GrafanaBusy:
                if is_last:
                    raise
            # The write may have succeeded, and an object must not be created twice.
            current = resource.read(self._grafana)

    def _unfinished(self) -> str:
        """List the objects written before the failure, and those not written."""
        missing = [change.resource.label for change in self._plan.written if change.resource.label not in self._done]
        written_text = (
            f"Written to Grafana: {', '.join(self._done)}." if self._done else "Nothing was written to Grafana."
        )
        rest = f" Not written: {', '.join(missing)}." if missing else ""
        return f"{written_text}{rest} `barograph apply` completes it."
