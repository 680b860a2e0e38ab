"""A contract, or the path of its file."""

from pathlib import Path

from barograph.contract import Contract
from barograph.contract.file import load_contract

ContractOrPath = Contract | str | Path


def contract_of(contract: ContractOrPath) -> Contract:
    """Return a contract, or read it from its file.

    Raises:
        ContractError: the file is not a contract.
    """
    return contract if isinstance(contract, Contract) else load_contract(Path(contract))
