"""ClickHouse's HTTP interface for the embedded engine, a process: see `--help`.

One process owns the engine's folder and runs this gateway on loopback. clickhouse-connect, curl, Grafana and any number
of processes use it like a ClickHouse server. The gateway is for one machine: it builds each reply in memory, does not
compress replies and cannot cancel a query.

Other users of the machine can reach loopback, and a browser can on behalf of any page or link. Before it reads a body,
the gateway therefore rejects requests that name a host other than this machine, that a browser sends, or that lack the
password of one of the two users in their headers (`local.clickhouse`). It accepts no password in a URL, since a link
can carry one. It never answers with `WWW-Authenticate`, so that no browser asks for a password and then sends it with
every link.

Requests of the user `reader`, GET and HEAD requests, and those with the setting `readonly` run in `read_only` mode; see
`local.read_only`.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import contextlib
import email.errors
import email.parser
import email.policy
import http.server
import json
import logging
import os
import secrets
import signal
import socket
import socketserver
import sys
import threading
import uuid
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from barograph_server.local.child_process import LocalStackError
from barograph_server.local.clickhouse import FULL_USER, PID_HEADER, READER, create_passwords, read_passwords
from barograph_server.local.engine import ENGINE_OPTIONS, Engine, EngineError, Reply, Request
from barograph_server.local.private_files import make_private
from barograph_server.local.request_body import RequestError, read_body

_HOST = "127.0.0.1"
_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})

# A client that still sends its body when it is refused gets this much time and space, so that it reads the answer
# before its connection breaks.
_REFUSED_WAIT_S = 1
_REFUSED_BYTES = 2**20

# ClickHouse's code for a wrong or missing password.
_AUTHENTICATION_FAILED = 516

# How long shutdown waits for running requests.
_SHUTDOWN_TIMEOUT_S = 10

# URL parameters of the HTTP interface itself. All other parameters are engine settings.
_INTERFACE_PARAMETERS = frozenset(
    [
        "add_http_cors_header",
        "buffer_size",
        "client_protocol_version",
        "close_session",
        "compress",
        "decompress",
        "database",
        "default_format",
        "enable_http_compression",
        "http_headers_progress_interval_ms",
        "http_write_exception_in_output_format",
        "cancel_http_readonly_queries_on_client_close",
        "password",
        "query",
        "query_id",
        "quota_key",
        "role",
        "send_progress_in_http_headers",
        "session_check",
        "session_id",
        "session_timeout",
        "stacktrace",
        "user",
        "wait_end_of_query",
    ]
)

# HTTP status by ClickHouse's error code, as its server chooses them; 500 for all others.
_STATUS_BY_CODE = {
    **dict.fromkeys(
        # cannot parse, type mismatch, bad arguments, syntax, too large values, bad parameters
        (6, 20, 26, 27, 33, 36, 38, 41, 42, 43, 44, 53, 62, 69, 70, 72, 117, 130, 131, 386, 456, 457),
        HTTPStatus.BAD_REQUEST,
    ),
    **dict.fromkeys(
        # unknown identifier, function, type, storage, table, setting, database, format, query type, session
        (46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 336, 372),
        HTTPStatus.NOT_FOUND,
    ),
    48: HTTPStatus.NOT_IMPLEMENTED,
    159: HTTPStatus.REQUEST_TIMEOUT,
    164: HTTPStatus.FORBIDDEN,
    241: HTTPStatus.INTERNAL_SERVER_ERROR,
    373: HTTPStatus.INTERNAL_SERVER_ERROR,
    439: HTTPStatus.SERVICE_UNAVAILABLE,
    497: HTTPStatus.FORBIDDEN,
}

_CONTENT_TYPES = {
    "Arrow": "application/vnd.apache.arrow.file",
    "ArrowStream": "application/vnd.apache.arrow.stream",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "JSON": "application/json; charset=UTF-8",
    "JSONColumns": "application/json; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "JSONCompactEachRow": "application/x-ndjson; charset=UTF-8",
    "Native": "application/octet-stream",
    "Parquet": "application/octet-stream",
    "RowBinary": "application/octet-stream",
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TSV": "text/tab-separated-values; charset=UTF-8",
}

# The parser drops every header after such a line. Other defects concern the body, which it does not get.
_DAMAGED = (email.errors.MissingHeaderBodySeparatorDefect, email.errors.FirstHeaderLineIsContinuationDefect)

_log = logging.getLogger("barograph_server.local.http_gateway")


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Header and body are sent together (`_send`). Nagle's algorithm is off: a large body is written in several
    # pieces, and the last one would wait 40 ms for a delayed acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True
    server: GatewayServer

    def _handle(self) -> None:
        try:
            self._check_origin()
            url = urlsplit(self.path)
            arguments = dict(parse_qsl(url.query, keep_blank_values=True))
            user = self._authenticate(arguments)
            body = read_body(self.headers, self.rfile)
        except RequestError as error:
            self._refuse(error)
            return
        if url.path in ("/ping", "/replicas_status"):
            self._send(HTTPStatus.OK, b"Ok.\n", {PID_HEADER: str(os.getpid())})
        elif url.path != "/":
            self._send(HTTPStatus.NOT_FOUND, b"Unknown path; send queries to /?query=...\n")
        elif not body and "query" not in arguments and self.command != "POST":
            self._send(HTTPStatus.OK, b"Ok.\n")
        else:
            self._answer(arguments, body, read_only=user == READER or self.command != "POST")

    do_GET = do_HEAD = do_POST = _handle

    def _answer(self, arguments: dict[str, str], body: bytes, *, read_only: bool) -> None:
        query_id = arguments.get("query_id") or str(uuid.uuid4())
        headers = {"X-ClickHouse-Query-Id": query_id, "X-ClickHouse-Timezone": "UTC"}
        try:
            request = self._request(arguments, body, read_only=read_only)
            with self.server.running:
                reply = self.server.engine.execute(request)
        except RequestError as error:
            self._send(error.status, f"{error}\n".encode(), headers)
        except EngineError as error:
            status = _STATUS_BY_CODE.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR)
            headers["X-ClickHouse-Exception-Code"] = str(error.code)
            text = f"{error} (version {self.server.engine.version} (embedded))\n"
            self._send(status, text.encode(), headers)
        else:
            self._send(HTTPStatus.OK, reply.body, headers | _headers(reply))

    def _request(self, arguments: dict[str, str], body: bytes, *, read_only: bool) -> Request:
        content_type = self.headers.get("Content-Type", "")
        if content_type.startswith("multipart/form-data"):
            arguments, body = arguments | _form_fields(content_type, body), b""
        if query := arguments.get("query"):
            body = query.encode() + (b"\n" + body if body else b"")
        header = self.headers.get
        return Request(
            body=body,
            database=arguments.get("database") or header("X-ClickHouse-Database"),
            settings={
                name: value
                for name, value in arguments.items()
                if name not in _INTERFACE_PARAMETERS and not name.startswith("param_")
            },
            parameters={
                name.removeprefix("param_"): value for name, value in arguments.items() if name.startswith("param_")
            },
            default_format=arguments.get("default_format") or header("X-ClickHouse-Format") or "TabSeparated",
            read_only=read_only,
            session_id=arguments.get("session_id", ""),
            session_timeout_s=_seconds(arguments.get("session_timeout", "60")),
            session_check=arguments.get("session_check") == "1",
        )

    def _check_origin(self) -> None:
        """Reject a browser, and a request for another host.

        Raises:
            RequestError: The request comes from a page or a link, or its headers are ambiguous.
        """
        if any(isinstance(defect, _DAMAGED) for defect in self.headers.defects):
            raise RequestError("The headers of the request are damaged.")
        hosts = self.headers.get_all("Host", [])
        host = hosts[0] if len(hosts) == 1 else ""
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        # Browsers send Sec-Fetch-Site with every request to this machine; `none` means a link or the address bar.
        if name not in _HOSTS or "Origin" in self.headers or "Sec-Fetch-Site" in self.headers:
            raise RequestError("This gateway is for programs on this machine, not for browsers.", HTTPStatus.FORBIDDEN)

    def _authenticate(self, arguments: Mapping[str, str]) -> str:
        """Return the user of the request.

        Raises:
            RequestError: It has no password, a wrong one, or one in its URL.
        """
        if not arguments.keys().isdisjoint(("user", "password")):
            raise _unauthenticated("A URL must not hold a user name or a password: send them in headers")
        user, password = self._credentials()
        expected = self.server.passwords.get(user, "")
        # The comparison takes the same time wherever the two differ. An unknown user has no password.
        if not secrets.compare_digest(password.encode(), expected.encode()) or not expected:
            raise _unauthenticated("The user name or the password is missing or wrong")
        return user

    def _credentials(self) -> tuple[str, str]:
        """The user name and the password in the headers; empty where there are none."""
        sent = [self.headers.get_all(name, []) for name in ("Authorization", "X-ClickHouse-User", "X-ClickHouse-Key")]
        basic, users, keys = sent
        if len(basic) + len(users) > 1 or len(basic) + len(keys) > 1:
            raise _unauthenticated("Several headers hold a user name or a password: send one pair")
        if not basic:
            return (users[0] if users else FULL_USER), (keys[0] if keys else "")
        scheme, _, encoded = basic[0].partition(" ")
        try:
            user, _, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            scheme = ""
        if scheme.lower() != "basic":
            raise _unauthenticated("The header Authorization is not of the form Basic BASE64")
        return user, password

    def _refuse(self, error: RequestError) -> None:
        """Answer without reading the rest of the request, and close the connection."""
        self.close_connection = True
        headers = {"Connection": "close"}
        if error.code is not None:
            headers["X-ClickHouse-Exception-Code"] = str(error.code)
        self._send(error.status, f"{error}\n".encode(), headers)
        # If bytes are left unread, closing resets the connection, and the client may lose the answer.
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_REFUSED_WAIT_S)
            left = _REFUSED_BYTES
            while left > 0 and (discarded := self.connection.recv(65_536)):
                left -= len(discarded)

    def _send(self, status: HTTPStatus, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "text/plain; charset=UTF-8", **(headers or {})}.items():
            # The client chooses the query id; line breaks in it must not end the header.
            self.send_header(name, value.replace("\r", " ").replace("\n", " "))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "barograph"

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing per request."""


def _headers(reply: Reply) -> dict[str, str]:
    headers = {"X-ClickHouse-Summary": json.dumps(reply.summary)}
    if reply.format:
        headers["X-ClickHouse-Format"] = reply.format
        headers["Content-Type"] = _CONTENT_TYPES.get(reply.format, "text/plain; charset=UTF-8")
    return headers


def _unauthenticated(problem: str) -> RequestError:
    return RequestError(
        f"Code: {_AUTHENTICATION_FAILED}. DB::Exception: {problem}. The passwords are in {FULL_USER}.netrc and "
        f"{READER}.netrc in the folder clickhouse of the local stack. (AUTHENTICATION_FAILED)",
        HTTPStatus.FORBIDDEN,
        _AUTHENTICATION_FAILED,
    )


def _seconds(text: str) -> float:
    if not (text.isascii() and text.isdigit()):
        raise RequestError(f"session_timeout {text!r} is not a number of seconds.")
    return float(text)


def _form_fields(content_type: str, body: bytes) -> dict[str, str]:
    """Parse a form, which clients use for queries and parameters too long for a URL.

    Raises:
        RequestError: The form contains a file (ClickHouse's external data), which the embedded engine does not support.
    """
    parser = email.parser.BytesParser(policy=email.policy.HTTP)
    message = parser.parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    fields = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="Content-Disposition")
        if part.get_filename() is not None or not isinstance(name, str):
            raise RequestError("The local engine does not support external data; insert it into a table.")
        content = part.get_payload(decode=True)
        fields[name] = content.decode() if isinstance(content, bytes) else ""
    return fields


class _RunningRequests:
    """Counts running requests, so that shutdown can wait for them."""

    def __init__(self) -> None:
        self._count = 0
        self._changed = threading.Condition()

    def __enter__(self) -> None:
        with self._changed:
            self._count += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def wait_for_none(self, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._count == 0, timeout_s)


class GatewayServer(socketserver.ThreadingTCPServer):
    """The gateway: one thread per connection."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, engine: Engine, port: int, passwords: Mapping[str, str]) -> None:
        super().__init__((_HOST, port), _Handler)
        self.engine = engine
        self.passwords = passwords
        self.running = _RunningRequests()

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exception()
        if not isinstance(error, ConnectionError):
            _log.exception("a request failed in the gateway")


def main(argv: Sequence[str] | None = None) -> int:
    """Open the engine and serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="python -m barograph_server.local.http_gateway", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--path", type=Path, required=True, help="the engine's folder")
    parser.add_argument("--port", type=int, required=True, help="the port on 127.0.0.1")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    path = arguments.path.absolute()
    try:
        create_passwords(path.parent)
        passwords = read_passwords(path.parent)
        # The engine takes an unknown name of a table for a file in the current folder.
        empty = path.parent / "empty"
        make_private(empty)
        os.chdir(empty)
        # The only folder outside the engine's that BACKUP … TO File('NAME') can write to.
        backups = {"backups.allowed_path": str(path.parent / "backups")}
        engine = Engine(path, {**ENGINE_OPTIONS, **backups})
    except (OSError, LocalStackError) as error:
        _log.error("%s", error)
        return 1
    except EngineError as error:
        _log.error("the engine cannot open %s: %s", arguments.path, error)
        return 1
    try:
        server = GatewayServer(engine, arguments.port, passwords)
    except OSError as error:
        _log.error("cannot listen on %s:%d: %s", _HOST, arguments.port, error.strerror)
        engine.close()
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        # shutdown() waits for serve_forever(), which is this thread's.
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    _log.info("ClickHouse %s on %s:%d, data in %s", engine.version, _HOST, arguments.port, arguments.path)
    with server:
        server.serve_forever(poll_interval=0.1)
    if not server.running.wait_for_none(_SHUTDOWN_TIMEOUT_S):
        _log.warning("requests still run; leaving without them")
        logging.shutdown()
        # Closing the engine under a running query is not safe; rows that were acknowledged are on disk.
        os._exit(0)
    engine.close()
    _log.info("closed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
