"""The cost of a call of a language model, from its tokens and the prices of the contract.

Publishers and the receiver of spans use the same function, so that they compute the same number.
"""

from __future__ import annotations

from datetime import UTC, datetime
from fnmatch import fnmatchcase

from barograph.contract import Contract, TokenPrice

PER_MILLION = 1_000_000


def cost(
    contract: Contract,
    version: str,
    *,
    input_tokens: float | None = None,
    output_tokens: float | None = None,
    cached_input_tokens: float | None = None,
    cache_write_input_tokens: float | None = None,
    reasoning_output_tokens: float | None = None,
    at: datetime | None = None,
) -> float | None:
    """Return what a call cost in US dollars; None if no price matches, or its tokens do not give it.

    They do not if a count that has a price is not known, or is smaller than its parts.

    Cached input tokens, and those written to a cache, are part of the input tokens, and tokens of reasoning of the
    output tokens; each is charged once. If they are not known, all input and output tokens have the ordinary price.

    Args:
        cached_input_tokens: Input tokens that were read from a cache.
        cache_write_input_tokens: Input tokens that were written to a cache.
        at: The time of the call, aware; by default now.

    Raises:
        ValueError: A count is negative, or `at` has no time zone.
    """
    price = price_of(contract, version, at or datetime.now(UTC))
    if price is None:
        return None
    total = 0.0
    for tokens, ordinary, parts in (
        (
            input_tokens,
            price.input,
            ((cached_input_tokens, price.cached_input), (cache_write_input_tokens, price.cache_write)),
        ),
        (output_tokens, price.output, ((reasoning_output_tokens, price.reasoning),)),
    ):
        charged = _charge(tokens, ordinary, parts)
        if charged is None:
            return None
        total += charged
    return total / PER_MILLION


def price_of(contract: Contract, version: str, at: datetime) -> TokenPrice | None:
    """Return the price of a version at a time; None if there is none.

    Of the patterns that match, the first in the contract that has a price at this time decides; of its prices the
    latest that has begun.

    Raises:
        ValueError: `at` has no time zone.
    """
    if at.tzinfo is None:
        raise ValueError("at has no time zone: pass an aware datetime, such as datetime.now(UTC)")
    day = at.astimezone(UTC).date().isoformat()
    patterns = dict.fromkeys(price.version for price in contract.prices)
    for pattern in patterns:
        if fnmatchcase(version, pattern):
            prices = [price for price in contract.prices if price.version == pattern and price.since <= day]
            if prices:
                return max(prices, key=lambda price: price.since)
    return None


def _charge(
    tokens: float | None, ordinary: float, parts: tuple[tuple[float | None, float | None], ...]
) -> float | None:
    """Return the price of tokens of which parts have prices of their own, per million; None if it is not known."""
    for count in (tokens, *(part for part, _ in parts)):
        if count is not None and not count >= 0:
            raise ValueError(f"a number of tokens is {count}: pass counts of at least 0, or None if one is not known")
    if tokens is None:
        is_free = not ordinary and not any(price for _, price in parts)
        return 0.0 if is_free else None
    rest, total = tokens, 0.0
    for count, price in parts:
        total += (count or 0.0) * (ordinary if price is None else price)
        rest -= count or 0.0
    return total + rest * ordinary if rest >= 0 else None
