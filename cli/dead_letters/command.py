"""The command lines of `barograph dead-letters`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.options import ConfigOption, help_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from barograph.contract import Contract

    from cli.settings import Settings
    from streams.dead_letters.dead_letter import DeadLetter
    from streams.dead_letters.reader import DeadLetterFilter

dead_letters_app = typer.Typer(add_completion=False, no_args_is_help=True)

Topic = Literal["predictions", "labels", "partials"]
Choice = Literal["waiting", "replayed", "dropped", "all"]

_Letters = Annotated[
    list[str] | None,
    typer.Argument(metavar="[LETTER]...", help="Letters by name, such as predictions.dead/0/17.", show_default=False),
]
_Model = Annotated[str | None, typer.Option(help="Of one model, as the events name it.", show_default=False)]
_Reason = Annotated[
    str | None, typer.Option(metavar="CODE", help="Put aside for one reason, such as bad-time.", show_default=False)
]
_Topic = Annotated[Topic | None, typer.Option(help="From one source topic.", show_default=False)]
_Partition = Annotated[int | None, typer.Option(min=0, help="From one partition of the source.", show_default=False)]
_Since = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Put aside at or after a time, or that long ago (6h, 2d).", show_default=False),
]
_Until = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Put aside before a time, or longer ago than that.", show_default=False),
]
_JSON = Annotated[bool, typer.Option("--json", help="For programs.")]


@dead_letters_app.callback()
def dead_letters_group() -> None:
    """Show events that were put aside, send them again, or say that they are done with."""


def list_command(
    model: _Model = None,
    reason: _Reason = None,
    topic: _Topic = None,
    partition: _Partition = None,
    since: _Since = None,
    until: _Until = None,
    state: Annotated[Choice, typer.Option(help="What became of them.")] = "all",
    each: Annotated[bool, typer.Option("--each", help="One line per letter instead of groups.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Lines of --each.")] = 100,
    as_json: _JSON = False,
    config: ConfigOption = None,
) -> None:
    """Count dead letters by topic, model and reason; those that wait first.

    Examples:
        barograph dead-letters list --since 24h
        barograph dead-letters list --reason bad-time --state waiting --each
    """
    from itertools import islice

    from rich.console import Console

    from cli.dead_letters.show import dead_letter_json, grouped, groups_json, print_dead_letters, print_groups

    settings = _settings(config)
    wanted = _wanted(settings, None, model, reason, topic, partition, since, until, state)
    found = _read(settings, wanted)
    if each:
        letters = list(islice(found, limit))
        if as_json:
            print(json.dumps([dead_letter_json(letter) for letter in letters], ensure_ascii=False, indent=2))
        else:
            print_dead_letters(Console(), letters)
        return
    groups = grouped(found)
    if as_json:
        print(json.dumps(groups_json(groups), ensure_ascii=False, indent=2))
    else:
        print_groups(Console(), groups)


def show_command(
    letters: _Letters = None,
    model: _Model = None,
    reason: _Reason = None,
    topic: _Topic = None,
    partition: _Partition = None,
    since: _Since = None,
    until: _Until = None,
    state: Annotated[Choice, typer.Option(help="What became of them.")] = "all",
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 10,
    unmasked: Annotated[
        bool, typer.Option("--unmasked", help="Also what the contract marks as personal, or no contract explains.")
    ] = False,
    as_json: _JSON = False,
    config: ConfigOption = None,
) -> None:
    """Show letters with their bytes decoded.

    Values that the contract marks as personal are masked; where no contract of the model can be read, all are.

    Examples:
        barograph dead-letters show predictions.dead/0/17
        barograph dead-letters show --model churn --reason wrong-type --limit 3
    """
    from itertools import islice

    from rich.console import Console

    from cli.dead_letters.decoded import readable
    from cli.dead_letters.show import dead_letter_json, print_dead_letter

    settings = _settings(config)
    wanted = _wanted(settings, letters, model, reason, topic, partition, since, until, state)
    found = list(islice(_read(settings, wanted), limit))
    _check_found(wanted, found, limit)
    contracts = {} if unmasked or not found else _contracts(settings)
    partials = settings.topics.partials
    texts = [
        readable(letter, contracts.get(letter.model), partials_topic=partials, unmasked=unmasked) for letter in found
    ]
    if as_json:
        shown = [dead_letter_json(letter, text) for letter, text in zip(found, texts, strict=True)]
        print(json.dumps(shown, ensure_ascii=False, indent=2))
        return
    console = Console()
    if not found:
        console.print("No dead letters.")
    for i, (letter, text) in enumerate(zip(found, texts, strict=True)):
        if i:
            console.print()
        print_dead_letter(console, letter, text)


def replay_command(
    letters: _Letters = None,
    model: _Model = None,
    reason: _Reason = None,
    topic: _Topic = None,
    partition: _Partition = None,
    since: _Since = None,
    until: _Until = None,
    all_: Annotated[bool, typer.Option("--all", help="Every letter that waits, where nothing else chooses.")] = False,
    dropped: Annotated[bool, typer.Option("--dropped", help="Letters that were dropped, instead of waiting.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also those that were replayed and came back.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many.", show_default=False)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would be sent, and send nothing.")] = False,
    config: ConfigOption = None,
) -> None:
    """Send the original bytes of letters back to where they came from, each exactly once.

    Run it when the cause is mended: the contract applied, the decoder upgraded. A letter is marked in the transaction
    that sends it, so a run that was killed is simply run again. What is still malformed comes back as a new letter that
    names the old one, and is left alone unless --again is given.

    Examples:
        barograph dead-letters replay --reason unknown-model --model churn
        barograph dead-letters replay predictions.dead/0/17
    """
    from rich.console import Console

    from cli.dead_letters.show import grouped, print_groups, summary_lines
    from cli.terminal import Text
    from streams.dead_letters.replay import DeadLetterReplayer

    settings = _settings(config)
    wanted = _wanted(
        settings, letters, model, reason, topic, partition, since, until, "dropped" if dropped else "waiting"
    )
    _check_chosen(wanted, everything=all_, verb="replay")
    console = Console()
    if dry_run:
        print_groups(console, grouped(_read(settings, wanted)))
        return
    if wanted.positions:
        _check_found(wanted, list(_read(settings, wanted)), None)
    summary = DeadLetterReplayer(settings.processor()).replay(wanted, again=again, limit=limit)
    for line in summary_lines(summary, "replayed"):
        console.print(Text(line), soft_wrap=True)
    if summary.resolved:
        console.print("What is still malformed comes back: see `barograph dead-letters list` in a while.")


def drop_command(
    reason_text: Annotated[
        str,
        typer.Option("--because", metavar="TEXT", help="Why they are done with; it is kept.", show_default=False),
    ],
    letters: _Letters = None,
    model: _Model = None,
    reason: _Reason = None,
    topic: _Topic = None,
    partition: _Partition = None,
    since: _Since = None,
    until: _Until = None,
    all_: Annotated[bool, typer.Option("--all", help="Every letter that waits, where nothing else chooses.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many.", show_default=False)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would be dropped, and drop nothing.")] = False,
    config: ConfigOption = None,
) -> None:
    """Mark letters as dropped, with a reason; nothing is deleted.

    They wait no longer, can still be shown, and be replayed with `replay --dropped`, as long as their topic keeps them.

    Examples:
        barograph dead-letters drop --reason not-json --because "a port scan of 3 March"
    """
    from rich.console import Console

    from cli.dead_letters.show import grouped, print_groups, summary_lines
    from cli.errors import CommandError
    from cli.terminal import Text
    from streams.dead_letters.replay import DeadLetterReplayer

    because = reason_text.strip()
    if not because:
        raise CommandError("--because is empty: say why, for whoever looks at the letters later.")
    settings = _settings(config)
    wanted = _wanted(settings, letters, model, reason, topic, partition, since, until, "waiting")
    _check_chosen(wanted, everything=all_, verb="drop")
    console = Console()
    if dry_run:
        print_groups(console, grouped(_read(settings, wanted)))
        return
    if wanted.positions:
        _check_found(wanted, list(_read(settings, wanted)), None)
    summary = DeadLetterReplayer(settings.processor()).drop(wanted, because, limit=limit)
    for line in summary_lines(summary, "dropped"):
        console.print(Text(line), soft_wrap=True)


def _settings(config: Path | None) -> Settings:
    from cli.settings import load_settings

    return load_settings(config, needs=("kafka",))


def _wanted(
    settings: Settings,
    letters: list[str] | None,
    model: str | None,
    reason: str | None,
    topic: Topic | None,
    partition: int | None,
    since: str | None,
    until: str | None,
    state: Choice,
) -> DeadLetterFilter:
    from datetime import UTC, datetime

    from cli.errors import CommandError
    from cli.times import parse_since
    from streams.dead_letters.dead_letter import DeadLetterPosition
    from streams.dead_letters.reader import DeadLetterFilter, dead_letter_topics

    now = datetime.now(UTC)
    places = set()
    known = dead_letter_topics(settings.topics).values()
    for text in letters or ():
        place = DeadLetterPosition.parse(text)
        if place is None or place.topic not in known:
            raise CommandError(
                f"{text} is no letter: write TOPIC/PARTITION/OFFSET as `barograph dead-letters list --each` does, with "
                f"one of the topics {', '.join(known)}."
            )
        places.add(place)

    def ms(option: str, text: str | None) -> int | None:
        return None if text is None else int(parse_since(option, text, now).timestamp() * 1000)

    return DeadLetterFilter(
        positions=frozenset(places),
        topic=topic,
        model=model,
        reason=reason,
        partition=partition,
        since_ms=ms("--since", since),
        until_ms=ms("--until", until),
        states=frozenset({"waiting", "replayed", "dropped"} if state == "all" else {state}),
    )


def _read(settings: Settings, wanted: DeadLetterFilter) -> Iterator[DeadLetter]:
    from streams.dead_letters.reader import DeadLetterReader

    reader = DeadLetterReader(settings.processor())
    return reader.dead_letters(wanted, reader.resolutions())


def _check_chosen(wanted: DeadLetterFilter, *, everything: bool, verb: str) -> None:
    from cli.errors import CommandError

    chooses = (wanted.topic, wanted.model, wanted.reason, wanted.partition, wanted.since_ms, wanted.until_ms)
    if not everything and not wanted.positions and all(choice is None for choice in chooses):
        raise CommandError(f"Say which letters to {verb}: name them, choose by options, or give --all.")


def _check_found(wanted: DeadLetterFilter, found: list[DeadLetter], limit: int | None) -> None:
    from cli.errors import CommandError

    missing = wanted.positions - {letter.position for letter in found}
    if missing and (limit is None or len(found) < limit):
        names = ", ".join(sorted(map(str, missing)))
        states = " or ".join(sorted(wanted.states))
        raise CommandError(
            f"There is no letter {names} that is {states} and meets the other options: "
            "`barograph dead-letters list --each` names those that there are."
        )


def _contracts(settings: Settings) -> dict[str, Contract]:
    """The applied contracts; none where ClickHouse does not answer, and then every value is masked."""
    from barograph.contract.file import parse_contract

    from warehouse import queries
    from warehouse.client import connect
    from warehouse.errors import WarehouseBusy, WarehouseError

    try:
        with connect(settings.warehouse, timeout_s=10) as client:
            return {
                row.model: parse_contract(row.yaml, f"contract of {row.model}") for row in queries.contracts(client)
            }
    except (WarehouseBusy, WarehouseError):
        return {}


for _name, _function in (
    ("list", list_command),
    ("show", show_command),
    ("replay", replay_command),
    ("drop", drop_command),
):
    dead_letters_app.command(_name, help=help_text(_function))(_function)
