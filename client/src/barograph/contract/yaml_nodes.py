"""The nodes of a YAML tree: text, lists and maps, each with its line. Needs no YAML parser."""

from __future__ import annotations

import msgspec


class ScalarNode(msgspec.Struct, frozen=True):
    """Text as written, without its quotes."""

    text: str
    is_plain: bool
    """Whether the text has no quotes, so that it may be a number, a flag or null."""
    line: int

    @property
    def is_null(self) -> bool:
        """Whether this is YAML's null: empty, `~` or `null` without quotes."""
        return self.is_plain and self.text in ("", "~", "null", "Null", "NULL")


class SequenceNode(msgspec.Struct, frozen=True):
    """A list."""

    items: tuple[Node, ...]
    line: int


class MappingNode(msgspec.Struct, frozen=True):
    """A map, in the order of the file; a key may occur twice."""

    pairs: tuple[tuple[ScalarNode, Node], ...]
    line: int


Node = ScalarNode | SequenceNode | MappingNode
