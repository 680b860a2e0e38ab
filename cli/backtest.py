"""The command line of `barograph backtest`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml

from barograph_server.alerts.backtest import Backtest, BacktestSide, KnownIncident, backtest
from barograph_server.alerts.simulator import Episode
from barograph_server.alerts.text import duration
from barograph_server.cli.options import Connection, Opt, Output
from barograph_server.cli.simulate import History
from barograph_server.errors import CommandError
from barograph_server.terminal import AlignedTable, Terminal, picked, utc_minute
from barograph_server.times import parse_moment
from barograph_server.warehouse.client import connect

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


def backtest_values(
    backtest: Backtest, incidents: Sequence[KnownIncident], changes: Mapping[str, str]
) -> dict[str, Any]:
    """Return what programs read of a comparison."""

    def side_values(side: BacktestSide) -> dict[str, Any]:
        return {
            "pages_per_week": side.simulation.incidents_per_week("page"),
            "tickets_per_week": side.simulation.incidents_per_week("ticket"),
            "episodes": _episode_values(side.episodes),
            **picked(side, "detected_s", "outside"),
        }

    return {
        **picked(backtest.present.simulation, "since", "until"),
        "changes": changes,
        "incidents": incidents,
        "present": side_values(backtest.present),
        "changed": side_values(backtest.changed),
        "only_present": _episode_values(backtest.only_present),
        "only_changed": _episode_values(backtest.only_changed),
    }


def _detection_time(side: BacktestSide, index: int) -> str:
    seconds = side.detected_s[index]
    return "not detected" if seconds is None else duration(seconds)


def _episode(episode: Episode) -> str:
    end = utc_minute(episode.end) if episode.end is not None else "now"
    return f"{episode.rule.title}{f'  {episode.key}' if episode.key else ''}  {utc_minute(episode.start)} to {end}"


def _episode_values(episodes: Sequence[Episode]) -> list[dict[str, Any]]:
    return [picked(episode, "rule.title", "key", "start", "end") for episode in episodes]


def backtest_command(
    past: History,
    output: Output,
    connection: Connection,
    rule: Annotated[str, Opt("Name of the rule.", "NAME")],
    set_: Annotated[
        tuple[str, ...],
        Opt("Change to a key of the rule, such as threshold, clear, for or severity; repeatable.", "KEY=VALUE"),
    ],
    incident: Annotated[tuple[str, ...], Opt("An incident that the rule should detect; repeatable.", "FROM/TO")] = (),
    incidents: Annotated[Path | None, Opt("YAML list of {name, from, to}.", "FILE")] = None,
) -> None:
    """Compare an alert rule with a changed version over history.

    Replays both versions as `barograph simulate` does. Shows the incidents per week of each, the time to detect
    each incident, and the episodes that only one of them has. Changes nothing.

    Examples:
        barograph backtest --rule psi-major --since 90d --set threshold=0.25
        barograph backtest --rule errors --set for=15m --incident 2026-03-02T14:00/2026-03-02T16:30
    """
    settings = connection.settings("clickhouse")
    expected = [*_parse_incidents(incident), *(_read_incidents(incidents) if incidents else [])]
    changes = _parse_changes(set_)
    with connect(settings.warehouse) as client:
        contracts, history = past.read(client)
        result = backtest(
            client, contracts, settings.alerts, rule, changes, history.since, history.until, history.known, expected
        )
    output.show(result, print_backtest, expected, changes, values=backtest_values)


def _parse_changes(texts: Sequence[str]) -> dict[str, str]:
    changes = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key or not value:
            raise CommandError(f"--set {text} is not a change: write KEY=VALUE, such as threshold=0.25.")
        changes[key.strip()] = value.strip()
    return changes


def _parse_incidents(texts: Sequence[str]) -> Iterator[KnownIncident]:
    for text in texts:
        start, slash, end = text.partition("/")
        if not slash:
            raise CommandError(
                f"--incident {text} is not a range: write FROM/TO, such as 2026-03-02T14:00/2026-03-02T16:00."
            )
        yield _make_incident("--incident", start, end, text)


def _read_incidents(path: Path) -> Iterator[KnownIncident]:

    try:
        entries = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CommandError(f"--incidents {path} cannot be read: {' '.join(str(error).split())}.") from None
    if not isinstance(entries, list):
        raise CommandError(f"--incidents {path}: write a list of {{name, from, to}}.")
    for number, entry in enumerate(entries, 1):
        yield _incident_of_entry(f"--incidents {path}, entry {number}:", entry)


def _incident_of_entry(source: str, entry: Any) -> KnownIncident:
    if not isinstance(entry, dict) or not {"from", "to"} <= entry.keys() <= {"name", "from", "to"}:
        raise CommandError(f"{source} write name, from and to, and no other key.")
    return _make_incident(source, str(entry["from"]), str(entry["to"]), str(entry.get("name", "")))


def _make_incident(source: str, start: str, end: str, name: str) -> KnownIncident:

    start_s, end_s = (int(parse_moment(source, text).timestamp()) for text in (start, end))
    if start_s >= end_s:
        raise CommandError(f"{source} {start} is not before {end}.")
    return KnownIncident(start_s, end_s, name)
