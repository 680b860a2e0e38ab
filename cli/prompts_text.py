"""The output of `barograph prompts`."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import Any

import msgspec
from barograph.prompts.catalogue import PromptCatalogue
from barograph.prompts.content import PromptContent
from barograph.prompts.records import PromptLabel, PromptVersion

from barograph_server.streams.prompts.changes import variable_warnings
from barograph_server.streams.prompts.registry_change import RegistryOutcome
from barograph_server.terminal import AlignedTable, Terminal, plural, utc_second

SHOWN_HASH_CHARS = 12
DIFF_STYLES = {"+": "green", "-": "red", "@": "cyan"}
"""Styles of the lines of a unified diff, by their first character."""


def list_json(catalogue: PromptCatalogue) -> list[dict[str, Any]]:
    """Describe all prompts as JSON."""
    result = []
    for name in catalogue.names:
        versions = catalogue.versions(name)
        latest = _version(catalogue, name, versions[-1])
        labels = {label: change.version for label, change in sorted(catalogue.labels(name).items())}
        result.append(
            {
                "name": name,
                "latest": latest.version,
                "versions": list(versions),
                "labels": labels,
                "owner": latest.content.owner,
                "registered_at": utc_second(latest.registered_at_ms / 1000),
            }
        )
    return result


def print_list(terminal: Terminal, catalogue: PromptCatalogue) -> None:
    """Print a line for each prompt."""
    rows = list_json(catalogue)
    if not rows:
        terminal.line("No prompt is registered: `barograph prompts register PATH` registers prompt files.")
        return
    table = AlignedTable(
        "prompt", "versions", "latest", "registered", "labels", "owner", numbers=("versions", "latest")
    )
    for row in rows:
        labels = ", ".join(f"{label} → {version}" for label, version in row["labels"].items()) or "–"
        counts = str(len(row["versions"])), str(row["latest"])
        table.row(row["name"], *counts, row["registered_at"], labels, row["owner"] or "–")
    terminal.table(table)


def version_json(catalogue: PromptCatalogue, record: PromptVersion) -> dict[str, Any]:
    """Describe one version as JSON."""
    content: dict[str, Any] = msgspec.to_builtins(record.content)
    return {
        "id": f"{record.name}@{record.version}",
        **content,
        "version": record.version,
        "content_hash": record.content_hash,
        "labels": [each.label for each in _labels_of(catalogue, record)],
        "origin": record.origin,
        "registered_by": record.registered_by,
        "registered_at": utc_second(record.registered_at_ms / 1000),
    }


def print_version(terminal: Terminal, catalogue: PromptCatalogue, record: PromptVersion) -> None:
    """Print one version: where it comes from, its labels, variables, settings and template."""
    content = record.content
    by = f" by {record.registered_by}" if record.registered_by else ""
    pairs = {
        "prompt": f"{record.name}@{record.version}",
        "registered": f"{utc_second(record.registered_at_ms / 1000)}{by}, from {_origin(record)}",
        "hash": record.content_hash,
        "owner": content.owner,
        "parent": str(content.parent or ""),
        "description": content.description,
        "labels": "; ".join(map(_label_line, _labels_of(catalogue, record))),
        "variables": "; ".join(_variable_lines(content)),
        "config": json.dumps(content.config, ensure_ascii=False) if content.config else "",
    }
    terminal.pairs({key: value for key, value in pairs.items() if value})
    terminal.line()
    terminal.lines(_template_lines(content))


def print_diff(terminal: Terminal, before: PromptVersion, after: PromptVersion) -> None:
    """Print the difference of two versions as a unified diff."""
    lines = list(diff_lines(before, after))
    if not lines:
        terminal.line(f"Versions {before.version} and {after.version} of {before.name} have the same content.")
    for line in lines:
        terminal.line(line, DIFF_STYLES.get(line[:1], ""))


def diff_lines(before: PromptVersion, after: PromptVersion) -> Iterator[str]:
    """Compare template, variables, settings and the rest of two versions; yield the lines of a unified diff."""
    yield from difflib.unified_diff(
        content_lines(before.content),
        content_lines(after.content),
        f"{before.name}@{before.version}",
        f"{after.name}@{after.version}",
        lineterm="",
    )


def content_lines(content: PromptContent) -> list[str]:
    """Write a content as lines, for the diff."""
    config = json.dumps(content.config, ensure_ascii=False, indent=2, sort_keys=True).splitlines()
    return [
        *("template:", *(f"  {line}" for line in _template_lines(content))),
        *("variables:", *(f"  {line}" for line in sorted(_variable_lines(content)))),
        *("config:", *(f"  {line}" for line in config)),
        f"owner: {content.owner}",
        f"parent: {content.parent or ''}",
        *("description:", *(f"  {line}" for line in content.description.splitlines())),
    ]


def warning_lines(outcome: RegistryOutcome) -> list[str]:
    """Describe what a command ignored."""
    return [f"! {warning}" for warning in outcome.warnings]


def print_label_changes(terminal: Terminal, outcome: RegistryOutcome) -> None:
    """Print the labels that a command changed, and what may fail in code that fits the version before."""
    for record in outcome.records:
        if isinstance(record, PromptLabel):
            before = f"{record.previous} → " if record.previous else ""
            terminal.changes([f"~ {record.name}:{record.label} {before}{record.version}"])
            terminal.changes(f"! {warning}" for warning in variable_warnings(outcome.catalogue, record))


def print_stored(terminal: Terminal, outcome: RegistryOutcome) -> None:
    """Print how many rows of earlier commands ClickHouse received."""
    earlier = outcome.stored.versions + outcome.stored.labels - len(outcome.records)
    if not outcome.failure and earlier > 0:
        terminal.line(f"  ClickHouse received {plural(earlier, 'row')} of earlier commands, which it lacked")


def _template_lines(content: PromptContent) -> list[str]:
    if isinstance(content.template, str):
        return content.template.splitlines()
    return [line for each in content.template for line in (f"[{each.role}]", *each.content.splitlines())]


def _variable_lines(content: PromptContent) -> list[str]:
    lines = []
    for name, each in content.variables.items():
        line = f"{name} ({each.type}{'' if each.required else ', optional'})"
        lines.append(f"{line}: {each.description}" if each.description else line)
    return lines


def _labels_of(catalogue: PromptCatalogue, record: PromptVersion) -> list[PromptLabel]:
    labels = sorted(catalogue.labels(record.name).items())
    return [change for _, change in labels if change.version == record.version]


def _label_line(change: PromptLabel) -> str:
    by = f" by {change.changed_by}" if change.changed_by else ""
    reason = f": {change.reason}" if change.reason else ""
    kind = "rolled back" if change.is_rollback else "set"
    return f"{change.label}, {kind} {utc_second(change.changed_at_ms / 1000)}{by}{reason}"


def _origin(record: PromptVersion) -> str:
    return {"file": "a prompt file", "mlflow": "an export of MLflow", "langfuse": "an export of Langfuse"}[
        record.origin
    ]


def _version(catalogue: PromptCatalogue, name: str, version: int) -> PromptVersion:
    record = catalogue.version(name, version)
    assert record is not None
    return record
