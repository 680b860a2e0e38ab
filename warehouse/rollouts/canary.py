"""Canaries: after a promotion, the version that was replaced is the shadow of the new primary."""

from __future__ import annotations

from collections.abc import Iterable

from barograph.contract import Contract, ShadowTest
from barograph.contract.file import parse_contract

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.queries import ContractRow, contract_history


def is_canary(shadow: ShadowTest, earlier: Iterable[ContractRow]) -> bool:
    """Return whether the primary of a contract was promoted, and its candidate is the version that it replaced.

    This is so if the last contract that named another pair of versions had the two exchanged, unless that pair was
    a canary: then the promotion was rolled back, and this is a new test.

    Args:
        shadow: the section of the contract.
        earlier: the contracts of the model that were applied before, in this order. Contracts without a candidate are
            skipped, and so are those that this release cannot read.
    """
    return _ends_with_canary((*_versions(earlier), (shadow.candidate, shadow.of)))


def read_is_canary(client: Client, contract: Contract) -> bool:
    """Return whether a model's contract describes a canary, by the contracts that were applied before it.

    Args:
        client: the connection to read from.
        contract: the contract; contracts of other versions that were applied after it do not count.
    """
    if contract.shadow is None:
        return False
    history = list(_versions(contract_history(client, contract.model)))
    while history and history[-1] != (contract.shadow.candidate, contract.shadow.of):
        history.pop()
    return _ends_with_canary(history)


def _ends_with_canary(history: Iterable[tuple[str, str]]) -> bool:
    """Return whether the last pair of versions is a canary; the pairs are (candidate, of)."""
    result, last = False, None
    for versions in history:
        if versions != last:
            result, last = last == versions[::-1] and not result, versions
    return result


def _versions(rows: Iterable[ContractRow]) -> Iterable[tuple[str, str]]:
    """Yield (candidate, of) of the contracts that name a candidate."""
    for row in rows:
        try:
            shadow = parse_contract(row.yaml, f"contract of {row.model}").shadow
        except ValueError:
            continue
        if shadow is not None:
            yield shadow.candidate, shadow.of
