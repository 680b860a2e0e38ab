"""Canaries: after a promotion, the version that was replaced is the shadow of the new primary."""

from collections.abc import Iterable, Iterator

from barograph.contract import ShadowTest
from barograph.contract.file import parse_contract


def is_after_promotion(shadow: ShadowTest, applied: Iterable[str]) -> bool:
    """Return whether the primary of a contract was promoted, and its candidate is the version that it replaced.

    This is so if the last contract that named another pair of versions had the two exchanged, unless that pair was
    itself after a promotion: then that was rolled back, and this is a new test.

    Args:
        shadow: the section of the contract.
        applied: the texts of the model's contracts in the order in which they were applied, this one among them; those
            of other versions that were applied after it do not count. Contracts without a candidate are skipped, and
            so are those that this release cannot read.
    """
    history = list(_versions(applied))
    while history and history[-1] != (shadow.candidate, shadow.of):
        history.pop()
    result, last = False, None
    for versions in history:
        if versions != last:
            result, last = last == versions[::-1] and not result, versions
    return result


def _versions(texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield (candidate, of) of the contracts that name a candidate."""
    for text in texts:
        try:
            shadow = parse_contract(text).shadow
        except ValueError:
            continue
        if shadow is not None:
            yield shadow.candidate, shadow.of
