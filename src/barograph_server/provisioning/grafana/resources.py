"""Grafana resources: how each is read, written and compared.

This module has the resources that stay editable in Grafana's UI: folder, data source, dashboards. Those of alerting are
in `alerting`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from barograph_server.grafana.client import Grafana, escape_segment
from barograph_server.provisioning.grafana.compare import Json, drop_empty, drop_keys

RECORD_KEY = "barograph"
"""Key of the record of applied resources in the `jsonData` of our data source."""
_READ_ONLY = frozenset({"id", "orgId", "typeLogoUrl", "secureJsonFields", "readOnly", "accessControl", "apiVersion"})
"""Keys of a data source that Grafana returns and does not accept."""


@dataclass(frozen=True, slots=True)
class CurrentResource:
    body: Json
    content: Json
    """The normalized body that comparisons use."""
    editor: str = ""
    """Author and time of the last change, if Grafana reports them."""
    locked: bool = False
    """Whether it is provisioned from a file, which the API cannot overwrite."""


@dataclass(frozen=True, slots=True)
class Resource(ABC):
    """One desired resource. The errors of its methods are those of `Grafana.read` and `Grafana.write`."""

    desired: Json
    folder: str = ""
    """The uid of its folder, if it is in one."""

    kind: ClassVar[str]
    collection: ClassVar[str] = ""
    """The path of the request that creates one; empty if the request that replaces it creates it too."""
    actions: ClassVar[frozenset[str]]
    """The permissions that a write needs."""
    shows_values: ClassVar[bool] = True
    """Whether differences may show values."""

    @property
    def name(self) -> str:
        """The title or name, for messages."""
        return str(self.desired.get("title") or self.desired.get("name"))

    @property
    def key(self) -> str:
        """The identifier, unique within the kind."""
        return str(self.desired.get("uid") or self.name)

    @property
    def id(self) -> str:
        """The name in the record of applied resources."""
        return f"{self.kind}/{self.key}"

    @property
    def label(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    @abstractmethod
    def path(self) -> str:
        """The path of the requests that read, replace and delete it."""

    @property
    def secrets(self) -> Json:
        """Values that are written and cannot be read back."""
        return {}

    @property
    def content(self) -> Json:
        """The normalized body that comparisons use."""
        return self.normalize(self.desired)

    @abstractmethod
    def normalize(self, body: Json) -> Json:
        """Normalize a body, desired or current, for comparison."""

    def parse(self, body: Json) -> CurrentResource:
        """Return the resource of Grafana's answer."""
        return CurrentResource(body, self.normalize(body), _editor(body), locked=is_locked(body))

    def read(self, grafana: Grafana) -> CurrentResource | None:
        body = grafana.find(f"read {self.label}", self.path)
        return None if body is None else self.parse(body)

    def write(self, grafana: Grafana, current: CurrentResource | None) -> None:
        """Create the resource or replace the current one, in the version that was read if Grafana has versions."""
        version = current.body.get("version") if current is not None else None
        body = self.desired if version is None else {**self.desired, "version": version}
        if current is None and self.collection:
            grafana.write(f"write {self.label}", "POST", self.collection, body)
        else:
            grafana.write(f"write {self.label}", "PUT", self.path, body)


class Folder(Resource):
    kind = "folder"
    collection = "/folders"
    actions = frozenset({"folders:create", "folders:write"})

    @property
    def path(self) -> str:
        return f"/folders/{escape_segment(self.key)}"

    def normalize(self, body: Json) -> Json:
        return {"title": body["title"]}


class DataSource(Resource):
    """Our data source, which also stores the record of applied resources."""

    kind = "data source"
    collection = "/datasources"
    actions = frozenset({"datasources:create", "datasources:write"})

    @property
    def path(self) -> str:
        return f"/datasources/uid/{escape_segment(self.key)}"

    @property
    def secrets(self) -> Json:
        return dict(self.desired.get("secureJsonData") or {})

    def with_record(self, record: Mapping[str, str]) -> DataSource:
        settings = {**self.desired["jsonData"], RECORD_KEY: dict(record)}
        return DataSource({**self.desired, "jsonData": settings})

    def normalize(self, body: Json) -> Json:
        dropped = _READ_ONLY | {"uid", "version", "secureJsonData", "jsonData"}
        return {**drop_empty(drop_keys(body, dropped)), "jsonData": drop_keys(body.get("jsonData") or {}, {RECORD_KEY})}

    def parse(self, body: Json) -> CurrentResource:
        return CurrentResource(body, self.normalize(body), locked=bool(body.get("readOnly")))


class Dashboard(Resource):
    kind = "dashboard"
    actions = frozenset({"dashboards:create", "dashboards:write", "dashboards:delete"})

    @property
    def path(self) -> str:
        return f"/dashboards/uid/{escape_segment(self.key)}"

    def normalize(self, body: Json) -> Json:
        return {**drop_keys(body, {"id", "version"}), "folder": body.get("folder", self.folder)}

    def parse(self, body: Json) -> CurrentResource:
        meta, board = body.get("meta") or {}, body["dashboard"]
        content = self.normalize({**board, "folder": meta.get("folderUid") or ""})
        return CurrentResource(board, content, _editor(meta), locked=bool(meta.get("provisioned")))

    def write(self, grafana: Grafana, current: CurrentResource | None) -> None:
        version = {} if current is None else {"version": current.body.get("version")}
        body = {
            "dashboard": {**drop_keys(self.desired, {"version"}), "id": None, **version},
            "folderUid": self.folder,
            "message": "barograph apply",
            "overwrite": False,
        }
        grafana.write(f"write {self.label}", "POST", "/dashboards/db", body)


def is_locked(body: Json) -> bool:
    """Whether the API may not overwrite an alerting object, because of where it came from."""
    return body.get("provenance") not in ("", "api", None)


def _editor(body: Json) -> str:
    by, at = body.get("updatedBy") or "", str(body.get("updated") or "")
    return ", ".join(filter(None, [f"by {by}" if by and by != "Anonymous" else "", at[:16].replace("T", " ")]))
