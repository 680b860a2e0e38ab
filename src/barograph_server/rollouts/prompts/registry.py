"""Changes of the registry in Kafka and ClickHouse, and the files that `prompts register` reads."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from barograph.contract.problems import Problem
from barograph.prompts.catalogue import PromptCatalogue
from barograph.prompts.errors import PromptFileError
from barograph.prompts.file import load_content
from barograph.prompts.records import PromptRecord

from barograph_server.author import author_name
from barograph_server.errors import CommandError
from barograph_server.settings import Settings
from barograph_server.streams.prompts import registry_change
from barograph_server.streams.prompts.changes import Author, Draft
from barograph_server.streams.prompts.registry_change import PromptLog, RegistryOutcome
from barograph_server.warehouse.client import connect

Clock = Callable[[], float]
CLICKHOUSE_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class RegistryState:
    catalogue: PromptCatalogue
    warnings: tuple[str, ...]


def read_registry(settings: Settings) -> RegistryState:
    """Read what is registered, from Kafka."""
    log = PromptLog(settings.processor())
    catalogue = log.read()
    return RegistryState(catalogue, log.warnings)


def change_registry(
    settings: Settings,
    plan: Callable[[PromptCatalogue, Author], Sequence[PromptRecord]],
    by: str | None,
    *,
    clock: Clock = time.time,
) -> RegistryOutcome:
    """Change the registry, as `streams.prompts.registry_change.change_registry` does.

    Args:
        plan: returns the records to write; it may raise.
        by: who makes the change; None for the user of the operating system.
    """
    author = Author(author_name(by), int(clock() * 1000))
    return registry_change.change_registry(
        settings.processor(), plan, author, lambda: connect(settings.warehouse, timeout_s=CLICKHOUSE_TIMEOUT_S)
    )


def raise_failure(outcome: RegistryOutcome) -> None:
    """Raise an error if ClickHouse did not receive the rows."""
    if outcome.failure:
        done = "Kafka has the change, and clients follow it" if outcome.records else "Nothing had to change in Kafka"
        raise CommandError(
            f"{done}, but ClickHouse does not have all rows: {outcome.failure} Run the same command again later: it "
            "adds the rows that are missing and changes nothing else."
        )


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
