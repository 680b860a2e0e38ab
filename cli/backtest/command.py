"""The command line of `barograph backtest`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.errors import CommandError
from cli.options import ConfigOption
from cli.simulate.read import KnownOption
from cli.times import parse_moment

if TYPE_CHECKING:
    from alerts.backtest import Incident


def backtest_command(
    rule: Annotated[str, typer.Option(metavar="NAME", help="The rule.", show_default=False)],
    set_: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="What is changed, a key of alerts.rules.NAME: threshold, clear, for, keep_firing_for, long, short, "
            "fields, at_least, severity; repeatable.",
            show_default=False,
        ),
    ],
    model: Annotated[str | None, typer.Option(help="Of this model alone.", show_default=False)] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="From a time, or so long ago (90d).", show_default=False)
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="To a time; by default all.", show_default=False)
    ] = None,
    incident: Annotated[
        list[str] | None,
        typer.Option(metavar="FROM/TO", help="Something that should have been told; repeatable.", show_default=False),
    ] = None,
    incidents: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A YAML list of {name, from, to}.", show_default=False),
    ] = None,
    known: Annotated[KnownOption, typer.Option(help="As in `barograph simulate`.")] = "auto",
    form: Annotated[Literal["table", "json"], typer.Option("--format", help="For people or for programs.")] = "table",
    config: ConfigOption = None,
) -> None:
    """Compare an alert rule with a changed one over recorded history.

    Both are replayed as `barograph simulate` does it. Shows how often each would have told something per week, how soon
    after the begin of each incident, and what one would have told and the other not. Nothing is changed.

    Examples:
        barograph backtest --rule psi-major --since 90d --set threshold=0.25
        barograph backtest --rule errors --set for=15m --incident 2026-03-02T14:00/2026-03-02T16:30
    """
    from rich.console import Console

    from alerts.backtest import backtest
    from cli.backtest.show import backtest_json, print_backtest
    from cli.settings import load_settings
    from cli.simulate.read import contracts_in_force, history
    from warehouse.client import connect

    settings = load_settings(config, needs=("clickhouse",))
    marked = [*_incidents(incident or []), *(_from_file(incidents) if incidents else [])]
    with connect(settings.warehouse) as client:
        contracts = contracts_in_force(client, model)
        span = history(client, [contract.model for contract in contracts], since, until, known)
        done = backtest(
            client, contracts, settings.alerts, rule, _changes(set_), span.since, span.until, span.known, marked
        )
    if form == "json":
        import json

        print(json.dumps(backtest_json(done, marked), ensure_ascii=False, indent=2))
    else:
        print_backtest(Console(), done, marked, _changes(set_))


def _changes(given: list[str]) -> dict[str, str]:
    changes = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key or not value:
            raise CommandError(f"--set {text} is no change: write KEY=VALUE, such as threshold=0.25.")
        changes[key.strip()] = value.strip()
    return changes


def _incidents(given: list[str]) -> list[Incident]:
    found = []
    for text in given:
        start, slash, end = text.partition("/")
        if not slash:
            raise CommandError(
                f"--incident {text} is no range: write FROM/TO, such as 2026-03-02T14:00/2026-03-02T16:00."
            )
        found.append(_incident("--incident", start, end, text))
    return found


def _from_file(path: Path) -> list[Incident]:
    import yaml

    try:
        entries = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CommandError(f"--incidents {path} cannot be read: {' '.join(str(error).split())}.") from None
    if not isinstance(entries, list):
        raise CommandError(f"--incidents {path}: write a list of {{name, from, to}}.")
    return [_entry(path, number, entry) for number, entry in enumerate(entries, 1)]


def _entry(path: Path, number: int, entry: Any) -> Incident:
    where = f"--incidents {path}, entry {number}:"
    if not isinstance(entry, dict) or not {"from", "to"} <= entry.keys() <= {"name", "from", "to"}:
        raise CommandError(f"{where} write name, from and to, and nothing else.")
    return _incident(where, str(entry["from"]), str(entry["to"]), str(entry.get("name", "")))


def _incident(option: str, start: str, end: str, name: str) -> Incident:
    from alerts.backtest import Incident

    first, last = (int(parse_moment(option, text).timestamp()) for text in (start, end))
    if first >= last:
        raise CommandError(f"{option} {start} is not before {end}.")
    return Incident(first, last, name)
