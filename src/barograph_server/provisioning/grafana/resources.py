"""Grafana resources: how each is read, written and compared.

This module has the resources that stay editable in Grafana's UI: folder, data source, dashboards. Those of alerting are
in `alerting`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from barograph_server.grafana.client import Grafana, escape_segment
from barograph_server.provisioning.grafana.compare import Json, drop_empty, drop_keys, normalize
from barograph_server.provisioning.grafana.ledger import ledger_name

LEDGER_KEY = "barograph"
"""Key of the ledger in the `jsonData` of our data source."""

_READ_ONLY = frozenset({"id", "orgId", "typeLogoUrl", "secureJsonFields", "readOnly", "accessControl", "apiVersion"})
"""Keys of a data source that Grafana returns and does not accept."""


@dataclass(frozen=True, slots=True)
class CurrentResource:
    """A resource as Grafana stores it."""

    body: Json
    content: Json
    """The normalized body that comparisons use."""
    editor: str = ""
    """Author and time of the last change, if Grafana reports them."""
    locked: bool = False
    """Whether it is provisioned from a file, which the API cannot overwrite."""


@dataclass(frozen=True, slots=True)
class Resource(ABC):
    """One desired resource."""

    desired: Json

    kind: ClassVar[str]
    """Kind of resource, for messages and the ledger."""
    shows_values: ClassVar[bool] = True
    """Whether differences may show values."""

    @property
    @abstractmethod
    def key(self) -> str:
        """The identifier, unique within the kind."""

    @property
    def name(self) -> str:
        """The title or name, for messages."""
        return str(self.desired.get("title") or self.desired.get("name"))

    @property
    def label(self) -> str:
        """Kind and name, for messages."""
        return f"{self.kind} {self.name}"

    @property
    def ledger_name(self) -> str:
        return ledger_name(self.kind, self.key)

    @property
    def secrets(self) -> Json:
        """Values that are written and cannot be read back."""
        return {}

    @property
    def content(self) -> Json:
        """The normalized body that comparisons use."""
        return self.normalize_body(self.desired)

    @abstractmethod
    def normalize_body(self, body: Json) -> Json:
        """Normalize a body, desired or current, for comparison."""

    @abstractmethod
    def read(self, grafana: Grafana) -> CurrentResource | None:
        """Read the resource from Grafana; None if it is missing. Errors are those of `Grafana.read`."""

    @abstractmethod
    def write(self, grafana: Grafana, current: CurrentResource | None) -> None:
        """Create the resource or replace the current one. Errors are those of `Grafana.write`."""


class Folder(Resource):
    """A folder of dashboards or of rules."""

    kind = "folder"

    @property
    def key(self) -> str:
        return str(self.desired["uid"])

    def normalize_body(self, body: Json) -> Json:
        return {"title": body["title"]}

    def read(self, grafana: Grafana) -> CurrentResource | None:
        body = grafana.find(f"read {self.label}", grafana.api.folder.get_folder, escape_segment(self.key))
        return None if body is None else CurrentResource(body, self.normalize_body(body), _editor(body))

    def write(self, grafana: Grafana, current: CurrentResource | None) -> None:
        folder, action = grafana.api.folder, f"write {self.label}"
        if current is None:
            grafana.write(action, folder.create_folder, self.name, uid=self.key)
        else:
            grafana.write(
                action,
                folder.update_folder,
                escape_segment(self.key),
                title=self.name,
                version=current.body.get("version"),
            )


@dataclass(frozen=True, slots=True)
class DataSource(Resource):
    """Our data source, which also stores the ledger."""

    ledger: Json | None = None
    """The ledger that `write` stores, as JSON."""

    kind: ClassVar[str] = "data source"

    @property
    def key(self) -> str:
        return str(self.desired["uid"])

    @property
    def secrets(self) -> Json:
        return dict(self.desired.get("secureJsonData") or {})

    def normalize_body(self, body: Json) -> Json:
        dropped = _READ_ONLY | {"uid", "version", "secureJsonData", "jsonData"}
        settings = drop_keys(body.get("jsonData") or {}, {LEDGER_KEY})
        return {**drop_empty(drop_keys(body, dropped)), "jsonData": normalize(settings)}

    def read(self, grafana: Grafana) -> CurrentResource | None:
        body = grafana.find(
            f"read {self.label}", grafana.api.datasource.get_datasource_by_uid, escape_segment(self.key)
        )
        return (
            None
            if body is None
            else CurrentResource(body, self.normalize_body(body), locked=bool(body.get("readOnly")))
        )

    def write(self, grafana: Grafana, current: CurrentResource | None) -> None:
        """Write it with the version that was read: Grafana rejects the write (409) if someone saved it since."""
        sources, action = grafana.api.datasource, f"write {self.label}"
        settings = {**(self.desired.get("jsonData") or {}), LEDGER_KEY: self.ledger}
        sent = {**drop_keys(self.desired, _READ_ONLY), "jsonData": settings}
        if current is None:
            grafana.write(action, sources.create_datasource, sent)
        else:
            sent["version"] = current.body.get("version")
            grafana.write(action, sources.update_datasource_by_uid, escape_segment(self.key), sent)


@dataclass(frozen=True, slots=True)
class Dashboard(Resource):
    """A dashboard in our folder."""

    folder: str

    kind: ClassVar[str] = "dashboard"

    @property
    def key(self) -> str:
        return str(self.desired["uid"])

    def normalize_body(self, body: Json) -> Json:
        content: Json = normalize(drop_keys(body, {"id", "version", "folder"}))
        return {**content, "folder": body.get("folder", self.folder)}

    def read(self, grafana: Grafana) -> CurrentResource | None:
        answer = grafana.find(f"read {self.label}", grafana.api.dashboard.get_dashboard, escape_segment(self.key))
        if answer is None:
            return None
        meta = answer.get("meta") or {}
        body = answer["dashboard"]
        content = self.normalize_body({**body, "folder": meta.get("folderUid") or ""})
        return CurrentResource(body, content, _editor(meta), locked=bool(meta.get("provisioned")))

    def write(self, grafana: Grafana, current: CurrentResource | None) -> None:
        """Write it with the version that was read: Grafana rejects the write (412) if someone saved it since."""
        version = {} if current is None else {"version": current.body.get("version")}
        grafana.write(
            f"write {self.label}",
            grafana.api.dashboard.update_dashboard,
            {
                "dashboard": {**drop_keys(self.desired, {"version"}), "id": None, **version},
                "folderUid": self.folder,
                "message": "barograph apply",
                "overwrite": False,
            },
        )


def _editor(body: Json) -> str:
    by, at = body.get("updatedBy") or "", str(body.get("updated") or "")
    return ", ".join(filter(None, [f"by {by}" if by and by != "Anonymous" else "", at[:16].replace("T", " ")]))
