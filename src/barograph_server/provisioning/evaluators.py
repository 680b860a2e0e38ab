"""What `apply` derives for evaluators: contracts of their models, and baselines without rows.

A baseline is what processors count on. One without rows has the bins of the classes and no expected shares, so that
evaluations are counted and their verdicts are `insufficient` until a baseline is learned from production.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from barograph.contract import Contract
from barograph.contract.dump import dump_contract
from barograph.contract.evaluator_contracts import evaluator_contracts
from barograph.contract.evaluators import FAULTY, SOUND

from barograph_server.errors import ApplyError
from barograph_server.sketches.baseline.baseline import ALL, Baseline, FieldBaseline, SliceCounts
from barograph_server.streams.evaluator.active import NO_VERSION


def with_evaluators(
    contracts: Sequence[tuple[Contract, str]], stored: Iterable[Contract] = ()
) -> list[tuple[Contract, str]]:
    """Add the contracts of the evaluators, each with its text.

    Args:
        contracts: the contracts to apply.
        stored: the contracts in force.

    Raises:
        ApplyError: the model of an evaluator has a contract of its own.
    """
    in_force = list(stored)
    derived_before = {each.model for contract in in_force for each in evaluator_contracts(contract)}
    own_models = {contract.model for contract, _ in contracts}
    models = {*own_models, *({contract.model for contract in in_force} - derived_before)}
    taken = sorted(own_models & derived_before - {each.model for each in in_force if each.evaluators})
    if taken:
        raise ApplyError(f"{taken[0]} is the model of an evaluator, whose contract is derived: rename the model.")
    derived = [each for contract, _ in contracts for each in evaluator_contracts(contract)]
    for contract in derived:
        if contract.model in models:
            raise ApplyError(
                f"{contract.model} has a contract, and is also the model of an evaluator, whose contract is derived: "
                "rename the evaluator, or remove the contract."
            )
    return [*contracts, *((contract, dump_contract(contract)) for contract in derived)]


def first_baselines(contracts: Iterable[Contract]) -> list[Baseline]:
    """Return a baseline without rows for each model of an evaluator of these contracts."""
    return [_baseline(derived.model) for contract in contracts for derived in evaluator_contracts(contract)]


def _baseline(model: str) -> Baseline:
    classes = FAULTY, SOUND
    counts = SliceCounts(cells=(0,) * (len(classes) + 2))
    field = FieldBaseline(name="class", kind="category", categories=classes, slices={ALL: counts})
    return Baseline(
        model=model, version=NO_VERSION, rows=0, slice_rows={ALL: 0}, fields=(field,), source="derived from a contract"
    )
