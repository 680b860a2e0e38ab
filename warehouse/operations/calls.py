"""Queries of single calls of a model: the slowest, failed, most expensive or faulty ones of a range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import datetime

    from barograph_server.warehouse.client import Client

CallKind = Literal["latest", "slow", "failed", "costly", "faulty"]
_ORDERS: dict[CallKind, tuple[str, str]] = {
    "latest": ("true", "call.at DESC"),
    "slow": ("isFinite(call.latency_ms)", "call.latency_ms DESC"),
    "failed": ("call.error != ''", "call.at DESC"),
    "costly": ("isNotNull(call.metrics['cost_usd'])", "call.metrics['cost_usd'] DESC"),
    "faulty": ("notEmpty(faults.evaluators)", "call.at DESC"),
}
"""Of each kind: which calls, and in which order."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call, from its raw row."""

    id: str
    at: datetime
    version: str
    arm: str
    prompt: str
    error: str
    latency_ms: float | None
    input_tokens: float | None
    output_tokens: float | None
    cost_usd: float | None
    faulty: list[str]
    """The evaluators that found the answer faulty."""


def read_calls(client: Client, model: str, since: datetime, kind: CallKind, limit: int) -> list[Call]:
    """Read raw rows of calls with an event time from `since` on, the worst or newest first."""
    condition, order = _ORDERS[kind]
    rows = client.rows(
        f"""
        SELECT
            call.id, call.at, call.version, call.arm, toString(call.context['prompt']), call.error,
            if(isFinite(call.latency_ms), toNullable(call.latency_ms), NULL), call.metrics['input_tokens'],
            call.metrics['output_tokens'], call.metrics['cost_usd'], faults.evaluators
        FROM predictions AS call FINAL
        LEFT JOIN
        (
            SELECT id, arraySort(groupUniqArray(evaluator)) AS evaluators
            FROM evaluations
            WHERE model = {{model:String}} AND at >= {{since:DateTime64(3)}} AND class = 'faulty'
            GROUP BY id
        ) AS faults ON call.id = faults.id
        WHERE call.model = {{model:String}} AND call.at >= {{since:DateTime64(3)}} AND {condition}
        ORDER BY {order}, call.id
        LIMIT 1 BY call.id
        LIMIT {{limit:UInt32}}
        """,
        {"model": model, "since": since, "limit": limit},
    )
    return [Call(*values) for values in rows]
