"""Canaries: after a promotion, the version that was replaced is the shadow of the new primary."""

from __future__ import annotations

from collections.abc import Iterable

from barograph.contract import ShadowTest
from barograph.contract.file import parse_contract

from warehouse.queries import ContractRow


def is_canary(shadow: ShadowTest, earlier: Iterable[ContractRow]) -> bool:
    """Return whether the primary of a contract was promoted, and its candidate is the version that it replaced.

    This is so if the last contract that named another pair of versions had the two exchanged, unless that pair was
    a canary: then the promotion was rolled back, and this is a new test.

    Args:
        shadow: the section of the contract.
        earlier: the contracts of the model that were applied before, in this order. Contracts without a candidate are
            skipped, and so are those that this release cannot read.
    """
    result, last = False, None
    for versions in (*_versions(earlier), (shadow.candidate, shadow.of)):
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
