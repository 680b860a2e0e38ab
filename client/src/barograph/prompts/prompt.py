"""A prompt as serving code uses it."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from barograph.contract.problems import quoted
from barograph.prompts.content import (
    PromptContent,
    PromptMessage,
    PromptVariable,
    content_hash,
    derived_variables,
    fill,
    template_faults,
)
from barograph.prompts.errors import PromptError

PromptSource = Literal["registry", "stale", "cache", "fallback", "file"]

_EXPECTED = {"text": "text", "int": "a whole number", "float": "a finite number", "bool": "True or False"}


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a prompt. It never changes, so it may be kept and shared between threads."""

    content: PromptContent
    """All that the file says."""
    version: int = 0
    """The registered version; 0 for a fallback and for a file."""
    label: str = ""
    """The label that it was found by; empty if it was found by its version."""
    source: PromptSource = "file"
    """`registry`: Kafka confirmed lately that nothing is newer. `stale`: Kafka has not answered since. `cache`: from
    the local cache file, since Kafka has not answered yet. `fallback`: of the process. `file`: from a prompt file."""

    @property
    def name(self) -> str:
        """The prompt's name."""
        return self.content.name

    @property
    def id(self) -> str:
        """Name and version, `answer@7`, for `arm` or `context` of predictions; `answer@fallback` without a version."""
        return f"{self.name}@{self.version or self.source}"

    @property
    def variables(self) -> dict[str, PromptVariable]:
        """The variables of the template, by name."""
        return dict(self.content.variables)

    @property
    def config(self) -> dict[str, Any]:
        """A copy of the model's settings, as the file says them."""
        return copy.deepcopy(self.content.config)

    @property
    def content_hash(self) -> str:
        """SHA-256 of the content, in hexadecimal."""
        return content_hash(self.content)

    def render(self, /, **values: Any) -> str | list[dict[str, str]]:
        """Insert values into the template, as they are: braces inside a value are not placeholders.

        A fallback ignores values that it has no variable for and writes numbers as text.

        Args:
            values: The values by variable. None counts as missing.

        Returns:
            The text; of a chat, the messages, each with `role` and `content`.

        Raises:
            PromptError: Values are missing, unknown or of another type; the message names all of them.
        """
        texts = self._checked({name: value for name, value in values.items() if value is not None})
        template = self.content.template
        if isinstance(template, str):
            return fill(template, texts)
        return [{"role": message.role, "content": fill(message.content, texts)} for message in template]

    def _checked(self, values: Mapping[str, Any]) -> dict[str, str]:
        variables = self.content.variables
        problems = []
        if missing := [name for name, each in variables.items() if each.required and name not in values]:
            problems.append(f"missing: {', '.join(missing)}")
        unknown = [name for name in values if name not in variables]
        if unknown and self.source != "fallback":
            problems.append(f"unknown: {', '.join(unknown)} (it has {', '.join(variables) or 'no variables'})")
        texts: dict[str, str] = {}
        for name, variable in variables.items():
            text = self._text_of(values[name], variable) if name in values else ""
            if text is None:
                problems.append(f"{name} is {type(values[name]).__name__}, not {_EXPECTED[variable.type]}")
            else:
                texts[name] = text
        if problems:
            raise PromptError(f"values for {self.id} do not fit its variables: {'; '.join(problems)}")
        return texts

    def _text_of(self, value: Any, variable: PromptVariable) -> str | None:
        """Return the text of a value, or None if it is not of the variable's type."""
        if isinstance(value, str):
            return str(value) if variable.type == "text" else None
        is_any = variable.type == "text" and self.source == "fallback"
        if isinstance(value, bool):
            return str(value).lower() if variable.type == "bool" or is_any else None
        if isinstance(value, int):
            return str(value) if variable.type in ("int", "float") or is_any else None
        is_number = isinstance(value, float) and math.isfinite(value) and variable.type == "float"
        return repr(float(value)) if is_number else str(value) if is_any else None


def load_prompt(path: str | os.PathLike[str]) -> Prompt:
    """Read a prompt file, for tests, for development without Kafka, and for fallbacks.

    Raises:
        PromptError: The file cannot be read or is not a prompt; the message lists every problem.
    """
    # A serving process that reads no file does not load the YAML parser.
    from barograph.prompts.file import load_content

    return Prompt(content=load_content(path))


def fallback_prompt(name: str, fallback: object) -> Prompt:
    """Make a prompt of a fallback: of text, of messages, or of another prompt.

    Raises:
        PromptError: It is none of these, or has a malformed placeholder.
    """
    if isinstance(fallback, Prompt):
        content = msgspec.structs.replace(fallback.content, name=name)
        return Prompt(content=content, version=fallback.version, source="fallback")
    template = fallback if isinstance(fallback, str) else _messages(name, fallback)
    content = PromptContent(name=name, template=template)
    for text in content.texts:
        for _, fault in template_faults(text):
            raise PromptError(f"the fallback of {name}: {fault}")
    variables = derived_variables(content.texts)
    return Prompt(content=msgspec.structs.replace(content, variables=variables), source="fallback")


def _messages(name: str, fallback: object) -> tuple[PromptMessage, ...]:
    items = list(fallback) if isinstance(fallback, Iterable) and not isinstance(fallback, Mapping | bytes) else []
    try:
        if not items:
            raise msgspec.ValidationError("it is neither text nor messages")
        return msgspec.convert(items, tuple[PromptMessage, ...])
    except msgspec.ValidationError as error:
        message = f"the fallback of {name} cannot be used: {error}; pass text, a list of messages with role and content"
        raise PromptError(f"{message}, or a Prompt") from None


def parse_prompt_id(text: str) -> tuple[str, int | None]:
    """Split `answer@7` into name and version; None if no version is named.

    Raises:
        PromptError: The part behind the @ is not a version.
    """
    name, at, version = text.partition("@")
    if not at:
        return name, None
    if not version.isdigit() or not 1 <= len(version) <= 10 or int(version) < 1:
        raise PromptError(f"{quoted(text)} is not a prompt; write NAME or NAME@VERSION, such as answer@7")
    return name, int(version)
