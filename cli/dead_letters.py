"""The command lines of `barograph dead-letters`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from barograph_server.cli.options import ConfigOption, JsonOption, help_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from barograph.contract import Contract

    from barograph_server.settings import Settings
    from barograph_server.streams.dead_letters.dead_letter import DeadLetter
    from barograph_server.streams.dead_letters.reader import DeadLetterFilter

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

    from barograph_server.cli.dead_letters_text import (
        count_by_group,
        dead_letter_json,
        groups_json,
        print_dead_letters,
        print_groups,
    )
    from barograph_server.terminal import Terminal

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

    from barograph_server.cli.dead_letters_text import dead_letter_json, print_dead_letter
    from barograph_server.operations.decoded_dead_letters import decode_text
    from barograph_server.terminal import Terminal

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
    from barograph_server.cli.dead_letters_text import count_by_group, print_groups, summary_lines
    from barograph_server.streams.dead_letters.replay import DeadLetterReplayer
    from barograph_server.terminal import Terminal

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
    from barograph_server.cli.dead_letters_text import count_by_group, print_groups, summary_lines
    from barograph_server.errors import CommandError
    from barograph_server.streams.dead_letters.replay import DeadLetterReplayer
    from barograph_server.terminal import Terminal

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
