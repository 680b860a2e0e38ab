"""Reads the contracts in force from ClickHouse, and the files of policies and suites."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from barograph.contract import Contract
from barograph.contract.evaluator_contracts import evaluator_model
from barograph.contract.file import parse_contract
from barograph.contract.kinds import RecordKind
from barograph.contract.yaml_tree import read_tree

from barograph_server.errors import CommandError
from barograph_server.terminal import listed
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.configuration import read_value
from barograph_server.warehouse.queries import contracts, is_drill


def read_contracts(client: Client) -> dict[str, Contract]:
    """Read the contracts in force by model, without those of drills; there may be none.

    Raises:
        ContractError: a contract cannot be read.
    """
    return {row.model: parse_contract(row.yaml, f"contract of {row.model}") for row in contracts(client)}


def read_contract(client: Client, model: str) -> Contract:
    """Read the contract in force of a model.

    Raises:
        ContractError: the contract cannot be read.
    """
    rows = {row.model: row for row in contracts(client, drills=is_drill(model))}
    if model not in rows:
        raise CommandError(f"ClickHouse at {client.where} has no contract of {model!r}{hint(model, rows)}")
    return parse_contract(rows[model].yaml, f"contract of {model}")


def contracts_in_force(client: Client, model: str | None) -> list[Contract]:
    """Read the contracts in force, of one model or all.

    Raises:
        ContractError: a contract cannot be read.
    """
    if model is not None:
        return [read_contract(client, model)]
    all_contracts = list(read_contracts(client).values())
    if not all_contracts:
        raise CommandError("No contract is applied: write one with `barograph infer`, then run `barograph apply`.")
    return all_contracts


def hint(name: str, known: Iterable[str]) -> str:
    """End a sentence about an unknown name with the most similar known name, or with the known names."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are {listed(names, 12)}." if names else "; there are none."


def require_evaluators(contract: Contract) -> list[str]:
    if not contract.evaluators:
        raise CommandError(
            f"The contract of {contract.model} has no evaluators: add the section `evaluators`, run `barograph apply`, "
            "and start `barograph run evaluator`."
        )
    return [evaluator_model(contract.model, name) for name in contract.evaluators]


def read_policy_text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CommandError(f"{path}: cannot be read: {reason}; give the path of a policy.") from error


def read_suite_values(path: Path, suite: RecordKind, keys: str) -> dict[str, Any]:
    """Read the values of a suite; `keys` says what to write into an empty file.

    Raises:
        ContractError: a key is unknown, missing or has a wrong value; the text has a line per problem.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or str(error)).lower() if isinstance(error, OSError) else "the text is not UTF-8"
        raise CommandError(f"The suite {path} cannot be read: {reason}.") from error
    if not text.strip():
        raise CommandError(f"The suite {path} is empty; write the keys {keys} shows.")
    values: dict[str, Any] = read_value(suite, read_tree(text, str(path)), (), str(path))
    return values
