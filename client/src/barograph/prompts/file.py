"""Reads and checks prompt files.

All problems of a file are reported at once, as `FILE:LINE: problem; remedy`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from barograph.contract.kinds import Diagnostics
from barograph.contract.problems import ContractError, Problem
from barograph.contract.yaml_nodes import MappingNode
from barograph.contract.yaml_tree import read_file, read_tree
from barograph.prompts.content import (
    MAX_CONTENT_BYTES,
    MAX_TEMPLATE_CHARS,
    PromptContent,
    PromptMessage,
    PromptVariable,
    content_bytes,
    derived_variables,
    variable_faults,
)
from barograph.prompts.errors import PromptFileError
from barograph.prompts.keys import PROMPT


def load_content(path: str | os.PathLike[str]) -> PromptContent:
    """Read and check a prompt file.

    Raises:
        PromptFileError: The file cannot be read or is not a prompt; `problems` lists every problem.
    """
    try:
        data = read_file(path, "a prompt file")
    except ContractError as error:
        raise PromptFileError(error.problems) from error
    return parse_content(data, os.fspath(path))


def parse_content(text: str | bytes, name: str = "prompt.yaml") -> PromptContent:
    """Read and check the text of a prompt file.

    Args:
        name: The file's name in messages.

    Raises:
        PromptFileError: The text is not a prompt; `problems` lists every problem in order of lines.
    """
    try:
        tree = read_tree(text, name)
    except ContractError as error:
        raise PromptFileError(error.problems) from None
    if not isinstance(tree, MappingNode):
        message = "this is not a prompt; begin with name: NAME and template: TEXT"
        raise PromptFileError([Problem(name, 1, message)])
    diagnostics = Diagnostics(name)
    values = PROMPT.read(tree, (), diagnostics)
    is_template_read = "template" in values and not any(path[:1] == ("template",) for path in diagnostics.failed)
    if "name" in values and is_template_read:
        content = _build(values)
        _check(content, diagnostics)
    if diagnostics.problems:
        raise PromptFileError(sorted(diagnostics.problems, key=lambda problem: problem.line))
    return content


def _check(content: PromptContent, diagnostics: Diagnostics) -> None:
    """Check what several keys say together."""
    lines = diagnostics.lines
    if not any(path[0] == "variables" for path in diagnostics.failed):
        for variable, fault in variable_faults(content):
            path = ("variables", variable)
            diagnostics.fail(path, lines.get(path, lines.get(("variables",), lines[("template",)])), fault)
    size_chars = sum(map(len, content.texts))
    if size_chars > MAX_TEMPLATE_CHARS:
        message = f"the texts have {size_chars:,} characters; write at most {MAX_TEMPLATE_CHARS:,}"
        diagnostics.fail(("template",), lines[("template",)], message)
    size_bytes = content_bytes(content)
    if size_bytes > MAX_CONTENT_BYTES:
        message = f"the prompt has {size_bytes:,} bytes as JSON; write at most {MAX_CONTENT_BYTES:,}"
        diagnostics.fail((), 1, message)


def _build(values: Mapping[str, Any]) -> PromptContent:
    settings = {key: value for key, value in values.items() if key not in ("template", "variables")}
    template = values["template"]
    if not isinstance(template, str):
        template = tuple(PromptMessage(**message) for message in template)
    content = PromptContent(template=template, **settings)
    declared = {name: PromptVariable(**variable) for name, variable in values.get("variables", {}).items()}
    variables = declared if "variables" in values else derived_variables(content.texts)
    return PromptContent(template=template, variables=variables, **settings)
