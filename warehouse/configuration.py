"""Settings of an installation: how a dataclass declares one, and how a tree of values is read.

Settings use the kinds of values of the contract file (`barograph.contract.kinds`), so types are checked and errors are
worded in one way.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints
from urllib.parse import urlsplit

from barograph.contract.kinds import Diagnostics, Key, NumberKind, Path, RecordKind, TextKind, Unreadable, ValueKind
from barograph.contract.problems import ContractError
from barograph.contract.yaml_nodes import MappingNode, Node, ScalarNode, SequenceNode

SECONDS = NumberKind(0.0, 86_400.0, above=True)
"""A duration in seconds, at most a day."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Makes a field of a dataclass a setting: `flush_s: Annotated[float, Setting(SECONDS, "…")] = 15.0`."""

    kind: ValueKind
    """Reads and checks the value."""
    meaning: str
    """For the table in docs/commands.md."""
    default: str | None = None
    """The default as the table shows it; None for the field's own default."""
    is_secret: bool = False
    """Whether only the environment may hold it."""


class HttpUrlKind(TextKind, frozen=True):
    """An address of http or https without credentials. It may hold a password, so no message shows it."""

    example: str = "http://HOST:PORT"

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> str:
        text = TextKind.read(self, node, path, diagnostics).strip()
        try:
            parts = urlsplit(text)
            parts.port  # noqa: B018 - raises for a port that is none
        except ValueError as error:
            raise Unreadable(f"is no valid address: {error}; write {self.example}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Unreadable(f"is no address of http or https; write {self.example}")
        if "@" in parts.netloc:
            raise Unreadable("holds a user name or a password; remove them, and set the token in the environment")
        if parts.fragment:
            raise Unreadable("has a part after #; remove it")
        if not all("!" <= character <= "~" for character in text):
            raise Unreadable("has characters that an address cannot have; encode them as %XX")
        return text


def settings_of(owner: type) -> dict[str, Setting]:
    """Find the settings that a dataclass itself declares, by the names of its fields."""
    settings = {}
    hints = get_type_hints(owner, include_extras=True)
    for name in owner.__annotations__:
        for annotation in getattr(hints[name], "__metadata__", ()):
            if isinstance(annotation, Setting):
                settings[name] = annotation
    return settings


def defaults_of(owner: type) -> dict[str, Any]:
    """Find the defaults of a dataclass's fields."""
    return {field.name: field.default for field in dataclasses.fields(owner)}


def record_of(settings: Mapping[str, Setting]) -> RecordKind:
    """Describe a section of a settings file: its keys, and no others."""
    return RecordKind(tuple(Key(name, setting.kind, setting.meaning) for name, setting in settings.items()))


def node_of(value: Any) -> Node:
    """Turn a value that a TOML parser returned into a node of the contract's diagnostics; lines are unknown (0)."""
    if isinstance(value, Mapping):
        return MappingNode(tuple((ScalarNode(str(key), False, 0), node_of(item)) for key, item in value.items()), 0)
    if isinstance(value, list):
        return SequenceNode(tuple(map(node_of, value)), 0)
    if isinstance(value, str):
        return ScalarNode(value, False, 0)
    return ScalarNode("true" if value is True else "false" if value is False else str(value), True, 0)


def read_value(kind: ValueKind, node: Node, path: Path, file: str) -> Any:
    """Read one value of a settings file.

    Args:
        kind: what the value must be.
        path: its keys from the top of the file, for messages.

    Raises:
        ContractError: the value or a part of it does not fit; the text has a line per problem.
    """
    diagnostics = Diagnostics(file)
    values: list[Any] = []
    values += diagnostics.read_child(kind, node, path)
    if diagnostics.problems:
        raise ContractError(diagnostics.problems)
    return values[0]
