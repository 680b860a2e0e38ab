"""Writes a backtest for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from alerts.backtest import Backtest, BacktestSide, Incident
from alerts.simulator import Episode
from alerts.text import duration
from cli.simulate.show import moment
from cli.terminal import Text

SHOWN = 20


def print_backtest(console: Console, done: Backtest, incidents: Sequence[Incident], changes: Mapping[str, str]) -> None:
    """Print both sides beside one another, and what one told and the other not."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("", "now", ", ".join(f"{key}={value}" for key, value in changes.items())):
        table.add_column(Text(column), justify="right" if column else "left")
    sides = (done.present, done.changed)
    table.add_row("pages per week", *(f"{side.simulation.messages_per_week('page'):.2f}" for side in sides))
    table.add_row("tickets per week", *(f"{side.simulation.messages_per_week('ticket'):.2f}" for side in sides))
    table.add_row("times it fired", *(str(len(side.episodes)) for side in sides))
    for position, incident in enumerate(incidents):
        name = incident.name or moment(incident.start)
        table.add_row(Text(f"told {name} after"), *(_detected(side, position) for side in sides))
    if incidents:
        table.add_row("fired outside of incidents", *(str(side.outside) for side in sides))
    console.print(table)
    for title, episodes in (("now alone", done.only_present), ("with the change alone", done.only_changed)):
        for episode in episodes[:SHOWN]:
            console.print(Text(f"{title}: {_episode(episode)}"), soft_wrap=True)
        if len(episodes) > SHOWN:
            console.print(f"{title}: and {len(episodes) - SHOWN} more; --format json has them all.")
    span = done.present.simulation
    console.print(f"{moment(span.since)} to {moment(span.until)} UTC.")


def backtest_json(done: Backtest, incidents: Sequence[Incident]) -> dict[str, Any]:
    """A backtest as values of JSON."""

    def side(of: BacktestSide) -> dict[str, Any]:
        return {
            "pages_per_week": of.simulation.messages_per_week("page"),
            "tickets_per_week": of.simulation.messages_per_week("ticket"),
            "episodes": [_plain(episode) for episode in of.episodes],
            "detected_s": list(of.detected_s),
            "outside": of.outside,
        }

    return {
        "since": moment(done.present.simulation.since),
        "until": moment(done.present.simulation.until),
        "incidents": [{"name": each.name, "from": moment(each.start), "to": moment(each.end)} for each in incidents],
        "present": side(done.present),
        "changed": side(done.changed),
        "only_present": [_plain(episode) for episode in done.only_present],
        "only_changed": [_plain(episode) for episode in done.only_changed],
    }


def _detected(side: BacktestSide, position: int) -> str:
    seconds = side.detected_s[position]
    return "never" if seconds is None else duration(seconds)


def _episode(episode: Episode) -> str:
    end = moment(episode.end) if episode.end is not None else "now"
    return f"{episode.rule.title}{f'  {episode.key}' if episode.key else ''}  {moment(episode.start)} to {end}"


def _plain(episode: Episode) -> dict[str, Any]:
    return {
        "title": episode.rule.title,
        "key": episode.key,
        "from": moment(episode.start),
        "to": None if episode.end is None else moment(episode.end),
    }
