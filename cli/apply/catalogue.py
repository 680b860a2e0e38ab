"""Contracts and baselines: what of them is new, whether it fits, and from when it holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from barograph.contract import Contract, format_duration
from barograph.contract.file import ContractError, parse_contract

from cli.apply.contract_diff import contract_difference
from cli.errors import ApplyError
from cli.terminal import utc_second
from sketches.baseline.baseline import Baseline, dump_baseline, load_baseline
from sketches.baseline.fit import fit_problems
from warehouse import queries
from warehouse.client import Client
from warehouse.tables import insert_rows

NOTICE_S = 60
"""The least time from `apply` to the pane from which another baseline holds.

Processors read the registry every 10 s. One that read it after the pane had begun would count the pane on both
baselines' bins.
"""

ALWAYS_S = 0
"""The `effective_from` of a version's first baseline: it holds for all event times."""


@dataclass(frozen=True, slots=True)
class StoredBaseline:
    """A baseline that was applied before."""

    version: str
    baseline_id: str
    effective_from_s: int
    body: str


@dataclass(frozen=True, slots=True)
class Stored:
    """What ClickHouse holds of contracts and baselines."""

    contracts: Mapping[str, tuple[str, Contract | None]] = field(default_factory=dict)
    """model → id and contract in force; None where this program cannot read it any more."""
    baselines: Mapping[str, tuple[StoredBaseline, ...]] = field(default_factory=dict)
    """model → in the order in which they take effect per version."""

    def last(self, model: str, version: str) -> StoredBaseline | None:
        """The baseline of a version that holds in the end."""
        history = [entry for entry in self.baselines.get(model, ()) if entry.version == version]
        return history[-1] if history else None


@dataclass(frozen=True, slots=True)
class ContractChange:
    """A contract that comes into force."""

    contract: Contract
    yaml: str
    difference: tuple[str, ...] | None
    """What differs from the one in force; None where the model is new."""


@dataclass(frozen=True, slots=True)
class BaselineChange:
    """A baseline that is accepted."""

    baseline: Baseline
    baseline_id: str
    effective_from_s: int
    replaces: str
    """The id of the version's last baseline, empty where it is the first."""


def read_stored(client: Client) -> Stored:
    """Read what was applied before."""
    contracts: dict[str, tuple[str, Contract | None]] = {}
    for row in queries.contracts(client):
        try:
            contracts[row.model] = row.contract_id, parse_contract(row.yaml, f"contract of {row.model}")
        except ContractError:
            contracts[row.model] = row.contract_id, None
    baselines: dict[str, list[StoredBaseline]] = {}
    for result in queries.baselines(client):
        entry = StoredBaseline(result.version, result.baseline_id, int(result.effective_from.timestamp()), result.body)
        baselines.setdefault(result.model, []).append(entry)
    return Stored(contracts, {model: tuple(entries) for model, entries in baselines.items()})


def plan_contracts(contracts: Sequence[tuple[Contract, str]], stored: Stored) -> list[ContractChange]:
    """Find the contracts that are new or changed.

    Raises:
        ApplyError: a model comes twice, or a running model would get panes of another length.
    """
    _refuse_repeats([f"contract of model {contract.model}" for contract, _ in contracts])
    changes = []
    for contract, yaml in contracts:
        contract_id, old = stored.contracts.get(contract.model, ("", None))
        if contract_id == contract.id:
            continue
        if old is not None and old.pane_s != contract.pane_s:
            raise ApplyError(
                f"Model {contract.model} has panes of {format_duration(old.pane_s)} and the contract asks for "
                f"{format_duration(contract.pane_s)}: the length cannot change, since windows are made of panes of "
                f"one length. Write pane: {format_duration(old.pane_s)}, or give the model another name."
            )
        difference = tuple(contract_difference(old, contract)) if old is not None else None
        if contract_id and old is None:
            difference = ("~ the contract in force cannot be read by this program and is replaced",)
        changes.append(ContractChange(contract, yaml, difference))
    return changes


def plan_baselines(
    baselines: Sequence[Baseline],
    contracts: Mapping[str, Contract],
    stored: Stored,
    *,
    effective_s: int | None,
    now_s: float,
) -> list[BaselineChange]:
    """Find the baselines that are new, and from when they hold.

    Args:
        baselines: those to be applied.
        contracts: the contract of each model as it will be in force.
        stored: what was applied before.
        effective_s: the event time from which another baseline of a version holds; None: the next pane that begins
            after `NOTICE_S`.
        now_s: the time of now, Unix seconds.

    Raises:
        ApplyError: a version comes twice, a baseline has no contract or does not fit it, or `effective_s` is no
            start of a pane that is far enough ahead.
    """
    _refuse_repeats([f"baseline of {baseline.model} version {baseline.version}" for baseline in baselines])
    changes = []
    for baseline in baselines:
        contract = contracts.get(baseline.model)
        what = f"The baseline of {baseline.model} version {baseline.version}"
        if contract is None:
            raise ApplyError(f"{what} has no contract: give the contract of model {baseline.model} too.")
        _refuse_misfit(what, contract, baseline)
        last = stored.last(baseline.model, baseline.version)
        if last is None:
            changes.append(BaselineChange(baseline, baseline.id, ALWAYS_S, ""))
        elif last.baseline_id != baseline.id:
            from_s = _effective(contract, effective_s, now_s)
            changes.append(BaselineChange(baseline, baseline.id, from_s, last.baseline_id))
    return changes


def store_baselines(client: Client, changes: Iterable[BaselineChange], reason: str, accepted_ms: int) -> None:
    """Write baselines, with the reason why and the time of now (Unix milliseconds)."""
    rows = [
        {
            "model": change.baseline.model,
            "version": change.baseline.version,
            "baseline_id": change.baseline_id,
            "effective_from": change.effective_from_s,
            "body": dump_baseline(change.baseline).decode(),
            "reason": reason,
            "accepted_at": accepted_ms,
        }
        for change in changes
    ]
    insert_rows(client, "baselines", rows)


def fit_notes(changes: Iterable[ContractChange], given: Sequence[Baseline], stored: Stored) -> list[str]:
    """Say which changed contracts have no baseline, or versions whose stored baseline does not fit them.

    Raises:
        ApplyError: no baseline that a model's contract comes with or had before fits it.
    """
    notes = []
    for change in changes:
        model = change.contract.model
        renewed = {baseline.version for baseline in given if baseline.model == model}
        retained = {entry.version: entry for entry in stored.baselines.get(model, ()) if entry.version not in renewed}
        if not retained and not renewed:
            notes.append(
                f"Model {model} has no baseline yet: its predictions are kept raw and not judged. Make one with "
                "`barograph infer` and apply it."
            )
        misfits = {version: problems for version, entry in retained.items() if (problems := _misfits(change, entry))}
        if misfits and not renewed and len(misfits) == len(retained):
            version, problems = next(reversed(misfits.items()))
            raise ApplyError(
                f"The contract of {model} does not fit the baseline of version {version}: {_first(problems)}. Apply it "
                "together with a baseline that fits (`barograph infer`), or take the change back."
            )
        notes += [
            f"Model {model}, version {version}: its baseline does not fit the contract ({_first(problems)}). "
            f"{_MEANWHILE}"
            for version, problems in misfits.items()
        ]
        for version in sorted(renewed):
            before = stored.last(model, version)
            if before is not None and (problems := _misfits(change, before)):
                notes.append(
                    f"Model {model}, version {version}: until its new baseline holds, the one before does not fit the "
                    f"contract ({_first(problems)}). {_MEANWHILE}"
                )
    return notes


_MEANWHILE = "What the contract lacks is read as the baseline has it, and what the baseline lacks is not judged."


def _misfits(change: ContractChange, stored: StoredBaseline) -> list[str]:
    baseline = load_baseline(stored.body.encode(), f"baseline {stored.baseline_id}")
    return fit_problems(change.contract, baseline)


def _effective(contract: Contract, effective_s: int | None, now_s: float) -> int:
    pane_s = contract.pane_s
    earliest_s = int(-(-(now_s + NOTICE_S) // pane_s) * pane_s)
    if effective_s is None:
        return earliest_s
    if effective_s % pane_s:
        raise ApplyError(
            f"--effective {utc_second(effective_s)} is no start of a pane of {contract.model}, whose panes are "
            f"{format_duration(pane_s)} long: take {utc_second(-(-effective_s // pane_s) * pane_s)}."
        )
    if effective_s < earliest_s:
        raise ApplyError(
            f"--effective {utc_second(effective_s)} is past, or too near for every processor to have read the baseline "
            f"by then: take {utc_second(earliest_s)} or later."
        )
    return effective_s


def _refuse_misfit(what: str, contract: Contract, baseline: Baseline) -> None:
    problems = fit_problems(contract, baseline)
    if problems:
        raise ApplyError(
            f"{what} does not fit the contract: {_first(problems)}. Make both from the same table with "
            "`barograph infer`, or take the change of the contract back."
        )


def _first(problems: Sequence[str]) -> str:
    shown = "; ".join(problems[:3])
    return shown if len(problems) <= 3 else f"{shown}; and {len(problems) - 3} more"


def _refuse_repeats(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ApplyError(f"The {name} is given twice: give one.")
