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
from enum import IntEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from chdb.state.sqlitelike import Connection

from barograph_server.local import read_only
from barograph_server.local.statement import Statement, parse_statement


class _Code(IntEnum):
    """Codes of ClickHouse's own errors that this module raises."""

    SYNTAX_ERROR = 62
    UNKNOWN_SETTING = 115
    READONLY = 164
    NOT_ENOUGH_SPACE = 243
    SESSION_NOT_FOUND = 372
    SESSION_IS_LOCKED = 373
    UNKNOWN_EXCEPTION = 1002


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
    def of(cls, code: _Code, text: str) -> EngineError:
        """Write an error of this module as ClickHouse writes its own."""
        return cls(f"Code: {code}. DB::Exception: {text}. ({code.name})", code)

    @classmethod
    def from_engine(cls, error: Exception) -> EngineError:
        """Take code and message out of what the embedded engine raised."""
        match = _MESSAGE.search(str(error))
        if match is None:
            return cls.of(_Code.UNKNOWN_EXCEPTION, str(error))
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
            raise EngineError.of(_Code.SYNTAX_ERROR, "Empty query")
        if statement.has_another:
            raise EngineError.of(_Code.SYNTAX_ERROR, "Syntax error (Multi-statements are not allowed)")
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
        return Reply(body=body, format=reply_format if body or statement.has_result else None, summary=_summary(result))

    def _insert(self, statement: Statement, request: Request) -> Reply:
        for name, value in request.parameters.items():
            self._run(f"SET param_{_checked(name)} = {_string(value)}")
        assert statement.insert_text is not None
        text, start = statement.insert_text, statement.settings_start
        head, tail = text[:start], text[start:]
        with _data_file(request.body[statement.data_start :]) as path:
            result = self._run(
                f"{head}\nFROM INFILE {_string(str(path))} COMPRESSION 'none' {tail}\nFORMAT {statement.insert_format}"
            )
        return Reply(body=b"", format=None, summary=_summary(result, is_insert=True))


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
        raise EngineError.of(_Code.NOT_ENOUGH_SPACE, f"The data cannot be held: {error}") from error


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

    def _enter(self, request: Request) -> _Session:
        """Find or make the request's session and lock it; close those that nobody has used for long."""
        name = request.session_id
        with self._sessions_lock:
            self._close_expired(besides=name)
            session = self._sessions.get(name)
            if session is None:
                if request.session_check:
                    raise EngineError.of(_Code.SESSION_NOT_FOUND, f"Session {name} not found")
                session = self._sessions[name] = _Session(self._address, is_kept=True)
            if not session.lock.acquire(blocking=False):
                raise EngineError.of(_Code.SESSION_IS_LOCKED, f"Session {name} is locked by a concurrent client")
            return session

    def _close_expired(self, besides: str) -> None:
        now = time.monotonic()
        for name, session in list(self._sessions.items()):
            if name != besides and session.expires_at < now and session.lock.acquire(blocking=False):
                del self._sessions[name]
                session.close()


def _not_read_only(what: str) -> EngineError:
    problem = "Cannot execute query in readonly mode: a read-only request of the local ClickHouse does not allow"
    return EngineError.of(_Code.READONLY, f"{problem} {what}")


def _summary(result: Any, *, is_insert: bool = False) -> dict[str, str]:
    """Summarise a result; an INSERT has read what it wrote."""
    written = result.rows_written(), result.bytes_written()
    read = written if is_insert else (result.rows_read(), result.bytes_read())
    names = ("read_rows", "read_bytes", "written_rows", "written_bytes", "elapsed_ns")
    return dict(zip(names, map(str, (*read, *written, int(result.elapsed() * 1e9))), strict=True))


def _checked(name: str) -> str:
    """Return a setting's or parameter's name, which goes into a SET unquoted.

    Raises:
        EngineError: It is no identifier.
    """
    if not _NAME.fullmatch(name):
        raise EngineError.of(_Code.UNKNOWN_SETTING, f"Unknown setting {name!r}")
    return name


def _identifier(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _string(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
