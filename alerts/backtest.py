"""Replays a rule and a changed version of it over the same history, and compares episodes and detection times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
from barograph.contract import Contract
from barograph.contract.alerts import RULES, AlertRule
from barograph.contract.check import check_contract
from barograph.contract.kinds import Diagnostics, Unreadable, nearest
from barograph.contract.problems import ContractError
from barograph.contract.sections import SectionKind
from barograph.contract.yaml_tree import read_tree

from barograph_server.alerts.rules import rules_of
from barograph_server.alerts.settings import AlertsError, AlertSettings
from barograph_server.alerts.simulator import Episode, Simulation, simulate
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.signals import FactTime

_WINDOWS = ("long", "short")


@dataclass(frozen=True, slots=True)
class KnownIncident:
    """A known incident that a rule should detect: [start, end), Unix seconds."""

    start: int
    end: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class BacktestSide:
    """One version of the rule, replayed over history."""

    simulation: Simulation
    episodes: tuple[Episode, ...]
    detected_s: tuple[int | None, ...]
    """Seconds from the start of each incident to the first episode; 0 if one was already firing, None if none fired."""
    outside: int
    """Number of episodes that overlap no incident; meaningful only if incidents are given."""


@dataclass(frozen=True, slots=True)
class Backtest:
    """The present rule compared with the changed one."""

    present: BacktestSide
    changed: BacktestSide

    @property
    def only_present(self) -> list[Episode]:
        return _without(self.present.episodes, self.changed.episodes)

    @property
    def only_changed(self) -> list[Episode]:
        return _without(self.changed.episodes, self.present.episodes)


def backtest(
    client: Client,
    contracts: Sequence[Contract],
    settings: AlertSettings,
    name: str,
    changes: Mapping[str, str],
    since: int,
    until: int,
    known: FactTime,
    incidents: Sequence[KnownIncident] = (),
) -> Backtest:
    """Replay one rule of the contracts, unchanged and with changes.

    Args:
        name: one of `RULES`.
        changes: keys of `alerts.rules.NAME` in the contract (and `long` and `short` of its windows), with values as
            in the file.
        since: start of the history, Unix seconds.
        until: end of the history, Unix seconds.

    Raises:
        AlertsError: the rule is unknown, or no contract has it.
        ContractError: the contract does not accept a change.
    """
    if name not in RULES:
        raise AlertsError(f"{name!r} is not a rule; {nearest(name, RULES)}")
    sides = []
    for chosen in (contracts, [changed(contract, name, changes) for contract in contracts]):
        rules = [rule for contract in chosen for rule in rules_of(contract, settings) if rule.name == name]
        simulation = simulate(client, rules, settings, since, until, known)
        sides.append(_side(simulation, incidents))
    if not any(side.simulation.replays for side in sides):
        raise AlertsError(f"no contract here has the rule {name}; `barograph simulate` lists the rules")
    return Backtest(*sides)


def changed(contract: Contract, name: str, changes: Mapping[str, str]) -> Contract:
    """Return a contract with changed values for one rule.

    Raises:
        ContractError: a key is unknown, or a value is invalid.
    """
    plain = [f"{key}: {value}" for key, value in changes.items() if key not in _WINDOWS]
    windows = [f"{key}: {value}" for key, value in changes.items() if key in _WINDOWS]
    text = "\n".join([*plain, f"windows: {{{', '.join(windows)}}}" if windows else ""]).strip()
    diagnostics = Diagnostics("--set")
    changed_rule, present = AlertRule(), contract.alerts.rule(name)
    if text:
        try:
            changed_rule = SectionKind(AlertRule).read(read_tree(text, "--set"), (), diagnostics)
        except Unreadable as error:
            diagnostics.note((), 0, str(error))
    if diagnostics.problems:
        raise ContractError(diagnostics.problems)
    merged = {
        member: getattr(present if getattr(changed_rule, member) is None else changed_rule, member)
        for member in AlertRule.__struct_fields__
    }
    alerts = msgspec.structs.replace(contract.alerts, rules={**contract.alerts.rules, name: AlertRule(**merged)})
    new = msgspec.structs.replace(contract, alerts=alerts)
    check_contract(new)
    return new


def _side(simulation: Simulation, incidents: Sequence[KnownIncident]) -> BacktestSide:
    episodes = tuple(
        sorted(
            (episode for each in simulation.replays for episode in each.episodes),
            key=lambda episode: (episode.start, episode.key),
        )
    )

    def during(incident: KnownIncident) -> list[Episode]:
        return [each for each in episodes if each.start < incident.end and (each.end or incident.end) > incident.start]

    detected = tuple(
        min((max(0, each.start - incident.start) for each in during(incident)), default=None) for incident in incidents
    )
    known = {id(each) for incident in incidents for each in during(incident)}
    return BacktestSide(simulation, episodes, detected, sum(id(each) not in known for each in episodes))


def _without(episodes: Sequence[Episode], others: Sequence[Episode]) -> list[Episode]:
    """Return the episodes that overlap no other episode of the same instance of the same part of the rule."""

    def overlap(a: Episode, b: Episode) -> bool:
        same = (a.rule.model, a.rule.part, a.key) == (b.rule.model, b.rule.part, b.key)
        return same and (b.end is None or a.start < b.end) and (a.end is None or b.start < a.end)

    return [each for each in episodes if not any(overlap(each, other) for other in others)]
