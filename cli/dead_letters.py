"""The command lines of `barograph dead-letters`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal

from barograph.contract import Contract

from barograph_server.cli.options import Arg, CommandGroup, Connection, ListOutput, OnlyModel, Opt, Options, Output
from barograph_server.contracts import read_contracts
from barograph_server.errors import CommandError
from barograph_server.operations.decoded_dead_letters import decode_text
from barograph_server.streams.dead_letters.dead_letter import DeadLetter, DeadLetterPosition
from barograph_server.streams.dead_letters.reader import DeadLetterFilter, DeadLetterReader, dead_letter_topics
from barograph_server.streams.dead_letters.replay import DeadLetterReplayer, ReplaySummary
from barograph_server.terminal import TableColumn, Terminal, iso_utc, plural
from barograph_server.times import parse_since
from barograph_server.warehouse.client import connect
from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError

if TYPE_CHECKING:
    from barograph_server.settings import Settings

State = Literal["waiting", "replayed", "dropped", "all"]

# --- what is printed --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class DeadLetterGroup:
    """Counts of the dead letters of one source topic, model and reason."""

    topic: str
    model: str
    reason: str
    waiting: int = 0
    replayed: int = 0
    dropped: int = 0
    rejected_again: int = 0
    """Dead letters of any state whose event was replayed and rejected again."""
    first_ms: int = 0
    last_ms: int = 0

    def add(self, dead_letter: DeadLetter) -> None:
        setattr(self, dead_letter.state, getattr(self, dead_letter.state) + 1)
        self.rejected_again += bool(dead_letter.replay_of)
        self.first_ms = min(self.first_ms or dead_letter.at_ms, dead_letter.at_ms)
        self.last_ms = max(self.last_ms, dead_letter.at_ms)


def count_by_group(dead_letters: Iterable[DeadLetter]) -> list[DeadLetterGroup]:
    """Count dead letters by source topic, model and reason, most waiting first."""
    groups: dict[tuple[str, str, str], DeadLetterGroup] = {}
    for dead_letter in dead_letters:
        key = dead_letter.source_topic, dead_letter.model, dead_letter.reason
        groups.setdefault(key, DeadLetterGroup(*key)).add(dead_letter)
    return sorted(groups.values(), key=lambda group: (-group.waiting, group.topic, group.model, group.reason))


def _count(count: int) -> str:
    return f"{count:,}" if count else ""


def _time(at_ms: int) -> str:
    """Write a time to the second; empty if it is unknown."""
    return "" if at_ms <= 0 else iso_utc(at_ms / 1000, seconds=True)


GROUPS = (
    TableColumn("topic"),
    TableColumn("model", format=lambda model: model or "?"),
    TableColumn("reason"),
    *(
        TableColumn(name, format=_count, is_number=True)
        for name in ("waiting", "replayed", "dropped", "rejected_again")
    ),
    TableColumn("first_ms", "first", _time),
    TableColumn("last_ms", "last", _time),
)
DEAD_LETTERS = (
    TableColumn(lambda dead_letter: str(dead_letter.position), "dead letter"),
    TableColumn("at_ms", "at", _time),
    TableColumn("reason"),
    TableColumn("detail"),
    TableColumn("model", format=lambda model: model or "?"),
    TableColumn("source_topic"),
    TableColumn("source_partition"),
    TableColumn("source_offset"),
    TableColumn("index", "row"),
    TableColumn("state"),
    TableColumn(lambda dead_letter: dead_letter.resolution and dead_letter.resolution.at_ms, "resolved", _time),
    TableColumn(lambda dead_letter: dead_letter.resolution and dead_letter.resolution.reason, "because"),
    TableColumn("replay_of"),
    TableColumn(lambda dead_letter: len(dead_letter.value), "bytes", ","),
)


def print_groups(groups: Sequence[DeadLetterGroup], output: ListOutput) -> None:
    """Print groups, on the terminal with the number of waiting dead letters."""
    output.show(groups, GROUPS, empty="No dead letters.")
    if groups and output.format == "table":
        Terminal().line(f"{plural(sum(group.waiting for group in groups), 'dead letter')} waiting.")


def print_dead_letters(terminal: Terminal, shown: Sequence[dict[str, Any]], dead_letters: Sequence[DeadLetter]) -> None:
    """Print all that is known of dead letters, with their texts."""
    if not dead_letters:
        terminal.line("No dead letters.")
    for i, (dead_letter, values) in enumerate(zip(dead_letters, shown, strict=True)):
        if i:
            terminal.line()
        cells = {column.heading: str(column.cell(dead_letter)) for column in DEAD_LETTERS}
        terminal.pairs({title: cell for title, cell in cells.items() if cell not in ("", "0")})
        terminal.line(values["value"])


def summary_lines(summary: ReplaySummary, verb: str) -> list[str]:
    """Describe what `replay` or `drop` did.

    Args:
        verb: `replayed` or `dropped`.
    """
    lines = [f"{verb} {count:,} of {topic}" for topic, count in sorted(summary.resolved.items())]
    lines = [f"{line[:1].upper()}{line[1:]}." for line in lines]
    if not lines:
        lines.append(f"No dead letter was {verb}: none matches.")
    if summary.rejected_again:
        again = plural(summary.rejected_again, "replayed event")
        lines.append(f"Skipped {again}, rejected again: fix the cause, then give --again.")
    if summary.partials:
        partials = plural(summary.partials, "record")
        lines.append(f"Skipped {partials} of partials, which cannot be merged twice: recount with `barograph rebuild`.")
    if summary.without_bytes:
        missing = plural(summary.without_bytes, "dead letter")
        lines.append(
            f"Skipped {missing} without bytes, which a burst of dead letters omits: publish the events again from "
            "their origin, then drop these dead letters."
        )
    if summary.over_limit:
        lines.append(f"{plural(summary.over_limit, 'dead letter')} left by --limit.")
    return lines


# --- the commands -----------------------------------------------------------------------------------------------------

dead_letters_app = CommandGroup()

StateOption = Annotated[State, Opt("Only dead letters in this state.")]


class DeadLetterSelection(Options, frozen=True):
    model: OnlyModel = None
    reason: Annotated[str | None, Opt("Only this reason, such as bad-time.", "CODE")] = None
    topic: Annotated[Literal["predictions", "labels", "partials"] | None, Opt("Only this source topic.")] = None
    partition: Annotated[int | None, Opt("Only this partition of the source topic.", min=0)] = None
    since: Annotated[str | None, Opt("Only events dead-lettered since a time, or an age such as 6h or 2d.", "TIME")] = (
        None
    )
    until: Annotated[str | None, Opt("Only events dead-lettered before a time or an age.", "TIME")] = None

    def criteria(self, settings: Settings, state: State) -> DeadLetterFilter:
        now = datetime.now(UTC)

        def unix_ms(option: str, text: str | None) -> int | None:
            return None if text is None else int(parse_since(option, text, now).timestamp() * 1000)

        return DeadLetterFilter(
            positions=self.parse_positions(settings),
            topic=self.topic,
            model=self.model,
            reason=self.reason,
            partition=self.partition,
            since_ms=unix_ms("--since", self.since),
            until_ms=unix_ms("--until", self.until),
            states=frozenset({"waiting", "replayed", "dropped"} if state == "all" else {state}),
        )

    def parse_positions(self, settings: Settings) -> frozenset[DeadLetterPosition]:
        return frozenset()


class NamedSelection(DeadLetterSelection, frozen=True):
    """Which dead letters a command is about, also by name."""

    positions: Annotated[tuple[str, ...], Arg("Dead letters, such as predictions.dead/0/17.", "DEAD_LETTER")] = ()

    def parse_positions(self, settings: Settings) -> frozenset[DeadLetterPosition]:
        topics = dead_letter_topics(settings.topics).values()
        positions = {text: DeadLetterPosition.parse(text) for text in self.positions}
        for text, position in positions.items():
            if position is None or position.topic not in topics:
                raise CommandError(
                    f"{text} is not a dead letter: write TOPIC/PARTITION/OFFSET as `barograph dead-letters list "
                    f"--each` does, with one of the topics {', '.join(topics)}."
                )
        return frozenset(filter(None, positions.values()))


class Resolving(NamedSelection, frozen=True):
    """Which dead letters are replayed or dropped, and how many."""

    all_: Annotated[bool, Opt("All waiting dead letters, if no other option selects.")] = False
    limit: Annotated[int | None, Opt("Stop after this many.", min=1)] = None
    dry_run: Annotated[bool, Opt("Count the dead letters, and change none.")] = False

    def select(self, settings: Settings, state: State, verb: str) -> DeadLetterFilter | None:
        """Check the selection; return the criteria, or print the counts and return None if nothing is changed."""
        criteria = self.criteria(settings, state)
        chosen = (self.topic, self.model, self.reason, self.partition, self.since, self.until)
        if not self.all_ and not self.positions and all(option is None for option in chosen):
            raise CommandError(f"Select the dead letters to {verb}: name them, use the options, or give --all.")
        if self.dry_run:
            print_groups(count_by_group(_read(settings, criteria)), ListOutput())
            return None
        if criteria.positions:
            _check_positions(criteria, list(_read(settings, criteria)), None)
        return criteria


@dead_letters_app.add("list")
def list_command(
    selection: DeadLetterSelection,
    output: ListOutput,
    connection: Connection,
    state: StateOption = "all",
    each: Annotated[bool, Opt("List every dead letter instead of counts.")] = False,
    limit: Annotated[int, Opt("Lines of --each.", min=1)] = 100,
) -> None:
    """Count dead letters by topic, model and reason, most waiting first.

    Examples:
        barograph dead-letters list --since 24h
        barograph dead-letters list --reason bad-time --state waiting --each
    """
    settings = connection.settings("kafka")
    matches = _read(settings, selection.criteria(settings, state))
    if each:
        output.show(list(islice(matches, limit)), DEAD_LETTERS, empty="No dead letters.")
    else:
        print_groups(count_by_group(matches), output)


@dead_letters_app.add("show")
def show_command(
    selection: NamedSelection,
    output: Output,
    connection: Connection,
    state: StateOption = "all",
    limit: Annotated[int, Opt("Stop after this many.", min=1)] = 10,
    unmasked: Annotated[bool, Opt("Show personal data, and all values of models without a contract.")] = False,
) -> None:
    """Show dead letters with their decoded bytes.

    Masks values that the contract marks as personal data; without a readable contract of the model, masks all values.

    Examples:
        barograph dead-letters show predictions.dead/0/17
        barograph dead-letters show --model churn --reason wrong-type --limit 3
    """
    settings = connection.settings("kafka")
    criteria = selection.criteria(settings, state)
    dead_letters = list(islice(_read(settings, criteria), limit))
    _check_positions(criteria, dead_letters, limit)
    contracts = {} if unmasked or not dead_letters else _read_contracts(settings)
    partials = settings.topics.partials
    shown = [
        {
            **{column.key: column.read(each) for column in DEAD_LETTERS},
            "value": decode_text(each, contracts.get(each.model), partials_topic=partials, unmasked=unmasked),
        }
        for each in dead_letters
    ]
    output.show(shown, print_dead_letters, dead_letters)


@dead_letters_app.add("replay")
def replay_command(
    resolving: Resolving,
    connection: Connection,
    dropped: Annotated[bool, Opt("Replay dropped dead letters instead of waiting.")] = False,
    again: Annotated[bool, Opt("Also dead letters that were replayed and rejected again.")] = False,
) -> None:
    """Send the original bytes of dead letters back to their source topic, each exactly once.

    Run it when the cause is fixed: the contract applied, the decoder upgraded. One transaction sends a dead letter and
    marks it as replayed, so run an interrupted replay again. An event that is rejected again becomes a new dead letter
    that names the old one; replay skips it unless you give --again.

    Examples:
        barograph dead-letters replay --reason unknown-model --model churn
        barograph dead-letters replay predictions.dead/0/17
    """
    settings = connection.settings("kafka")
    criteria = resolving.select(settings, "dropped" if dropped else "waiting", "replay")
    if criteria is None:
        return
    summary = DeadLetterReplayer(settings.processor()).replay(criteria, again=again, limit=resolving.limit)
    Terminal().lines(summary_lines(summary, "replayed"))
    if summary.resolved:
        Terminal().line(
            "Events that are still malformed become dead letters again: see `barograph dead-letters list` in a minute."
        )


@dead_letters_app.add("drop")
def drop_command(
    resolving: Resolving,
    connection: Connection,
    because: Annotated[str, Opt("Why they can be ignored; stored with them.", "TEXT")],
) -> None:
    """Mark dead letters as dropped, with a reason; nothing is deleted.

    Dropped dead letters no longer count as waiting. While their topic retains them you can show them, and replay them
    with `replay --dropped`.

    Examples:
        barograph dead-letters drop --reason not-json --because "a port scan of 3 March"
    """
    if not because.strip():
        raise CommandError("--because is empty: give the reason; it is stored with the dead letters.")
    settings = connection.settings("kafka")
    criteria = resolving.select(settings, "waiting", "drop")
    if criteria is None:
        return
    summary = DeadLetterReplayer(settings.processor()).drop(criteria, because.strip(), limit=resolving.limit)
    Terminal().lines(summary_lines(summary, "dropped"))


def _read(settings: Settings, criteria: DeadLetterFilter) -> Iterator[DeadLetter]:

    reader = DeadLetterReader(settings.processor())
    return reader.dead_letters(criteria, reader.resolutions())


def _check_positions(criteria: DeadLetterFilter, dead_letters: list[DeadLetter], limit: int | None) -> None:
    """Raise an error if a named dead letter does not exist or does not match the other options."""
    missing = criteria.positions - {dead_letter.position for dead_letter in dead_letters}
    if missing and (limit is None or len(dead_letters) < limit):
        names = ", ".join(sorted(map(str, missing)))
        states = " or ".join(sorted(criteria.states))
        raise CommandError(
            f"There is no dead letter {names} that is {states} and matches the other options: "
            "`barograph dead-letters list --each` lists all."
        )


def _read_contracts(settings: Settings) -> dict[str, Contract]:
    """Read the applied contracts; without an answer from ClickHouse return none, so that all values are masked."""
    try:
        with connect(settings.warehouse, timeout_s=10) as client:
            return read_contracts(client)
    except (WarehouseBusy, WarehouseError):
        return {}
