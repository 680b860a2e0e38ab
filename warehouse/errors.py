"""The two kinds of ClickHouse errors: temporary (retry unchanged) and permanent (stop, and say what to do)."""

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
"""Temporary ClickHouse error codes and their meanings."""

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
"""Advice for the error codes that a user can fix."""


_TLS_ADVICE: dict[str, str] = {
    "CERTIFICATE_VERIFY_FAILED": "Set clickhouse.ca_file to the CA of its certificate, and clickhouse.host to a name "
    "that the certificate covers",
    "WRONG_VERSION_NUMBER": "That port does not use TLS: correct clickhouse.port, or set clickhouse.secure to false",
}
"""Advice for permanent TLS errors, by a word of the error text."""


class _CodedError(Exception):
    """`code` is ClickHouse's error code; None if the error does not come from ClickHouse, or it was not reached."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class WarehouseError(_CodedError):
    """A permanent error: retrying does not help."""


class WarehouseBusy(_CodedError):
    """A temporary error: keep the batch, wait, and retry unchanged.

    Every insert of this package is safe to repeat, because rows of one key replace each other.
    """


def translate(error: exceptions.ClickHouseError, action: str, where: str) -> WarehouseBusy | WarehouseError:
    """Convert a driver error into a `WarehouseBusy` or `WarehouseError` with a readable message.

    Args:
        action: the attempted action, to follow "could not", such as "write 20 rows to panes".
        where: the server's address, such as `127.0.0.1:8123`.
    """
    code: int | None = getattr(error, "code", None)
    text = _server_words(str(error))
    if code is not None and code in BUSY_CODES:
        return WarehouseBusy(
            f"ClickHouse at {where} could not {action} now: {BUSY_CODES[code]} (code {code}: {text}). "
            "Retry it unchanged; if the error persists, check the server's log.",
            code,
        )
    tls_advice = next((advice for words, advice in _TLS_ADVICE.items() if words in text), None)
    if code is None and tls_advice is not None:
        return WarehouseError(
            f"The TLS connection to ClickHouse at {where} failed, so it could not {action}: {text.rstrip('.')}. "
            f"{tls_advice}."
        )
    if code is None and _is_transport(error):
        reason = (_system_reason(error) or text).rstrip(".")
        return WarehouseBusy(
            f"ClickHouse at {where} could not be reached to {action}: {reason}. "
            "Check that the server runs and that host and port are right, then retry."
        )
    advice = ADVICE.get(code, "") if code is not None else ""
    message = f"ClickHouse at {where} refused to {action}: {text.rstrip('.')}"
    message += f" (code {code})." if code is not None else "."
    return WarehouseError(f"{message} {advice}." if advice else message, code)


def _is_transport(error: exceptions.ClickHouseError) -> bool:
    """Whether the request failed in transport: no connection, a timeout, a broken stream, a proxy's 5xx."""
    if isinstance(error, exceptions.OperationalError):
        return True
    return isinstance(error, exceptions.DatabaseError) and "HTTP status 5" in str(error)


def _system_reason(error: BaseException) -> str:
    """Return the operating system's reason for a failed connection, from the innermost error; empty if there is none.

    The driver's text quotes the whole chain of its HTTP library.
    """
    reason, current = "", error.__cause__ or error.__context__
    while current is not None:
        if isinstance(current, OSError):
            reason = current.strerror or str(current)
        current = current.__cause__ or current.__context__
    return " ".join(reason.split())


def _server_words(text: str) -> str:
    """Strip the driver's and the server's wrapping from an error message."""
    text = text.split(" (for url ", 1)[0]
    text = text.rsplit("DB::Exception: ", 1)[-1]
    return text.split(" (version ", 1)[0].strip()
