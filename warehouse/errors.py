"""The two ways in which ClickHouse refuses: busy (try the same again) and wrong (stop and say what to do)."""

from __future__ import annotations

from clickhouse_connect.driver import exceptions

BUSY_CODES: dict[int, str] = {
    159: "the query took too long",
    201: "a quota is used up",
    202: "too many queries run at once",
    203: "it has no free connection",
    209: "a connection inside the cluster timed out",
    210: "a connection inside the cluster broke",
    225: "Keeper cannot be reached",
    236: "the server is stopping",
    241: "its memory limit is reached",
    242: "the table is read-only until Keeper is back",
    243: "its disk is full",
    252: "the table has too many parts to merge",
    254: "no replica is alive",
    279: "no server of the cluster could be reached",
    285: "too few replicas are alive",
    286: "an earlier insert waits for its quorum",
    289: "the replica has not caught up",
    319: "it is not known whether the insert arrived",
    373: "the session is in use",
    394: "the query was cancelled",
    439: "it has no free thread",
    473: "two queries waited for each other",
    745: "the server is overloaded",
    999: "Keeper refused",
}
"""ClickHouse error codes that pass by themselves, each with what it means."""

ADVICE: dict[int, str] = {
    16: "The tables are older or newer than this program: run `barograph apply`, or update the program",
    47: "The tables are older or newer than this program: run `barograph apply`, or update the program",
    60: "Run `barograph apply`, which creates the tables",
    81: "Run `barograph apply`, which creates the database",
    192: "Check the user name and the password in the settings",
    193: "Check the user name and the password in the settings",
    497: "Grant the user this right, or choose another user in the settings",
    516: "Check the user name and the password in the settings",
}
"""What to do about the error codes that a person can mend."""


_DISTRUST: dict[str, str] = {
    "CERTIFICATE_VERIFY_FAILED": "Set clickhouse.ca_file to the authority of its certificate, and clickhouse.host to a "
    "name that this is for",
    "WRONG_VERSION_NUMBER": "It speaks no TLS there: correct clickhouse.port, or set clickhouse.secure to false",
}
"""What waiting does not mend about TLS, by words of the error."""


class WarehouseError(Exception):
    """ClickHouse refused for a reason that does not pass by itself.

    `code` is the numeric error code of ClickHouse, None where the refusal did not come from it.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class WarehouseBusy(Exception):
    """ClickHouse cannot do this now: keep the batch, wait, and try the same again.

    Every insert of this package may be repeated: rows replace their equals. `code` is the numeric error code
    of ClickHouse, None where it could not be reached.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


def translate(error: exceptions.ClickHouseError, action: str, where: str) -> WarehouseBusy | WarehouseError:
    """Turn an error of the driver into one of the two, with a sentence.

    Args:
        error: what clickhouse-connect raised.
        action: what was tried, as it follows "could not", such as "write 20 rows to panes".
        where: the server, as people know it, such as `127.0.0.1:8123`.
    """
    code: int | None = getattr(error, "code", None)
    text = _server_words(str(error))
    if code is not None and code in BUSY_CODES:
        return WarehouseBusy(
            f"ClickHouse at {where} could not {action} now: {BUSY_CODES[code]} (code {code}: {text}). "
            "It may be tried again as it is; if it stays so, look at the server's log.",
            code,
        )
    distrust = next((advice for words, advice in _DISTRUST.items() if words in text), None)
    if code is None and distrust is not None:
        return WarehouseError(
            f"ClickHouse at {where} could not be trusted to {action}: {text.rstrip('.')}. {distrust}."
        )
    if code is None and _is_transport(error):
        return WarehouseBusy(
            f"ClickHouse at {where} could not be reached to {action}: {text}. "
            "It may be tried again as it is; check that the server runs and that host and port are right."
        )
    advice = ADVICE.get(code, "") if code is not None else ""
    message = f"ClickHouse at {where} refused to {action}: {text.rstrip('.')}"
    message += f" (code {code})." if code is not None else "."
    return WarehouseError(f"{message} {advice}." if advice else message, code)


def _is_transport(error: exceptions.ClickHouseError) -> bool:
    """Whether the request failed on its way: no connection, a time-out, a broken stream, a proxy's 5xx."""
    if isinstance(error, exceptions.OperationalError):
        return True
    return isinstance(error, exceptions.DatabaseError) and "HTTP status 5" in str(error)


def _server_words(text: str) -> str:
    """Strip what the driver and the server put around the message itself."""
    text = text.split(" (for url ", 1)[0]
    text = text.rsplit("DB::Exception: ", 1)[-1]
    return text.split(" (version ", 1)[0].strip()
