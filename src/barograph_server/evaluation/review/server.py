"""The page for reviewers on loopback: one answer at a time, labelled with single keys."""

import base64
import hashlib
import importlib.resources
import re
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from barograph_server.evaluation.review.gold_labels import UNDO_S, GoldLabels
from barograph_server.local.loopback_page import (
    HEADERS,
    TRUSTED_HOSTS,
    InvalidRequest,
    LoopbackServer,
    check_same_origin,
    json_response,
    read_json_object,
)
from barograph_server.streams.evaluator.checks.citations import CitationResult, check_answer_citations
from barograph_server.streams.evaluator.checks.documents import DocumentSet
from barograph_server.streams.runtime.periodic import Periodic
from barograph_server.terminal import visible
from barograph_server.warehouse.client import Address, Client, connect
from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError
from barograph_server.warehouse.evaluation.review_queue import ReviewItem, ReviewSource, ReviewText, read_review_text
from barograph_server.warehouse.evaluation.reviews import MAX_NOTE_CHARS, REVIEW_LABELS, Review, store_reviews

SEND_INTERVAL_S = 0.5
PASSAGE_CHARS = 300
"""Characters of a document that the page shows before and after a cited passage."""
_TIMEOUT_S = 20
_MILLISECOND = timedelta(milliseconds=1)
_STATUS: dict[type[Exception], int] = {WarehouseBusy: 503, WarehouseError: 502}
_Result = TypeVar("_Result")


class ReviewServer(LoopbackServer):
    """Serves the queue of one reviewer, and stores labels. A label is stored when its request succeeds."""

    def __init__(
        self,
        address: Address,
        source: ReviewSource,
        items: Sequence[ReviewItem],
        reviewer: str,
        gold: GoldLabels,
        *,
        documents: DocumentSet | None = None,
        port: int = 0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Describe it; nothing is started.

        Args:
            address: ClickHouse, with a user of the role `barograph_review`.
            items: the answers, in the order of the page.
            reviewer: the name that is stored with each label.
            gold: sends gold labels; the server's thread sends, and `stop` sends what waits.
            documents: the documents that answers cite; None: the page shows no passages.
            port: port to listen on; 0 means any free port.
        """
        super().__init__("review page", port)
        self._address, self._source, self._items = address, source, {(each.id, each.version): each for each in items}
        self._reviewer, self._gold, self._documents, self._now = reviewer, gold, documents, now
        self._labels: dict[tuple[str, str], Review] = {}
        self._latest = datetime.fromtimestamp(0, UTC)
        self._client: Client | None = None
        self._using_client = threading.Lock()
        self._sender: Periodic | None = None

    @property
    def labelled(self) -> int:
        """Answers with a label of this run."""
        return len(self._labels)

    def start(self) -> None:
        """Start the server, and the thread that sends gold labels. Raises as `LoopbackServer.start`."""
        super().start()
        self._sender = Periodic("gold labels", SEND_INTERVAL_S, self._gold.send_due)
        self._sender.start()

    def stop(self) -> None:
        """Finish running requests, send the labels that wait, then stop."""
        super().stop()
        if self._sender is not None:
            self._sender.stop(None)
            self._sender = None
            self._gold.close()
        with self._using_client:
            self._disconnect()

    def app(self) -> Starlette:
        """The ASGI application, for use with another server."""
        return Starlette(
            routes=[
                Route("/", self._page),
                Route("/api/queue", self._queue),
                Route("/api/status", self._status),
                Route("/api/answer", self._answer, methods=["POST"]),
                Route("/api/labels", self._label, methods=["POST"]),
            ],
            middleware=[TRUSTED_HOSTS],
            exception_handlers={kind: _refuse for kind in (*_STATUS, InvalidRequest)},
        )

    async def _page(self, _: Request) -> Response:
        page, policy = _page_and_policy()
        return Response(page, headers={**HEADERS, **policy, "Content-Type": "text/html; charset=utf-8"})

    async def _queue(self, request: Request) -> Response:
        check_same_origin(request)
        items = [
            {
                **{"id": each.id, "version": each.version, "reason": each.reason},
                "label": self._labels[key].label if key in self._labels else "",
            }
            for key, each in self._items.items()
        ]
        names = {"model": self._source.model, "evaluator": self._source.evaluator_model, "reviewer": self._reviewer}
        return json_response({**names, "items": items, **self._state()})

    async def _status(self, request: Request) -> Response:
        check_same_origin(request)
        return json_response(self._state())

    async def _answer(self, request: Request) -> Response:
        item = self._item(await read_json_object(request))
        text = await run_in_threadpool(self._use, lambda client: read_review_text(client, self._source, item))
        if text is None:
            raise InvalidRequest("The text of this answer is no longer stored. Go on with the next one.", 410)
        return json_response(await run_in_threadpool(self._describe, item, text))

    async def _label(self, request: Request) -> Response:
        values = await read_json_object(request)
        item, label, note = self._item(values), values.get("label"), values.get("note", "")
        if label != "" and label not in REVIEW_LABELS:
            raise InvalidRequest(f"The label must be one of {', '.join(REVIEW_LABELS)}, or empty.")
        if not isinstance(note, str) or len(note) > MAX_NOTE_CHARS:
            raise InvalidRequest(f"The note must be text of at most {MAX_NOTE_CHARS:,} characters.")
        was_sent = await run_in_threadpool(self._store, item, label, note)
        return json_response({"was_sent": was_sent, **self._state()})

    def _store(self, item: ReviewItem, label: str, note: str) -> bool:
        """Store a label, and return whether a label was taken back that is sent already."""

        def store(client: Client) -> bool:
            # ClickHouse keeps milliseconds, and the later of two labels counts.
            self._latest = max(self._now(), self._latest + _MILLISECOND)
            review = Review(
                self._source.evaluator_model,
                item.id,
                item.version,
                self._reviewer,
                self._latest,
                label,
                item.reason,
                item.probability,
                note,
            )
            store_reviews(client, [review])
            before = self._labels.pop((item.id, item.version), None)
            if label:
                self._labels[item.id, item.version] = review
            was_dropped = self._gold.add(review, delay_s=UNDO_S)
            return before is not None and before.is_gold and not was_dropped and not review.is_gold

        return self._use(store)

    def _use(self, action: Callable[[Client], _Result]) -> _Result:
        with self._using_client:
            try:
                self._client = self._client or connect(self._address, timeout_s=_TIMEOUT_S)
                return action(self._client)
            except (WarehouseBusy, WarehouseError):
                self._disconnect()
                raise

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _item(self, values: dict[str, Any]) -> ReviewItem:
        event_id, version = values.get("id"), values.get("version")
        is_key = isinstance(event_id, str) and isinstance(version, str)
        item = self._items.get((str(event_id), str(version))) if is_key else None
        if item is None:
            raise InvalidRequest("This answer is not in the queue of this reviewer. Reload the page.", 404)
        return item

    def _state(self) -> dict[str, Any]:
        return {"waiting": self._gold.waiting, "problem": visible(self._gold.problem)}

    def _describe(self, item: ReviewItem, text: ReviewText) -> dict[str, Any]:
        return {
            "prompt": visible(text.prompt),
            "answer": visible(text.answer),
            "class": text.answer_class,
            "score": None if text.score != text.score else text.score,
            "error": text.error,
            "explanation": visible(text.explanation),
            "evaluator_version": text.evaluator_version,
            "at": item.at,
            "citations": describe_citations(text.answer, self._documents) if self._documents is not None else None,
        }


def describe_citations(answer: str, documents: DocumentSet) -> list[dict[str, str]]:
    """Return the claims of an answer with the passages of documents, as text for people."""
    return [_citation(result, documents) for result in check_answer_citations(answer, documents).results]


def _citation(result: CitationResult, documents: DocumentSet) -> dict[str, str]:
    before = passage = after = ""
    if result.document_id is not None and result.span is not None:
        text, (start, end) = documents.sequence(result.document_id).original, result.span
        before, passage, after = (
            text[max(0, start - PASSAGE_CHARS) : start],
            text[start:end],
            text[end:][:PASSAGE_CHARS],
        )
    claim = result.claim
    return {
        "claim": visible(claim.quote or claim.statement),
        "source": visible(claim.document_id or ""),
        "status": result.status.value,
        "reason": visible(result.reason),
        "document": visible(result.document_id or ""),
        **{"before": visible(before), "passage": visible(passage), "after": visible(after)},
    }


@cache
def _page_and_policy() -> tuple[str, dict[str, str]]:
    """Return the page, and the policy that allows its own script and style, and nothing from elsewhere."""
    page = (
        importlib.resources.files("barograph_server.evaluation.review")
        .joinpath("page.html")
        .read_text(encoding="utf-8")
    )

    def sources(tag: str) -> str:
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        return f"'sha256-{digest}'"

    policy = (
        f"default-src 'none'; script-src {sources('script')}; style-src {sources('style')}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, {"Content-Security-Policy": policy}


async def _refuse(_: Request, error: Exception) -> Response:
    if isinstance(error, InvalidRequest):
        return json_response({"error": str(error)}, error.status)
    status = next(status for kind, status in _STATUS.items() if isinstance(error, kind))
    return json_response({"error": visible(str(error))}, status)
