"""docs/client.md lists every public name of the client, with arguments that match the signatures."""

from __future__ import annotations

import barograph

from cli import client_page


def test_the_page_matches_the_code() -> None:
    assert client_page.main(["--check"]) == 0


def test_every_public_name_has_a_section() -> None:
    page = client_page.render()
    for name in barograph.__all__:
        assert f"### `{name}`\n" in page


def test_signatures_are_written_as_in_the_source() -> None:
    expected = "parse_contract(text: str | bytes, name: str = 'contract.yaml') -> Contract"
    assert client_page.signature(barograph.parse_contract, "parse_contract") == expected
    lines = client_page.signature(barograph.validate_table, "validate_table").splitlines()
    assert lines[:4] == ["validate_table(", "    contract: Contract,", "    table: Any,", "    *,"]
    assert lines[-1] == ") -> list[TableViolation]"


def test_arguments_and_errors_are_lists() -> None:
    page = client_page.render()
    assert "- `bootstrap_servers`: Kafka's addresses, as `host:port,…`; by default" in page
    assert "- `ContractError`: The contract cannot be read or is not valid." in page
    assert "- `published` (`int`): Events that Kafka has acknowledged." in page
    assert "- `not-json`: The message is not UTF-8, not JSON, or truncated." in page
