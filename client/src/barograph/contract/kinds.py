"""Kinds of values in a contract file: each reads YAML and describes its problems.

`barograph.contract.sections` composes them: the members of a struct are the keys of a section.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

import msgspec

from barograph.contract.problems import Problem, quoted
from barograph.contract.yaml_nodes import MappingNode, Node, ScalarNode, SequenceNode

Path = tuple[str | int, ...]
"""The location of a value: keys and list positions from the top of the file."""

MAX_NAME_CHARS = 200
MAX_TEXT_CHARS = 10_000

_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
_FLAGS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


class Unreadable(Exception):
    """A value has the wrong kind; the message gives the problem and the remedy."""


class Diagnostics:
    """Collects the problems of one file and the line of each value."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.lines: dict[Path, int] = {}
        self.failed: set[Path] = set()

    def fail(self, path: Path, line: int, message: str) -> None:
        """Record a problem and mark the value at `path` as unusable, so that checks that depend on it are skipped."""
        self.failed.add(path)
        self.note(path, line, message)

    def note(self, path: Path, line: int, message: str) -> None:
        """Record a problem that leaves the value at `path` usable."""
        location = describe_path(path)
        self.problems.append(Problem(self.file, line, f"{location}: {message}" if location else message))

    def read_child(self, kind: ValueKind, node: Node, path: Path) -> list[Any]:
        """Read a value of a list or map and return it as a list of one; empty if it is unreadable."""
        self.lines.setdefault(path, node.line)
        try:
            return [kind.read(node, path, self)]
        except Unreadable as error:
            self.fail(path, node.line, str(error))
            return []


@runtime_checkable
class ValueKind(Protocol):
    """Reads one value."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> Any:
        """Convert a node to a value; `diagnostics` collects the problems of nested values.

        Raises:
            Unreadable: The node is not of this kind.
        """


def describe_path(path: Path) -> str:
    """Write a path for messages: `windows[1].hop`, `fields['an odd name'].type`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif re.fullmatch(r"\w[\w-]{0,60}", step) is None:
            text += f"[{quoted(step)}]"
        else:
            text += f".{step}" if text else step
    return text


def name_fault(name: str) -> str | None:
    """Return the problem of a name, or None if the name is valid.

    A name has 1 to 200 Unicode characters, spaces, quotes and `$` included, but no control characters, line breaks or
    halves of surrogate pairs.
    """
    if not name:
        return "is empty; write a name"
    if len(name) > MAX_NAME_CHARS:
        return f"has {len(name):,} characters; write at most {MAX_NAME_CHARS}"
    if any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in name):
        return f"{quoted(name)} contains a control character or a line break; remove it"
    return None


def nearest(word: str, known: Iterable[str]) -> str:
    """Suggest the known word that was probably meant, or list all known words."""
    import difflib  # only errors need it

    words = list(known)
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]}?"
    return f"write one of {', '.join(words)}"


def _scalar(node: Node, expected: str) -> ScalarNode:
    if not isinstance(node, ScalarNode):
        shape = "a list" if isinstance(node, SequenceNode) else "a map"
        raise Unreadable(f"found {shape}; write {expected}")
    if node.is_null:
        raise Unreadable(f"the value is empty; write {expected}, or remove the key")
    return node


class NameKind(msgspec.Struct, frozen=True):
    """A name: text of 1 to 200 characters without control characters."""

    expected: str = "a name"

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> str:
        text = _scalar(node, self.expected).text
        fault = name_fault(text)
        if fault is not None:
            raise Unreadable(fault)
        return text


class EventValueKind(msgspec.Struct, frozen=True):
    """A value of an event, read as text: `DE`, `7` and `NO` are taken literally."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> str:
        return NameKind("a value").read(node, path, diagnostics)


class TextKind(msgspec.Struct, frozen=True):
    """Prose of up to 10,000 characters; it may be empty."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> str:
        text = _scalar(node, "text").text
        if len(text) > MAX_TEXT_CHARS:
            raise Unreadable(f"the text has {len(text):,} characters; write at most {MAX_TEXT_CHARS:,}")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Unreadable("the text contains half of a surrogate pair; write whole characters") from None
        return text


class ChoiceKind(msgspec.Struct, frozen=True):
    """One of several words."""

    words: tuple[str, ...]

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> str:
        text = _scalar(node, f"one of {', '.join(self.words)}").text
        if text not in self.words:
            raise Unreadable(f"{quoted(text)} is unknown; {nearest(text, self.words)}")
        return text


class FlagKind(msgspec.Struct, frozen=True):
    """True or false."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> bool:
        scalar = _scalar(node, "true or false")
        if not scalar.is_plain or scalar.text not in _FLAGS:
            raise Unreadable(f"{quoted(scalar.text)} is not a flag; write true or false")
        return _FLAGS[scalar.text]


class NumberKind(msgspec.Struct, frozen=True):
    """A finite number in [low, high]; `above` excludes `low` itself."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False

    @property
    def expected(self) -> str:
        """The allowed range in words."""
        if self.high < math.inf:
            low = f"above {self.low:g}," if self.above else f"from {self.low:g}"
            return f"a number {low} up to {self.high:g}"
        if self.low > -math.inf:
            return f"a number {'above' if self.above else 'of at least'} {self.low:g}"
        return "a number"

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> float:
        scalar = _scalar(node, self.expected)
        if not scalar.is_plain or _NUMBER.fullmatch(scalar.text) is None:
            raise Unreadable(f"{quoted(scalar.text)} is not a number; write {self.expected}, such as 0.5 or 120")
        value = float(scalar.text)
        if not math.isfinite(value) or not self.low <= value <= self.high or (self.above and value == self.low):
            raise Unreadable(f"{scalar.text} is out of range; write {self.expected}")
        return value


class IntegerKind(msgspec.Struct, frozen=True):
    """A whole number in [low, high]."""

    low: int
    high: int

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> int:
        expected = f"a whole number from {self.low} to {self.high}"
        text = _scalar(node, expected).text
        # Twenty digits exceed every limit; int() of a million digits would take minutes.
        if re.fullmatch(r"\d{1,20}", text) is None or not self.low <= int(text) <= self.high:
            raise Unreadable(f"{quoted(text)} is out of range or not a whole number; write {expected}")
        return int(text)


class DurationKind(msgspec.Struct, frozen=True):
    """A duration such as `15m`, read as whole seconds."""

    zero: bool = False
    """Whether `0s` is allowed."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> int:
        text = _scalar(node, "a duration such as 90s, 15m, 1h or 7d").text
        if re.fullmatch(r"\d{1,9}[smhd]", text, re.ASCII) is None:
            raise Unreadable(f"{quoted(text)} is not a duration; write a whole number and a unit: 90s, 15m, 1h or 7d")
        if int(text[:-1]) == 0:
            if self.zero:
                return 0
            raise Unreadable(f"{quoted(text)} is zero; write a duration such as 90s, 15m, 1h or 7d")
        return parse_duration(text)

    def write(self, seconds: int) -> str:
        return format_duration(seconds) if seconds else "0s"


class ListKind(msgspec.Struct, frozen=True):
    """A list of values of one kind."""

    item: ValueKind
    min_items: int = 0
    is_distinct: bool = False

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> tuple[Any, ...]:
        if not isinstance(node, SequenceNode):
            raise Unreadable("write a list, such as [a, b]")
        if len(node.items) < self.min_items:
            raise Unreadable("the list is empty; write an entry, or remove the key")
        values: list[Any] = []
        distinct: set[Any] = set()
        for position, item in enumerate(node.items):
            item_path = (*path, position)
            for value in diagnostics.read_child(self.item, item, item_path):
                if self.is_distinct and value in distinct:
                    message = f"{quoted(str(value))} occurs twice; remove one"
                    diagnostics.fail(item_path, item.line, message)
                else:
                    values.append(value)
                    if self.is_distinct:
                        distinct.add(value)
        return tuple(values)


class MapKind(msgspec.Struct, frozen=True):
    """A map from names to values of one kind."""

    value: ValueKind

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, node_of_key in named_pairs(node, path, diagnostics):
            key_path = (*path, key.text)
            fault = name_fault(key.text)
            if fault is not None:
                diagnostics.fail(key_path, key.line, f"the name {fault}")
            for value in diagnostics.read_child(self.value, node_of_key, key_path):
                if fault is None:
                    values[key.text] = value
        return values


class Key(msgspec.Struct, frozen=True):
    """One key of a record."""

    name: str
    kind: ValueKind
    meaning: str
    default: str = ""
    """The value if the key is missing, as YAML or in words."""
    required: bool = False


class RecordKind(msgspec.Struct, frozen=True):
    """A map with a closed set of keys. The result contains only the keys that are present."""

    keys: tuple[Key, ...]

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> dict[str, Any]:
        known = {key.name: key for key in self.keys}
        values: dict[str, Any] = {}
        present: set[str] = set()
        for key, value in named_pairs(node, path, diagnostics):
            present.add(key.text)
            key_path = (*path, key.text)
            if key.text not in known:
                message = f"the key {quoted(key.text)} is unknown; {nearest(key.text, known)}"
                diagnostics.fail(key_path, key.line, message)
                continue
            for read_value in diagnostics.read_child(known[key.text].kind, value, key_path):
                values[key.text] = read_value
        for required in (key for key in self.keys if key.required and key.name not in present):
            line = diagnostics.lines.get(path, node.line)
            diagnostics.fail((*path, required.name), line, f"is missing; write {required.name}: {required.default}")
        return values


def named_pairs(node: Node, path: Path, diagnostics: Diagnostics) -> list[tuple[ScalarNode, Node]]:
    """List the pairs of a map in order, the first of each key; a repeated key is a problem.

    Raises:
        Unreadable: The node is not a map.
    """
    if not isinstance(node, MappingNode):
        raise Unreadable("write a map of `key: value` lines")
    first: dict[str, ScalarNode] = {}
    pairs: list[tuple[ScalarNode, Node]] = []
    for key, value in node.pairs:
        if key.text in first:
            message = f"occurs twice (first in line {first[key.text].line}); remove one"
            diagnostics.note((*path, key.text), key.line, message)
        else:
            first[key.text] = key
            diagnostics.lines[(*path, key.text)] = key.line
            pairs.append((key, value))
    return pairs


SECONDS_PER_HOUR = 3600
SECONDS_PER_DAY = 24 * SECONDS_PER_HOUR

_UNITS = (("d", SECONDS_PER_DAY), ("h", SECONDS_PER_HOUR), ("m", 60), ("s", 1))


def format_duration(seconds: int) -> str:
    """Write seconds in the largest unit that gives a whole number: 900 → `15m`, 86400 → `1d`, 90 → `90s`."""
    for unit, size in _UNITS:
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    raise AssertionError(seconds)


def parse_duration(text: str) -> int:
    """Convert `15m`, `1h`, `2d` or `90s` to seconds.

    Raises:
        ValueError: The text is not a whole number followed by s, m, h or d.
    """
    sizes = dict(_UNITS)
    number, unit = text[:-1], text[-1:]
    if not number.isdecimal() or unit not in sizes or int(number) == 0:
        raise ValueError(f"{text!r} is not a duration: write a whole number and a unit, such as 90s, 15m, 1h or 7d")
    return int(number) * sizes[unit]
