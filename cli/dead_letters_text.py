"""Output of `barograph dead-letters`: tables and blocks for people, JSON values for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from barograph_server.streams.dead_letters.dead_letter import DeadLetter
from barograph_server.streams.dead_letters.replay import ReplaySummary
from barograph_server.terminal import AlignedTable, Terminal, iso_utc, plural


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
        summary: the counts.
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
