"""Writing to Grafana what is missing or different, so that whatever breaks off is completed by the next.

The order is that in which objects rest on one another: data source, folder, contact points, mute timings, policies,
dashboards, rules. Each is read again just before it is written, and read once more afterwards: what somebody changed
in between is left alone, and what Grafana keeps otherwise than it was sent is told.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace

from cli.apply.grafana.bundle import Bundle
from cli.apply.grafana.checks import check_rights
from cli.apply.grafana.client import ATTEMPTS, Grafana
from cli.apply.grafana.compare import differences, fingerprint
from cli.apply.grafana.errors import GrafanaBusy, GrafanaConflict, GrafanaError
from cli.apply.grafana.items import DataSource, Item
from cli.apply.grafana.plan import (
    GrafanaPlan,
    State,
    judge,
    plan_grafana,
    sent_fingerprint,
    stored_ledger,
)


def apply_grafana(grafana: Grafana, bundle: Bundle, *, overwrite: bool = False) -> GrafanaPlan:
    """Make Grafana hold a bundle, and return what was done; a second run writes nothing.

    Args:
        grafana: a connection.
        bundle: what is to be there.
        overwrite: whether to put ours in the place of what was edited by hand, or is not ours.

    Raises:
        GrafanaError: Grafana refuses, fails or does not answer; the text says what was written and what was not.
    """
    plan = check_grafana(grafana, bundle, overwrite=overwrite)
    return plan if plan.changes_nothing else _Run(grafana, plan).run()


def check_grafana(grafana: Grafana, bundle: Bundle, *, overwrite: bool = False) -> GrafanaPlan:
    """Find what `apply_grafana` would do and whether it may; nothing is written. Arguments and errors are its."""
    plan = plan_grafana(grafana, bundle, overwrite=overwrite)
    if not plan.changes_nothing:
        check_rights(grafana, {finding.item.kind for finding in plan.written} | {DataSource.kind})
    return plan


class _Run:
    """One apply: what is done so far, and the ledger of it."""

    def __init__(self, grafana: Grafana, plan: GrafanaPlan) -> None:
        self._grafana = grafana
        self._plan = plan
        self._ledger = plan.ledger
        self._findings = {finding.item.ledger_name: finding for finding in plan.findings}
        self._source = next(item for item in self._items() if isinstance(item, DataSource))
        self._begun = False
        """Whether the ledger says in Grafana what is about to be written."""
        self._done: list[str] = []
        self._notes: list[str] = []

    def run(self) -> GrafanaPlan:
        """Write everything, and return what was done."""
        try:
            self._write_all()
        except (GrafanaError, KeyboardInterrupt) as error:
            if isinstance(error, KeyboardInterrupt):
                error.add_note(f"Interrupted. {self._unfinished()}")
                raise
            if self._begun:
                # What is left open in it, the next apply looks after.
                with contextlib.suppress(GrafanaError):
                    self._write_ledger()
            raise GrafanaError(f"{error} {self._unfinished()}") from error
        return replace(
            self._plan,
            findings=tuple(self._findings.values()),
            ledger=self._ledger,
            notes=(*self._plan.notes, *self._notes),
        )

    def _items(self) -> Sequence[Item]:
        return [finding.item for finding in self._findings.values()]

    def _write_all(self) -> None:
        written = [finding.item for finding in self._plan.written]
        for item in written:
            self._ledger = self._ledger.opened(
                item.ledger_name, sent_fingerprint(item, self._grafana.token), fingerprint(item.content)
            )
        for item in self._items():
            if isinstance(item, DataSource):
                # The ledger goes with it: it says what is about to be written before the rest is.
                if item not in written or not self._write(replace(item, ledger=self._ledger.as_json())):
                    self._write_ledger()
                self._begun = True
            elif item in written:
                self._write(item)
        for finding in self._plan.unrecorded:
            self._settle(finding.item)
        self._write_ledger()

    def _write(self, item: Item) -> bool:
        """Write one object; False where somebody changed it meanwhile, so that it is left.

        An attempt that got no answer may have been done all the same: the next look tells.
        """
        for attempt in range(1, ATTEMPTS + 1):
            result = item.read(self._grafana)
            finding = judge(item, result, self._ledger, self._grafana.token)
            if finding.state is State.SAME:
                break
            if not finding.is_written(overwrite=self._plan.overwrite):
                self._findings[item.ledger_name] = finding
                return False
            try:
                item.write(self._grafana, result)
                break
            except (GrafanaBusy, GrafanaConflict) as error:
                if attempt == ATTEMPTS:
                    raise
                if isinstance(error, GrafanaBusy):
                    self._grafana.pause(attempt)
        self._done.append(item.label)
        self._settle(item)
        return True

    def _settle(self, item: Item) -> None:
        """Note in the ledger what Grafana made of what it was sent."""
        result = item.read(self._grafana)
        if result is None:
            raise GrafanaError(f"Grafana took the {item.label} and does not show it: look at its log.")
        lost = [text for text in differences(result.content, item.content) if not text.startswith("- ")]
        if lost:
            self._notes.append(f"{item.label}: Grafana keeps it otherwise than it was sent: {'; '.join(lost[:5])}")
        self._ledger = self._ledger.settled(
            item.ledger_name, sent_fingerprint(item, self._grafana.token), fingerprint(result.content)
        )

    def _write_ledger(self) -> None:
        """Write the ledger alone; the rest of the data source stays as it is found."""
        for attempt in range(1, ATTEMPTS + 1):
            result = self._source.read(self._grafana)
            if result is None:
                raise GrafanaError(f"Somebody deleted the {self._source.label} meanwhile: run `barograph apply` again.")
            if stored_ledger(result) == self._ledger:
                return
            try:
                DataSource(result.body, self._ledger.as_json()).write(self._grafana, result)
                return
            except (GrafanaBusy, GrafanaConflict):
                if attempt == ATTEMPTS:
                    raise
                self._grafana.pause(attempt)

    def _unfinished(self) -> str:
        """Say what was written before it broke off, and what was not."""
        missing = [finding.item.label for finding in self._plan.written if finding.item.label not in self._done]
        done = f"Written to Grafana: {', '.join(self._done)}." if self._done else "Nothing was written to Grafana."
        rest = f" Not written: {', '.join(missing)}." if missing else ""
        return f"{done}{rest} `barograph apply` completes it."
