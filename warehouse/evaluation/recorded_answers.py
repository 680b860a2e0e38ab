"""Answers with text in raw rows, and which of them have evaluations, for `barograph evaluations run`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from barograph_server.warehouse.client import Client

_RANGE = "model = {model:String} AND at >= {since:DateTime64(3, 'UTC')} AND at < {until:DateTime64(3, 'UTC')}"
_READ = "(epoch != {epoch:UInt16} OR offset < {read:Array(UInt64)}[partition + 1])"


@dataclass(frozen=True, slots=True)
class AnswerRange:
    """Answers of a model with event times in [since, until), as far as the evaluator has read them."""

    model: str
    since: datetime
    until: datetime
    epoch: int
    """The current incarnation of the topic `predictions`."""
    read: Sequence[int]
    """Offset up to which the evaluator has read each of its partitions."""

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of queries."""
        return {
            **{"model": self.model, "since": self.since, "until": self.until},
            **{"epoch": self.epoch, "read": list(self.read)},
        }


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """Raw rows of a range."""

    predictions: int
    failed: int
    """Predictions that failed, which have no answer."""
    with_text: int
    """Answers whose text is stored."""
    unread: int
    """Of these, answers that the evaluator has yet to read."""


class RecordedAnswer(NamedTuple):
    """An answer with its text, which is in `context`."""

    at_ms: int
    id: str
    version: str
    arm: str
    context: dict[str, str]


class RecordedEvaluation(NamedTuple):
    """What is stored of one answer by one version of an evaluator."""

    rows: int
    """Evaluations: more than one if earlier ones had no result."""
    reason: str
    """Why there is no result; empty if there is one, or if the check is undecided."""
    cost_usd: float
    """Of the newest evaluation."""


def count_answers(client: Client, answers: AnswerRange) -> AnswerCounts:
    """Count the raw rows of a range."""
    has_text = "error = '' AND context['answer_text'] != ''"
    [counts] = client.rows(
        f"SELECT count(), countIf(error != ''), countIf({has_text}), countIf({has_text} AND NOT {_READ}) "
        f"FROM predictions FINAL WHERE {_RANGE}",
        answers.parameters(),
    )
    return AnswerCounts(*counts)


def read_answers_with_text(
    client: Client, answers: AnswerRange, after: RecordedAnswer | None, limit: int
) -> list[RecordedAnswer]:
    """Read answers in the order of time, id and version, each once.

    Args:
        after: the last one that was read before; None for the first ones.
        limit: most answers.
    """
    last = after or RecordedAnswer(0, "", "", "", {})
    rows = client.rows(
        f"SELECT toUnixTimestamp64Milli(at) AS at_ms, id, version, arm, context FROM predictions FINAL WHERE {_RANGE} "
        f"AND error = '' AND context['answer_text'] != '' AND {_READ} "
        "AND at >= fromUnixTimestamp64Milli({at_ms:Int64}) "
        "AND (at_ms, id, version) > ({at_ms:Int64}, {id:String}, {version:String}) "
        "ORDER BY at_ms, id, version LIMIT 1 BY id, version LIMIT {limit:UInt32}",
        {**answers.parameters(), "at_ms": last.at_ms, "id": last.id, "version": last.version, "limit": limit},
    )
    return [RecordedAnswer(*row) for row in rows]


def read_evaluations(
    client: Client, versions: Mapping[str, str], ids: Sequence[str], from_ms: int, to_ms: int
) -> dict[tuple[str, str, str], RecordedEvaluation]:
    """Return the evaluations of answers by model of the evaluator, id and version of the answer.

    Args:
        versions: model of an evaluator → the version whose evaluations count.
        from_ms: time of the first answer, Unix milliseconds.
    """
    newest = "(received_at, partition, offset)"
    rows = client.rows(
        "SELECT model, id, context['version'] AS answered_by, uniqExact(epoch, partition, offset, message_index), "
        "if(max(class != '' OR (error = '' AND status = '')), '', "
        f"argMax(if(error = '', status, error), {newest})), ifNull(argMax(metrics['cost_usd'], {newest}), 0) "
        "FROM predictions WHERE model IN {models:Array(String)} AND id IN {ids:Array(String)} "
        "AND concat(model, '\\n', version) IN {series:Array(String)} "
        "AND at >= fromUnixTimestamp64Milli({from_ms:Int64}) AND at <= fromUnixTimestamp64Milli({to_ms:Int64}) "
        "GROUP BY model, id, answered_by",
        {
            **{"models": list(versions), "series": [f"{model}\n{version}" for model, version in versions.items()]},
            **{"ids": list(ids), "from_ms": from_ms, "to_ms": to_ms},
        },
    )
    return {(model, event_id, version): RecordedEvaluation(*rest) for model, event_id, version, *rest in rows}
