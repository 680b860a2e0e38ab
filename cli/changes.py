"""The command line of `barograph changes`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from barograph_server.alerts.guard.suspected_causes import ExplainedVerdict
from barograph_server.cli.options import ConfigOption, JsonOption, help_text
from barograph_server.terminal import AlignedTable, Terminal, cut, plural, utc_minute
from barograph_server.warehouse.governance.changes import Change

MAX_REASON_CHARS = 80
MAX_RANKED = 3
"""Changes of a verdict that are printed; JSON has all."""


def changes_json(changes: Sequence[Change]) -> list[dict[str, Any]]:
    """Convert changes for `Terminal.json`."""
    return [asdict(each) for each in changes]


def print_changes(terminal: Terminal, changes: Sequence[Change]) -> None:
    """Print changes, the latest first."""
    if not changes:
        terminal.line("No change is recorded in this range.")
        return
    table = AlignedTable("time (UTC)", "model", "kind", "subject", "from → to", "source", "owner", "reason")
    for each in reversed(changes):
        owner = each.owner or each.changed_by
        table.row(
            *(utc_minute(each.changed_at), each.model or "any", each.kind, each.subject, each.versions),
            *(each.source or "-", owner or "-", cut(each.reason, MAX_REASON_CHARS)),
        )
    terminal.table(table)


def causes_json(explained: Sequence[ExplainedVerdict]) -> list[dict[str, Any]]:
    """Convert verdicts and their ranked changes for `Terminal.json`."""
    return [asdict(each) for each in explained]


def print_causes(terminal: Terminal, explained: Sequence[ExplainedVerdict]) -> None:
    """Print each verdict that became major, with the changes before it."""
    if not explained:
        terminal.line("No verdict became major in this range.")
        return
    for each in explained:
        verdict = each.verdict
        terminal.line(
            f"{verdict.field}: {verdict.signal} of the {verdict.window} window until {utc_minute(verdict.window_end)}, "
            f"version {verdict.version}",
            "bold",
        )
        terminal.line(f"  {each.text}")
        table = AlignedTable("", "change", "time (UTC)", "relation", "timing", "likelihood")
        for rank, ranked in enumerate(each.ranked[:MAX_RANKED], start=1):
            change = ranked.change
            table.row(
                str(rank),
                change.title,
                utc_minute(change.changed_at),
                ranked.relation,
                ranked.timing,
                ranked.likelihood,
            )
        if each.ranked:
            terminal.table(table)
        terminal.line()
    n_likely = sum(bool(each.ranked) and each.ranked[0].likelihood == "likely" for each in explained)
    terminal.line(f"{plural(len(explained), 'verdict')} became major; {n_likely} with a likely cause.")


changes_app = typer.Typer(add_completion=False, no_args_is_help=True)
PORT = 8480

_SinceOption = Annotated[str, typer.Option(metavar="TIME", help="Start of the range: a time, or how long ago.")]
_ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.", show_default=False)]


@changes_app.callback()
def changes_group() -> None:
    """Report changes, list them, and rank them as causes of major verdicts."""


def add_command(
    kind: Annotated[str, typer.Option(help="What kind of change it is, such as deploy.", show_default=False)],
    subject: Annotated[str, typer.Option(help="What changed, such as the name of a job.", show_default=False)],
    model: Annotated[str, typer.Option(help="The model that it concerns; by default it may be any.")] = "",
    source: Annotated[str, typer.Option(help="The source that changed, by its name in `sources` of contracts.")] = "",
    before: Annotated[str, typer.Option(help="Value before the change, such as a version.")] = "",
    after: Annotated[str, typer.Option(help="Value from the change on, such as a Git commit.")] = "",
    owner: Annotated[str, typer.Option(help="People to ask about it.")] = "",
    reason: Annotated[str, typer.Option(help="Why it was made.")] = "",
    changed_by: Annotated[str, typer.Option("--by", help="Who made it.")] = "",
    changed_at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="When it was made; UTC without an offset.", show_default="now"),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Report a change that Barograph cannot see, such as a deployment of an upstream job.

    Run it in the deployment itself. Contracts, baselines, promotions, prompts, and the first traffic of versions and
    arms are recorded without it. A repeated report with the same --at replaces itself.

    Examples:
        barograph changes add --kind deploy --subject fleet-features --source fleet --after "$(git rev-parse HEAD)"
    """
    from datetime import UTC, datetime

    from barograph_server.errors import CommandError
    from barograph_server.settings import load_settings
    from barograph_server.times import parse_moment
    from barograph_server.warehouse.client import connect
    from barograph_server.warehouse.governance.changes import ChangeError, add_changes, reported_change, source_notes

    texts = {"kind": kind, "subject": subject, "model": model, "source": source, "before": before, "after": after}
    texts |= {"owner": owner, "reason": reason, "changed_by": changed_by}
    time = {} if changed_at is None else {"changed_at": parse_moment("--at", changed_at).isoformat()}
    try:
        change = reported_change(texts | time, datetime.now(UTC))
    except ChangeError as error:
        raise CommandError(f"The change is not stored: {error}.") from error
    settings = load_settings(config, needs=("clickhouse",))
    with connect(settings.warehouse) as client:
        notes = source_notes(client, [change])
        add_changes(client, [change])
    Terminal().line(f"Stored: {kind} {subject} at {utc_minute(change.changed_at)}.")
    Terminal().changes(f"! {note}" for note in notes)


def list_command(
    model: Annotated[
        str | None, typer.Option(help="Only changes that may concern this model.", show_default=False)
    ] = None,
    since: _SinceOption = "7d",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List changes: those that were reported, and those that Barograph recorded.

    Examples:
        barograph changes list --model flight-delay --since 30d
    """
    from datetime import UTC, datetime, timedelta

    from barograph_server.settings import load_settings
    from barograph_server.times import parse_since
    from barograph_server.warehouse.client import connect
    from barograph_server.warehouse.governance.changes import read_changes

    now = datetime.now(UTC)
    start = parse_since("--since", since, now)
    settings = load_settings(config, needs=("clickhouse",))
    with connect(settings.warehouse) as client:
        changes = read_changes(client, model, start, now + timedelta(days=1))
    if as_json:
        Terminal().json(changes_json(changes))
    else:
        print_changes(Terminal(), changes)


def explain_command(
    model: _ModelArgument, since: _SinceOption = "7d", as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Show which changes came before each verdict that became major, the most likely cause first.

    For each verdict it estimates from panes when the field moved, with a 95 % interval, and ranks the changes by their
    source and time. `likely`: a change of a declared source of the field, or of the model, at the onset. The ranking
    compares times and declarations; it proves nothing.

    Examples:
        barograph changes explain flight-delay --since 1d
    """
    from datetime import UTC, datetime

    from barograph_server.alerts.guard.suspected_causes import explain_verdicts
    from barograph_server.contracts import read_contract
    from barograph_server.settings import load_settings
    from barograph_server.times import parse_since
    from barograph_server.warehouse.client import connect

    now = datetime.now(UTC)
    start = parse_since("--since", since, now)
    settings = load_settings(config, needs=("clickhouse",))
    with connect(settings.warehouse) as client:
        explained = explain_verdicts(client, read_contract(client, model), start, now)
    if as_json:
        Terminal().json(causes_json(explained))
    else:
        print_causes(Terminal(), explained)


def serve_command(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port on loopback; 0: any free one.")] = PORT,
    config: ConfigOption = None,
) -> None:
    """Store changes that are posted over HTTP, until Ctrl-C.

    It takes POST /changes with a JSON object, or a list of at most 100, whose members are the columns of the table
    changes. Each request needs the header `Authorization: Bearer TOKEN`, with the token of the environment variable
    BAROGRAPH_CHANGES_TOKEN. It listens on loopback: put a proxy with TLS before it.

    Examples:
        barograph changes serve --port 8480
    """
    import os

    from barograph_server.errors import CommandError
    from barograph_server.governance.change_hook import ChangesHook
    from barograph_server.settings import CHANGES_TOKEN_VARIABLE, load_settings
    from barograph_server.signal_wait import wait_for_signal

    token = os.environ.get(CHANGES_TOKEN_VARIABLE, "")
    if not token:
        raise CommandError(f"{CHANGES_TOKEN_VARIABLE} is not set: set it to a secret that deployment jobs send.")
    settings = load_settings(config, needs=("clickhouse",))
    with wait_for_signal() as wait, ChangesHook(settings.warehouse, token, port) as hook:
        Terminal().line(f"POST {hook.url}changes stores changes (Ctrl-C stops)")
        wait()


changes_app.command("add", help=help_text(add_command))(add_command)
changes_app.command("list", help=help_text(list_command))(list_command)
changes_app.command("explain", help=help_text(explain_command))(explain_command)
changes_app.command("serve", help=help_text(serve_command))(serve_command)
