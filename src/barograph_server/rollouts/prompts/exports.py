"""Prompts in the JSON of other registries: MLflow's REST API, and Langfuse's public API.

Names and versions stay as they are. What a template of ours cannot express is an error: message placeholders and
references of Langfuse, and templates of Jinja.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
from barograph.contract.problems import Problem, quoted
from barograph.prompts.content import (
    MAX_CONTENT_BYTES,
    MAX_TEMPLATE_CHARS,
    PromptContent,
    PromptMessage,
    Role,
    content_bytes,
    derived_variables,
    prompt_name_fault,
    template_faults,
)
from barograph.prompts.errors import PromptFileError

from barograph_server.streams.prompts.changes import Draft

ExportFormat = Literal["mlflow", "langfuse"]
MAX_EXPORT_BYTES = 64 << 20
MLFLOW_IS_PROMPT, MLFLOW_TEXT = "mlflow.prompt.is_prompt", "mlflow.prompt.text"
MLFLOW_TYPE, MLFLOW_CONFIG = "_mlflow_prompt_type", "_mlflow_prompt_model_config"
MLFLOW_RESPONSE_FORMAT = "_mlflow_prompt_response_format"
LANGFUSE_REFERENCE = "@@@langfusePrompt:"


@dataclass(frozen=True, slots=True)
class Export:
    drafts: tuple[Draft, ...]
    """Its prompts, by name and version."""
    labels: tuple[tuple[str, str, int], ...]
    """Name, label and version of the labels (MLflow: aliases), which are not imported."""
    notes: tuple[str, ...]
    """What was left out."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One prompt version of an export, before it is checked."""

    name: Any
    version: Any
    template: Any
    config: Any
    description: str
    labels: tuple[str, ...]


class _EntryError(Exception):
    """An entry cannot be imported."""


def read_export(path: Path, kind: ExportFormat) -> Export:
    """Read an export.

    Raises:
        PromptFileError: the file is not such an export, or entries cannot be imported; it lists all problems.
    """
    entries = _entries(path, kind)
    read: Callable[[Any, list[str]], _Entry | None] = _mlflow_entry if kind == "mlflow" else _langfuse_entry
    drafts: list[Draft] = []
    labels: list[tuple[str, str, int]] = []
    notes: list[str] = []
    problems = []
    for position, raw in enumerate(entries, start=1):
        location = f"entry {position}"
        try:
            if not isinstance(raw, dict):
                raise _EntryError("is no object")
            location += f" ({_label_of(raw)})"
            entry = read(raw, notes)
            if entry is None:
                notes.append(f"{location} is a model, not a prompt")
                continue
            content, version = _checked(entry)
        except _EntryError as error:
            problems.append(Problem(str(path), 0, f"{location}: {error}"))
            continue
        drafts.append(Draft(content, f"{path}, {location}", kind, version))
        labels += [(content.name, label, version) for label in entry.labels]
    if problems:
        raise PromptFileError(problems)
    if not drafts:
        raise PromptFileError([Problem(str(path), 0, "has no prompt; export at least one version")])
    drafts.sort(key=lambda draft: (draft.content.name, draft.version))
    return Export(tuple(drafts), tuple(sorted(labels)), tuple(notes))


def _entries(path: Path, kind: ExportFormat) -> list[Any]:
    """Return the entries: the document is one of them, a list, or an object with a list."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_EXPORT_BYTES + 1)
        if len(data) > MAX_EXPORT_BYTES:
            raise ValueError(f"the file has more than {MAX_EXPORT_BYTES:,} bytes; export fewer prompts at once")
        document = msgspec.json.decode(data)
    except RecursionError:
        raise PromptFileError([Problem(str(path), 0, "is nested too deeply; give an export")]) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise PromptFileError([Problem(str(path), 0, f"cannot be read as JSON: {reason}; give an export")]) from error
    if isinstance(document, dict):
        for member in ("model_versions", "data"):
            if isinstance(document.get(member), list):
                return list(document[member])
        return [document.get("model_version", document)] if kind == "mlflow" else [document]
    return document if isinstance(document, list) else [document]


def _mlflow_entry(raw: Mapping[str, Any], notes: list[str]) -> _Entry | None:
    tags = raw.get("tags") or {}
    if isinstance(tags, list):
        tags = {each["key"]: each.get("value", "") for each in tags if isinstance(each, dict) and "key" in each}
    if not isinstance(tags, dict):
        raise _EntryError("its tags are neither a list nor an object; export model versions of MLflow's REST API")
    if MLFLOW_TEXT not in tags and tags.get(MLFLOW_IS_PROMPT) != "true":
        return None
    template = tags.get(MLFLOW_TEXT)
    if tags.get(MLFLOW_TYPE) == "chat":
        template = _json_text(template, MLFLOW_TEXT)
    config = _json_text(tags[MLFLOW_CONFIG], MLFLOW_CONFIG) if tags.get(MLFLOW_CONFIG) else {}
    if tags.get(MLFLOW_RESPONSE_FORMAT):
        notes.append(f"the response format of {_label_of(raw)} is not imported")
    aliases = raw.get("aliases") or ()
    return _Entry(
        raw.get("name"), raw.get("version"), template, config, _text(raw.get("description")), tuple(map(str, aliases))
    )


def _langfuse_entry(raw: Mapping[str, Any], notes: list[str]) -> _Entry:
    if "prompt" not in raw:
        raise _EntryError("has no member prompt; export single versions of GET /api/public/v2/prompts/NAME")
    if raw.get("type") == "chat" and isinstance(raw["prompt"], str):
        raise _EntryError("is a chat whose prompt is text; export it again")
    # `latest` is kept by Langfuse itself: it always names the newest version.
    labels = tuple(str(each) for each in raw.get("labels") or () if each != "latest")
    description = _text(raw.get("commitMessage"))
    return _Entry(raw.get("name"), raw.get("version"), raw["prompt"], raw.get("config"), description, labels)


def _checked(entry: _Entry) -> tuple[PromptContent, int]:
    """Return content and version of an entry.

    Raises:
        _EntryError: it cannot be imported.
    """
    if not isinstance(entry.name, str):
        raise _EntryError("has no name")
    fault = prompt_name_fault(entry.name)
    if fault is not None:
        raise _EntryError(f"its name {fault}")
    version = entry.version
    if isinstance(version, str) and version.isdigit() and len(version) <= 10:
        version = int(version)
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version < 2**31:
        raise _EntryError(f"its version {quoted(str(entry.version))} is not a whole number of at least 1")
    config = {} if entry.config is None else entry.config
    if not isinstance(config, dict):
        raise _EntryError("its config is no object; change it there to an object")
    template = _template(entry.template)
    content = PromptContent(name=entry.name, template=template, config=config, description=entry.description)
    for text in content.texts:
        if LANGFUSE_REFERENCE in text:
            raise _EntryError("refers to another prompt; export it with references resolved (resolve=true)")
        for line, problem in template_faults(text):
            raise _EntryError(f"line {line} of its text: {problem}")
    content = msgspec.structs.replace(content, variables=derived_variables(content.texts))
    if sum(map(len, content.texts)) > MAX_TEMPLATE_CHARS or content_bytes(content) > MAX_CONTENT_BYTES:
        raise _EntryError(f"is too long; at most {MAX_TEMPLATE_CHARS:,} characters and {MAX_CONTENT_BYTES:,} bytes")
    return content, version


def _template(value: Any) -> str | tuple[PromptMessage, ...]:
    if isinstance(value, str):
        if not value.strip():
            raise _EntryError("its text is empty")
        return value
    if not isinstance(value, list) or not value:
        raise _EntryError("has neither text nor messages")
    return tuple(_messages(value))


def _messages(items: list[Any]) -> Iterator[PromptMessage]:
    roles = get_args(Role)
    for position, item in enumerate(items, start=1):
        if isinstance(item, dict) and item.get("type") == "placeholder":
            raise _EntryError(
                f"message {position} is the message placeholder {quoted(str(item.get('name')))}, which templates do "
                "not have: insert these messages in your code"
            )
        if not isinstance(item, dict) or not isinstance(item.get("content"), str):
            raise _EntryError(f"message {position} has no text; only messages with role and content are read")
        if item.get("role") not in roles:
            known = ", ".join(roles)
            raise _EntryError(f"message {position} has the role {quoted(str(item.get('role')))}; known are {known}")
        yield PromptMessage(item["role"], item["content"])


def _json_text(value: Any, tag: str) -> Any:
    try:
        return msgspec.json.decode(value if isinstance(value, str) else "")
    except (ValueError, RecursionError) as error:
        raise _EntryError(f"its tag {tag} is not JSON: {error}") from None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _label_of(raw: Mapping[str, Any]) -> str:
    return f"{raw.get('name')}@{raw.get('version')}"
