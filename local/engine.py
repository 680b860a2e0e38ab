"""The embedded ClickHouse engine (chDB) as the gateway uses it: requests in, encoded replies out.

A request without a session runs on a connection of its own, so that no setting, database or temporary table
of one can reach another; opening one takes a quarter of a millisecond. A session is a connection that stays.
Connections of one process run side by side in the engine (a `select 1` takes 5 ms at most beside a query that
fills both cores), so there is no lock here but each session's own.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from chdb.state.sqlitelike import Connection

from barograph_server.local import read_only
from barograph_server.local.statement import Statement, parse_statement

# Codes of ClickHouse's own errors that this module raises.
_SYNTAX_ERROR = 62
_UNKNOWN_SETTING = 115
_READONLY = 164
_NOT_ENOUGH_SPACE = 243
_SESSION_NOT_FOUND = 372
_SESSION_IS_LOCKED = 373

_MIB = 2**20
_MEMORY = Path("/dev/shm")  # noqa: S108 - names in it are drawn, and opened by this user alone

# Sized to sit beside a broker, the processors and a test run on 24 GiB and two cores; the engine's own
# defaults allow 5 GiB for each cache and nine tenths of the machine for itself.
ENGINE_OPTIONS: Mapping[str, int] = {
    "max_server_memory_usage": 6 * 1024 * _MIB,
    "max_memory_usage": 3 * 1024 * _MIB,
    "mark_cache_size": 64 * _MIB,
    "primary_index_cache_size": 64 * _MIB,
    "index_mark_cache_size": 16 * _MIB,
    "vector_similarity_index_cache_size": 16 * _MIB,
    "text_index_tokens_cache_size": 16 * _MIB,
    "text_index_header_cache_size": 16 * _MIB,
    "text_index_postings_cache_size": 16 * _MIB,
    "parquet_metadata_cache_size": 16 * _MIB,
    "iceberg_metadata_files_cache_size": 16 * _MIB,
    "query_condition_cache_size": 16 * _MIB,
    "compiled_expression_cache_size": 32 * _MIB,
    # What a server has and the embedded engine has not: a bare `1 + 1` is no query there.
    "implicit_select": 0,
    "allow_introspection_functions": 0,
}

_MESSAGE = re.compile(r"Code: (\d+)\. .*", re.DOTALL)
_STACK_TRACE = re.compile(r",? Stack trace .*?(?=\s*\([A-Z_]+\)\s*$|\Z)", re.DOTALL)
_VERSION_NOTE = re.compile(r"\s*\(version [^()]*(?:\([^()]*\))?\)\s*$")
_QUERY_OF_CHECK = re.compile(r": In scope SELECT formatQuerySingleLine\(.*\)(?=\.)", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class EngineError(Exception):
    """The engine refused or failed a request.

    Attributes:
        code: ClickHouse's numeric code, 1002 (UNKNOWN_EXCEPTION) when the engine named none.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code

    @classmethod
    def from_engine(cls, error: Exception) -> EngineError:
        """Take code and message out of what the embedded engine raised."""
        match = _MESSAGE.search(str(error))
        if match is None:
            return cls(f"Code: 1002. DB::Exception: {error}. (UNKNOWN_EXCEPTION)", 1002)
        message = _STACK_TRACE.sub("", _VERSION_NOTE.sub("", match.group()))
        return cls(message.strip(), int(match.group(1)))


@dataclass(frozen=True)
class Request:
    """One request of ClickHouse's HTTP interface, decoded.

    Attributes:
        body: Statement, and its data if it is an INSERT.
        database: The database that unqualified names are looked up in; None for the session's own.
        parameters: Values of `{name:Type}` placeholders, escaped as in a TSV field.
        default_format: Format of the reply when the statement names none.
        read_only: Whether it may only read; see `local.read_only`. It then runs in no session.
        session_id: The session to run in; empty for none.
        session_timeout_s: How long an unused session lives on.
        session_check: Whether a session that does not exist is an error.
    """

    body: bytes
    database: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    default_format: str = "TabSeparated"
    read_only: bool = False
    session_id: str = ""
    session_timeout_s: float = 60
    session_check: bool = False


@dataclass(frozen=True)
class Reply:
    """What the engine answered.

    Attributes:
        format: Their format; None when the statement yields no rows.
        summary: Rows and bytes read and written, as `X-ClickHouse-Summary` has them.
    """

    body: bytes
    format: str | None
    summary: Mapping[str, str]


class _Session:
    """One engine connection and what is set on it; used by one request at a time."""

    def __init__(self, address: str, *, is_kept: bool) -> None:
        self._connection = Connection(address)
        # What is not kept needs no undoing, and finding out what to undo takes 4 ms a setting.
        self._is_kept = is_kept
        self._own_database = "default"
        self._database = "default"
        # Settings that came with a request rather than by SET, with what to SET them to afterwards.
        self._replaced: dict[str, str] = {}
        self.lock = threading.Lock()
        self.expires_at = 0.0

    def close(self) -> None:
        self._connection.close()

    def execute(self, request: Request) -> Reply:
        statement = parse_statement(request.body)
        if not request.body.strip():
            raise EngineError(f"Code: {_SYNTAX_ERROR}. DB::Exception: Empty query. (SYNTAX_ERROR)", _SYNTAX_ERROR)
        if statement.has_another:
            raise EngineError(
                f"Code: {_SYNTAX_ERROR}. DB::Exception: Syntax error (Multi-statements are not allowed). "
                "(SYNTAX_ERROR)",
                _SYNTAX_ERROR,
            )
        try:
            self._apply(request)
            if statement.insert_text is not None:
                return self._insert(statement, request)
            return self._query(statement, request)
        except EngineError:
            raise
        except Exception as error:
            # The binding raises RuntimeError, its own ChdbError and others for one and the same thing.
            raise EngineError.from_engine(error) from error

    def execute_read_only(self, request: Request, table_functions: frozenset[str]) -> Reply:
        """Check a request that may only read, and run it; the connection can run nothing else afterwards."""
        settings = {name: value for name, value in request.settings.items() if name != "readonly"}
        try:
            settings = read_only.check_settings(settings)
            read_only.check_format(request.default_format)
            text = request.body.decode()
            reads_settings = bool(text.strip()) and read_only.check_statement(
                text, request.parameters, self._text, table_functions
            )
        except UnicodeDecodeError as error:
            raise _not_read_only("bytes that are not UTF-8") from error
        except read_only.NotReadOnly as error:
            raise _not_read_only(str(error)) from error
        except Exception as error:
            failure = EngineError.from_engine(error)
            raise EngineError(_QUERY_OF_CHECK.sub("", str(failure)), failure.code) from error
        # The last one, since no setting can be changed after it.
        readonly = "2" if reads_settings else "1"
        return self.execute(replace(request, settings={**settings, "readonly": readonly}))

    def _text(self, query: str) -> str:
        return bytes(self._connection.query(query, "TSVRaw").bytes() or b"").decode()

    def _apply(self, request: Request) -> None:
        """Bring the connection to the request's database and settings, undoing the last request's."""
        database = request.database or self._own_database
        if database != self._database:
            self._run(f"USE {_identifier(database)}")
            self._database = database
        for name in [name for name in self._replaced if name not in request.settings]:
            self._run(f"SET {name} = {self._replaced.pop(name)}")
        for name, value in request.settings.items():
            before = self._replaced.get(_checked(name)) or (self._current(name) if self._is_kept else "")
            self._run(f"SET {name} = {_string(value)}")
            self._replaced[name] = before

    def _current(self, name: str) -> str:
        """The right-hand side of the SET that brings a setting back to what it is now."""
        text = "SELECT changed, value FROM system.settings WHERE name = {name:String} FORMAT JSONCompactEachRow"
        row = self._connection.query(text, "TabSeparated", params={"name": name})
        changed, value = json.loads(row.bytes() or b"[0, null]")
        return _string(value) if changed else "DEFAULT"

    def _run(self, text: str) -> Any:
        return self._connection.query(text, "TabSeparated")

    def _query(self, statement: Statement, request: Request) -> Reply:
        result = self._connection.query(request.body, request.default_format, params=dict(request.parameters))
        if statement.verb == "USE":
            self._database = self._own_database = self._run("SELECT currentDatabase()").bytes().decode().strip()
        body = result.bytes() or b""
        reply_format = statement.reply_format or request.default_format
        return Reply(
            body=body,
            format=reply_format if body or statement.has_result else None,
            summary=_summary(
                read_rows=result.rows_read(),
                read_bytes=result.bytes_read(),
                written_rows=result.rows_written(),
                written_bytes=result.bytes_written(),
                elapsed_s=result.elapsed(),
            ),
        )

    def _insert(self, statement: Statement, request: Request) -> Reply:
        for name, value in request.parameters.items():
            self._run(f"SET param_{_checked(name)} = {_string(value)}")
        assert statement.insert_text is not None
        head, tail = (
            statement.insert_text[: statement.settings_start],
            statement.insert_text[statement.settings_start :],
        )
        with _data_file(request.body[statement.data_start :]) as path:
            result = self._run(
                f"{head}\nFROM INFILE {_string(str(path))} COMPRESSION 'none' {tail}\nFORMAT {statement.insert_format}"
            )
        return Reply(
            body=b"",
            format=None,
            summary=_summary(
                read_rows=result.rows_written(),
                read_bytes=result.bytes_written(),
                written_rows=result.rows_written(),
                written_bytes=result.bytes_written(),
                elapsed_s=result.elapsed(),
            ),
        )


@contextmanager
def _data_file(data: bytes) -> Iterator[Path]:
    """The data of an INSERT as a file, in memory where the system has such a place.

    The engine also takes data in pieces (`send_insert`), in half the time. But then it hides every error that comes up
    while rows are written (chDB 4.4): with the disk full or a constraint broken an insert is answered as done, and its
    rows are gone.
    """
    folder = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    try:
        with tempfile.NamedTemporaryFile(prefix="barograph-insert-", dir=folder) as file:
            file.write(data)
            file.flush()
            yield Path(file.name)
    except OSError as error:
        message = f"Code: {_NOT_ENOUGH_SPACE}. DB::Exception: The data cannot be held: {error}. (NOT_ENOUGH_SPACE)"
        raise EngineError(message, _NOT_ENOUGH_SPACE) from error


class Engine:
    """The engine on one folder, for any number of threads; one process can open a folder at a time."""

    def __init__(self, path: Path, options: Mapping[str, int | str] = ENGINE_OPTIONS) -> None:
        """Open the engine, making the folder when it is missing.

        Raises:
            EngineError: Another process has it open, or its files are damaged.
        """
        self._address = f"{path}?{urlencode(options)}"
        self._sessions: dict[str, _Session] = {}
        self._sessions_lock = threading.Lock()
        try:
            # Kept open, since the engine closes with its last connection.
            self._anchor = Connection(self._address)
            self.version = self._anchor.query("SELECT version()", "TabSeparated").bytes().decode().strip()
            names = self._anchor.query("SELECT lower(name) FROM system.table_functions", "TSVRaw").bytes()
            self._table_functions = frozenset(names.decode().split())
        except Exception as error:
            raise EngineError.from_engine(error) from error

    def execute(self, request: Request) -> Reply:
        """Run one request.

        Raises:
            EngineError: With the engine's code and message.
        """
        # ClickHouse counts 2 as read-only too.
        is_read_only = request.read_only or request.settings.get("readonly", "0") != "0"
        if is_read_only or not request.session_id:
            session = _Session(self._address, is_kept=False)
            try:
                if is_read_only:
                    return session.execute_read_only(request, self._table_functions)
                return session.execute(request)
            finally:
                session.close()
        session = self._enter(request)
        try:
            return session.execute(request)
        finally:
            session.expires_at = time.monotonic() + request.session_timeout_s
            session.lock.release()

    def close(self) -> None:
        """Close every connection, and with the last the engine; no request may run."""
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()
        self._anchor.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _enter(self, request: Request) -> _Session:
        """Find or make the request's session and lock it; close those that nobody has used for long."""
        name = request.session_id
        with self._sessions_lock:
            self._close_expired(besides=name)
            session = self._sessions.get(name)
            if session is None:
                if request.session_check:
                    raise EngineError(
                        f"Code: {_SESSION_NOT_FOUND}. DB::Exception: Session {name} not found. (SESSION_NOT_FOUND)",
                        _SESSION_NOT_FOUND,
                    )
                session = self._sessions[name] = _Session(self._address, is_kept=True)
            if not session.lock.acquire(blocking=False):
                raise EngineError(
                    f"Code: {_SESSION_IS_LOCKED}. DB::Exception: Session {name} is locked by a concurrent "
                    "client. (SESSION_IS_LOCKED)",
                    _SESSION_IS_LOCKED,
                )
            return session

    def _close_expired(self, besides: str) -> None:
        now = time.monotonic()
        for name, session in list(self._sessions.items()):
            if name != besides and session.expires_at < now and session.lock.acquire(blocking=False):
                del self._sessions[name]
                session.close()


def _not_read_only(what: str) -> EngineError:
    return EngineError(
        f"Code: {_READONLY}. DB::Exception: Cannot execute query in readonly mode: a read-only request of the local "
        f"ClickHouse does not allow {what}. (READONLY)",
        _READONLY,
    )


def _summary(
    *, read_rows: int, read_bytes: int, written_rows: int, written_bytes: int, elapsed_s: float
) -> dict[str, str]:
    return {
        "read_rows": str(read_rows),
        "read_bytes": str(read_bytes),
        "written_rows": str(written_rows),
        "written_bytes": str(written_bytes),
        "elapsed_ns": str(int(elapsed_s * 1e9)),
    }


def _checked(name: str) -> str:
    """Return a setting's or parameter's name, which goes into a SET unquoted.

    Raises:
        EngineError: It is no identifier.
    """
    if not _NAME.fullmatch(name):
        raise EngineError(
            f"Code: {_UNKNOWN_SETTING}. DB::Exception: Unknown setting {name!r}. (UNKNOWN_SETTING)",
            _UNKNOWN_SETTING,
        )
    return name


def _identifier(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _string(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
