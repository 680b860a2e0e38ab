"""Answers of a language model with evaluations, as rows of ClickHouse."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.evaluation.review_queue import ReviewSource
from barograph_server.warehouse.tables import insert_rows
from tests.support.warehouse import row

AT = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
MODEL, EVALUATOR = "bot", "bot.cited"
SOURCE = ReviewSource(MODEL, EVALUATOR, (EVALUATOR, "bot.judge"), AT - timedelta(hours=1), AT + timedelta(hours=1))


def answer_row(
    event_id: str, text: str = "Within 30 days.", prompt: str = "How long?", **columns: Any
) -> dict[str, Any]:
    context = {"answer_text": text, "prompt_text": prompt} if text else {}
    return _row(event_id, MODEL, version="1", context=context, **columns)


def evaluation_row(
    event_id: str,
    class_: str,
    score: float = math.nan,
    *,
    model: str = EVALUATOR,
    explanation: str = "",
    **columns: Any,
) -> dict[str, Any]:
    context = {"kind": "check", "version": "1", "sample": "1"}
    if explanation:
        context["answer_text"] = explanation
    return _row(event_id, model, version="v1", context=context, **{"class": class_, "score": score, **columns})


def _row(event_id: str, model: str, **columns: Any) -> dict[str, Any]:
    # Tests insert rows with equal positions, so the offset follows from model and id.
    offset = int.from_bytes(f"{model}/{event_id}".encode()[-7:], "big")
    received = int(AT.timestamp() * 1000)
    return row("predictions", model=model, id=event_id, at=received, received_at=received, offset=offset, **columns)


def store(client: Client, rows: list[dict[str, Any]]) -> None:
    insert_rows(client, "predictions", rows)
