"""The content of a prompt: what its file says, and its hash."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import msgspec

from barograph.contract.kinds import name_fault, nearest
from barograph.contract.problems import quoted

VariableType = Literal["text", "int", "float", "bool"]
Role = Literal["system", "developer", "user", "assistant", "tool"]
PRODUCTION = "production"
"""The label of the version that serves if nothing else is requested."""
MAX_TEMPLATE_CHARS = 200_000
"""Longest template, all messages together."""
MAX_CONTENT_BYTES = 900_000
"""Largest content as JSON: a record of Kafka has at most a mebibyte by default."""

_ENCODER = msgspec.json.Encoder(order="sorted")


class PromptMessage(msgspec.Struct, frozen=True):
    """One message of a chat template."""

    role: Role
    content: str


class PromptVariable(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A variable of a template."""

    type: VariableType = "text"
    required: bool = True
    """Whether `render` needs a value; without one, an optional variable is empty text."""
    description: str = ""


class PromptContent(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """All that a prompt file says."""

    name: str
    template: str | tuple[PromptMessage, ...]
    """Text, or the messages of a chat."""
    variables: dict[str, PromptVariable] = {}
    config: dict[str, Any] = {}
    """Settings of the model, such as `model` and `temperature`, as JSON values."""
    owner: str = ""
    parent: int = 0
    """The version that this one was made from; 0 if the file names none."""
    description: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts with placeholders, in order."""
        return (self.template,) if isinstance(self.template, str) else tuple(each.content for each in self.template)


def content_hash(content: PromptContent) -> str:
    """Return the SHA-256 of a content, in hexadecimal.

    It covers every value of the file, as JSON with sorted keys and without defaults. Comments, the order of keys and
    the way in which a text is written do not count.
    """
    return hashlib.sha256(_ENCODER.encode(content)).hexdigest()


def content_bytes(content: PromptContent) -> int:
    """Return the size of a content as JSON, in bytes."""
    return len(_ENCODER.encode(content))


def derived_variables(texts: Iterable[str]) -> dict[str, PromptVariable]:
    """Return the variables of a template that declares none: each placeholder is a required text."""
    return {name: PromptVariable() for text in texts for name in placeholders(text)}


def prompt_name_fault(name: str) -> str | None:
    """Return the problem of a prompt's name, or None: an `@` would be ambiguous in `answer@7`."""
    if "@" in name:
        return f"{quoted(name)} has an @, which separates name and version; remove it"
    return name_fault(name)


def label_fault(label: str) -> str | None:
    """Return the problem of a label, or None: a label of digits would look like a version."""
    if label.isdigit():
        return f"{quoted(label)} looks like a version; write a word such as {PRODUCTION}"
    return prompt_name_fault(label)


def variable_faults(content: PromptContent) -> Iterator[tuple[str, str]]:
    """Compare declared variables with placeholders.

    Yields:
        The name of the variable, and the problem with its remedy.
    """
    used = set(derived_variables(content.texts))
    for name in content.variables:
        if name not in used:
            yield name, "is in no template; write {{" + name + "}} there, or remove it"
    for name in sorted(used - content.variables.keys()):
        hint = nearest(name, content.variables) if content.variables else f"write variables: {{{name}: {{}}}}"
        yield name, f"is in the template and not declared; {hint}"


# A template is no program: a value is inserted as it is, and braces inside a value are not placeholders.
_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}", re.ASCII)
_BRACES = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_STATEMENT = re.compile(r"\{%.*?%\}", re.DOTALL)
VARIABLE_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def placeholders(text: str) -> tuple[str, ...]:
    """Return the names of the placeholders of a text, each once, in order."""
    return tuple(dict.fromkeys(_PLACEHOLDER.findall(text)))


def template_faults(text: str) -> list[tuple[int, str]]:
    """Find what looks like a placeholder or statement and is none: its line, from 1, and the problem with a remedy."""
    faults = []
    for match in _BRACES.finditer(text):
        if _PLACEHOLDER.fullmatch(match[0]) is None:
            remedy = "write {{name}} with letters, digits and underscores"
            faults.append((match.start(), f"{quoted(match[0])} is not a placeholder; {remedy}"))
    for match in _STATEMENT.finditer(text):
        remedy = "templates have placeholders only: compute the value, and pass it as a variable"
        faults.append((match.start(), f"{quoted(match[0])} is a statement of Jinja; {remedy}"))
    return [(text.count("\n", 0, start) + 1, fault) for start, fault in sorted(faults)]


def fill(text: str, values: Mapping[str, str]) -> str:
    """Replace the placeholders of a text in one pass."""
    return _PLACEHOLDER.sub(lambda match: values[match[1]], text)
