"""The files of `prompts register`: prompt files, and exports of other registries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from barograph.contract.problems import Problem
from barograph.prompts.errors import PromptFileError
from barograph.prompts.file import load_content

from barograph_server.errors import CommandError
from barograph_server.streams.prompts.changes import Draft

ENDINGS = (".yaml", ".yml")


def read_prompt_files(paths: Sequence[Path]) -> list[Draft]:
    """Read prompt files; of a folder, all files that end with `.yaml` or `.yml`.

    Raises:
        PromptFileError: files are not prompts; it lists the problems of all of them.
    """
    drafts, problems = [], list[Problem]()
    for path in _files(paths):
        try:
            drafts.append(Draft(load_content(path), str(path)))
        except PromptFileError as error:
            problems += error.problems
    if problems:
        raise PromptFileError(problems)
    sources: dict[str, str] = {}
    for draft in drafts:
        other = sources.setdefault(draft.content.name, draft.location)
        if other != draft.location:
            raise CommandError(
                f"{other} and {draft.location} both have the prompt {draft.content.name}: rename one, or register them "
                "one after the other."
            )
    return drafts


def _files(paths: Iterable[Path]) -> list[Path]:
    result: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir():
            result[path] = None
            continue
        files = sorted(each for each in path.iterdir() if each.suffix in ENDINGS)
        if not files:
            raise CommandError(f"{path} has no prompt file: name a folder with files that end with .yaml or .yml.")
        result.update(dict.fromkeys(files))
    return list(result)
