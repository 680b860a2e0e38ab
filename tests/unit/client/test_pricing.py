from datetime import UTC, datetime, timedelta, timezone

import pytest
from barograph import ContractError, cost, parse_contract
from barograph.pricing import TokenCounts, price_of

HEAD = "contract: 1\nmodel: answers\n"
PRICES = """
prices:
  - {version: "gpt-4o-mini*", input: 0.15, output: 0.6}
  - {version: "gpt-4o*", input: 2.5, cached_input: 1.25, cache_write: 3, output: 10, reasoning: 12}
  - {version: "gpt-4o*", from: 2026-06-01, input: 2, output: 8}
  - {version: "new-*", from: 2026-07-01, input: 1, output: 1}
  - {version: "local", input: 0, output: 0}
"""
CONTRACT = parse_contract(HEAD + PRICES)
MAY, JULY = datetime(2026, 5, 31, 23, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)


def test_cached_and_reasoning_tokens_are_charged_once() -> None:
    tokens: TokenCounts = {"input_tokens": 1_000_000, "cached_input_tokens": 400_000, "output_tokens": 200_000}
    tokens |= {"cache_write_input_tokens": 100_000, "reasoning_output_tokens": 50_000}
    price = cost(CONTRACT, "gpt-4o-2024-08-06", **tokens, at=MAY)
    assert price == pytest.approx(0.5 * 2.5 + 0.4 * 1.25 + 0.1 * 3 + 0.15 * 10 + 0.05 * 12)
    # Absent parts have the ordinary price.
    tokens = {"input_tokens": 1_000_000, "output_tokens": 1_000_000}
    assert cost(CONTRACT, "gpt-4o", **tokens, at=MAY) == pytest.approx(12.5)
    # More cached tokens than tokens are impossible: nothing is capped.
    assert cost(CONTRACT, "gpt-4o", **tokens | {"cached_input_tokens": 10**9}, at=MAY) is None
    # Without a price of their own, cached tokens cost as much as others.
    assert cost(CONTRACT, "gpt-4o", **tokens | {"cached_input_tokens": 500_000}, at=JULY) == pytest.approx(10)


def test_the_first_pattern_and_its_latest_price_decide() -> None:
    tokens: TokenCounts = {"input_tokens": 1_000_000, "output_tokens": 0}
    assert cost(CONTRACT, "gpt-4o-mini-2", **tokens, at=JULY) == pytest.approx(0.15)
    assert cost(CONTRACT, "gpt-4o", **tokens, at=MAY) == pytest.approx(2.5)
    assert cost(CONTRACT, "gpt-4o", **tokens, at=datetime(2026, 6, 1, tzinfo=UTC)) == pytest.approx(2)
    # 1 June in Berlin is still 31 May in UTC.
    berlin = timezone(timedelta(hours=2))
    assert cost(CONTRACT, "gpt-4o", **tokens, at=datetime(2026, 6, 1, 1, tzinfo=berlin)) == pytest.approx(2.5)


def test_what_is_not_known_has_no_cost() -> None:
    assert cost(CONTRACT, "other", input_tokens=1, output_tokens=1, at=MAY) is None
    assert cost(CONTRACT, "new-1", input_tokens=1, output_tokens=1, at=MAY) is None
    assert cost(CONTRACT, "gpt-4o", input_tokens=1, at=MAY) is None
    assert cost(CONTRACT, "gpt-4o", output_tokens=1, at=MAY) is None
    assert cost(CONTRACT, "local", at=MAY) == 0
    assert cost(parse_contract(HEAD), "gpt-4o", input_tokens=1, output_tokens=1) is None


def test_negative_counts_and_times_without_a_zone_are_errors() -> None:
    for tokens in (-1, float("nan")):
        with pytest.raises(ValueError, match="number of tokens"):
            cost(CONTRACT, "gpt-4o", input_tokens=tokens, output_tokens=1)
    with pytest.raises(TypeError, match="no argument 'tokens'"):
        cost(CONTRACT, "gpt-4o", tokens=1)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="no time zone"):
        price_of(CONTRACT, "gpt-4o", datetime(2026, 5, 1))  # noqa: DTZ001


def test_bad_sections_are_reported() -> None:
    for text, problem in (
        ("prices: [{input: 1}]", "version: is missing"),
        ("prices: [{version: a, from: 2026-13-01}]", "is not a day"),
        ("prices: [{version: a, input: -1}]", "out of range"),
        ("prices: [{version: a}, {version: a}]", "earlier price"),
        ("budget: {day: 1}\nraw: {share: 0.5}", "needs the cost of every call"),
        ("user: features.user", "not a member of context"),
        ("deployments: {a: {quantisation: INT3}}", "is unknown"),
    ):
        with pytest.raises(ContractError, match=problem):
            parse_contract(HEAD + text)
    # Contracts without these sections keep their id.
    assert parse_contract(HEAD).id == parse_contract(HEAD + "prices: []\ndeployments: {}\nbudget: {}").id
    assert parse_contract(HEAD).id != CONTRACT.id
