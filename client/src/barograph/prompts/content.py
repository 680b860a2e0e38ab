"""The content of a prompt: what its file says, and its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec

from barograph.contract.kinds import name_fault, nearest
from barograph.contract.problems import quoted
from barograph.prompts.template import placeholders

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
