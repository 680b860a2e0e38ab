"""Contracts and baselines as they were applied: whether this program reads them, and whether they fit each other."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping

from barograph.contract import Contract
from barograph.contract.file import ContractError, parse_contract

from cli.doctor.finding import Finding, look, ok, wrong
from cli.status.read import is_silent
from sketches.baseline.baseline import Baseline, BaselineError, load_baseline
from sketches.baseline.fit import fit_problems
from warehouse import queries
from warehouse.client import Client
from warehouse.metrics import ALL
from warehouse.status import processors

PART, PROCESSORS = "Contracts", "Processors"


def check_contracts(client: Client) -> Iterator[Finding]:
    """Look at every contract in force and at the last baseline of each of its versions."""
    contracts, baselines = yield from _read(client)
    if not contracts:
        yield look(
            PART,
            "No contract is applied: every event becomes a dead letter.",
            "Run `barograph apply CONTRACT`; `barograph infer` writes one.",
        )
    good = 0
    for model, contract in contracts.items():
        found = [*_fits(contract, baselines.get(model, {}))]
        good += not found
        yield from found
    if good:
        yield ok(PART, f"{good} {'model has' if good == 1 else 'models have'} a contract and baselines that fit it.")


def _read(
    client: Client,
) -> Generator[Finding, None, tuple[dict[str, Contract], dict[str, dict[str, Baseline]]]]:
    contracts: dict[str, Contract] = {}
    for row in queries.contracts(client):
        try:
            contracts[row.model] = parse_contract(row.yaml, f"contract of {row.model}")
        except ContractError as error:
            yield wrong(PART, f"The contract of {row.model} in force cannot be read: {error}", _AGAIN)
    baselines: dict[str, dict[str, Baseline]] = {}
    for found in queries.baselines(client):
        try:
            baseline = load_baseline(found.body.encode(), f"baseline {found.baseline_id}")
        except BaselineError as error:
            yield wrong(PART, f"The baseline of {found.model} {found.version} cannot be read: {error}", _AGAIN)
            continue
        baselines.setdefault(found.model, {})[found.version] = baseline
    return contracts, baselines


_AGAIN = "Apply it again from its file with this program; processors that start before do not monitor the model."


def _fits(contract: Contract, baselines: Mapping[str, Baseline]) -> Iterator[Finding]:
    if not baselines:
        yield look(
            PART,
            f"Model {contract.model} has no baseline: its predictions are kept raw and not judged.",
            "Make one with `barograph infer` and apply it.",
        )
    for version, baseline in baselines.items():
        problems = fit_problems(contract, baseline)
        if problems:
            yield look(
                PART,
                f"The baseline of {contract.model} {version} does not fit the contract: {'; '.join(problems[:3])}.",
                "Apply a baseline that fits (`barograph infer`), or take the change of the contract back.",
            )


def check_processors(client: Client) -> Iterator[Finding]:
    """Look whether one of each kind reports."""
    reports = processors(client)
    for kind in ALL:
        mine = [row for row in reports if row.kind == kind]
        alive = [row for row in mine if not is_silent(row)]
        if alive:
            yield ok(PROCESSORS, f"{len(alive)} {kind}{'s' if len(alive) > 1 else ''} reporting.")
        elif mine:
            last = min(mine, key=lambda row: row.silent_s)
            yield look(
                PROCESSORS,
                f"No {kind} reports; {last.instance} on {last.host} did {last.silent_s} s ago.",
                f"Look at its log, and start it: `barograph run {kind} --instance {last.instance}`.",
            )
        else:
            yield look(PROCESSORS, f"No {kind} has reported.", f"Start one: `barograph run {kind}`.")
