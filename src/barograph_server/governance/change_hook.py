"""The HTTP hook of `barograph changes serve`: deployment jobs post changes to it."""

import hmac
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from barograph_server.local.loopback_page import InvalidRequest, LoopbackServer, read_json
from barograph_server.settings import CHANGES_TOKEN_VARIABLE
from barograph_server.warehouse.client import Address, connect
from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError
from barograph_server.warehouse.governance.changes import (
    Change,
    ChangeError,
    add_changes,
    reported_change,
    source_notes,
)

MAX_CHANGES = 100
"""Changes of one request."""
_TIMEOUT_S = 20
_STATUS: dict[type[Exception], int] = {WarehouseBusy: 503, WarehouseError: 502}


class ChangesHook(LoopbackServer):
    """Stores posted changes. A request is answered after ClickHouse has stored all its changes, or none is stored."""

    def __init__(
        self, address: Address, token: str, port: int = 0, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """Describe it; nothing is started.

        Args:
            address: ClickHouse, with a user of the role `barograph_changes`.
            port: port to listen on; 0 means any free port.
        """
        super().__init__("hook of changes", port)
        self._address, self._token, self._now = address, token, now

    def app(self) -> Starlette:
        """The ASGI application, for use with another server."""
        return Starlette(
            routes=[Route("/changes", self._changes, methods=["POST"])],
            exception_handlers={kind: _refuse for kind in (*_STATUS, InvalidRequest)},
        )

    async def _changes(self, request: Request) -> Response:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), self._token.encode()):
            raise InvalidRequest(
                f"Send the header Authorization: Bearer, with the token of {CHANGES_TOKEN_VARIABLE}.", 401
            )
        changes = _read_changes(await read_json(request), self._now())
        notes = await run_in_threadpool(self._store, changes)
        return JSONResponse({"stored": len(changes), "notes": notes}, 201)

    def _store(self, changes: list[Change]) -> list[str]:
        with connect(self._address, timeout_s=_TIMEOUT_S) as client:
            notes = source_notes(client, changes)
            add_changes(client, changes)
        return notes


def _read_changes(values: Any, now: datetime) -> list[Change]:
    posted = values if isinstance(values, list) else [values]
    if not 1 <= len(posted) <= MAX_CHANGES:
        raise InvalidRequest(f"Send 1 to {MAX_CHANGES} changes, not {len(posted):,}.")
    changes = []
    for number, each in enumerate(posted, start=1):
        if not isinstance(each, dict):
            raise InvalidRequest(f"Change {number} is not a JSON object.")
        try:
            changes.append(reported_change(each, now))
        except ChangeError as error:
            raise InvalidRequest(f"Change {number}: {error}.") from error
    return changes


async def _refuse(_: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, InvalidRequest) else _STATUS[type(error)]
    return JSONResponse({"error": str(error)}, status)
