"""The command line of `barograph changes`."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

from barograph_server.alerts.guard.suspected_causes import ExplainedVerdict, explain_verdicts
from barograph_server.cli.options import CommandGroup, Connection, ListOutput, Model, Opt, Options, Output
from barograph_server.contracts import read_contract
from barograph_server.errors import CommandError
from barograph_server.settings import CHANGES_TOKEN_VARIABLE
from barograph_server.signal_wait import wait_for_signal
from barograph_server.terminal import TableColumn, Terminal, cut, plural, utc_minute
from barograph_server.times import parse_moment, parse_since
from barograph_server.warehouse.governance.changes import (
    ChangeError,
    add_changes,
    read_changes,
    reported_change,
    source_notes,
)

MAX_REASON_CHARS = 80
MAX_RANKED = 3
"""Changes of a verdict that are printed; JSON has all."""


CHANGES = (
    TableColumn("changed_at", "time (UTC)", utc_minute),
    TableColumn("model", format=lambda model: model or "any"),
    TableColumn("kind"),
    TableColumn("subject"),
    TableColumn("versions", "from → to"),
    TableColumn("source", format=lambda source: source or "-"),
    TableColumn(lambda change: change.owner or change.changed_by or "-", "owner"),
    TableColumn("reason", format=lambda reason: cut(reason, MAX_REASON_CHARS)),
)
_CAUSES = (
    TableColumn("change.title", "change"),
    TableColumn("change.changed_at", "time (UTC)", utc_minute),
    TableColumn("relation"),
    TableColumn("timing"),
    TableColumn("likelihood"),
)


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
        if each.ranked:
            terminal.rows(each.ranked[:MAX_RANKED], _CAUSES)
        terminal.line()
    n_likely = sum(bool(each.ranked) and each.ranked[0].likelihood == "likely" for each in explained)
    terminal.line(f"{plural(len(explained), 'verdict')} became major; {n_likely} with a likely cause.")


changes_app = CommandGroup()
PORT = 8480

Since = Annotated[str, Opt("Start of the range: a time, or how long ago.", "TIME")]


class ReportedChange(Options, frozen=True):
    """The members of a change, as the table `changes` has them."""

    kind: Annotated[str, Opt("What kind of change it is, such as deploy.")]
    subject: Annotated[str, Opt("What changed, such as the name of a job.")]
    model: Annotated[str, Opt("The model that it concerns; by default it may be any.", "NAME")] = ""
    source: Annotated[str, Opt("The source that changed, by its name in `sources` of contracts.")] = ""
    before: Annotated[str, Opt("Value before the change, such as a version.")] = ""
    after: Annotated[str, Opt("Value from the change on, such as a Git commit.")] = ""
    owner: Annotated[str, Opt("People to ask about it.")] = ""
    reason: Annotated[str, Opt("Why it was made.", "TEXT")] = ""
    changed_by: Annotated[str, Opt("Who made it.", "NAME", name="--author")] = ""
    changed_at: Annotated[
        str | None, Opt("When it was made; UTC without an offset.", "TIME", name="--at", default="now")
    ] = None


@changes_app.add("add")
def add_command(reported: ReportedChange, connection: Connection) -> None:
    """Report a change that Barograph cannot see, such as a deployment of an upstream job.

    Run it in the deployment itself. Contracts, baselines, promotions, prompts, and the first traffic of versions and
    arms are recorded without it. A repeated report with the same --at replaces itself.

    Examples:
        barograph changes add --kind deploy --subject fleet-features --source fleet --after "$(git rev-parse HEAD)"
    """
    members = {name: value for name, value in reported.values().items() if value is not None}
    if reported.changed_at is not None:
        members["changed_at"] = parse_moment("--at", reported.changed_at).isoformat()
    try:
        change = reported_change(members, datetime.now(UTC))
    except ChangeError as error:
        raise CommandError(f"The change is not stored: {error}.") from error
    with connection.warehouse() as client:
        notes = source_notes(client, [change])
        add_changes(client, [change])
    Terminal().line(f"Stored: {reported.kind} {reported.subject} at {utc_minute(change.changed_at)}.")
    Terminal().changes(f"! {note}" for note in notes)


@changes_app.add("list")
def list_command(
    output: ListOutput,
    connection: Connection,
    model: Annotated[str | None, Opt("Only changes that may concern this model.", "NAME")] = None,
    since: Since = "7d",
) -> None:
    """List changes: those that were reported, and those that Barograph recorded.

    Examples:
        barograph changes list --model flight-delay --since 30d
    """
    now = datetime.now(UTC)
    start = parse_since("--since", since, now)
    with connection.warehouse() as client:
        changes = read_changes(client, model, start, now + timedelta(days=1))
    output.show(changes[::-1], CHANGES, empty="No change is recorded in this range.", result=changes)


@changes_app.add("explain")
def explain_command(output: Output, connection: Connection, model: Model, since: Since = "7d") -> None:
    """Show which changes came before each verdict that became major, the most likely cause first.

    For each verdict it estimates from panes when the field moved, with a 95 % interval, and ranks the changes by their
    source and time. `likely`: a change of a declared source of the field, or of the model, at the onset. The ranking
    compares times and declarations; it proves nothing.

    Examples:
        barograph changes explain --model flight-delay --since 1d
    """
    now = datetime.now(UTC)
    start = parse_since("--since", since, now)
    with connection.warehouse() as client:
        explained = explain_verdicts(client, read_contract(client, model), start, now)
    output.show(explained, print_causes)


@changes_app.add("serve")
def serve_command(
    connection: Connection, port: Annotated[int, Opt("Port on loopback; 0: any free one.", min=0, max=65_535)] = PORT
) -> None:
    """Store changes that are posted over HTTP, until Ctrl-C.

    It takes POST /changes with a JSON object, or a list of at most 100, whose members are the columns of the table
    changes. Each request needs the header `Authorization: Bearer TOKEN`, with the token of the environment variable
    BAROGRAPH_CHANGES_TOKEN. It listens on loopback: put a proxy with TLS before it.

    Examples:
        barograph changes serve --port 8480
    """
    from barograph_server.governance.change_hook import ChangesHook

    token = os.environ.get(CHANGES_TOKEN_VARIABLE, "")
    if not token:
        raise CommandError(f"{CHANGES_TOKEN_VARIABLE} is not set: set it to a secret that deployment jobs send.")
    settings = connection.settings("clickhouse")
    with wait_for_signal() as wait, ChangesHook(settings.warehouse, token, port) as hook:
        Terminal().line(f"POST {hook.url}changes stores changes (Ctrl-C stops)")
        wait()
