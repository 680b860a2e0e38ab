"""Writes a simulation for people and for programs."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from alerts.simulator import Alert, Notification, Replay, Simulation, Transition
from alerts.text import words
from cli.simulate.read import History
from cli.terminal import Text

STYLES = {"Alerting": "bold red", "Pending": "yellow", "Recovering": "yellow", "Normal": "green"}
ALERTS_NAMED = 4
"""Alerts of one message that are named; of more their number is told."""


def moment(at: int) -> str:
    """A time as it is shown: UTC, to the minute."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}"


def print_simulation(console: Console, done: Simulation, span: History) -> None:
    """Print what happened, in order of time."""
    entries: list[tuple[int, int, Text]] = []
    for replay in done.replays:
        entries += [(each.at, 0, _transition(replay, each)) for each in replay.transitions]
    entries += [(each.at, 1, _notification(each)) for each in done.notifications if not each.is_repeat]
    for _, _, line in sorted(entries, key=lambda entry: entry[:2]):
        console.print(line, soft_wrap=True)
    if not entries:
        console.print("Nothing changed its state.")
    how = {
        "judged": "verdicts count from when they were given",
        "ended": "verdicts count from the end of their windows: this history was replayed",
    }[span.known]
    firing = Counter(rule_.rule.severity for rule_ in done.replays for _ in rule_.episodes)
    console.print(
        f"{moment(done.since)} to {moment(done.until)} UTC, {len(done.replays)} rules; {how}.",
        soft_wrap=True,
    )
    repeats = sum(each.is_repeat for each in done.notifications)
    if repeats:
        console.print(f"{repeats} messages only repeated what was still so; --format json has them.", soft_wrap=True)
    for severity in ("page", "ticket"):
        console.print(
            f"{severity}s: {done.messages_per_week(severity):.2f} messages per week; {firing[severity]} times one fired.",
            soft_wrap=True,
        )


def simulation_json(done: Simulation, known: str) -> dict[str, Any]:
    """A simulation as values of JSON: times in ISO 8601, numbers that are not finite as null."""
    return {
        "since": _iso(done.since),
        "until": _iso(done.until),
        "known": known,
        "rules": [
            {
                "rule": each.rule.name,
                "title": each.rule.title,
                "model": each.rule.model,
                "severity": each.rule.severity,
                "threshold": each.rule.threshold,
                "clear": each.rule.clear,
                "states": [
                    {
                        "at": _iso(change.at),
                        "key": change.key,
                        "from": change.before,
                        "to": change.after,
                        "reason": change.reason,
                        "value": _finite(each.changes[change.key].numbers(change.at)["A"]),
                    }
                    for change in each.transitions
                ],
            }
            for each in done.replays
        ],
        "notifications": [
            {
                "at": _iso(each.at),
                "contact_point": each.point,
                "group": dict(each.group),
                "firing": [alert.label_map for alert in each.firing],
                "resolved": [alert.label_map for alert in each.resolved],
                "repeat": each.is_repeat,
            }
            for each in done.notifications
        ],
        "pages_per_week": done.messages_per_week("page"),
        "tickets_per_week": done.messages_per_week("ticket"),
    }


def _transition(replay: Replay, change: Transition) -> Text:
    rule = replay.rule
    numbers = replay.changes[change.key].numbers(change.at)
    labels = {rule.signal.label: change.key} if rule.signal.label else {}
    what = words(rule.summary, labels, numbers) if change.after in ("Pending", "Alerting") else ""
    why = f" ({change.reason})" if change.reason else ""
    line = Text(f"{moment(change.at)}  ")
    line.append(f"{change.after:<10}", STYLES[change.after])
    line.append(f"  {rule.severity:<6}  {rule.title}{f'  {change.key}' if change.key else ''}{why}")
    return line.append(f"  {what}", "dim") if what else line


def _notification(told: Notification) -> Text:
    line = Text(f"{moment(told.at)}  ")
    line.append(f"→ {told.point}", "bold cyan")
    group = ", ".join(f"{label}={value}" for label, value in told.group)
    line.append(f"  {group}: ")
    parts = [f"firing {_names(told.firing)}"] if told.firing else []
    parts += [f"resolved {_names(told.resolved)}"] if told.resolved else []
    return line.append("; ".join(parts))


def _names(alerts: tuple[Alert, ...]) -> str:
    if len(alerts) > ALERTS_NAMED:
        return f"{len(alerts)} alerts"
    names = []
    for alert in alerts:
        labels = alert.label_map
        key = labels.get("field") or labels.get("metric") or labels.get("kind")
        names.append(f"{labels['rule']}{f' of {key}' if key else ''}")
    return ", ".join(names)


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
