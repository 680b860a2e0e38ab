"""The command lines of `barograph dead-letters`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from barograph_server.cli.options import ConfigOption, JsonOption, help_text
from barograph_server.streams.dead_letters.dead_letter import DeadLetter
from barograph_server.streams.dead_letters.replay import ReplaySummary
from barograph_server.terminal import AlignedTable, Terminal, iso_utc, plural

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from barograph.contract import Contract

    from barograph_server.settings import Settings
    from barograph_server.streams.dead_letters.reader import DeadLetterFilter


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
        """Count a dead letter."""
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


def groups_json(groups: Sequence[DeadLetterGroup]) -> list[dict[str, Any]]:
    """Make the values of the JSON output of `list`."""
    return [
        {
            "topic": group.topic,
            "model": group.model,
            "reason": group.reason,
            "waiting": group.waiting,
            "replayed": group.replayed,
            "dropped": group.dropped,
            "rejected_again": group.rejected_again,
            "first": _time(group.first_ms),
            "last": _time(group.last_ms),
        }
        for group in groups
    ]


def dead_letter_json(dead_letter: DeadLetter, text: str | None = None) -> dict[str, Any]:
    """Make the JSON value of a dead letter; `text` is its decoded value."""
    values: dict[str, Any] = {
        "dead_letter": str(dead_letter.position),
        "state": dead_letter.state,
        "dead_lettered_at": _time(dead_letter.at_ms),
        "reason": dead_letter.reason,
        "detail": dead_letter.detail,
        "model": dead_letter.model,
        "source": {
            "topic": dead_letter.source_topic,
            "partition": dead_letter.source_partition,
            "offset": dead_letter.source_offset,
            "index": dead_letter.index,
        },
        "replay_of": dead_letter.replay_of or None,
        "bytes": len(dead_letter.value),
    }
    if dead_letter.resolution is not None:
        resolution = dead_letter.resolution
        values |= {"resolved_at": _time(resolution.at_ms), "dropped_because": resolution.reason or None}
    return values if text is None else values | {"value": text}


def print_groups(terminal: Terminal, groups: Sequence[DeadLetterGroup]) -> None:
    """Print groups as a table."""
    if not groups:
        terminal.line("No dead letters.")
        return
    numbers = ("waiting", "replayed", "dropped", "rejected again")
    table = AlignedTable("topic", "model", "reason", *numbers, "first", "last", numbers=numbers)
    for group in groups:
        counts = (group.waiting, group.replayed, group.dropped, group.rejected_again)
        table.row(
            group.topic,
            group.model or "?",
            group.reason,
            *(f"{count:,}" if count else "" for count in counts),
            _time(group.first_ms),
            _time(group.last_ms),
        )
    terminal.table(table)
    terminal.line(f"{plural(sum(group.waiting for group in groups), 'dead letter')} waiting.")


def print_dead_letters(terminal: Terminal, dead_letters: Sequence[DeadLetter]) -> None:
    """Print one line per dead letter."""
    for dead_letter in dead_letters:
        origin = f", replay of {dead_letter.replay_of}" if dead_letter.replay_of else ""
        terminal.line(
            f"{dead_letter.position}  {_time(dead_letter.at_ms)}  {dead_letter.state}  {dead_letter.model or '?'}  "
            f"{dead_letter.reason}{origin}"
        )


def print_dead_letter(terminal: Terminal, dead_letter: DeadLetter, text: str) -> None:
    """Print all that is known of a dead letter."""
    reason = f"{dead_letter.reason}: {dead_letter.detail}" if dead_letter.detail else dead_letter.reason
    source = f"{dead_letter.source_topic}/{dead_letter.source_partition}/{dead_letter.source_offset}"
    state: str = dead_letter.state
    if dead_letter.resolution is not None:
        state += f" {_time(dead_letter.resolution.at_ms)}"
        state += f": {dead_letter.resolution.reason}" if dead_letter.resolution.reason else ""
    pairs = {
        "dead letter": str(dead_letter.position),
        "at": _time(dead_letter.at_ms),
        "reason": reason,
        "model": dead_letter.model or "?",
        "source": f"{source}, row {dead_letter.index}" if dead_letter.index > 0 else source,
        "state": state,
        "replay of": dead_letter.replay_of,
        "bytes": f"{len(dead_letter.value):,}",
    }
    terminal.pairs({key: value for key, value in pairs.items() if value})
    terminal.line(text)


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


def _time(at_ms: int) -> str:
    """Write a time to the second; empty if it is unknown."""
    return "" if at_ms <= 0 else iso_utc(at_ms / 1000, seconds=True)


dead_letters_app = typer.Typer(add_completion=False, no_args_is_help=True)

SourceTopic = Literal["predictions", "labels", "partials"]
StateOption = Literal["waiting", "replayed", "dropped", "all"]

_Positions = Annotated[
    list[str] | None,
    typer.Argument(metavar="[DEAD_LETTER]...", help="Dead letters, such as predictions.dead/0/17.", show_default=False),
]
_Model = Annotated[str | None, typer.Option(help="Only this model, as events name it.", show_default=False)]
_Reason = Annotated[
    str | None, typer.Option(metavar="CODE", help="Only this reason, such as bad-time.", show_default=False)
]
_Topic = Annotated[SourceTopic | None, typer.Option(help="Only this source topic.", show_default=False)]
_Partition = Annotated[
    int | None, typer.Option(min=0, help="Only this partition of the source topic.", show_default=False)
]
_Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="Only events dead-lettered since a time, or an age such as 6h or 2d.", show_default=False
    ),
]
_Until = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Only events dead-lettered before a time or an age.", show_default=False),
]
_All = Annotated[bool, typer.Option("--all", help="All waiting dead letters, if no other option selects.")]
_Limit = Annotated[int | None, typer.Option(min=1, help="Stop after this many.", show_default=False)]


@dead_letters_app.callback()
def dead_letters_group() -> None:
    """Show, replay or drop dead-lettered events."""


def list_command(
    model: _Model = None,
    reason: _Reason = None,
    topic: _Topic = None,
    partition: _Partition = None,
    since: _Since = None,
    until: _Until = None,
    state: Annotated[StateOption, typer.Option(help="Only dead letters in this state.")] = "all",
    each: Annotated[bool, typer.Option("--each", help="List every dead letter instead of counts.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Lines of --each.")] = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Count dead letters by topic, model and reason, most waiting first.

    Examples:
        barograph dead-letters list --since 24h
        barograph dead-letters list --reason bad-time --state waiting --each
    """
    from itertools import islice

    settings = _load_settings(config)
    criteria = _criteria(settings, None, model, reason, topic, partition, since, until, state)
    matches = _read(settings, criteria)
    terminal = Terminal()
    if each:
        dead_letters = list(islice(matches, limit))
        if as_json:
            terminal.json([dead_letter_json(dead_letter) for dead_letter in dead_letters])
        else:
            print_dead_letters(terminal, dead_letters)
        return
    groups = count_by_group(matches)
    if as_json:
        terminal.json(groups_json(groups))
    else:
        print_groups(terminal, groups)


def show_command(
    positions: _Positions = None,
    model: _Model = None,
    reason: _Reason = None,
    topic: _Topic = None,
    partition: _Partition = None,
    since: _Since = None,
    until: _Until = None,
    state: Annotated[StateOption, typer.Option(help="Only dead letters in this state.")] = "all",
    limit: Annotated[int, typer.Option(min=1, help="Stop after this many.")] = 10,
    unmasked: Annotated[
        bool,
        typer.Option("--unmasked", help="Show personal data, and all values of models without a contract."),
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show dead letters with their decoded bytes.

    Masks values that the contract marks as personal data; without a readable contract of the model, masks all values.

    Examples:
        barograph dead-letters show predictions.dead/0/17
        barograph dead-letters show --model churn --reason wrong-type --limit 3
    """
    from itertools import islice

    from barograph_server.operations.decoded_dead_letters import decode_text

    settings = _load_settings(config)
    criteria = _criteria(settings, positions, model, reason, topic, partition, since, until, state)
    dead_letters = list(islice(_read(settings, criteria), limit))
    _check_positions(criteria, dead_letters, limit)
    contracts = {} if unmasked or not dead_letters else _read_contracts(settings)
    partials = settings.topics.partials
    texts = [
        decode_text(dead_letter, contracts.get(dead_letter.model), partials_topic=partials, unmasked=unmasked)
        for dead_letter in dead_letters
    ]
    terminal = Terminal()
    if as_json:
        terminal.json([dead_letter_json(*pair) for pair in zip(dead_letters, texts, strict=True)])
        return
    if not dead_letters:
        terminal.line("No dead letters.")
    for i, (dead_letter, text) in enumerate(zip(dead_letters, texts, strict=True)):
        if i:
            terminal.line()
        print_dead_letter(terminal, dead_letter, text)


def replay_command(
    positions: _Positions = None,
    model: _Model = None,
    reason: _Reason = None,
    topic: _Topic = None,
    partition: _Partition = None,
    since: _Since = None,
    until: _Until = None,
    all_: _All = False,
    dropped: Annotated[bool, typer.Option("--dropped", help="Replay dropped dead letters instead of waiting.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also dead letters that were replayed and rejected again.")
    ] = False,
    limit: _Limit = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count the dead letters and replay none.")] = False,
    config: ConfigOption = None,
) -> None:
    """Send the original bytes of dead letters back to their source topic, each exactly once.

    Run it when the cause is fixed: the contract applied, the decoder upgraded. One transaction sends a dead letter and
    marks it as replayed, so run an interrupted replay again. An event that is rejected again becomes a new dead letter
    that names the old one; replay skips it unless you give --again.

    Examples:
        barograph dead-letters replay --reason unknown-model --model churn
        barograph dead-letters replay predictions.dead/0/17
    """
    from barograph_server.streams.dead_letters.replay import DeadLetterReplayer

    settings = _load_settings(config)
    state: StateOption = "dropped" if dropped else "waiting"
    criteria = _criteria(settings, positions, model, reason, topic, partition, since, until, state)
    _check_selection(criteria, select_all=all_, verb="replay")
    terminal = Terminal()
    if dry_run:
        print_groups(terminal, count_by_group(_read(settings, criteria)))
        return
    if criteria.positions:
        _check_positions(criteria, list(_read(settings, criteria)), None)
    summary = DeadLetterReplayer(settings.processor()).replay(criteria, again=again, limit=limit)
    terminal.lines(summary_lines(summary, "replayed"))
    if summary.resolved:
        terminal.line(
            "Events that are still malformed become dead letters again: see `barograph dead-letters list` in a minute."
        )


def drop_command(
    reason_text: Annotated[
        str,
        typer.Option(
            "--because", metavar="TEXT", help="Why they can be ignored; stored with them.", show_default=False
        ),
    ],
    positions: _Positions = None,
    model: _Model = None,
    reason: _Reason = None,
    topic: _Topic = None,
    partition: _Partition = None,
    since: _Since = None,
    until: _Until = None,
    all_: _All = False,
    limit: _Limit = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count the dead letters and drop none.")] = False,
    config: ConfigOption = None,
) -> None:
    """Mark dead letters as dropped, with a reason; nothing is deleted.

    Dropped dead letters no longer count as waiting. While their topic retains them you can show them, and replay them
    with `replay --dropped`.

    Examples:
        barograph dead-letters drop --reason not-json --because "a port scan of 3 March"
    """
    from barograph_server.errors import CommandError
    from barograph_server.streams.dead_letters.replay import DeadLetterReplayer

    because = reason_text.strip()
    if not because:
        raise CommandError("--because is empty: give the reason; it is stored with the dead letters.")
    settings = _load_settings(config)
    criteria = _criteria(settings, positions, model, reason, topic, partition, since, until, "waiting")
    _check_selection(criteria, select_all=all_, verb="drop")
    terminal = Terminal()
    if dry_run:
        print_groups(terminal, count_by_group(_read(settings, criteria)))
        return
    if criteria.positions:
        _check_positions(criteria, list(_read(settings, criteria)), None)
    summary = DeadLetterReplayer(settings.processor()).drop(criteria, because, limit=limit)
    terminal.lines(summary_lines(summary, "dropped"))


def _load_settings(config: Path | None) -> Settings:
    from barograph_server.settings import load_settings

    return load_settings(config, needs=("kafka",))


def _criteria(
    settings: Settings,
    texts: list[str] | None,
    model: str | None,
    reason: str | None,
    topic: SourceTopic | None,
    partition: int | None,
    since: str | None,
    until: str | None,
    state: StateOption,
) -> DeadLetterFilter:
    from datetime import UTC, datetime

    from barograph_server.errors import CommandError
    from barograph_server.streams.dead_letters.dead_letter import DeadLetterPosition
    from barograph_server.streams.dead_letters.reader import DeadLetterFilter, dead_letter_topics
    from barograph_server.times import parse_since

    now = datetime.now(UTC)
    positions = set()
    topics = dead_letter_topics(settings.topics).values()
    for text in texts or ():
        position = DeadLetterPosition.parse(text)
        if position is None or position.topic not in topics:
            raise CommandError(
                f"{text} is not a dead letter: write TOPIC/PARTITION/OFFSET as `barograph dead-letters list --each` "
                f"does, with one of the topics {', '.join(topics)}."
            )
        positions.add(position)

    def unix_ms(option: str, text: str | None) -> int | None:
        return None if text is None else int(parse_since(option, text, now).timestamp() * 1000)

    return DeadLetterFilter(
        positions=frozenset(positions),
        topic=topic,
        model=model,
        reason=reason,
        partition=partition,
        since_ms=unix_ms("--since", since),
        until_ms=unix_ms("--until", until),
        states=frozenset({"waiting", "replayed", "dropped"} if state == "all" else {state}),
    )


def _read(settings: Settings, criteria: DeadLetterFilter) -> Iterator[DeadLetter]:
    from barograph_server.streams.dead_letters.reader import DeadLetterReader

    reader = DeadLetterReader(settings.processor())
    return reader.dead_letters(criteria, reader.resolutions())


def _check_selection(criteria: DeadLetterFilter, *, select_all: bool, verb: str) -> None:
    from barograph_server.errors import CommandError

    options = (
        criteria.topic,
        criteria.model,
        criteria.reason,
        criteria.partition,
        criteria.since_ms,
        criteria.until_ms,
    )
    if not select_all and not criteria.positions and all(option is None for option in options):
        raise CommandError(f"Select the dead letters to {verb}: name them, use the options, or give --all.")


def _check_positions(criteria: DeadLetterFilter, dead_letters: list[DeadLetter], limit: int | None) -> None:
    """Raise an error if a named dead letter does not exist or does not match the other options."""
    from barograph_server.errors import CommandError

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
    from barograph_server.contracts import read_contracts
    from barograph_server.warehouse.client import connect
    from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError

    try:
        with connect(settings.warehouse, timeout_s=10) as client:
            return read_contracts(client)
    except (WarehouseBusy, WarehouseError):
        return {}


for _name, _function in (
    ("list", list_command),
    ("show", show_command),
    ("replay", replay_command),
    ("drop", drop_command),
):
    dead_letters_app.command(_name, help=help_text(_function))(_function)
