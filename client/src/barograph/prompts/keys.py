"""The definition of the prompt file: every key with its kind, default and meaning.

Reader and documentation are derived from `PROMPT`.
"""

from __future__ import annotations

import math
import re
from typing import Any, get_args

import msgspec

from barograph.contract.kinds import (
    ChoiceKind,
    Diagnostics,
    FlagKind,
    IntegerKind,
    Key,
    MapKind,
    NameKind,
    Path,
    RecordKind,
    TextKind,
    Unreadable,
    named_pairs,
)
from barograph.contract.yaml_nodes import MappingNode, Node, ScalarNode, SequenceNode
from barograph.prompts.content import (
    MAX_TEMPLATE_CHARS,
    VARIABLE_NAME,
    Role,
    VariableType,
    prompt_name_fault,
    template_faults,
)

MAX_VERSION = 1_000_000_000

_WHOLE = re.compile(r"[-+]?\d{1,15}")
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
_FLAGS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


class PromptNameKind(NameKind, frozen=True):
    """A prompt's name: 1 to 200 characters, without `@` and control characters."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> str:
        name = NameKind.read(self, node, path, diagnostics)
        fault = prompt_name_fault(name)
        if fault is not None:
            raise Unreadable(fault)
        return name


class TemplateTextKind(msgspec.Struct, frozen=True):
    """Text with placeholders."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> str:
        if not isinstance(node, ScalarNode):
            raise Unreadable("write text with placeholders such as {{question}}")
        if not node.text.strip() or node.is_null:
            raise Unreadable("the text is empty; write it, with placeholders such as {{question}}")
        if len(node.text) > MAX_TEMPLATE_CHARS:
            raise Unreadable(f"the text has {len(node.text):,} characters; write at most {MAX_TEMPLATE_CHARS:,}")
        try:
            node.text.encode()
        except UnicodeEncodeError:
            raise Unreadable("the text contains half of a surrogate pair; write whole characters") from None
        for line, fault in template_faults(node.text):
            diagnostics.fail(path, node.line, f"line {line} of the text: {fault}")
        return node.text


MESSAGE = RecordKind(
    (
        Key("role", ChoiceKind(get_args(Role)), "Who speaks.", default="user", required=True),
        Key("content", TemplateTextKind(), "The text.", default='"{{question}}"', required=True),
    )
)


class TemplateKind(msgspec.Struct, frozen=True):
    """Text, or a list of messages."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> Any:
        if isinstance(node, MappingNode):
            raise Unreadable('write text, or a list of messages such as - {role: user, content: "{{question}}"}')
        if isinstance(node, ScalarNode):
            return TemplateTextKind().read(node, path, diagnostics)
        if not node.items:
            raise Unreadable('the list is empty; write a message such as {role: user, content: "{{question}}"}')
        messages = []
        for position, item in enumerate(node.items):
            messages += diagnostics.read_child(MESSAGE, item, (*path, position))
        return tuple(messages)


class JsonValueKind(msgspec.Struct, frozen=True):
    """Any value of JSON. Text without quotes that looks like a number, a flag or null is one."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> Any:
        if isinstance(node, SequenceNode):
            return [
                value
                for position, item in enumerate(node.items)
                for value in diagnostics.read_child(self, item, (*path, position))
            ]
        if isinstance(node, MappingNode):
            return {
                key.text: value
                for key, item in named_pairs(node, path, diagnostics)
                for value in diagnostics.read_child(self, item, (*path, key.text))
            }
        if node.is_null:
            return None
        if node.is_plain and node.text in _FLAGS:
            return _FLAGS[node.text]
        if node.is_plain and _WHOLE.fullmatch(node.text):
            return int(node.text)
        if node.is_plain and _NUMBER.fullmatch(node.text):
            number = float(node.text)
            if not math.isfinite(number):
                raise Unreadable(f"{node.text} is out of range; write a smaller number, or quotes around it")
            return number
        return TextKind().read(node, path, diagnostics) if node.text else ""


class VariablesKind(MapKind, frozen=True):
    """A map from names of variables to their settings."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> dict[str, Any]:
        values = MapKind.read(self, node, path, diagnostics)
        for name in values:
            if VARIABLE_NAME.fullmatch(name) is None:
                line = diagnostics.lines[(*path, name)]
                message = "is not the name of a variable; write letters, digits and underscores, no digit first"
                diagnostics.fail((*path, name), line, message)
        return values


VARIABLE = RecordKind(
    (
        Key(
            "type",
            ChoiceKind(get_args(VariableType)),
            "The type of the value: `text`, `int`, `float` (whole numbers too) or `bool`. `render` rejects others.",
            default="text",
        ),
        Key(
            "required", FlagKind(), "Whether `render` needs a value. Without one, an optional variable is empty text.",
            default="true",
        ),
        Key("description", TextKind(), "What the value is, for people.", default="empty text"),
    )
)  # fmt: skip

PROMPT = RecordKind(
    (
        Key("name", PromptNameKind("a name such as answer"), "The prompt's name.", default="answer", required=True),
        Key(
            "template",
            TemplateKind(),
            "The text with placeholders `{{variable}}`; of a chat, a list of messages with `role` (`system`, "
            "`developer`, `user`, `assistant` or `tool`) and `content`.",
            default='"Answer the question: {{question}}"',
            required=True,
        ),
        Key(
            "variables",
            VariablesKind(VARIABLE),
            "The variables: a map from names to `{type, required, description}`.",
            default="each placeholder is a required text",
        ),
        Key(
            "config",
            MapKind(JsonValueKind()),
            "Settings of the model, such as `model` and `temperature`: any values, which the client returns as they "
            "are.",
            default="{}",
        ),
        Key("owner", TextKind(), "Who is responsible, such as a team.", default="empty text"),
        Key(
            "parent",
            IntegerKind(1, MAX_VERSION),
            "The registered version that this one was made from.",
            default="none is named",
        ),
        Key("description", TextKind(), "What the prompt is for, and what changed.", default="empty text"),
    )
)
