"""Driver errors become temporary or permanent errors."""

from __future__ import annotations

import pytest
from clickhouse_connect.driver import exceptions

from barograph_server.warehouse.client import Address, identifier
from barograph_server.warehouse.errors import BUSY_CODES, WarehouseBusy, WarehouseError, translate


def driver_error(code: int, text: str) -> exceptions.DatabaseError:
    return exceptions.DatabaseError(
        f"Received ClickHouse exception, code: {code}, server response: Code: {code}. DB::Exception: {text} "
        "(version 26.9.2.1 (official build)) (for url http://127.0.0.1:8123)",
        code=code,
    )


def test_temporary_codes_and_transport_failures_are_busy() -> None:
    for code, meaning in BUSY_CODES.items():
        error = translate(driver_error(code, "No."), "write 20 rows to panes", "127.0.0.1:8123")
        assert isinstance(error, WarehouseBusy)
        assert error.code == code
        assert str(error) == (
            f"ClickHouse at 127.0.0.1:8123 could not write 20 rows to panes now: {meaning} (code {code}: "
            "No.). Retry it unchanged; if the error persists, check the server's log."
        )
    for failure in (
        exceptions.OperationalError("Error Connection refused executing HTTP request attempt 1"),
        exceptions.StreamFailureError("cut off"),
        exceptions.DatabaseError("HTTP driver received HTTP status 502, server response: Bad Gateway"),
    ):
        error = translate(failure, "answer a query", "db:8123")
        assert isinstance(error, WarehouseBusy)
        assert error.code is None
        assert "could not be reached to answer a query" in str(error)


def test_other_codes_are_errors_with_advice() -> None:
    apply = "barograph apply"
    for code, advice in ((60, apply), (81, apply), (16, apply), (516, "password"), (62, "")):
        error = translate(driver_error(code, "Something is wrong."), "run a statement", "db:8123")
        assert isinstance(error, WarehouseError)
        assert error.code == code
        refusal = f"ClickHouse at db:8123 refused to run a statement: Something is wrong (code {code})."
        assert str(error).startswith(refusal)
        assert advice in str(error), code
        assert "official build" not in str(error)
    error = translate(exceptions.ProgrammingError("no such setting"), "run a statement", "db:8123")
    assert isinstance(error, WarehouseError)
    assert error.code is None


def test_a_name_that_needs_quotes_is_rejected_and_an_address_hides_its_password() -> None:
    for name in ("", "1a", "a-b", "a.b", "a b", "ä", "a`; DROP DATABASE b"):
        with pytest.raises(WarehouseError, match="use ASCII letters, digits and underscores"):
            identifier(name)
    assert "secret" not in repr(Address(password="secret"))
