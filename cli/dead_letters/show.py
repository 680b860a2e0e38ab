"""Dead letters for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from cli.terminal import Text
from streams.dead_letters.dead_letter import DeadLetter
from streams.dead_letters.replay import ReplaySummary

PIPE_WIDTH = 200
"""Characters of a line where no screen bounds it."""


@dataclass(slots=True)
class Group:
    """Letters of one source topic, model and reason."""

    topic: str
    model: str
    reason: str
    waiting: int = 0
    replayed: int = 0
    dropped: int = 0
    came_back: int = 0
    """Of all of them, those that are replayed letters which came back."""
    first_ms: int = 0
    last_ms: int = 0

    def add(self, letter: DeadLetter) -> None:
        """Count a letter."""
        setattr(self, letter.state, getattr(self, letter.state) + 1)
        self.came_back += bool(letter.replay_of)
        self.first_ms = min(self.first_ms or letter.at_ms, letter.at_ms)
        self.last_ms = max(self.last_ms, letter.at_ms)


def grouped(letters: Iterable[DeadLetter]) -> list[Group]:
    """Count letters by source topic, model and reason, those that wait most first."""
    found: dict[tuple[str, str, str], Group] = {}
    for letter in letters:
        key = letter.source_topic, letter.model, letter.reason
        found.setdefault(key, Group(*key)).add(letter)
    return sorted(found.values(), key=lambda group: (-group.waiting, group.topic, group.model, group.reason))


def groups_json(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Groups as values of JSON, times in ISO 8601."""
    return [
        {
            "topic": group.topic,
            "model": group.model,
            "reason": group.reason,
            "waiting": group.waiting,
            "replayed": group.replayed,
            "dropped": group.dropped,
            "came_back": group.came_back,
            "first": moment(group.first_ms),
            "last": moment(group.last_ms),
        }
        for group in groups
    ]


def dead_letter_json(letter: DeadLetter, text: str | None = None) -> dict[str, Any]:
    """A letter as values of JSON; its bytes, where they are given, as they are shown."""
    found: dict[str, Any] = {
        "letter": str(letter.position),
        "state": letter.state,
        "put_aside": moment(letter.at_ms),
        "reason": letter.reason,
        "detail": letter.detail,
        "model": letter.model,
        "source": {
            "topic": letter.source_topic,
            "partition": letter.source_partition,
            "offset": letter.source_offset,
            "index": letter.index,
        },
        "replay_of": letter.replay_of or None,
        "bytes": len(letter.value),
    }
    if letter.resolution is not None:
        found |= {"settled": moment(letter.resolution.at_ms), "dropped_because": letter.resolution.reason or None}
    return found if text is None else found | {"value": text}


def print_groups(console: Console, groups: Sequence[Group]) -> None:
    """Print groups as a table."""
    if not console.is_terminal:
        console.width = max(console.width, PIPE_WIDTH)
    if not groups:
        console.print("No dead letters.")
        return
    numbers = ("waiting", "replayed", "dropped", "came back")
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("topic", "model", "reason", *numbers, "first", "last"):
        table.add_column(column, justify="right" if column in numbers else "left")
    for group in groups:
        counts = [f"{n:,}" if n else "" for n in (group.waiting, group.replayed, group.dropped, group.came_back)]
        cells = (group.topic, group.model or "?", group.reason, *counts, moment(group.first_ms), moment(group.last_ms))
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table)
    waiting = sum(group.waiting for group in groups)
    console.print(f"{waiting:,} {'letter waits' if waiting == 1 else 'letters wait'}.")


def print_dead_letters(console: Console, letters: Sequence[DeadLetter]) -> None:
    """Print one line per letter."""
    for letter in letters:
        link = f", came back from {letter.replay_of}" if letter.replay_of else ""
        line = (
            f"{letter.position}  {moment(letter.at_ms)}  {letter.state}  {letter.model or '?'}  {letter.reason}{link}"
        )
        console.print(Text(line), soft_wrap=True)


def print_dead_letter(console: Console, letter: DeadLetter, text: str) -> None:
    """Print all of a letter."""
    lines = [
        f"letter      {letter.position}",
        f"put aside   {moment(letter.at_ms)}, {letter.reason}" + (f": {letter.detail}" if letter.detail else ""),
        f"model       {letter.model or '?'}",
        f"source      {letter.source_topic}/{letter.source_partition}/{letter.source_offset}"
        + (f", row {letter.index}" if letter.index > 0 else ""),
        f"state       {letter.state}"
        + (f" {moment(letter.resolution.at_ms)}" if letter.resolution else "")
        + (f": {letter.resolution.reason}" if letter.resolution and letter.resolution.reason else ""),
    ]
    if letter.replay_of:
        lines.append(f"came back   from {letter.replay_of}")
    lines.append(f"bytes       {len(letter.value):,}")
    for line in lines:
        console.print(Text(line), soft_wrap=True)
    console.print(Text(text), soft_wrap=True)


def summary_lines(summary: ReplaySummary, what: str) -> list[str]:
    """What `replay` or `drop` did, in sentences."""
    lines = [f"{n:,} of {topic}: {what}" for topic, n in sorted(summary.resolved.items())]
    if not lines:
        lines.append(f"Nothing to be {what}: no letter that waits is meant.")
    if summary.rejected_again:
        lines.append(
            f"{summary.rejected_again:,} were replayed before and came back: mend their cause, then give --again."
        )
    if summary.partials:
        lines.append(
            f"{summary.partials:,} are records of parts, which cannot be merged again: `barograph rebuild` counts their "
            "events anew."
        )
    if summary.without_bytes:
        lines.append(
            f"{summary.without_bytes:,} were put aside without their bytes, since very many came at once: send the "
            "events anew from where they are, then drop these letters."
        )
    if summary.over_limit:
        lines.append(f"{summary.over_limit:,} are left by --limit.")
    return lines


def moment(at_ms: int) -> str:
    """A time in ISO 8601, in UTC and to the second; empty where none is known."""
    if at_ms <= 0:
        return ""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
