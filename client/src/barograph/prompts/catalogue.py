"""All versions and labels that a process has read."""

from __future__ import annotations

from collections.abc import Iterable

from barograph.prompts.records import PromptLabel, PromptRecord, PromptVersion


class PromptCatalogue:
    """Versions and labels, by the prompt's name. Records may be added repeatedly and, for labels, in any order."""

    def __init__(self, records: Iterable[PromptRecord] = ()) -> None:
        self._versions: dict[str, dict[int, PromptVersion]] = {}
        self._labels: dict[str, dict[str, PromptLabel]] = {}
        for record in records:
            self.add(record)

    def add(self, record: PromptRecord) -> bool:
        """Add a record, and return whether it changes anything.

        A version that is there already stays as it is, and a label only follows a change with a higher number.
        """
        if isinstance(record, PromptVersion):
            versions = self._versions.setdefault(record.name, {})
            if record.version in versions:
                return False
            versions[record.version] = record
            return True
        labels = self._labels.setdefault(record.name, {})
        known = labels.get(record.label)
        if known is not None and known.sequence >= record.sequence:
            return False
        labels[record.label] = record
        return True

    @property
    def names(self) -> tuple[str, ...]:
        """The names of prompts with a version, sorted."""
        return tuple(sorted(self._versions))

    @property
    def records(self) -> list[PromptRecord]:
        """All records: by name the versions in order, then the labels."""
        result: list[PromptRecord] = []
        for name in sorted({*self._versions, *self._labels}):
            result += [self._versions.get(name, {})[version] for version in self.versions(name)]
            result += [self._labels[name][label] for label in sorted(self._labels.get(name, {}))]
        return result

    def versions(self, name: str) -> tuple[int, ...]:
        """The versions of a prompt, in order; empty for an unknown name."""
        return tuple(sorted(self._versions.get(name, {})))

    def version(self, name: str, version: int) -> PromptVersion | None:
        """Return a version, or None."""
        return self._versions.get(name, {}).get(version)

    def labels(self, name: str) -> dict[str, PromptLabel]:
        """Return the labels of a prompt; empty for an unknown name."""
        return dict(self._labels.get(name, {}))

    def label(self, name: str, label: str) -> PromptLabel | None:
        """Return a label, or None."""
        return self._labels.get(name, {}).get(label)

    def find_content(self, name: str, content_hash: str) -> PromptVersion | None:
        """Return the newest version with a content, or None."""
        matches = [each for each in self._versions.get(name, {}).values() if each.content_hash == content_hash]
        return max(matches, key=lambda each: each.version, default=None)
