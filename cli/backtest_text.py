"""Output of `barograph backtest`: a table for people, JSON values for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from barograph_server.alerts.backtest import Backtest, BacktestSide, KnownIncident
from barograph_server.alerts.simulator import Episode
from barograph_server.alerts.text import duration
from barograph_server.terminal import AlignedTable, Terminal, utc_minute

MAX_EPISODES = 20
"""Episodes of one rule that the text output lists."""


def print_backtest(
    terminal: Terminal, backtest: Backtest, incidents: Sequence[KnownIncident], changes: Mapping[str, str]
) -> None:
    """Print both versions of the rule side by side, then the episodes that only one of them has."""
    current, changed = "current rule", ", ".join(f"{key}={value}" for key, value in changes.items())
    table = AlignedTable("", current, changed, numbers=(current, changed))
    sides = (backtest.present, backtest.changed)
    table.row("paging incidents per week", *(f"{side.simulation.incidents_per_week('page'):.2f}" for side in sides))
    table.row("ticket incidents per week", *(f"{side.simulation.incidents_per_week('ticket'):.2f}" for side in sides))
    table.row("episodes", *(str(len(side.episodes)) for side in sides))
    for index, incident in enumerate(incidents):
        name = incident.name or utc_minute(incident.start)
        table.row(f"time to detect {name}", *(_detection_time(side, index) for side in sides))
    if incidents:
        table.row("episodes outside known incidents", *(str(side.outside) for side in sides))
    terminal.table(table)
    for rule, episodes in (("current rule", backtest.only_present), ("changed rule", backtest.only_changed)):
        for episode in episodes[:MAX_EPISODES]:
            terminal.line(f"only the {rule}: {_episode(episode)}")
        if len(episodes) > MAX_EPISODES:
            terminal.line(f"only the {rule}: {len(episodes) - MAX_EPISODES} more; --format json lists all")
    simulation = backtest.present.simulation
    terminal.line(f"Replayed {utc_minute(simulation.since)} to {utc_minute(simulation.until)} UTC.")


def backtest_json(backtest: Backtest, incidents: Sequence[KnownIncident]) -> dict[str, Any]:
    """Make the values of the JSON output."""

    def side_json(side: BacktestSide) -> dict[str, Any]:
        return {
            "pages_per_week": side.simulation.incidents_per_week("page"),
            "tickets_per_week": side.simulation.incidents_per_week("ticket"),
            "episodes": [_episode_json(episode) for episode in side.episodes],
            "detected_s": list(side.detected_s),
            "outside": side.outside,
        }

    return {
        "since": utc_minute(backtest.present.simulation.since),
        "until": utc_minute(backtest.present.simulation.until),
        "incidents": [
            {"name": incident.name, "from": utc_minute(incident.start), "to": utc_minute(incident.end)}
            for incident in incidents
        ],
        "present": side_json(backtest.present),
        "changed": side_json(backtest.changed),
        "only_present": [_episode_json(episode) for episode in backtest.only_present],
        "only_changed": [_episode_json(episode) for episode in backtest.only_changed],
    }


def _detection_time(side: BacktestSide, index: int) -> str:
    seconds = side.detected_s[index]
    return "not detected" if seconds is None else duration(seconds)


def _episode(episode: Episode) -> str:
    end = utc_minute(episode.end) if episode.end is not None else "now"
    return f"{episode.rule.title}{f'  {episode.key}' if episode.key else ''}  {utc_minute(episode.start)} to {end}"


def _episode_json(episode: Episode) -> dict[str, Any]:
    return {
        "title": episode.rule.title,
        "key": episode.key,
        "from": utc_minute(episode.start),
        "to": None if episode.end is None else utc_minute(episode.end),
    }
