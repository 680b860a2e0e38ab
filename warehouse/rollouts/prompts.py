"""The tables of prompts: what the topic `prompts` holds, for SQL. Rows are never changed or deleted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from barograph.prompts.records import PromptLabel, PromptRecord, PromptVersion

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.tables import insert_rows


@dataclass(frozen=True, slots=True)
class StoredPrompts:
    """How many rows were missing in ClickHouse and are there now."""

    versions: int
    labels: int


def store_missing(client: Client, records: Iterable[PromptRecord]) -> StoredPrompts:
    """Add the rows that ClickHouse lacks, so that a repeated call completes one that failed.

    The rows of `changes` come first: a version or label that has its row has also been logged.
    """
    stored_versions = set(client.rows("SELECT name, version FROM prompts"))
    stored_labels = set(client.rows("SELECT name, label, sequence FROM prompt_labels"))
    versions: dict[tuple[str, int], PromptVersion] = {}
    labels: dict[tuple[str, str, int], PromptLabel] = {}
    for record in records:
        if isinstance(record, PromptVersion):
            if (record.name, record.version) not in stored_versions:
                versions.setdefault((record.name, record.version), record)
        elif (record.name, record.label, record.sequence) not in stored_labels:
            labels[record.name, record.label, record.sequence] = record
    changes = [*map(_version_change, versions.values()), *map(_label_change, labels.values())]
    insert_rows(client, "changes", changes)
    insert_rows(client, "prompts", [_version_row(record) for record in versions.values()])
    insert_rows(client, "prompt_labels", [_label_row(record) for record in labels.values()])
    return StoredPrompts(len(versions), len(labels))


def _version_row(record: PromptVersion) -> Mapping[str, Any]:
    content = record.content
    is_chat = not isinstance(content.template, str)
    return {
        "name": content.name,
        "version": record.version,
        "content_hash": record.content_hash,
        "template": msgspec.json.encode(content.template).decode() if is_chat else content.template,
        "is_chat": is_chat,
        "variables": list(content.variables),
        "config": msgspec.json.encode(content.config).decode(),
        "owner": content.owner,
        "parent": content.parent,
        "description": content.description,
        "origin": record.origin,
        "registered_by": record.registered_by,
        "registered_at": record.registered_at_ms,
    }


def _label_row(record: PromptLabel) -> Mapping[str, Any]:
    columns = msgspec.structs.asdict(record)
    return {"changed_at": columns.pop("changed_at_ms"), **columns}


def _version_change(record: PromptVersion) -> Mapping[str, Any]:
    return {
        "changed_at": record.registered_at_ms,
        "kind": "prompt-version",
        "model": "",
        "source": "",
        "owner": record.content.owner,
        "subject": record.name,
        "before": str(record.content.parent or ""),
        "after": str(record.version),
        "reason": record.content.description,
        "changed_by": record.registered_by,
    }


def _label_change(record: PromptLabel) -> Mapping[str, Any]:
    return {
        "changed_at": record.changed_at_ms,
        "kind": "prompt-rollback" if record.is_rollback else "prompt-label",
        "model": "",
        "source": "",
        "owner": "",
        "subject": f"{record.name}:{record.label}",
        "before": str(record.previous or ""),
        "after": str(record.version),
        "reason": record.reason,
        "changed_by": record.changed_by,
    }


def read_prompt(client: Client, name: str, version: int) -> dict[str, Any] | None:
    """Read a version of a prompt: `name`, `version`, `template` and `config`; None if it is not registered."""
    rows = client.rows(
        "SELECT template, is_chat, config FROM prompts FINAL WHERE name = {name:String} AND version = {version:UInt32}",
        {"name": name, "version": version},
    )
    if not rows:
        return None
    template, is_chat, config = rows[0]
    return {
        "name": name,
        "version": version,
        "template": msgspec.json.decode(template) if is_chat else template,
        "config": msgspec.json.decode(config),
    }
