"""An object that is to be in Grafana: how it is read, how it is written, and what of it is compared.

Here are those that stay editable by hand in Grafana: folder, data source, dashboards. Alerting's are in `alerting`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from cli.apply.grafana.client import Grafana, in_path
from cli.apply.grafana.compare import Json, plain, without, without_empty
from cli.apply.grafana.ledger import ledger_name

LEDGER_KEY = "barograph"
"""Where in `jsonData` of our data source the ledger is."""

_READ_ONLY = frozenset({"id", "orgId", "typeLogoUrl", "secureJsonFields", "readOnly", "accessControl", "apiVersion"})
"""Keys of a data source that are read and not written."""


@dataclass(frozen=True, slots=True)
class GrafanaObject:
    """An object as Grafana has it."""

    body: Json
    content: Json
    """What of it is compared."""
    editor: str = ""
    """Who wrote it last and when, where Grafana tells."""
    locked: bool = False
    """Whether it is provisioned from a file, so that the API cannot write it."""


@dataclass(frozen=True, slots=True)
class Item(ABC):
    """One object that is to be in Grafana."""

    wanted: Json

    kind: ClassVar[str]
    """What people call it."""
    shows_values: ClassVar[bool] = True
    """Whether differences may show values."""

    @property
    @abstractmethod
    def key(self) -> str:
        """What tells it from others of its kind."""

    @property
    def name(self) -> str:
        """What people know it by."""
        return str(self.wanted.get("title") or self.wanted.get("name"))

    @property
    def label(self) -> str:
        """Kind and name, for messages."""
        return f"{self.kind} {self.name}"

    @property
    def ledger_name(self) -> str:
        """What the ledger calls it."""
        return ledger_name(self.kind, self.key)

    @property
    def secrets(self) -> Json:
        """What is written and cannot be read."""
        return {}

    @property
    def content(self) -> Json:
        """What of it is compared."""
        return self.compared(self.wanted)

    @abstractmethod
    def compared(self, body: Json) -> Json:
        """Bring a body, ours or Grafana's, into the form in which the two are compared."""

    @abstractmethod
    def read(self, grafana: Grafana) -> GrafanaObject | None:
        """Ask Grafana for it, None where it is missing. Errors are those of `Grafana.read`."""

    @abstractmethod
    def write(self, grafana: Grafana, found: GrafanaObject | None) -> None:
        """Create it, or put it in the place of what was found. Errors are those of `Grafana.write`."""


class Folder(Item):
    """The folder of dashboards and rules."""

    kind = "folder"

    @property
    def key(self) -> str:
        return str(self.wanted["uid"])

    def compared(self, body: Json) -> Json:
        return {"title": body["title"]}

    def read(self, grafana: Grafana) -> GrafanaObject | None:
        body = grafana.find(f"read {self.label}", grafana.api.folder.get_folder, in_path(self.key))
        return None if body is None else GrafanaObject(body, self.compared(body), _editor(body))

    def write(self, grafana: Grafana, found: GrafanaObject | None) -> None:
        folder, action = grafana.api.folder, f"write {self.label}"
        if found is None:
            grafana.write(action, folder.create_folder, self.name, uid=self.key)
        else:
            grafana.write(
                action, folder.update_folder, in_path(self.key), title=self.name, version=found.body.get("version")
            )


@dataclass(frozen=True, slots=True)
class DataSource(Item):
    """Our data source; the ledger of what was applied lies in it."""

    ledger: Json | None = None
    """What `write` puts there, as JSON."""

    kind: ClassVar[str] = "data source"

    @property
    def key(self) -> str:
        return str(self.wanted["uid"])

    @property
    def secrets(self) -> Json:
        return dict(self.wanted.get("secureJsonData") or {})

    def compared(self, body: Json) -> Json:
        left_out = _READ_ONLY | {"uid", "version", "secureJsonData", "jsonData"}
        settings = without(body.get("jsonData") or {}, {LEDGER_KEY})
        return {**without_empty(without(body, left_out)), "jsonData": plain(settings)}

    def read(self, grafana: Grafana) -> GrafanaObject | None:
        body = grafana.find(f"read {self.label}", grafana.api.datasource.get_datasource_by_uid, in_path(self.key))
        return None if body is None else GrafanaObject(body, self.compared(body), locked=bool(body.get("readOnly")))

    def write(self, grafana: Grafana, found: GrafanaObject | None) -> None:
        """Write it with the version that was found: Grafana refuses (409) where someone saved it meanwhile."""
        sources, action = grafana.api.datasource, f"write {self.label}"
        settings = {**(self.wanted.get("jsonData") or {}), LEDGER_KEY: self.ledger}
        sent = {**without(self.wanted, _READ_ONLY), "jsonData": settings}
        if found is None:
            grafana.write(action, sources.create_datasource, sent)
        else:
            sent["version"] = found.body.get("version")
            grafana.write(action, sources.update_datasource_by_uid, in_path(self.key), sent)


@dataclass(frozen=True, slots=True)
class Dashboard(Item):
    """A dashboard in our folder."""

    folder: str

    kind: ClassVar[str] = "dashboard"

    @property
    def key(self) -> str:
        return str(self.wanted["uid"])

    def compared(self, body: Json) -> Json:
        content: Json = plain(without(body, {"id", "version", "folder"}))
        return {**content, "folder": body.get("folder", self.folder)}

    def read(self, grafana: Grafana) -> GrafanaObject | None:
        answer = grafana.find(f"read {self.label}", grafana.api.dashboard.get_dashboard, in_path(self.key))
        if answer is None:
            return None
        meta = answer.get("meta") or {}
        body = answer["dashboard"]
        content = self.compared({**body, "folder": meta.get("folderUid") or ""})
        return GrafanaObject(body, content, _editor(meta), locked=bool(meta.get("provisioned")))

    def write(self, grafana: Grafana, found: GrafanaObject | None) -> None:
        """Write it with the version that was found: Grafana refuses (412) where someone saved it meanwhile."""
        version = {} if found is None else {"version": found.body.get("version")}
        grafana.write(
            f"write {self.label}",
            grafana.api.dashboard.update_dashboard,
            {
                "dashboard": {**without(self.wanted, {"version"}), "id": None, **version},
                "folderUid": self.folder,
                "message": "barograph apply",
                "overwrite": False,
            },
        )


def _editor(body: Json) -> str:
    by, at = body.get("updatedBy") or "", str(body.get("updated") or "")
    return ", ".join(filter(None, [f"by {by}" if by and by != "Anonymous" else "", at[:16].replace("T", " ")]))
