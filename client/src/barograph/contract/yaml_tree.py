"""Reads YAML into a tree of text, lists and maps in which every node has its line.

Scalars stay as written: the reader of a key decides the meaning of `NO`, `1_000` or `2024-01-01`, not YAML's type
guessing. Features that a contract does not need are rejected: anchors and aliases (a small file can expand without
bound), tags (they can name Python objects) and further documents.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NoReturn

import yaml

from barograph.contract.problems import ContractError, Problem, quoted
from barograph.contract.yaml_nodes import MappingNode, Node, ScalarNode, SequenceNode

MAX_TEXT_BYTES = 4 << 20
"""Size limit of a file: 10,000 fields of 400 bytes each."""
MAX_DEPTH = 12
"""Nesting limit. A contract needs 4; the limit bounds recursion over the tree."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml if PyYAML was built with it: ten times as fast, with the same events."""


class _OpenCollection:
    """A list or map whose end has not been read."""

    def __init__(self, is_map: bool, line: int) -> None:
        self.is_map = is_map
        self.line = line
        self.nodes: list[Node] = []


def read_file(path: str | os.PathLike[str], kind: str) -> bytes:
    """Read a file of YAML, one byte beyond the limit at most.

    Args:
        kind: What the file is, for the message: "a contract".

    Raises:
        ContractError: The file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        problem = Problem(os.fspath(path), 0, f"cannot be read: {reason}; give the path of {kind}")
        raise ContractError([problem]) from error


def read_tree(text: str | bytes, name: str) -> Node:
    """Read YAML text. An empty text is a null scalar.

    Args:
        name: The file's name in messages.

    Raises:
        ContractError: The text is not YAML, too large or too deep, or contains an anchor, an alias, a tag, a key that
            is not text, or a second document.
    """
    return _Builder(name).read(text)


class _Builder:
    def __init__(self, name: str) -> None:
        self._name = name
        self._problems: list[Problem] = []
        self._stack: list[_OpenCollection] = []
        self._root: Node | None = None

    def read(self, text: str | bytes) -> Node:
        size_bytes = len(text.encode("utf-8", "surrogatepass")) if isinstance(text, str) else len(text)
        if size_bytes > MAX_TEXT_BYTES:
            self._reject(1, f"the file has {size_bytes:,} bytes; write at most {MAX_TEXT_BYTES:,}")
        if isinstance(text, bytes):
            text = self._decode(text)
        try:
            for event in yaml.parse(text, Loader=_LOADER):
                self._take(event)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = 1 if mark is None else mark.line + 1
            context = f" ({error.context})" if error.context else ""
            self._reject(line, f"this is not YAML: {error.problem}{context}; check indentation and quotes")
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, max(error.position, 0)) + 1 if isinstance(error.position, int) else 1
            self._reject(line, f"this is not YAML: {error.reason}; write it as an escape in double quotes")
        except UnicodeEncodeError as error:
            line = text.count("\n", 0, error.start) + 1
            self._reject(line, f"character {error.start} is half of a surrogate pair; write whole characters")
        if self._problems:
            raise ContractError(self._problems)
        return self._root if self._root is not None else ScalarNode("", True, 1)

    def _decode(self, data: bytes) -> str:
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            self._reject(line, f"byte {error.start} is not UTF-8; save the file as UTF-8")

    def _reject(self, line: int, message: str) -> NoReturn:
        """Stop reading: the rest cannot be parsed."""
        raise ContractError([*self._problems, Problem(self._name, line, message)])

    def _record(self, line: int, message: str) -> None:
        """Record a problem and continue: the rest can be parsed, so that its problems are reported too."""
        self._problems.append(Problem(self._name, line, message))

    def _take(self, event: Any) -> None:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            self._record(line, f"*{event.anchor} is an alias; write the value itself")
            self._add(ScalarNode("", False, line))
            return
        if getattr(event, "anchor", None) is not None:
            self._record(line, f"&{event.anchor} is an anchor; write the value where it is needed")
        if getattr(event, "tag", None) is not None and event.tag != "!":
            self._record(line, f"the tag {quoted(event.tag)} is not needed; remove it")
        if isinstance(event, yaml.ScalarEvent):
            self._add(ScalarNode(event.value, event.style in (None, ""), line))
        elif isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            if len(self._stack) == MAX_DEPTH:
                self._reject(line, f"lists and maps are nested more than {MAX_DEPTH} deep; flatten them")
            self._stack.append(_OpenCollection(isinstance(event, yaml.MappingStartEvent), line))
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            self._close()
        elif isinstance(event, yaml.DocumentStartEvent) and self._root is not None:
            self._reject(line, "a second document begins; write one document per file")

    def _close(self) -> None:
        opened = self._stack.pop()
        if not opened.is_map:
            self._add(SequenceNode(tuple(opened.nodes), opened.line))
            return
        pairs: list[tuple[ScalarNode, Node]] = []
        for key, value in zip(opened.nodes[::2], opened.nodes[1::2], strict=True):
            if isinstance(key, ScalarNode):
                pairs.append((key, value))
            else:
                self._record(key.line, "a key is a list or a map; write a name")
        self._add(MappingNode(tuple(pairs), opened.line))

    def _add(self, node: Node) -> None:
        if self._stack:
            self._stack[-1].nodes.append(node)
        else:
            self._root = node
