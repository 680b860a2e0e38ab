"""The command lines of `barograph prompts`."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import typer
from barograph.prompts.catalogue import PromptCatalogue
from barograph.prompts.content import PromptContent
from barograph.prompts.records import PromptLabel, PromptVersion

from barograph_server.cli.options import ConfigOption, JsonOption, help_text
from barograph_server.streams.prompts.changes import variable_warnings
from barograph_server.streams.prompts.registry_change import RegistryOutcome
from barograph_server.terminal import AlignedTable, Terminal, plural, utc_second

if TYPE_CHECKING:
    from collections.abc import Callable

    from barograph_server.streams.prompts.changes import Author, Draft

SHOWN_HASH_CHARS = 12
DIFF_STYLES = {"+": "green", "-": "red", "@": "cyan"}
"""Styles of the lines of a unified diff, by their first character."""


def list_json(catalogue: PromptCatalogue) -> list[dict[str, Any]]:
    """Describe all prompts as JSON."""
    result = []
    for name in catalogue.names:
        versions = catalogue.versions(name)
        latest = _version(catalogue, name, versions[-1])
        labels = {label: change.version for label, change in sorted(catalogue.labels(name).items())}
        result.append(
            {
                "name": name,
                "latest": latest.version,
                "versions": list(versions),
                "labels": labels,
                "owner": latest.content.owner,
                "registered_at": utc_second(latest.registered_at_ms / 1000),
            }
        )
    return result


def print_list(terminal: Terminal, catalogue: PromptCatalogue) -> None:
    """Print a line for each prompt."""
    rows = list_json(catalogue)
    if not rows:
        terminal.line("No prompt is registered: `barograph prompts register PATH` registers prompt files.")
        return
    table = AlignedTable(
        "prompt", "versions", "latest", "registered", "labels", "owner", numbers=("versions", "latest")
    )
    for row in rows:
        labels = ", ".join(f"{label} → {version}" for label, version in row["labels"].items()) or "–"
        counts = str(len(row["versions"])), str(row["latest"])
        table.row(row["name"], *counts, row["registered_at"], labels, row["owner"] or "–")
    terminal.table(table)


def version_json(catalogue: PromptCatalogue, record: PromptVersion) -> dict[str, Any]:
    """Describe one version as JSON."""
    content: dict[str, Any] = msgspec.to_builtins(record.content)
    return {
        "id": f"{record.name}@{record.version}",
        **content,
        "version": record.version,
        "content_hash": record.content_hash,
        "labels": [each.label for each in _labels_of(catalogue, record)],
        "origin": record.origin,
        "registered_by": record.registered_by,
        "registered_at": utc_second(record.registered_at_ms / 1000),
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
    """Write a content as lines, for the diff."""
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
    """Describe what a command ignored."""
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


def _version(catalogue: PromptCatalogue, name: str, version: int) -> PromptVersion:
    record = catalogue.version(name, version)
    assert record is not None
    return record


prompts_app = typer.Typer(add_completion=False, no_args_is_help=True)

_Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the prompt.", show_default=False)]
_By = Annotated[
    str | None,
    typer.Option(
        "--by", metavar="NAME", help="Who makes the change. Default: the user of this machine.", show_default=False
    ),
]
_Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; stored.", show_default=False)]


@prompts_app.callback()
def prompts_group() -> None:
    """Register prompts of language models, and decide which version serves."""


def register_command(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="Prompt files, or folders with prompt files.", show_default=False),
    ],
    from_: Annotated[
        Literal["mlflow", "langfuse"] | None,
        typer.Option("--from", help="Read exports of this registry instead of prompt files.", show_default=False),
    ] = None,
    by: _By = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the files without a connection.")] = False,
    config: ConfigOption = None,
) -> None:
    """Register prompt files: each new content becomes a version. Unchanged files change nothing.

    A new version serves nobody until a label points to it. Versions never change.

    Examples:
        barograph prompts register prompts/
        barograph prompts register prompts/answer.yaml --by ana
        barograph prompts register --from mlflow model-versions.json
    """
    from barograph_server.rollouts.prompts.exports import read_export
    from barograph_server.rollouts.prompts.registry import change_registry, raise_failure, read_prompt_files
    from barograph_server.settings import load_settings
    from barograph_server.streams.prompts.changes import register_versions

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
    settings = load_settings(config)
    known: list[PromptVersion] = []

    def plan(catalogue: PromptCatalogue, author: Author) -> list[PromptVersion]:
        added, unchanged = register_versions(catalogue, drafts, author)
        known.extend(unchanged)
        return added

    outcome = change_registry(settings, plan, by)
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


def list_command(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List the prompts with their versions and labels.

    Examples:
        barograph prompts list
        barograph prompts list --json | jq '.[].labels.production'
    """
    from barograph_server.rollouts.prompts.registry import read_registry
    from barograph_server.settings import load_settings

    state = read_registry(load_settings(config, needs=("kafka",)))
    Terminal(stderr=True).lines(state.warnings)
    if as_json:
        Terminal().json(list_json(state.catalogue))
    else:
        print_list(Terminal(), state.catalogue)


def show_command(
    prompt: Annotated[
        str,
        typer.Argument(
            metavar="NAME[@VERSION]",
            help="A prompt. Without a version: the one in production, or the latest.",
            show_default=False,
        ),
    ],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show one version: template, variables, settings of the model, labels.

    Examples:
        barograph prompts show answer
        barograph prompts show answer@7 --json
    """
    from barograph.prompts.content import PRODUCTION
    from barograph.prompts.prompt import parse_prompt_id

    from barograph_server.rollouts.prompts.registry import read_registry
    from barograph_server.settings import load_settings
    from barograph_server.streams.prompts.changes import require_name, require_version

    name, version = parse_prompt_id(prompt)
    state = read_registry(load_settings(config, needs=("kafka",)))
    Terminal(stderr=True).lines(state.warnings)
    catalogue = state.catalogue
    require_name(catalogue, name)
    if version is None:
        production = catalogue.label(name, PRODUCTION)
        version = catalogue.versions(name)[-1] if production is None else production.version
    record = require_version(catalogue, name, version)
    if as_json:
        Terminal().json(version_json(catalogue, record))
    else:
        print_version(Terminal(), catalogue, record)


def diff_command(
    name: _Name,
    before: Annotated[str, typer.Argument(metavar="A", help="A version or a label.", show_default=False)],
    after: Annotated[str, typer.Argument(metavar="B", help="A version or a label.", show_default=False)],
    config: ConfigOption = None,
) -> None:
    """Compare two versions: template, variables and settings of the model, as a unified diff.

    Examples:
        barograph prompts diff answer 6 7
        barograph prompts diff answer production candidate
    """
    from barograph_server.rollouts.prompts.registry import read_registry
    from barograph_server.settings import load_settings
    from barograph_server.streams.prompts.changes import find_version

    catalogue = read_registry(load_settings(config, needs=("kafka",))).catalogue
    print_diff(Terminal(), find_version(catalogue, name, before), find_version(catalogue, name, after))


def label_command(
    name: _Name,
    version: Annotated[int, typer.Argument(metavar="VERSION", min=1, help="The version.", show_default=False)],
    label: Annotated[
        str, typer.Argument(metavar="LABEL", help="The label, such as production or candidate.", show_default=False)
    ],
    reason: _Reason,
    by: _By = None,
    config: ConfigOption = None,
) -> None:
    """Make a label point to a version. Clients use it at once.

    Examples:
        barograph prompts label answer 8 candidate --reason "shorter answers"
        barograph prompts label answer 8 production --reason "candidate was better" --by ana
    """
    from barograph_server.errors import CommandError
    from barograph_server.streams.prompts.changes import move_label

    if not reason.strip():
        raise CommandError("--reason is empty: state the reason for later readers of the log.")
    _change_label(
        lambda catalogue, author: move_label(catalogue, name, label, version, author, " ".join(reason.split())),
        lambda catalogue: f"{name}:{label} points to {version} already",
        by,
        config,
    )


def rollback_command(
    name: _Name,
    label: Annotated[str, typer.Option("--label", help="The label.")] = "production",
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="VERSION",
            help="The version to return to, or a label that points to it. Default: the one that had the label before.",
            show_default=False,
        ),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; stored.")] = "",
    by: _By = None,
    config: ConfigOption = None,
) -> None:
    """Make a label point to the version that had it before. Clients use that version at once, without a deployment.

    A second rollback without `--to` changes nothing, so the command can be repeated.

    Examples:
        barograph prompts rollback answer --reason "wrong language"
        barograph prompts rollback answer --to 5
        barograph prompts rollback answer --label candidate --to production --reason "more errors"
    """
    from barograph_server.streams.prompts.changes import find_version, roll_back

    def plan(catalogue: PromptCatalogue, author: Author) -> PromptLabel | None:
        version = None if to is None else find_version(catalogue, name, to).version
        return roll_back(catalogue, name, label, version, author, " ".join(reason.split()))

    def unchanged(catalogue: PromptCatalogue) -> str:
        current = catalogue.label(name, label)
        if to is not None or current is None:
            version = "" if to is None else find_version(catalogue, name, to).version
            return f"{name}:{label} points to {version} already"
        return (
            f"{name}:{label} was rolled back from {current.previous} to {current.version} at "
            f"{utc_second(current.changed_at_ms / 1000)} already; to return further, name the version with --to"
        )

    _change_label(
        plan,
        unchanged,
        by,
        config,
    )


def compare_command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Model whose arms serve versions of a prompt.", show_default=False)
    ],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show how the arms of a model compare with the control, as of the last hour with both.

    One line for each arm and criterion of the contract's section `rollback`. The intervals hold at every look. Reads
    ClickHouse only.

    Examples:
        barograph prompts compare support-bot
        barograph prompts compare support-bot --json | jq '.comparisons[] | select(.outcome == "harm")'
    """
    from barograph_server.plain_values import plain
    from barograph_server.rollouts.prompts.comparisons import print_comparisons, read_comparisons
    from barograph_server.settings import load_settings
    from barograph_server.warehouse.client import connect

    with connect(load_settings(config, needs=("clickhouse",)).warehouse) as client:
        comparisons = read_comparisons(client, model)
    if as_json:
        Terminal().json(plain(comparisons))
    else:
        print_comparisons(Terminal(), comparisons)


def _change_label(
    plan: Callable[[PromptCatalogue, Author], PromptLabel | None],
    unchanged: Callable[[PromptCatalogue], str],
    by: str | None,
    config: Path | None,
) -> None:
    """Change a label, and print what changed.

    Args:
        plan: returns the change; None if there is none.
        unchanged: says why there is none.
        by: who makes the change; None for the user of the operating system.
    """
    from barograph_server.rollouts.prompts.registry import change_registry, raise_failure
    from barograph_server.settings import load_settings

    def records(catalogue: PromptCatalogue, author: Author) -> list[PromptLabel]:
        change = plan(catalogue, author)
        return [] if change is None else [change]

    outcome = change_registry(load_settings(config), records, by)
    terminal = Terminal()
    terminal.changes(warning_lines(outcome))
    if not outcome.records:
        terminal.line(f"  {unchanged(outcome.catalogue)}")
    print_label_changes(terminal, outcome)
    print_stored(terminal, outcome)
    raise_failure(outcome)


for _command, _function in (
    ("register", register_command),
    ("list", list_command),
    ("show", show_command),
    ("diff", diff_command),
    ("label", label_command),
    ("rollback", rollback_command),
    ("compare", compare_command),
):
    prompts_app.command(_command, help=help_text(_function))(_function)
