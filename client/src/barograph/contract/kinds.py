"""Kinds of values in a contract file: each reads its YAML, says what is wrong, and has a JSON Schema.

`barograph.contract.keys` composes them into the definition of the whole file; reader, JSON Schema and
documentation all come from that one definition.
"""

from __future__ import annotations

import difflib
import math
import re
import unicodedata
from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from barograph.contract import parse_duration
from barograph.contract.problems import Problem, quoted
from barograph.contract.yaml_nodes import MappingNode, Node, ScalarNode, SequenceNode

Path = tuple[str | int, ...]
"""Where a value stands: keys and positions from the top of the file."""

MAX_NAME_CHARS = 200
MAX_TEXT_CHARS = 10_000

_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
_FLAGS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


class Unreadable(Exception):
    """A value is not of its kind; the text says what is wrong and what to write."""


class Diagnostics:
    """Collects what is wrong with one file, and where each value stands in it."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.lines: dict[Path, int] = {}
        self.failed: set[Path] = set()

    def fail(self, path: Path, line: int, message: str) -> None:
        """Note a problem; whatever depends on the value at `path` is not judged."""
        self.failed.add(path)
        self.note(path, line, message)

    def note(self, path: Path, line: int, message: str) -> None:
        """Note a problem that leaves the value at `path` as good as it is."""
        where = describe_path(path)
        self.problems.append(Problem(self.file, line, f"{where}: {message}" if where else message))

    def child(self, kind: ValueKind, node: Node, path: Path, into: list[Any]) -> None:
        """Read a value of a list or map; append it to `into` if it could be read."""
        self.lines.setdefault(path, node.line)
        try:
            into.append(kind.read(node, path, self))
        except Unreadable as error:
            self.fail(path, node.line, str(error))


class ValueKind(Protocol):
    """How one value is read and described."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> Any:
        """Turn a node into a value.

        Raises:
            Unreadable: the node is nothing of this kind. Problems further down go to `reader`.
        """

    def schema(self) -> dict[str, Any]:
        """Describe the kind as JSON Schema."""


def describe_path(path: Path) -> str:
    """Write a path as people do: `windows[1].hop`, `fields['an odd name'].type`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"\w[\w-]{0,60}", part) is None:
            text += f"[{quoted(part)}]"
        else:
            text += f".{part}" if text else part
    return text


def name_fault(name: str) -> str | None:
    """Say what is wrong with a name, or None.

    Names may hold any Unicode character, spaces, quotes and `$` included, but no control characters, no line
    breaks and no halves of surrogate pairs, and have 1 to 200 characters.
    """
    if not name:
        return "is empty; write a name"
    if len(name) > MAX_NAME_CHARS:
        return f"has {len(name):,} characters; write at most {MAX_NAME_CHARS}"
    if any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in name):
        return f"{quoted(name)} holds a control character or a line break; leave it out"
    return None


def nearest(word: str, known: Iterable[str]) -> str:
    """Name the known word that was probably meant, or list them all."""
    words = list(known)
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]}?"
    return f"write one of {', '.join(words)}"


def _scalar(node: Node, wanted: str) -> ScalarNode:
    if not isinstance(node, ScalarNode):
        shape = "a list" if isinstance(node, SequenceNode) else "a map"
        raise Unreadable(f"{shape} stands here; write {wanted}")
    if node.is_null:
        raise Unreadable(f"nothing stands here; write {wanted}, or leave the key out")
    return node


class NameKind(msgspec.Struct, frozen=True):
    """A name: text of 1 to 200 characters without control characters."""

    wanted: str = "a name"

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> str:
        text = _scalar(node, self.wanted).text
        fault = name_fault(text)
        if fault is not None:
            raise Unreadable(fault)
        return text

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1, "maxLength": MAX_NAME_CHARS}


class EventValueKind(msgspec.Struct, frozen=True):
    """A value as events hold it, written as text: `DE`, `7` and `NO` mean just that."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> str:
        return NameKind("a value").read(node, path, diagnostics)

    def schema(self) -> dict[str, Any]:
        return {"type": ["string", "number", "boolean"]}


class TextKind(msgspec.Struct, frozen=True):
    """Prose of any length up to 10,000 characters; it may be empty."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> str:
        text = _scalar(node, "text").text
        if len(text) > MAX_TEXT_CHARS:
            raise Unreadable(f"the text has {len(text):,} characters; write at most {MAX_TEXT_CHARS:,}")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Unreadable("the text holds half of a surrogate pair; write whole characters") from None
        return text

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "maxLength": MAX_TEXT_CHARS}


class ChoiceKind(msgspec.Struct, frozen=True):
    """One of a few words."""

    words: tuple[str, ...]

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> str:
        text = _scalar(node, f"one of {', '.join(self.words)}").text
        if text not in self.words:
            raise Unreadable(f"{quoted(text)} is not known here; {nearest(text, self.words)}")
        return text

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.words)}


class FlagKind(msgspec.Struct, frozen=True):
    """True or false."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> bool:
        scalar = _scalar(node, "true or false")
        if not scalar.is_plain or scalar.text not in _FLAGS:
            raise Unreadable(f"{quoted(scalar.text)} is no flag; write true or false")
        return _FLAGS[scalar.text]

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


class NumberKind(msgspec.Struct, frozen=True):
    """A finite number in [low, high]; `above` excludes `low` itself."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False

    @property
    def wanted(self) -> str:
        """The allowed range in words."""
        if self.high < math.inf:
            low = f"above {self.low:g}," if self.above else f"from {self.low:g}"
            return f"a number {low} up to {self.high:g}"
        if self.low > -math.inf:
            return f"a number {'above' if self.above else 'of at least'} {self.low:g}"
        return "a number"

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> float:
        scalar = _scalar(node, self.wanted)
        if not scalar.is_plain or _NUMBER.fullmatch(scalar.text) is None:
            raise Unreadable(f"{quoted(scalar.text)} is no number; write {self.wanted}, such as 0.5 or 120")
        value = float(scalar.text)
        if not math.isfinite(value) or not self.low <= value <= self.high or (self.above and value == self.low):
            raise Unreadable(f"{scalar.text} is out of range; write {self.wanted}")
        return value

    def schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "number"}
        if self.low > -math.inf:
            schema["exclusiveMinimum" if self.above else "minimum"] = self.low
        if self.high < math.inf:
            schema["maximum"] = self.high
        return schema


class IntegerKind(msgspec.Struct, frozen=True):
    """A whole number in [low, high]."""

    low: int
    high: int

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> int:
        wanted = f"a whole number from {self.low} to {self.high}"
        text = _scalar(node, wanted).text
        # Twenty digits are more than any limit here; int() of a million digits would take minutes.
        if re.fullmatch(r"\d{1,20}", text) is None or not self.low <= int(text) <= self.high:
            raise Unreadable(f"{quoted(text)} does not fit; write {wanted}")
        return int(text)

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


class DurationKind(msgspec.Struct, frozen=True):
    """A duration such as `15m`, read as whole seconds."""

    zero: bool = False
    """Whether `0s` is allowed."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> int:
        text = _scalar(node, "a duration such as 90s, 15m, 1h or 7d").text
        if re.fullmatch(r"\d{1,9}[smhd]", text, re.ASCII) is None:
            raise Unreadable(f"{quoted(text)} is no duration; write a whole number and a unit: 90s, 15m, 1h or 7d")
        if int(text[:-1]) == 0:
            if self.zero:
                return 0
            raise Unreadable(f"{quoted(text)} has no length; write a duration such as 90s, 15m, 1h or 7d")
        return parse_duration(text)

    def schema(self) -> dict[str, Any]:
        return {
            "type": "string",
            "pattern": "^0*[0-9]{1,9}[smhd]$" if self.zero else "^0*[1-9][0-9]{0,8}[smhd]$",
        }


class ListKind(msgspec.Struct, frozen=True):
    """A list of values of one kind."""

    of: ValueKind
    at_least: int = 0
    distinct: bool = False

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> tuple[Any, ...]:
        if not isinstance(node, SequenceNode):
            raise Unreadable("write a list, such as [a, b]")
        if len(node.items) < self.at_least:
            raise Unreadable("the list is empty; write an entry, or leave the key out")
        values: list[Any] = []
        seen: set[Any] = set()
        for position, item in enumerate(node.items):
            here = (*path, position)
            found: list[Any] = []
            diagnostics.child(self.of, item, here, found)
            if self.distinct and found and found[0] in seen:
                diagnostics.fail(here, item.line, f"{quoted(str(found[0]))} stands here twice; leave one out")
            elif found:
                values.append(found[0])
                if self.distinct:
                    seen.add(found[0])
        return tuple(values)

    def schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "array", "items": self.of.schema()}
        if self.at_least:
            schema["minItems"] = self.at_least
        if self.distinct:
            schema["uniqueItems"] = True
        return schema


class MapKind(msgspec.Struct, frozen=True):
    """A map from names to values of one kind."""

    of: ValueKind

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in named_pairs(node, path, diagnostics):
            here = (*path, key.text)
            found: list[Any] = []
            fault = name_fault(key.text)
            if fault is not None:
                diagnostics.fail(here, key.line, f"the name {fault}")
            diagnostics.child(self.of, value, here, found)
            if found and fault is None:
                values[key.text] = found[0]
        return values

    def schema(self) -> dict[str, Any]:
        names = {"minLength": 1, "maxLength": MAX_NAME_CHARS}
        return {"type": "object", "propertyNames": names, "additionalProperties": self.of.schema()}


class Key(msgspec.Struct, frozen=True):
    """One key of a record."""

    name: str
    kind: ValueKind
    meaning: str
    default: str = ""
    """What leaving the key out means, as it would be written or in words."""
    required: bool = False


class RecordKind(msgspec.Struct, frozen=True):
    """A map with a closed set of keys; what was left out is not in the result."""

    keys: tuple[Key, ...]

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> dict[str, Any]:
        known = {key.name: key for key in self.keys}
        values: dict[str, Any] = {}
        written: set[str] = set()
        for key, value in named_pairs(node, path, diagnostics):
            written.add(key.text)
            if key.text not in known:
                hint = nearest(key.text, known)
                diagnostics.fail((*path, key.text), key.line, f"the key {quoted(key.text)} is not known here; {hint}")
                continue
            found: list[Any] = []
            diagnostics.child(known[key.text].kind, value, (*path, key.text), found)
            if found:
                values[key.text] = found[0]
        for required in (key for key in self.keys if key.required and key.name not in written):
            line = diagnostics.lines.get(path, node.line)
            diagnostics.fail((*path, required.name), line, f"is missing; write {required.name}: {required.default}")
        return values

    def schema(self) -> dict[str, Any]:
        properties = {}
        for key in self.keys:
            described = {"description": key.meaning, **key.kind.schema()}
            if key.default and not key.required:
                described["description"] += f" Default: {key.default}."
            properties[key.name] = described
        schema: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": properties}
        required = [key.name for key in self.keys if key.required]
        if required:
            schema["required"] = required
        return schema


def named_pairs(node: Node, path: Path, diagnostics: Diagnostics) -> list[tuple[ScalarNode, Node]]:
    """List the pairs of a map in order, the first of each key; a repeated key is a problem.

    Raises:
        Unreadable: the node is no map.
    """
    if not isinstance(node, MappingNode):
        raise Unreadable("write a map of `key: value` lines")
    first: dict[str, ScalarNode] = {}
    pairs: list[tuple[ScalarNode, Node]] = []
    for key, value in node.pairs:
        if key.text in first:
            message = f"stands here twice (first in line {first[key.text].line}); leave one out"
            diagnostics.note((*path, key.text), key.line, message)
        else:
            first[key.text] = key
            diagnostics.lines[(*path, key.text)] = key.line
            pairs.append((key, value))
    return pairs
