"""The cost of a call of a language model, from its tokens and the prices of the contract.

Publishers and the receiver of spans use the same function, so that they compute the same number.
"""

from __future__ import annotations

from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TypedDict, Unpack

from barograph.contract import Contract, TokenPrice

PER_MILLION = 1_000_000
ORDINARY_TIERS = (None, "default", "standard", "auto")
"""Service tiers whose calls have the prices as they are."""


class TokenCounts(TypedDict, total=False):
    """Tokens of a call by kind; a number that is missing or None is not known."""

    input_tokens: float | None
    cached_input_tokens: float | None
    """Input tokens that were read from a cache."""
    cache_write_input_tokens: float | None
    """Input tokens that were written to a cache."""
    input_audio_tokens: float | None
    output_tokens: float | None
    reasoning_output_tokens: float | None
    output_audio_tokens: float | None


def cost(
    contract: Contract,
    version: str,
    *,
    service_tier: str | None = None,
    at: datetime | None = None,
    **tokens: Unpack[TokenCounts],
) -> float | None:
    """Return what a call cost in US dollars; None if no price matches, or its tokens do not give it.

    They do not if a count that has a price is not known, or is smaller than its parts; if tokens of audio or the
    service tier have no price; or if there are cached tokens and such of audio ([cost](llm.md#cost)).

    Cached input tokens and those written to a cache are part of the input tokens, tokens of reasoning of the output
    tokens, those of audio of both; each is charged once. If they are not known, all have the ordinary price.

    Args:
        service_tier: The tier that served the call, such as `batch`.
        at: The time of the call, aware; by default now.
        tokens: Its tokens: `input_tokens`, `cached_input_tokens`, `cache_write_input_tokens`, `input_audio_tokens`,
            `output_tokens`, `reasoning_output_tokens`, `output_audio_tokens`.

    Raises:
        ValueError: A count is negative, or `at` has no time zone.
    """
    unknown = tokens.keys() - TokenCounts.__annotations__
    if unknown:
        raise TypeError(f"cost() has no argument {min(unknown)!r}")
    price = price_of(contract, version, at or datetime.now(UTC))
    factor = 1.0 if service_tier in ORDINARY_TIERS else None if price is None else price.tiers.get(service_tier or "")
    if price is None or factor is None:
        return None
    heard, spoken = tokens.get("input_audio_tokens"), tokens.get("output_audio_tokens")
    cached, written = tokens.get("cached_input_tokens"), tokens.get("cache_write_input_tokens")
    if (heard and (cached or price.input_audio is None)) or (spoken and price.output_audio is None):
        return None
    input_parts = (cached, price.cached_input), (written, price.cache_write), (heard, price.input_audio)
    output_parts = (tokens.get("reasoning_output_tokens"), price.reasoning), (spoken, price.output_audio)
    of_input = _charge(tokens.get("input_tokens"), price.input, input_parts)
    of_output = _charge(tokens.get("output_tokens"), price.output, output_parts)
    return None if of_input is None or of_output is None else factor * (of_input + of_output) / PER_MILLION


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
