"""Checks of contracts, baselines and processors as ClickHouse records them."""

from collections.abc import Generator, Iterator, Mapping

from barograph.contract import Contract
from barograph.contract.evaluator_contracts import evaluator_contracts
from barograph.contract.file import ContractError, parse_contract

from barograph_server.finding import Finding, error, ok, warning
from barograph_server.sketches.baseline.baseline import Baseline, BaselineError, load_baseline
from barograph_server.sketches.baseline.fit import fit_problems
from barograph_server.terminal import plural
from barograph_server.warehouse import queries
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.operations.metrics import ALL, OPTIONAL
from barograph_server.warehouse.operations.status import is_silent, processors

COMPONENT, PROCESSORS = "Contracts", "Processors"
_REAPPLY = "Apply it again from its file with this program; processors that start before do not monitor the model."


def check_contracts(client: Client) -> Iterator[Finding]:
    """Check every contract in force and the latest baseline of each of its versions."""
    contracts, baselines = yield from _read(client)
    if not contracts:
        yield warning(
            COMPONENT,
            "No contract is applied: every event is dead-lettered.",
            "Run `barograph apply CONTRACT`; `barograph infer` writes one.",
        )
    n_valid = 0
    derived = {each.model for contract in contracts.values() for each in evaluator_contracts(contract)}
    for model, contract in contracts.items():
        if model in derived:
            continue
        findings = [*_check_baselines(contract, baselines.get(model, {}))]
        n_valid += not findings
        yield from findings
    if n_valid:
        yield ok(COMPONENT, f"{plural(n_valid, 'model')} with a contract and matching baselines.")


def _read(client: Client) -> Generator[Finding, None, tuple[dict[str, Contract], dict[str, dict[str, Baseline]]]]:
    """Read contracts by model, and baselines by model and version; yield a finding for each unreadable one."""
    contracts: dict[str, Contract] = {}
    for contract_row in queries.contracts(client):
        model = contract_row.model
        try:
            contracts[model] = parse_contract(contract_row.yaml, f"contract of {model}")
        except ContractError as cause:
            yield error(COMPONENT, f"The contract of {model} in force cannot be read: {cause}", _REAPPLY)
    baselines: dict[str, dict[str, Baseline]] = {}
    for row in queries.baselines(client):
        try:
            baseline = load_baseline(row.body.encode(), f"baseline {row.baseline_id}")
        except BaselineError as cause:
            yield error(COMPONENT, f"The baseline of {row.model} {row.version} cannot be read: {cause}", _REAPPLY)
            continue
        baselines.setdefault(row.model, {})[row.version] = baseline
    return contracts, baselines


def _check_baselines(contract: Contract, baselines: Mapping[str, Baseline]) -> Iterator[Finding]:
    if not any(baseline.rows for baseline in baselines.values()):
        yield warning(
            COMPONENT,
            f"Model {contract.model} has no baseline: its predictions are counted, without verdicts on drift.",
            f"Make one with `barograph infer --from-traffic {contract.model}`, or of a training table, and apply it.",
        )
    for version, baseline in baselines.items():
        if not baseline.rows:
            continue
        problems = fit_problems(contract, baseline)
        if problems:
            yield warning(
                COMPONENT,
                f"The baseline of {contract.model} {version} does not match the contract: {'; '.join(problems[:3])}.",
                "Apply a matching baseline (`barograph infer`), or revert the change of the contract.",
            )


def check_processors(client: Client) -> Iterator[Finding]:
    """Check whether at least one processor of each kind reports; of optional kinds, if one ever has."""
    reports = processors(client)
    for kind in ALL:
        unless = ", unless the clock is `replay`, on which no alerts are evaluated" if kind == "guard" else ""
        rows = [row for row in reports if row.kind == kind]
        reporting = [row for row in rows if not is_silent(row)]
        if reporting:
            yield ok(PROCESSORS, f"{plural(len(reporting), kind)} reporting.")
        elif rows:
            last = min(rows, key=lambda row: row.silent_s)
            yield warning(
                PROCESSORS,
                f"No {kind} reports; {last.instance} on {last.host} did {last.silent_s} s ago.",
                f"Check its log, and start it: `barograph run {kind} --instance {last.instance}`{unless}.",
            )
        elif kind not in OPTIONAL:
            yield warning(PROCESSORS, f"No {kind} has reported.", f"Start one: `barograph run {kind}`{unless}.")
