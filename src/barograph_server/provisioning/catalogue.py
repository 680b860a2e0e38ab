"""Contracts and baselines: which ones change, whether they fit together, and when they take effect."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from barograph.contract import Contract, format_duration
from barograph.contract.file import ContractError, parse_contract

from barograph_server.errors import ApplyError
from barograph_server.sketches.baseline.baseline import Baseline, dump_baseline, load_baseline
from barograph_server.sketches.baseline.fit import fit_problems
from barograph_server.terminal import utc_second
from barograph_server.warehouse import queries
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.queries import BaselineRow
from barograph_server.warehouse.tables import insert_rows

MIN_LEAD_S = 60
"""Minimum time from `apply` to the first pane of a replacement baseline, in seconds.

Processors poll the registry every 10 s. A processor that read the baseline after the pane began would count that pane
on the bins of both baselines.
"""

ALWAYS_S = 0
"""The `effective_from` of a version's first baseline, which applies to all event times."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The contracts and baselines stored in ClickHouse."""

    contracts: Mapping[str, tuple[str, Contract | None]] = field(default_factory=dict)
    """model → id and contract in force; None for a contract that this release cannot read."""
    baselines: Sequence[BaselineRow] = ()
    """Per version in the order in which they take effect."""

    def history(self, model: str, version: str) -> list[BaselineRow]:
        """Return the baselines of a version in the order in which they take effect."""
        return [row for row in self.baselines if (row.model, row.version) == (model, version)]

    def contract(self, model: str) -> Contract:
        """Return the contract of a model in force.

        Raises:
            ApplyError: the model has none, or this release cannot read it.
        """
        if model not in self.contracts:
            known = ", ".join(sorted(self.contracts)) or "none"
            raise ApplyError(f"The model {model} has no applied contract; models with one: {known}.")
        contract = self.contracts[model][1]
        if contract is None:
            raise ApplyError(f"This release cannot read the contract of {model} in force: apply it again.")
        return contract


@dataclass(frozen=True, slots=True)
class ContractChange:
    contract: Contract
    yaml: str
    difference: tuple[str, ...] | None
    """The changes from the contract in force, one per line; None for a new model."""


@dataclass(frozen=True, slots=True)
class BaselineChange:
    baseline: Baseline
    baseline_id: str
    effective_from_s: int
    replaces: str
    """The id of the version's previous baseline, empty for its first."""


def read_catalogue(client: Client) -> Catalogue:
    contracts: dict[str, tuple[str, Contract | None]] = {}
    for row in queries.contracts(client):
        try:
            contracts[row.model] = row.contract_id, parse_contract(row.yaml, f"contract of {row.model}")
        except ContractError:
            contracts[row.model] = row.contract_id, None
    return Catalogue(contracts, queries.baselines(client))


def parse_baseline(row: BaselineRow) -> Baseline:
    return load_baseline(row.body.encode(), f"baseline {row.baseline_id}")


def plan_contracts(contracts: Sequence[tuple[Contract, str]], stored: Catalogue) -> list[ContractChange]:
    """Find the contracts that are new or changed.

    Raises:
        ApplyError: a model is given twice, or the pane length of a model would change.
    """
    check_models(contract for contract, _ in contracts)
    changes = []
    for contract, yaml in contracts:
        contract_id, old = stored.contracts.get(contract.model, ("", None))
        if contract_id == contract.id:
            continue
        if old is not None and old.pane_s != contract.pane_s:
            raise ApplyError(
                f"Model {contract.model} has panes of {format_duration(old.pane_s)}, but the contract sets "
                f"{format_duration(contract.pane_s)}: the pane length of a model cannot change. "
                f"Set pane: {format_duration(old.pane_s)}, or rename the model."
            )
        difference = tuple(contract_difference(old, contract)) if old is not None else None
        if contract_id and old is None:
            difference = ("~ the contract in force cannot be read by this release and is replaced",)
        changes.append(ContractChange(contract, yaml, difference))
    return changes


def plan_baselines(
    baselines: Sequence[Baseline],
    contracts: Mapping[str, Contract],
    stored: Catalogue,
    *,
    effective_s: int | None,
    now_s: float,
) -> list[BaselineChange]:
    """Find the baselines that are new, and when they take effect.

    Args:
        contracts: model → the contract in force after the apply.
        effective_s: event time from which a replacement baseline applies, Unix seconds; None for the first pane that
            begins at least `MIN_LEAD_S` from now.

    Raises:
        ApplyError: a version is given twice, a baseline has no contract or does not fit it, or `effective_s` is not
            the start of a pane at least `MIN_LEAD_S` from now.
    """
    _check_unique([f"baseline of {baseline.model} version {baseline.version}" for baseline in baselines])
    changes = []
    for baseline in baselines:
        contract = contracts.get(baseline.model)
        what = f"The baseline of {baseline.model} version {baseline.version}"
        if contract is None:
            raise ApplyError(f"{what} has no contract: add the contract of model {baseline.model} to the command.")
        if baseline.rows and (problems := fit_problems(contract, baseline)):
            raise ApplyError(
                f"{what} does not fit the contract: {_join_first(problems)}. Create both from the same table with "
                "`barograph infer`, or undo the change of the contract."
            )
        history = stored.history(baseline.model, baseline.version)
        if not history:
            changes.append(BaselineChange(baseline, baseline.id, ALWAYS_S, ""))
        elif history[-1].baseline_id != baseline.id:
            from_s = _effective_from(contract, effective_s, now_s)
            changes.append(BaselineChange(baseline, baseline.id, from_s, history[-1].baseline_id))
    return changes


def store_baselines(client: Client, changes: Iterable[BaselineChange], reason: str, accepted_ms: int) -> None:
    """Store baselines with the user's reason and the current time (`accepted_ms`, Unix milliseconds)."""
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


def store_contracts(client: Client, contracts: Iterable[tuple[Contract, str]], applied_ms: int) -> None:
    """Store contracts, each with its text and the current time (`applied_ms`, Unix milliseconds)."""
    rows = [
        {"model": contract.model, "contract_id": contract.id, "yaml": yaml, "applied_at": applied_ms}
        for contract, yaml in contracts
    ]
    insert_rows(client, "contracts", rows)


def describe_misfits(
    changes: Iterable[ContractChange], new_baselines: Sequence[Baseline], stored: Catalogue
) -> list[str]:
    """Describe stored baselines that do not fit changed contracts.

    Raises:
        ApplyError: neither a new nor a stored baseline of a model fits its changed contract.
    """
    notes = []
    for change in changes:
        model = change.contract.model
        renewed = {baseline.version for baseline in new_baselines if baseline.model == model}
        latest = {row.version: row for row in stored.baselines if row.model == model}
        retained = {version: row for version, row in latest.items() if version not in renewed}
        misfits = {version: problems for version, row in retained.items() if (problems := _misfits(change, row))}
        if misfits and not renewed and len(misfits) == len(retained):
            version, problems = next(reversed(misfits.items()))
            raise ApplyError(
                f"The contract of {model} does not fit the baseline of version {version}: {_join_first(problems)}. "
                "Apply it together with a matching baseline (`barograph infer`), or undo the change."
            )
        notes += [
            f"Model {model}, version {version}: its baseline does not fit the contract ({_join_first(problems)}). "
            f"{_MISFIT_EFFECT}"
            for version, problems in misfits.items()
        ]
        for version in sorted(renewed & latest.keys()):
            if problems := _misfits(change, latest[version]):
                notes.append(
                    f"Model {model}, version {version}: until its new baseline takes effect, the previous one does not "
                    f"fit the contract ({_join_first(problems)}). {_MISFIT_EFFECT}"
                )
    return notes


_MISFIT_EFFECT = (
    "Fields missing from the contract are read as the baseline defines them; fields missing from the baseline get no "
    "verdicts."
)


def _misfits(change: ContractChange, stored: BaselineRow) -> list[str]:
    return fit_problems(change.contract, parse_baseline(stored))


def _effective_from(contract: Contract, effective_s: int | None, now_s: float) -> int:
    pane_s = contract.pane_s
    earliest_s = int(-(-(now_s + MIN_LEAD_S) // pane_s) * pane_s)
    if effective_s is None:
        return earliest_s
    if effective_s % pane_s:
        raise ApplyError(
            f"--effective {utc_second(effective_s)} is not the start of a pane of {contract.model}, whose panes are "
            f"{format_duration(pane_s)} long: use {utc_second(-(-effective_s // pane_s) * pane_s)}."
        )
    if effective_s < earliest_s:
        raise ApplyError(
            f"--effective {utc_second(effective_s)} is in the past, or too soon for all processors to read the "
            f"baseline by then: use {utc_second(earliest_s)} or later."
        )
    return effective_s


def _join_first(problems: Sequence[str]) -> str:
    shown = "; ".join(problems[:3])
    return shown if len(problems) <= 3 else f"{shown}; and {len(problems) - 3} more"


def check_models(contracts: Iterable[Contract]) -> None:
    """Check that no two contracts are of the same model.

    Raises:
        ApplyError: a model is given twice.
    """
    _check_unique([f"contract of model {contract.model}" for contract in contracts])


def _check_unique(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ApplyError(f"The {name} is given twice: remove one.")


def contract_difference(old: Contract, new: Contract) -> list[str]:
    """List the differences, one line each: `+` added, `-` removed, `~` changed."""
    before, after = _flatten(old), _flatten(new)
    lines = [f"- {key}" for key in before if key not in after and not _is_parent_removed(key, after)]
    for key, value in after.items():
        if key not in before:
            lines.append(f"+ {key}" if value is None else f"+ {key}: {value}")
        elif before[key] != value:
            lines.append(f"~ {key}: {before[key]} → {value}")
    return [line for line in lines if not _is_detail(line, before, after)]


def _flatten(contract: Contract) -> dict[str, str | None]:
    """Map the path of each member of a contract to its text; None for a field or slice itself."""
    result: dict[str, str | None] = {}
    for name, value in msgspec.to_builtins(contract).items():
        if name in ("fields", "slices"):
            for item in value:
                path = f"{name.removesuffix('s')} {item.pop('name')}"
                result[path] = None
                result |= {f"{path}: {key}": _json_text(inner) for key, inner in item.items()}
        elif name == "windows":
            result["windows"] = ", ".join(
                f"{window.name} {f'of {format_duration(window.length_s)} ' if window.last else ''}"
                f"hop {format_duration(window.hop_s)}"
                for window in contract.windows
            )
        elif name.endswith("_s"):
            result[name.removesuffix("_s")] = format_duration(value) if value else "0s"
        elif isinstance(value, dict):
            result |= {f"{name}: {key}": _json_text(inner) for key, inner in value.items()}
        elif value is not None:
            result[name] = _json_text(value)
    return result


def _is_parent_removed(key: str, after: dict[str, str | None]) -> bool:
    """Whether a member is removed together with its field or slice."""
    parent, colon, _ = key.partition(": ")
    return bool(colon) and parent.startswith(("field ", "slice ")) and parent not in after


def _is_detail(line: str, before: dict[str, str | None], after: dict[str, str | None]) -> bool:
    """Whether a line is a member of a field or slice that is added as a whole."""
    parent, colon, _ = line[2:].partition(": ")
    return bool(colon) and line[0] == "+" and parent in after and parent not in before


def _json_text(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
