"""What a command adds to the registry: new versions, and changes of labels. Without I/O."""

from collections.abc import Iterable
from dataclasses import dataclass

from barograph.prompts.catalogue import PromptCatalogue
from barograph.prompts.content import PromptContent, content_hash, label_fault
from barograph.prompts.records import Origin, PromptLabel, PromptVersion

from barograph_server.streams.errors import ProcessorError


class PromptChangeError(ProcessorError):
    """A change of the registry is not possible; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Author:
    """Who changes the registry, and when."""

    name: str
    at_ms: int
    """Unix ms."""


@dataclass(frozen=True, slots=True)
class Draft:
    content: PromptContent
    location: str
    """The file that it comes from, for messages."""
    origin: Origin = "file"
    version: int = 0
    """The version that it must have, for imports; 0 for the next one."""


def register_version(catalogue: PromptCatalogue, draft: Draft, author: Author) -> tuple[PromptVersion, bool]:
    """Return the version of a content, and whether it is new. Versions never change.

    Raises:
        PromptChangeError: the parent does not exist, or the draft's version has another content.
    """
    content, name = draft.content, draft.content.name
    versions = catalogue.versions(name)
    digest = content_hash(content)
    if draft.version:
        taken = catalogue.version(name, draft.version)
        if taken is not None and taken.content_hash != digest:
            raise PromptChangeError(
                f"{draft.location}: {name}@{draft.version} has another content in the registry, and versions never "
                "change: remove it from the file, or register it under another name."
            )
    else:
        taken = catalogue.find_content(name, digest)
    if taken is not None:
        return taken, False
    if content.parent and content.parent not in versions:
        known = f"it has {_listed(versions)}" if versions else "it has no version yet"
        raise PromptChangeError(
            f"{draft.location}: parent {content.parent} is no version of {name}; {known}. Name one of them, or remove "
            "parent."
        )
    record = PromptVersion(
        version=draft.version or max(versions, default=0) + 1,
        content=content,
        content_hash=digest,
        registered_at_ms=author.at_ms,
        registered_by=author.name,
        origin=draft.origin,
    )
    return record, True


def register_versions(
    catalogue: PromptCatalogue, drafts: Iterable[Draft], author: Author
) -> tuple[list[PromptVersion], list[PromptVersion]]:
    """Add contents to the catalogue, one after the other, and return their versions: the new ones, and the known ones.

    Raises:
        PromptChangeError: see `register_version`; the contents before it are in the catalogue.
    """
    added: list[PromptVersion] = []
    known: list[PromptVersion] = []
    for draft in drafts:
        record, is_new = register_version(catalogue, draft, author)
        if is_new:
            catalogue.add(record)
        (added if is_new else known).append(record)
    return added, known


def move_label(
    catalogue: PromptCatalogue, name: str, label: str, version: int, author: Author, reason: str
) -> PromptLabel | None:
    """Return the change that makes a label point to a version; None if it does already.

    Raises:
        PromptChangeError: the prompt, the version or the label cannot be.
    """
    fault = label_fault(label)
    if fault is not None:
        raise PromptChangeError(f"The label {fault}.")
    require_version(catalogue, name, version)
    return _change(catalogue.label(name, label), name, label, version, author, reason, is_rollback=False)


def roll_back(
    catalogue: PromptCatalogue, name: str, label: str, to: int | None, author: Author, reason: str
) -> PromptLabel | None:
    """Return the change that makes a label point to an earlier version; None if a rollback was the last change.

    Args:
        to: the version; None for the one that had the label before. A rollback that follows another then changes
            nothing: otherwise a repeated command would bring the faulty version back.

    Raises:
        PromptChangeError: there is nothing to roll back to.
    """
    require_name(catalogue, name)
    current = catalogue.label(name, label)
    if current is None:
        labels = ", ".join(sorted(catalogue.labels(name))) or "none"
        raise PromptChangeError(f"{name} has no label {label}, so there is nothing to roll back; its labels: {labels}.")
    if to is None and current.is_rollback:
        return None
    if to is None and not current.previous:
        raise PromptChangeError(
            f"{label} of {name} has pointed to version {current.version} only: name the version with --to, of "
            f"{_listed(catalogue.versions(name))}."
        )
    version = current.previous if to is None else to
    require_version(catalogue, name, version)
    return _change(current, name, label, version, author, reason, is_rollback=True)


def variable_warnings(catalogue: PromptCatalogue, change: PromptLabel) -> list[str]:
    """Describe why `render` of code that fits the version before may fail with the version of a change."""
    before = catalogue.version(change.name, change.previous)
    after = catalogue.version(change.name, change.version)
    if before is None or after is None:
        return []
    old, new = before.content.variables, after.content.variables
    warnings = []
    if unknown := [name for name in old if name not in new]:
        warnings.append(f"version {change.version} has no variable {_listed(unknown)}: code that passes it fails")
    if missing := [name for name, each in new.items() if each.required and not (name in old and old[name].required)]:
        warnings.append(f"version {change.version} requires {_listed(missing)}: code that does not pass it fails")
    return warnings


def require_name(catalogue: PromptCatalogue, name: str) -> None:
    """Check that a prompt has versions.

    Raises:
        PromptChangeError: it has none.
    """
    if not catalogue.versions(name):
        known = ", ".join(catalogue.names) or "none"
        raise PromptChangeError(f"No prompt is called {name}; registered prompts: {known}.")


def require_version(catalogue: PromptCatalogue, name: str, version: int) -> PromptVersion:
    """Return a version.

    Raises:
        PromptChangeError: it does not exist.
    """
    require_name(catalogue, name)
    record = catalogue.version(name, version)
    if record is None:
        raise PromptChangeError(f"{name} has no version {version}; it has {_listed(catalogue.versions(name))}.")
    return record


def find_version(catalogue: PromptCatalogue, name: str, version: str) -> PromptVersion:
    """Return the version that a number or a label names.

    Raises:
        PromptChangeError: it does not exist.
    """
    require_name(catalogue, name)
    if version.isdigit():
        return require_version(catalogue, name, int(version))
    change = catalogue.label(name, version)
    if change is None:
        labels = _listed(sorted(catalogue.labels(name))) or "none"
        raise PromptChangeError(f"{name} has no label {version}; its labels: {labels}.")
    return require_version(catalogue, name, change.version)


def _change(
    current: PromptLabel | None, name: str, label: str, version: int, author: Author, reason: str, *, is_rollback: bool
) -> PromptLabel | None:
    """Return a change of a label; None if it points to the version already."""
    if current is not None and current.version == version:
        return None
    return PromptLabel(
        name=name,
        label=label,
        version=version,
        previous=0 if current is None else current.version,
        sequence=max(author.at_ms, 0 if current is None else current.sequence + 1),
        changed_at_ms=author.at_ms,
        changed_by=author.name,
        reason=reason,
        is_rollback=is_rollback,
    )


def _listed(items: Iterable[object]) -> str:
    return ", ".join(map(str, items))
