"""The command line of `barograph simulate`."""

import threading
from collections import Counter
from typing import Annotated, Any

from barograph.contract import Contract

from barograph_server.alerts.incidents import Incident
from barograph_server.alerts.rule import Severity
from barograph_server.alerts.simulator import Alert, Notification, Replay, Simulation, Transition, simulate
from barograph_server.alerts.text import words
from barograph_server.cli.options import Connection, OnlyModel, Opt, Options, Output
from barograph_server.contracts import contracts_in_force
from barograph_server.errors import CommandError
from barograph_server.operations.simulation.live import HistoryRange, KnownOption, resolve_history, select_rules
from barograph_server.terminal import SafeText, TableColumn, Terminal, picked, plural, utc_minute
from barograph_server.warehouse.client import Client, connect

STATE_STYLES = {"Alerting": "bold red", "Pending": "yellow", "Recovering": "yellow", "Normal": "green"}
MAX_ALERTS = 4
"""A notification names up to this many alerts; of more it shows only the number."""


def print_simulation(terminal: Terminal, simulation: Simulation, history: HistoryRange, each: bool) -> None:
    """Print incidents, with `each` the changes of state and notifications in order of time, and a summary."""
    if simulation.incidents:
        terminal.rows(simulation.incidents, INCIDENTS)
        terminal.line()
    changes = [
        (change.at, 0, _transition_line(replay, change))
        for replay in simulation.replays
        for change in replay.transitions
    ]
    sent = [(sent.at, 1, _notification_line(sent)) for sent in simulation.notifications if not sent.is_repeat]
    if each:
        for _, _, line in sorted([*changes, *sent], key=lambda entry: entry[:2]):
            terminal.line(line)
    if not changes:
        terminal.line("No rule changed its state.")
    elif not each:
        counts = f"{plural(len(changes), 'change')} of state and {plural(len(sent), 'notification')}"
        terminal.line(f"{counts} are not shown; --each lists them.")
    effect = {
        "judged": "verdicts take effect at their own time",
        "ended": "verdicts take effect at the end of their windows, since this history was replayed",
    }[history.known]
    replayed = f"{utc_minute(simulation.since)} to {utc_minute(simulation.until)} UTC"
    terminal.line(f"Replayed {replayed} with {plural(len(simulation.replays), 'rule')}; {effect}.")
    repeats = len(simulation.notifications) - len(sent)
    if repeats and each:
        terminal.line(f"{plural(repeats, 'repeated notification')} not shown; --format json lists all.")
    terminal.line("Incident: one cause in one model. Firing instance: a rule that fires for one field or metric.")
    rules = Counter(replay.rule.severity for replay in simulation.replays)
    verbs: dict[Severity, str] = {"page": "would have paged", "ticket": "would have opened tickets for"}
    for severity, verb in verbs.items():
        incidents = simulation.incidents_of(severity)
        firings = plural(sum(incident.firings for incident in incidents), "firing instance")
        per_week = f"{simulation.incidents_per_week(severity):.2f} per week"
        terminal.line(
            f"{plural(rules[severity], 'rule')} {verb} {plural(len(incidents), 'incident')} ({firings}): {per_week}."
        )


def simulation_values(simulation: Simulation, history: HistoryRange, _each: bool) -> dict[str, Any]:
    """Return what programs read of a simulation."""
    return {
        **picked(simulation, "since", "until", "notifications"),
        "known": history.known,
        "rules": [
            {
                **picked(replay.rule, "name", "title", "model", "severity", "threshold", "clear"),
                "transitions": [
                    {
                        **picked(change, "at", "key", "before", "after", "reason"),
                        "value": replay.changes[change.key].numbers(change.at)["A"],
                    }
                    for change in replay.transitions
                ],
            }
            for replay in simulation.replays
        ],
        "incidents": [incident_values(incident) for incident in simulation.incidents],
        "pages_per_week": simulation.incidents_per_week("page"),
        "tickets_per_week": simulation.incidents_per_week("ticket"),
    }


INCIDENTS = (
    TableColumn("opened_at", "opened", utc_minute),
    TableColumn(lambda incident: "still firing" if incident.end is None else utc_minute(incident.end), "closed"),
    TableColumn("severity"),
    TableColumn("model", format=lambda model: model or "pipeline"),
    TableColumn("title", "incident"),
    TableColumn("rule.name", "runbook"),
    TableColumn("firings", format="d"),
)


def incident_values(incident: Incident) -> dict[str, Any]:
    members = incident.members.values()
    return {
        **picked(incident, "model", "title", "severity", "opened_at", "paged_at", "end"),
        "members": [picked(each, "rule.name", "rule.severity", "key", "periods") for each in members],
    }


def _transition_line(replay: Replay, change: Transition) -> SafeText:
    rule = replay.rule
    numbers = replay.changes[change.key].numbers(change.at)
    labels = {rule.signal.label: change.key} if rule.signal.label else {}
    labels |= replay.changes[change.key].details(change.at)
    summary = words(rule.summary, labels, numbers) if change.after in ("Pending", "Alerting") else ""
    reason = f" ({change.reason})" if change.reason else ""
    line = SafeText(f"{utc_minute(change.at)}  ")
    line.append(f"{change.after:<10}", STATE_STYLES[change.after])
    line.append(f"  {rule.severity:<6}  {rule.title}{f'  {change.key}' if change.key else ''}{reason}")
    return line.append(f"  {summary}", "dim") if summary else line


def _notification_line(sent: Notification) -> SafeText:
    line = SafeText(f"{utc_minute(sent.at)}  ")
    line.append(f"→ {sent.point}", "bold cyan")
    group = ", ".join(f"{label}={value}" for label, value in sent.group)
    line.append(f"  {group}: ")
    changes = [f"firing {_alert_names(sent.firing)}"] if sent.firing else []
    changes += [f"resolved {_alert_names(sent.resolved)}"] if sent.resolved else []
    return line.append("; ".join(changes))


def _alert_names(alerts: tuple[Alert, ...]) -> str:
    if len(alerts) > MAX_ALERTS:
        return plural(len(alerts), "alert")
    names = []
    for alert in alerts:
        labels = alert.label_map
        key = labels.get("field") or labels.get("metric") or labels.get("kind")
        names.append(f"{labels['rule']}{f' of {key}' if key else ''}")
    return ", ".join(names)


class History(Options, frozen=True):
    """The history over which alert rules are replayed."""

    model: OnlyModel = None
    since: Annotated[str | None, Opt("Start: a time, or an age such as 30d.", "TIME")] = None
    until: Annotated[str | None, Opt("End; by default the end of the history.", "TIME")] = None
    known: Annotated[
        KnownOption,
        Opt("When verdicts take effect: at their own time, or at the end of their windows (replayed history)."),
    ] = "auto"

    def read(self, client: Client) -> tuple[list[Contract], HistoryRange]:
        """Read the contracts in force, and the range."""
        contracts = contracts_in_force(client, self.model)
        names = [contract.model for contract in contracts]
        return contracts, resolve_history(client, names, self.since, self.until, self.known)


def simulate_command(
    past: History,
    output: Output,
    connection: Connection,
    rule: Annotated[tuple[str, ...], Opt("Only rules of this name; repeatable.", "NAME")] = (),
    each: Annotated[bool, Opt("Show every change of state and every notification, too.")] = False,
    live: Annotated[bool, Opt("Evaluate the rules continuously and send to contact points.")] = False,
) -> None:
    """Replay recorded history through the alert rules, or evaluate them continuously.

    Evaluates the rules of the contracts in force at every interval, as Grafana does, and groups, repeats and mutes
    notifications as Alertmanager does. Shows the incidents and how many there are per week.

    With --live it evaluates the rules on the wall clock until Ctrl-C and sends to the contact points, so a laptop
    without Grafana can page.

    Examples:
        barograph simulate --model flight-delay --since 90d
        barograph simulate --rule silence --since 2026-03-01 --until 2026-03-08 --format json
        barograph simulate --live
    """
    settings = connection.settings("clickhouse")
    if live:
        if past.since or past.until or output.is_json:
            raise CommandError("--live evaluates the present: leave out --since, --until and --format.")
        from barograph_server.operations.simulation.live import run_live
        from barograph_server.signal_wait import set_on_signal

        stop = threading.Event()
        set_on_signal(stop)
        run_live(settings, past.model, rule, stop)
        return

    with connect(settings.warehouse) as client:
        contracts, history = past.read(client)
        rules = select_rules(contracts, settings.alerts, rule)
        simulation = simulate(client, rules, settings.alerts, history.since, history.until, history.known)
    output.show(simulation, print_simulation, history, each, values=simulation_values)
