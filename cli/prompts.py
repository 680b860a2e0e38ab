"""The command lines of `barograph prompts`."""

import difflib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from barograph.prompts.catalogue import PromptCatalogue
from barograph.prompts.content import PRODUCTION, PromptContent
from barograph.prompts.prompt import parse_prompt_id
from barograph.prompts.records import PromptLabel, PromptVersion

from barograph_server.cli.options import Arg, Author, CommandGroup, Connection, ListOutput, Opt, Output, require_reason
from barograph_server.plain_values import plain
from barograph_server.streams.prompts.changes import Author as ChangeAuthor
from barograph_server.streams.prompts.changes import (
    Draft,
    find_version,
    move_label,
    register_versions,
    require_name,
    require_version,
    roll_back,
    variable_warnings,
)
from barograph_server.streams.prompts.registry_change import RegistryOutcome
from barograph_server.terminal import TableColumn, Terminal, picked, plural, utc_second

DIFF_STYLES = {"+": "green", "-": "red", "@": "cyan"}
"""Styles of the lines of a unified diff, by their first character."""


class PromptSummary(NamedTuple):
    name: str
    versions: tuple[int, ...]
    latest: int
    registered_at: str
    labels: dict[str, int]
    owner: str


PROMPTS = (
    TableColumn("name", "prompt"),
    TableColumn("versions", format=lambda versions: str(len(versions)), is_number=True),
    TableColumn("latest", format="d"),
    TableColumn("registered_at", "registered"),
    TableColumn("labels", format=lambda labels: ", ".join(f"{each} → {labels[each]}" for each in labels) or "–"),
    TableColumn("owner", format=lambda owner: owner or "–"),
)


def summarize(catalogue: PromptCatalogue) -> list[PromptSummary]:
    result = []
    for name in catalogue.names:
        versions = catalogue.versions(name)
        latest = catalogue.version(name, versions[-1])
        assert latest is not None
        labels = {label: change.version for label, change in sorted(catalogue.labels(name).items())}
        registered_at = utc_second(latest.registered_at_ms / 1000)
        result.append(PromptSummary(name, versions, latest.version, registered_at, labels, latest.content.owner))
    return result


def version_values(catalogue: PromptCatalogue, record: PromptVersion) -> dict[str, Any]:
    """Return what programs read of one version."""
    return {
        "id": f"{record.name}@{record.version}",
        **plain(record.content),
        **picked(record, "version", "content_hash", "origin", "registered_by", "registered_at_ms"),
        "labels": [each.label for each in _labels_of(catalogue, record)],
    }


def print_version(terminal: Terminal, catalogue: PromptCatalogue, record: PromptVersion) -> None:
    """Print one version: where it comes from, its labels, variables, settings and template."""
    content = record.content
    by = f" by {record.registered_by}" if record.registered_by else ""
    pairs = {
        "prompt": f"{record.name}@{record.version}",
        "registered": f"{utc_second(record.registered_at_ms / 1000)}{by}, from {_origin(record)}",
        "hash": record.content_hash,
        "owner": content.owner,
        "parent": str(content.parent or ""),
        "description": content.description,
        "labels": "; ".join(map(_label_line, _labels_of(catalogue, record))),
        "variables": "; ".join(_variable_lines(content)),
        "config": json.dumps(content.config, ensure_ascii=False) if content.config else "",
    }
    terminal.pairs({key: value for key, value in pairs.items() if value})
    terminal.line()
    terminal.lines(_template_lines(content))


def print_diff(terminal: Terminal, before: PromptVersion, after: PromptVersion) -> None:
    """Print the difference of two versions as a unified diff."""
    lines = list(diff_lines(before, after))
    if not lines:
        terminal.line(f"Versions {before.version} and {after.version} of {before.name} have the same content.")
    for line in lines:
        terminal.line(line, DIFF_STYLES.get(line[:1], ""))


def diff_lines(before: PromptVersion, after: PromptVersion) -> Iterator[str]:
    """Compare template, variables, settings and the rest of two versions; yield the lines of a unified diff."""
    yield from difflib.unified_diff(
        content_lines(before.content),
        content_lines(after.content),
        f"{before.name}@{before.version}",
        f"{after.name}@{after.version}",
        lineterm="",
    )


def content_lines(content: PromptContent) -> list[str]:
    config = json.dumps(content.config, ensure_ascii=False, indent=2, sort_keys=True).splitlines()
    return [
        *("template:", *(f"  {line}" for line in _template_lines(content))),
        *("variables:", *(f"  {line}" for line in sorted(_variable_lines(content)))),
        *("config:", *(f"  {line}" for line in config)),
        f"owner: {content.owner}",
        f"parent: {content.parent or ''}",
        *("description:", *(f"  {line}" for line in content.description.splitlines())),
    ]


def warning_lines(outcome: RegistryOutcome) -> list[str]:
    return [f"! {warning}" for warning in outcome.warnings]


def print_label_changes(terminal: Terminal, outcome: RegistryOutcome) -> None:
    """Print the labels that a command changed, and what may fail in code that fits the version before."""
    for record in outcome.records:
        if isinstance(record, PromptLabel):
            before = f"{record.previous} → " if record.previous else ""
            terminal.changes([f"~ {record.name}:{record.label} {before}{record.version}"])
            terminal.changes(f"! {warning}" for warning in variable_warnings(outcome.catalogue, record))


def print_stored(terminal: Terminal, outcome: RegistryOutcome) -> None:
    """Print how many rows of earlier commands ClickHouse received."""
    earlier = outcome.stored.versions + outcome.stored.labels - len(outcome.records)
    if not outcome.failure and earlier > 0:
        terminal.line(f"  ClickHouse received {plural(earlier, 'row')} of earlier commands, which it lacked")


def _template_lines(content: PromptContent) -> list[str]:
    if isinstance(content.template, str):
        return content.template.splitlines()
    return [line for each in content.template for line in (f"[{each.role}]", *each.content.splitlines())]


def _variable_lines(content: PromptContent) -> list[str]:
    lines = []
    for name, each in content.variables.items():
        line = f"{name} ({each.type}{'' if each.required else ', optional'})"
        lines.append(f"{line}: {each.description}" if each.description else line)
    return lines


def _labels_of(catalogue: PromptCatalogue, record: PromptVersion) -> list[PromptLabel]:
    labels = sorted(catalogue.labels(record.name).items())
    return [change for _, change in labels if change.version == record.version]


def _label_line(change: PromptLabel) -> str:
    by = f" by {change.changed_by}" if change.changed_by else ""
    reason = f": {change.reason}" if change.reason else ""
    kind = "rolled back" if change.is_rollback else "set"
    return f"{change.label}, {kind} {utc_second(change.changed_at_ms / 1000)}{by}{reason}"


def _origin(record: PromptVersion) -> str:
    return {"file": "a prompt file", "mlflow": "an export of MLflow", "langfuse": "an export of Langfuse"}[
        record.origin
    ]


prompts_app = CommandGroup()

_Name = Annotated[str, Arg("Name of the prompt.", "NAME")]


@prompts_app.add("register")
def register_command(
    connection: Connection,
    paths: Annotated[tuple[Path, ...], Arg("Prompt files, or folders with prompt files.", "PATH")],
    from_: Annotated[
        Literal["mlflow", "langfuse"] | None, Opt("Read exports of this registry instead of prompt files.")
    ] = None,
    author: Author = None,
    dry_run: Annotated[bool, Opt("Check the files without a connection.")] = False,
) -> None:
    """Register prompt files: each new content becomes a version. Unchanged files change nothing.

    A new version serves nobody until a label points to it. Versions never change.

    Examples:
        barograph prompts register prompts/
        barograph prompts register prompts/answer.yaml --author ana
        barograph prompts register --from mlflow model-versions.json
    """
    from barograph_server.rollouts.prompts.exports import read_export
    from barograph_server.rollouts.prompts.registry import change_registry, raise_failure, read_prompt_files

    terminal = Terminal()
    drafts: list[Draft] = []
    labels: list[tuple[str, str, int]] = []
    notes: list[str] = []
    if from_ is None:
        drafts = read_prompt_files(paths)
    else:
        for path in paths:
            export = read_export(path, from_)
            drafts += export.drafts
            labels += export.labels
            notes += [f"! {path}: {note}" for note in export.notes]
    if dry_run:
        terminal.changes(notes)
        terminal.line(f"{plural(len(drafts), 'prompt')} can be registered.")
        return
    known: list[PromptVersion] = []

    def plan(catalogue: PromptCatalogue, by: ChangeAuthor) -> list[PromptVersion]:
        added, unchanged = register_versions(catalogue, drafts, by)
        known.extend(unchanged)
        return added

    outcome = change_registry(connection.settings(), plan, author)
    terminal.changes([*warning_lines(outcome), *notes])
    terminal.changes(f"+ {record.name}@{record.version}" for record in outcome.records)
    terminal.lines(f"  {record.name}@{record.version} is unchanged" for record in known)
    for name, label, version in labels:
        change = outcome.catalogue.label(name, label)
        if change is None or change.version != version:
            terminal.line(
                f"  the export has the label {label}: `barograph prompts label {name} {version} {label}` sets it"
            )
    print_stored(terminal, outcome)
    raise_failure(outcome)


@prompts_app.add("list")
def list_command(output: ListOutput, connection: Connection) -> None:
    """List the prompts with their versions and labels.

    Examples:
        barograph prompts list
        barograph prompts list --format json | jq '.[].labels.production'
    """
    from barograph_server.rollouts.prompts.registry import read_registry

    state = read_registry(connection.settings("kafka"))
    Terminal(stderr=True).lines(state.warnings)
    empty = "No prompt is registered: `barograph prompts register PATH` registers prompt files."
    output.show(summarize(state.catalogue), PROMPTS, empty=empty)


@prompts_app.add("show")
def show_command(
    output: Output,
    connection: Connection,
    prompt: Annotated[str, Arg("A prompt. Without a version: the one in production, or the latest.", "NAME[@VERSION]")],
) -> None:
    """Show one version: template, variables, settings of the model, labels.

    Examples:
        barograph prompts show answer
        barograph prompts show answer@7 --format json
    """
    from barograph_server.rollouts.prompts.registry import read_registry

    name, version = parse_prompt_id(prompt)
    state = read_registry(connection.settings("kafka"))
    Terminal(stderr=True).lines(state.warnings)
    catalogue = state.catalogue
    require_name(catalogue, name)
    if version is None:
        production = catalogue.label(name, PRODUCTION)
        version = catalogue.versions(name)[-1] if production is None else production.version
    record = require_version(catalogue, name, version)
    output.show(catalogue, print_version, record, values=version_values)


@prompts_app.add("diff")
def diff_command(
    connection: Connection,
    name: _Name,
    before: Annotated[str, Arg("A version or a label.", "A")],
    after: Annotated[str, Arg("A version or a label.", "B")],
) -> None:
    """Compare two versions: template, variables and settings of the model, as a unified diff.

    Examples:
        barograph prompts diff answer 6 7
        barograph prompts diff answer production candidate
    """
    from barograph_server.rollouts.prompts.registry import read_registry

    catalogue = read_registry(connection.settings("kafka")).catalogue
    print_diff(Terminal(), find_version(catalogue, name, before), find_version(catalogue, name, after))


@prompts_app.add("label")
def label_command(
    connection: Connection,
    name: _Name,
    version: Annotated[int, Arg("The version.", "VERSION", min=1)],
    label: Annotated[str, Arg("The label, such as production or candidate.", "LABEL")],
    reason: Annotated[str, Opt("Why; stored.", "TEXT")],
    author: Author = None,
) -> None:
    """Make a label point to a version. Clients use it at once.

    Examples:
        barograph prompts label answer 8 candidate --reason "shorter answers"
        barograph prompts label answer 8 production --reason "candidate was better" --author ana
    """
    why = require_reason(reason, "the log")
    _change_label(
        lambda catalogue, by: move_label(catalogue, name, label, version, by, why),
        lambda catalogue: f"{name}:{label} points to {version} already",
        author,
        connection,
    )


@prompts_app.add("rollback")
def rollback_command(
    connection: Connection,
    name: _Name,
    label: Annotated[str, Opt("The label that moves.")] = "production",
    to: Annotated[
        str | None,
        Opt("The version, or a label that points to it. Default: the one that had the label before.", "VERSION"),
    ] = None,
    reason: Annotated[str, Opt("Why; stored.", "TEXT")] = "",
    author: Author = None,
) -> None:
    """Make a label point to the version that had it before. Clients use that version at once, without a deployment.

    A second rollback without `--to` changes nothing, so the command can be repeated.

    Examples:
        barograph prompts rollback answer --reason "wrong language"
        barograph prompts rollback answer --to 5
        barograph prompts rollback answer --label candidate --to production --reason "more errors"
    """

    def plan(catalogue: PromptCatalogue, by: ChangeAuthor) -> PromptLabel | None:
        version = None if to is None else find_version(catalogue, name, to).version
        return roll_back(catalogue, name, label, version, by, " ".join(reason.split()))

    def unchanged(catalogue: PromptCatalogue) -> str:
        current = catalogue.label(name, label)
        if to is not None or current is None:
            version = "" if to is None else find_version(catalogue, name, to).version
            return f"{name}:{label} points to {version} already"
        return (
            f"{name}:{label} was rolled back from {current.previous} to {current.version} at "
            f"{utc_second(current.changed_at_ms / 1000)} already; to return further, name the version with --to"
        )

    _change_label(plan, unchanged, author, connection)


@prompts_app.add("compare")
def compare_command(
    output: Output,
    connection: Connection,
    model: Annotated[str, Opt("Model whose arms serve versions of a prompt.", "NAME")],
) -> None:
    """Show how the arms of a model compare with the control, as of the last hour with both.

    One line for each arm and criterion of the contract's section `rollback`. The intervals hold at every look. Reads
    ClickHouse only.

    Examples:
        barograph prompts compare --model support-bot
        barograph prompts compare --model support-bot --format json | jq '.comparisons[] | select(.outcome == "harm")'
    """
    from barograph_server.rollouts.prompts.comparisons import print_comparisons, read_comparisons

    with connection.warehouse() as client:
        comparisons = read_comparisons(client, model)
    output.show(comparisons, print_comparisons)


def _change_label(
    plan: Callable[[PromptCatalogue, ChangeAuthor], PromptLabel | None],
    unchanged: Callable[[PromptCatalogue], str],
    author: str | None,
    connection: Connection,
) -> None:
    """Change a label, and print what changed.

    Args:
        plan: returns the change; None if there is none.
        unchanged: says why there is none.
        author: who makes the change; None for the user of the operating system.
    """
    from barograph_server.rollouts.prompts.registry import change_registry, raise_failure

    def records(catalogue: PromptCatalogue, by: ChangeAuthor) -> list[PromptLabel]:
        change = plan(catalogue, by)
        return [] if change is None else [change]

    outcome = change_registry(connection.settings(), records, author)
    terminal = Terminal()
    terminal.changes(warning_lines(outcome))
    if not outcome.records:
        terminal.line(f"  {unchanged(outcome.catalogue)}")
    print_label_changes(terminal, outcome)
    print_stored(terminal, outcome)
    raise_failure(outcome)
