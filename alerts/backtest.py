"""A rule as it is and as it might be, over the same history: what each would have told, and how soon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
from barograph.contract import Contract
from barograph.contract.alerts import RULES, AlertRule
from barograph.contract.alerts_section import ALERT_RULE, build_alerts
from barograph.contract.check import check_contract
from barograph.contract.kinds import Diagnostics, Unreadable, nearest
from barograph.contract.problems import ContractError
from barograph.contract.yaml_tree import read_tree

from alerts.rules import rules_of
from alerts.settings import AlertsError, AlertSettings
from alerts.simulator import Episode, Simulation, simulate
from warehouse.client import Client
from warehouse.signals import Known

__all__ = ["Backtest", "Incident", "Side", "backtest", "changed"]

_WINDOWS = ("long", "short")


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that happened, which a rule should have told: [start, end), Unix seconds."""

    start: int
    end: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Side:
    """A rule over history."""

    simulation: Simulation
    episodes: tuple[Episode, ...]
    detected_s: tuple[int | None, ...]
    """Per incident the seconds until something fired; 0 where it fired already, None where nothing did."""
    outside: int
    """Episodes that overlap no incident; of meaning where there are incidents."""


@dataclass(frozen=True, slots=True)
class Backtest:
    """The present rule against the changed one."""

    present: Side
    changed: Side

    @property
    def only_present(self) -> list[Episode]:
        """Episodes that the change would have left out."""
        return _without(self.present.episodes, self.changed.episodes)

    @property
    def only_changed(self) -> list[Episode]:
        """Episodes that the change would have added."""
        return _without(self.changed.episodes, self.present.episodes)


def backtest(
    client: Client,
    contracts: Sequence[Contract],
    settings: AlertSettings,
    name: str,
    changes: Mapping[str, str],
    since: int,
    until: int,
    known: Known,
    incidents: Sequence[Incident] = (),
) -> Backtest:
    """Replay one rule of contracts, as it is and with changes.

    Args:
        client: where the history is.
        contracts: whose rule.
        settings: of the installation.
        name: one of `RULES`.
        changes: keys of `alerts.rules.NAME` of the contract, `long` and `short` of its windows, with their values as
            the file has them.
        since: begin of the history, Unix seconds.
        until: its end.
        known: from when facts count.
        incidents: what should have been told.

    Raises:
        AlertsError: the rule is unknown, or no contract has it.
        ContractError: a change is none that the contract takes.
        WarehouseBusy: ClickHouse cannot answer now.
        WarehouseError: it refuses.
    """
    if name not in RULES:
        raise AlertsError(f"{name!r} is no rule; {nearest(name, RULES)}")
    sides = []
    for chosen in (contracts, [changed(contract, name, changes) for contract in contracts]):
        rules = [rule for contract in chosen for rule in rules_of(contract, settings) if rule.name == name]
        simulation = simulate(client, rules, settings, since, until, known)
        sides.append(_side(simulation, incidents))
    if not any(side.simulation.replays for side in sides):
        raise AlertsError(f"no contract here has the rule {name}; `barograph simulate` lists those that there are")
    return Backtest(*sides)


def changed(contract: Contract, name: str, changes: Mapping[str, str]) -> Contract:
    """A contract with other values for a rule.

    Raises:
        ContractError: a key is unknown, or a value does not fit.
    """
    plain = [f"{key}: {value}" for key, value in changes.items() if key not in _WINDOWS]
    windows = [f"{key}: {value}" for key, value in changes.items() if key in _WINDOWS]
    text = "\n".join([*plain, f"windows: {{{', '.join(windows)}}}" if windows else ""]).strip()
    diagnostics = Diagnostics("--set")
    read = {}
    if text:
        try:
            read = ALERT_RULE.read(read_tree(text, "--set"), (), diagnostics)
        except Unreadable as error:
            diagnostics.note((), 0, str(error))
    if diagnostics.problems:
        raise ContractError(diagnostics.problems)
    given, present = build_alerts({"rules": {name: read}}).rule(name), contract.alerts.rule(name)
    merged = {
        member: getattr(present if getattr(given, member) is None else given, member)
        for member in AlertRule.__struct_fields__
    }
    alerts = msgspec.structs.replace(contract.alerts, rules={**contract.alerts.rules, name: AlertRule(**merged)})
    new = msgspec.structs.replace(contract, alerts=alerts)
    check_contract(new)
    return new


def _side(simulation: Simulation, incidents: Sequence[Incident]) -> Side:
    episodes = tuple(
        sorted(
            (episode for each in simulation.replays for episode in each.episodes),
            key=lambda episode: (episode.start, episode.key),
        )
    )

    def during(incident: Incident) -> list[Episode]:
        return [each for each in episodes if each.start < incident.end and (each.end or incident.end) > incident.start]

    detected = tuple(
        min((max(0, each.start - incident.start) for each in during(incident)), default=None) for incident in incidents
    )
    known = {id(each) for incident in incidents for each in during(incident)}
    return Side(simulation, episodes, detected, sum(id(each) not in known for each in episodes))


def _without(those: Sequence[Episode], others: Sequence[Episode]) -> list[Episode]:
    """Episodes of some that overlap none of the others on the same instance."""

    def overlap(a: Episode, b: Episode) -> bool:
        same = (a.rule.model, a.key) == (b.rule.model, b.key)
        return same and (b.end is None or a.start < b.end) and (a.end is None or b.start < a.end)

    return [each for each in those if not any(overlap(each, other) for other in others)]
