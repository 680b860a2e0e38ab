"""Writes missing and changed objects to Grafana; the next apply completes an interrupted one.

Objects are written in order of dependency: data source, folder, contact points, mute timings, policies, dashboards,
rules. Each is read again just before and once more after its write. An object that someone changed in between is
skipped, and a difference between the sent and the stored object is reported.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace

from barograph_server.grafana.client import Grafana
from barograph_server.grafana.errors import GrafanaBusy, GrafanaConflict, GrafanaError
from barograph_server.provisioning.grafana.bundle import Bundle
from barograph_server.provisioning.grafana.checks import check_permissions
from barograph_server.provisioning.grafana.compare import differences, fingerprint
from barograph_server.provisioning.grafana.plan import (
    GrafanaPlan,
    ResourceState,
    classify,
    plan_grafana,
    read_stored_ledger,
    sent_fingerprint,
)
from barograph_server.provisioning.grafana.resources import DataSource, Resource


def apply_grafana(grafana: Grafana, bundle: Bundle, *, overwrite: bool = False) -> GrafanaPlan:
    """Deploy a bundle to Grafana and return the changes made; a second run writes nothing.

    Args:
        grafana: a connection.
        bundle: the desired resources.
        overwrite: whether to overwrite objects that were edited by hand or not applied from here.

    Raises:
        GrafanaError: Grafana rejects a request, fails or does not answer; the text lists the objects that were written
            and those that were not.
    """
    plan = check_grafana(grafana, bundle, overwrite=overwrite)
    return plan if plan.changes_nothing else _Deployment(grafana, plan).run()


def check_grafana(grafana: Grafana, bundle: Bundle, *, overwrite: bool = False) -> GrafanaPlan:
    """Plan `apply_grafana` and check its permissions without writing; arguments and errors are the same."""
    plan = plan_grafana(grafana, bundle, overwrite=overwrite)
    if not plan.changes_nothing:
        check_permissions(grafana, {planned.resource.kind for planned in plan.written} | {DataSource.kind})
    return plan


class _Deployment:
    """One apply: its progress and its ledger."""

    def __init__(self, grafana: Grafana, plan: GrafanaPlan) -> None:
        self._grafana = grafana
        self._plan = plan
        self._ledger = plan.ledger
        self._planned = {planned.resource.ledger_name: planned for planned in plan.resources}
        self._source = next(resource for resource in self._resources() if isinstance(resource, DataSource))
        self._ledger_written = False
        """Whether the ledger in Grafana has the pending records of this apply."""
        self._done: list[str] = []
        self._notes: list[str] = []

    def run(self) -> GrafanaPlan:
        """Write everything and return the changes made."""
        try:
            self._write_all()
        except (GrafanaError, KeyboardInterrupt) as error:
            if isinstance(error, KeyboardInterrupt):
                error.add_note(f"Interrupted. {self._unfinished()}")
                raise
            if self._ledger_written:
                # The next apply resolves the records that stay pending.
                with contextlib.suppress(GrafanaError):
                    self._write_ledger()
            raise GrafanaError(f"{error} {self._unfinished()}") from error
        return replace(
            self._plan,
            resources=tuple(self._planned.values()),
            ledger=self._ledger,
            notes=(*self._plan.notes, *self._notes),
        )

    def _resources(self) -> Sequence[Resource]:
        return [planned.resource for planned in self._planned.values()]

    def _write_all(self) -> None:
        written = [planned.resource for planned in self._plan.written]
        for resource in written:
            self._ledger = self._ledger.begin(
                resource.ledger_name, sent_fingerprint(resource, self._grafana.token), fingerprint(resource.content)
            )
        for resource in self._resources():
            if isinstance(resource, DataSource):
                # The data source carries the ledger, so the pending records are stored before the other writes.
                if resource not in written or not self._write(replace(resource, ledger=self._ledger.as_json())):
                    self._write_ledger()
                self._ledger_written = True
            elif resource in written:
                self._write(resource)
        for planned in self._plan.unrecorded:
            self._record_result(planned.resource)
        self._write_ledger()

    def _write(self, resource: Resource) -> bool:
        """Write one object; return False, without writing, if someone changed it since the plan.

        An attempt without an answer may have succeeded: the next attempt reads the object first.
        """
        for is_last in self._grafana.attempts():
            current = resource.read(self._grafana)
            planned = classify(resource, current, self._ledger, self._grafana.token)
            if planned.state is ResourceState.SAME:
                break
            if not planned.is_written(overwrite=self._plan.overwrite):
                self._planned[resource.ledger_name] = planned
                return False
            try:
                resource.write(self._grafana, current)
                break
            except (GrafanaBusy, GrafanaConflict):
                if is_last:
                    raise
        self._done.append(resource.label)
        self._record_result(resource)
        return True

    def _record_result(self, resource: Resource) -> None:
        """Record in the ledger the object that Grafana stored."""
        current = resource.read(self._grafana)
        if current is None:
            raise GrafanaError(f"Grafana accepted the {resource.label} but does not return it: check its log.")
        lost = [text for text in differences(current.content, resource.content) if not text.startswith("- ")]
        if lost:
            self._notes.append(f"{resource.label}: Grafana stored it differently than sent: {'; '.join(lost[:5])}")
        self._ledger = self._ledger.finish(
            resource.ledger_name, sent_fingerprint(resource, self._grafana.token), fingerprint(current.content)
        )

    def _write_ledger(self) -> None:
        """Write the ledger alone; the other settings of the data source stay unchanged."""
        for is_last in self._grafana.attempts():
            current = self._source.read(self._grafana)
            if current is None:
                raise GrafanaError(
                    f"Someone deleted the {self._source.label} during the apply: run `barograph apply` again."
                )
            if read_stored_ledger(current) == self._ledger:
                return
            try:
                DataSource(current.body, self._ledger.as_json()).write(self._grafana, current)
                return
            except (GrafanaBusy, GrafanaConflict):
                if is_last:
                    raise

    def _unfinished(self) -> str:
        """List the objects written before the failure, and those not written."""
        missing = [planned.resource.label for planned in self._plan.written if planned.resource.label not in self._done]
        written_text = (
            f"Written to Grafana: {', '.join(self._done)}." if self._done else "Nothing was written to Grafana."
        )
        rest = f" Not written: {', '.join(missing)}." if missing else ""
        return f"{written_text}{rest} `barograph apply` completes it."
