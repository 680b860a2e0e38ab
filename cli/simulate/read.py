"""What simulations are made of: contracts in force, the span of history, from when facts count."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from barograph.contract import Contract
from barograph.contract.file import parse_contract

from alerts import Rule, rules_for
from alerts.settings import AlertSettings
from cli.errors import CommandError
from cli.times import parse_since
from warehouse.client import Client
from warehouse.queries import contracts as contract_rows
from warehouse.signals import Known
from warehouse.signals.recorded_history import recorded

KnownOption = Literal["auto", "judged", "ended"]


@dataclass(frozen=True, slots=True)
class History:
    """A span of recorded history."""

    since: int
    until: int
    known: Known
    chosen: bool
    """Whether `known` was found out rather than given."""


def contracts_in_force(client: Client, model: str | None) -> list[Contract]:
    """Read the contracts in force, of one model or all.

    Raises:
        CommandError: there is none, or none of this model.
    """
    found = [parse_contract(row.yaml, f"the contract of {row.model}") for row in contract_rows(client)]
    if not found:
        raise CommandError("No contract is applied yet: make one with `barograph infer`, then `barograph apply` it.")
    chosen = [contract for contract in found if model in (None, contract.model)]
    if not chosen:
        models = ", ".join(contract.model for contract in found)
        raise CommandError(f"--model {model}: no contract of this model is applied; there are {models}.")
    return chosen


def rules_named(contracts: Sequence[Contract], settings: AlertSettings, names: Collection[str]) -> list[Rule]:
    """Make the rules of contracts, of some names or all.

    Raises:
        AlertsError: contracts and settings do not fit together.
        CommandError: no rule has one of the names.
    """
    rules = rules_for(contracts, settings)
    known = list(dict.fromkeys(rule.name for rule in rules))
    for name in names:
        if name not in known:
            raise CommandError(f"--rule {name}: these contracts have no such rule; they have {', '.join(known)}.")
    return [rule for rule in rules if not names or rule.name in names]


def history(client: Client, models: Sequence[str], since: str | None, until: str | None, known: KnownOption) -> History:
    """Say which history is looked at: by default all that is recorded, as far back as 30 days.

    Raises:
        CommandError: there is none, or the span is empty.
    """
    found = recorded(client, models)
    if found is None:
        raise CommandError("No window of these models was judged yet: there is no history to look at.")
    counted: Known = ("ended" if found.was_replayed else "judged") if known == "auto" else known
    end = found.last if counted == "ended" else max(found.last, datetime.now(UTC).replace(microsecond=0))
    last = parse_since("--until", until, end) if until else end
    first = parse_since("--since", since or "30d", last)
    first = first if since else max(first, found.first)
    if first >= last:
        raise CommandError(f"--since {first:%Y-%m-%dT%H:%MZ} is not before {last:%Y-%m-%dT%H:%MZ}, where history ends.")
    return History(int(first.timestamp()), int(last.timestamp()), counted, known == "auto")
