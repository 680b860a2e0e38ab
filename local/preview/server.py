"""Read-only web server of the preview page: pages, panel data, incidents.

Its data are for its own pages only: requests for them from other sites, of another content type or of another shape are
rejected.
"""

from __future__ import annotations

import asyncio
import importlib.resources
import queue
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from barograph_server.dashboards.macros import MacroError, TimeRange, Value
from barograph_server.local.loopback_page import (
    HEADERS,
    TRUSTED_HOSTS,
    InvalidRequest,
    LoopbackServer,
    check_same_origin,
    json_response,
    read_json_object,
)
from barograph_server.local.preview.frames import RangeError, frame_of, read_range
from barograph_server.local.preview.pages import PageError, annotations_of, panel_answers, panel_of, resolve
from barograph_server.warehouse.client import Address, Client, QueryResult, connect
from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError

CLIENTS = 4
"""Maximum number of concurrent panel queries; further queries wait."""
READ_ONLY: dict[str, str | int] = {"readonly": 2, "max_execution_time": 30, "max_result_rows": 200_000}
_STATIC = importlib.resources.files("barograph_server.local.preview") / "static"

Incidents = Callable[[int, int, str], Sequence[Mapping[str, Any]]]
"""Returns the incidents at the end of a range (Unix milliseconds) of one model, or of all if it is empty, as
`operations.dev.page` describes them."""
INCIDENTS_S = 60.0
"""How long a page waits for incidents. Rules of many models over weeks take longer; the next page shows the result."""


class PreviewServer(LoopbackServer):
    """Serves dashboards on loopback from its own thread; also a context manager."""

    def __init__(
        self,
        pages: Sequence[Mapping[str, Any]],
        address: Address,
        *,
        port: int = 0,
        incidents: Incidents = lambda from_ms, to_ms, model: (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Describe it; nothing is started.

        Args:
            pages: dashboard JSON; the first is the start page.
            address: address of ClickHouse, with a user who may only read.
            incidents: called for the incidents of a panel with the list of alerts.
        """
        self._pages = {page["uid"]: page for page in pages}
        self.address = address
        self._clients = _Clients(address)
        self._incidents, self._clock = incidents, clock
        self._replays: dict[tuple[int, str], asyncio.Future[Sequence[Mapping[str, Any]]]] = {}
        super().__init__("preview page", port)

    def app(self) -> Starlette:
        """The ASGI application, for use with another server."""
        page = "/api/pages/{uid}"
        return Starlette(
            routes=[
                Route("/", self._home),
                Route("/d/{uid}", self._html),
                Route("/d/{uid}/{slug}", self._html),
                Route("/api/pages", self._list),
                Route(page, self._page),
                Route(f"{page}/variables", self._variables, methods=["POST"]),
                Route(f"{page}/annotations", self._annotations, methods=["POST"]),
                Route(page + "/panels/{panel:int}", self._panel, methods=["POST"]),
                Route("/api/incidents", self._open_incidents, methods=["POST"]),
                Route("/static/plotly.min.js", self._plotly),
                Mount("/static", StaticFiles(directory=str(_STATIC))),
            ],
            middleware=[TRUSTED_HOSTS],
            exception_handlers={kind: _refuse for kind in (*_STATUS, InvalidRequest)},
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        yield
        self._clients.close()

    async def _home(self, _: Request) -> Response:
        return RedirectResponse(f"/d/{next(iter(self._pages))}")

    async def _html(self, request: Request) -> Response:
        self._requested_page(request)
        return FileResponse(str(_STATIC / "index.html"), headers=HEADERS)

    async def _plotly(self, _: Request) -> Response:
        script = importlib.resources.files("plotly") / "package_data" / "plotly.min.js"
        return FileResponse(str(script), headers={"Cache-Control": "max-age=86400"})

    async def _list(self, request: Request) -> Response:
        check_same_origin(request)
        return json_response([{"uid": uid, "title": page["title"]} for uid, page in self._pages.items()])

    async def _page(self, request: Request) -> Response:
        check_same_origin(request)
        return json_response(self._requested_page(request))

    async def _variables(self, request: Request) -> Response:
        page, arguments = self._requested_page(request), await _arguments(request)
        time_range = self._time_range(arguments)

        def work() -> dict[str, Any]:
            with self._clients.one() as run_query:
                shown, values = resolve(page, time_range, arguments.variables, run_query)
            return {"variables": shown, "values": values, "from": time_range.from_ms, "to": time_range.to_ms}

        return json_response(await run_in_threadpool(work))

    async def _annotations(self, request: Request) -> Response:
        page, arguments = self._requested_page(request), await _arguments(request)
        time_range = self._time_range(arguments)

        def work() -> list[dict[str, Any]]:
            with self._clients.one() as run_query:
                return annotations_of(page, time_range, arguments.variables, run_query)

        return json_response(await run_in_threadpool(work))

    async def _panel(self, request: Request) -> Response:
        page, arguments = self._requested_page(request), await _arguments(request)
        panel, time_range = panel_of(page, request.path_params["panel"]), self._time_range(arguments)

        def work() -> dict[str, Any]:
            with self._clients.one() as run_query:
                return {"frames": [*map(frame_of, panel_answers(panel, time_range, arguments.variables, run_query))]}

        return json_response(await run_in_threadpool(work))

    async def _open_incidents(self, request: Request) -> Response:
        arguments = await _arguments(request)
        time_range, model = self._time_range(arguments), str(arguments.variables.get("model", ""))
        key = time_range.to_ms // 60_000, model
        if key not in self._replays:
            replay = run_in_threadpool(self._incidents, time_range.from_ms, time_range.to_ms, model)
            self._replays[key] = asyncio.ensure_future(replay)
        replayed = self._replays[key]
        if not (await asyncio.wait([replayed], timeout=INCIDENTS_S))[0]:
            text = f"Rules are being replayed, which takes more than {INCIDENTS_S:g} s. Show this range again later."
            return json_response({"error": text}, 503)
        self._replays.pop(key, None)
        return json_response(list(await replayed))

    def _requested_page(self, request: Request) -> Mapping[str, Any]:
        uid = request.path_params["uid"]
        if uid not in self._pages:
            raise PageError(f"There is no dashboard {uid}. There are {', '.join(self._pages)}.")
        return self._pages[uid]

    def _time_range(self, arguments: Arguments) -> TimeRange:
        return TimeRange(*read_range(arguments.start, arguments.end, int(self._clock() * 1000)))


class _Clients:
    """A small connection pool. Connections open on first use."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._free: queue.SimpleQueue[Client | None] = queue.SimpleQueue()
        for _ in range(CLIENTS):
            self._free.put(None)

    @contextmanager
    def one(self) -> Iterator[Callable[[str], QueryResult]]:
        client = self._free.get()
        try:
            client = client or connect(self._address)
            lent = client
            yield lambda sql: lent.query(sql, settings=READ_ONLY)
        finally:
            self._free.put(client)

    def close(self) -> None:
        for _ in range(CLIENTS):
            client = self._free.get()
            if client:
                client.close()


@dataclass(frozen=True)
class Arguments:
    """The body of a request for data."""

    start: str | int
    """The start of the time range, as `local.preview.ranges` reads it."""
    end: str | int
    variables: Mapping[str, Value]


async def _arguments(request: Request) -> Arguments:
    """Read the body of a request for data.

    Raises:
        InvalidRequest: It comes from another site, is too large, or is not JSON of the expected shape.
    """
    values = await read_json_object(request)
    start: Any = values.get("from")
    end: Any = values.get("to")
    variables = values.get("variables", {})
    if not (_is_time(start) and _is_time(end)):
        raise InvalidRequest("The request needs `from` and `to`, each a time as text or in milliseconds since 1970.")
    if not isinstance(variables, dict) or not all(map(_is_value, variables.values())):
        raise InvalidRequest("`variables` must be an object whose values are texts or lists of texts.")
    return Arguments(
        start, end, {name: value if isinstance(value, str) else tuple(value) for name, value in variables.items()}
    )


def _is_time(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _is_value(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(each, str) for each in value))


_STATUS: dict[type[Exception], int] = {
    PageError: 404,
    RangeError: 400,
    MacroError: 500,
    WarehouseError: 502,
    WarehouseBusy: 503,
}


async def _refuse(_: Request, error: Exception) -> Response:
    if isinstance(error, InvalidRequest):
        return json_response({"error": str(error)}, error.status)
    status = next(status for kind, status in _STATUS.items() if isinstance(error, kind))
    return json_response({"error": str(error)}, status)
