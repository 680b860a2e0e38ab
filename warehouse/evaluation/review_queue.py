"""Which evaluated answers people review: a random part for gold, and those that teach most for learning.

Labels of the random part are unbiased, so only they count for the rate of faulty answers (decision 63). A hash of the
id selects them: the sample is the same for each reviewer and each start, and a larger share contains a smaller one.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from barograph.sampling import sample_hash

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.evaluation.reviews import RANDOM, Review

ReviewPurpose = Literal["gold", "learning"]

GOLD_SHARE, LEARNING_SHARE = 0.01, 1.0
"""Default shares: of all answers with a result, and of the uncertain and disagreeing ones."""
SECOND_SHARE = 0.1
"""Share of the answers that two people review."""
NEAREST_SHARE = 0.1
"""Share of the scores, those nearest to the boundary between faulty and sound, that are uncertain."""
MAX_ITEMS = 5_000
"""Answers of one queue; after them, start again."""

_HASH = (
    "reinterpretAsUInt64(reverse(substring("
    "SHA256(concat('review', char(0), {purpose:String}, char(0), {evaluator:String}, char(0), id)), 1, 8)))"
)
_EVALUATED = """evaluated AS (
    SELECT id, version, at, evaluator_version, class, score, error FROM evaluations
    WHERE evaluator_model = {evaluator:String} AND at >= {since:DateTime64(3, 'UTC')}
    AND at < {until:DateTime64(3, 'UTC')} AND (class != '' OR error = 'judge-disagreement')
    ORDER BY class = '', evaluator_version LIMIT 1 BY id, version
)"""
_SELECTED = f"""
({{share:Float64}} >= 1 OR {_HASH} < {{bound:UInt64}}) AND (id, version) IN (
    SELECT id, version FROM predictions FINAL
    WHERE model = {{model:String}} AND at >= {{since:DateTime64(3, 'UTC')}} AND at < {{until:DateTime64(3, 'UTC')}}
    AND context['answer_text'] != ''
)
ORDER BY {_HASH}, version LIMIT {{limit:UInt32}}
"""
_GOLD = f"""
WITH {_EVALUATED}
SELECT id, version, at, 'random' FROM evaluated WHERE class != '' AND {_SELECTED}
"""
_LEARNING = f"""
WITH {_EVALUATED},
boundaries AS (
    SELECT evaluator_version,
        (maxOrNullIf(score, class = 'faulty') + minOrNullIf(score, class = 'sound')) / 2 AS boundary
    FROM evaluated WHERE isFinite(score) GROUP BY evaluator_version HAVING isNotNull(boundary)
),
limits AS (
    SELECT evaluator_version, any(boundary) AS middle,
        quantileExactLow({{nearest:Float64}})(abs(score - boundary)) AS widest
    FROM evaluated INNER JOIN boundaries USING (evaluator_version) WHERE isFinite(score) GROUP BY evaluator_version
)
SELECT id, version, at, why FROM (
    SELECT id, version, at, multiIf(
        class = '', 'uncertain',
        has_limit AND isFinite(score) AND abs(score - middle) <= widest, 'uncertain',
        (id, version, class) IN (
            SELECT id, version, if(class = 'faulty', 'sound', 'faulty') FROM evaluations
            WHERE evaluator_model IN {{evaluators:Array(String)}} AND class != ''
            AND at >= {{since:DateTime64(3, 'UTC')}} AND at < {{until:DateTime64(3, 'UTC')}}
        ), 'disagreement',
        ''
    ) AS why
    FROM evaluated
    LEFT JOIN (SELECT evaluator_version, middle, widest, true AS has_limit FROM limits) AS known
    USING (evaluator_version)
) WHERE why != '' AND {_SELECTED}
"""


@dataclass(frozen=True, slots=True)
class ReviewItem:
    """An answer that was chosen for review."""

    id: str
    version: str
    """Version of the model that answered."""
    at: datetime
    """Event time of the answer."""
    reason: str
    probability: float


@dataclass(frozen=True, slots=True)
class ReviewQueue:
    """What one reviewer has to review."""

    items: tuple[ReviewItem, ...]
    """In the reviewer's order."""
    chosen: int
    """Answers that were chosen, those that are reviewed already included."""
    adopted: tuple[Review, ...]
    """Labels of the reviewer for answers of the random part that were given for another reason. They are gold: store
    them."""


@dataclass(frozen=True, slots=True)
class ReviewSource:
    """Where the answers come from."""

    model: str
    """The answering model."""
    evaluator_model: str
    evaluator_models: tuple[str, ...]
    """Those of all evaluators of the model."""
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class ReviewText:
    """What a reviewer sees of an answer."""

    prompt: str
    """Empty if it was not published."""
    answer: str
    answer_class: str
    """What the evaluator says: faulty or sound; empty without a result."""
    score: float
    """NaN if the evaluator has none."""
    error: str
    explanation: str
    """What the judge says; empty if nothing was published."""
    evaluator_version: str


def uniform_hash(purpose: str, evaluator_model: str, event_id: str) -> float:
    """Return the number from 0 (inclusive) to 1 that decides about an answer.

    Args:
        purpose: `gold`, `learning` or `second`; the samples of two purposes are independent.
    """
    return _hash(purpose, evaluator_model, event_id) / 2**64


def read_queue(
    client: Client,
    source: ReviewSource,
    reviews: Sequence[Review],
    reviewer: str,
    purpose: ReviewPurpose,
    share: float,
    second_share: float = SECOND_SHARE,
) -> ReviewQueue:
    """Choose answers whose text is published, and that this reviewer has not labelled.

    Args:
        reviews: all labels of the evaluator so far.
        purpose: `gold` chooses at random among the answers with a result; `learning` chooses among those whose score is
            near the boundary between the classes, whose votes had no majority, or that evaluators judge differently.
        share: the probability of each of them, above 0 and at most 1.
        second_share: the share of the chosen answers that two people review.
    """
    parameters = {
        **{"evaluator": source.evaluator_model, "model": source.model, "since": source.since, "until": source.until},
        **{"share": share, "bound": min(int(share * 2**64), 2**64 - 1), "limit": MAX_ITEMS, "purpose": purpose},
        **{"evaluators": list(source.evaluator_models), "nearest": NEAREST_SHARE},
    }
    rows = client.rows(_GOLD if purpose == "gold" else _LEARNING, parameters)
    chosen = [ReviewItem(event_id, version, at, reason, share) for event_id, version, at, reason in rows]
    others: defaultdict[tuple[str, str], int] = defaultdict(int)
    own: dict[tuple[str, str], Review] = {}
    for review in reviews:
        if review.reviewer == reviewer:
            own[review.id, review.version] = review
        elif purpose == "learning" or review.reason == RANDOM:
            others[review.id, review.version] += 1

    def is_open(item: ReviewItem) -> bool:
        needed = 2 if uniform_hash("second", source.evaluator_model, item.id) < second_share else 1
        return (item.id, item.version) not in own and others[item.id, item.version] < needed

    items = [item for item in chosen if is_open(item)]
    # Reviewers who work at the same time begin with different answers.
    items.sort(key=lambda item: (_hash(reviewer, source.evaluator_model, item.id), item.version))
    adopted = []
    if purpose == "gold":
        earlier = ((own.get((item.id, item.version)), item) for item in chosen)
        adopted = [
            replace(review, reason=item.reason, probability=item.probability)
            for review, item in earlier
            if review is not None and review.reason != RANDOM
        ]
    return ReviewQueue(tuple(items), len(chosen), tuple(adopted))


def read_review_text(client: Client, source: ReviewSource, item: ReviewItem) -> ReviewText | None:
    """Read the texts of an answer and its evaluation; None if the text is no longer stored."""
    parameters = {"id": item.id, "version": item.version, "at": item.at}
    where = "id = {id:String} AND at = {at:DateTime64(3, 'UTC')}"
    answers = client.rows(
        "SELECT context['prompt_text'], context['answer_text'] FROM predictions FINAL "
        f"WHERE model = {{model:String}} AND version = {{version:String}} AND {where} "
        "AND context['answer_text'] != '' LIMIT 1",
        {**parameters, "model": source.model},
    )
    if not answers:
        return None
    evaluations = client.rows(
        "SELECT class, score, error, context['answer_text'], version FROM predictions FINAL "
        f"WHERE model = {{model:String}} AND context['version'] = {{version:String}} AND {where} "
        "ORDER BY class = '', version LIMIT 1",
        {**parameters, "model": source.evaluator_model},
    )
    prompt, answer = answers[0]
    return ReviewText(prompt, answer, *(evaluations[0] if evaluations else ("", float("nan"), "", "", "")))


def read_answer_texts(client: Client, model: str, ids: Sequence[str]) -> dict[tuple[str, str], tuple[str, str]]:
    """Return prompts and answers of a model by (id, version), where the text is stored."""
    rows = client.rows(
        "SELECT id, version, any(context['prompt_text']), any(context['answer_text']) AS answer FROM predictions FINAL "
        "WHERE model = {model:String} AND id IN {ids:Array(String)} AND context['answer_text'] != '' "
        "GROUP BY id, version",
        {"model": model, "ids": list(ids)},
    )
    return {(event_id, version): (prompt, answer) for event_id, version, prompt, answer in rows}


def known_answers(client: Client, evaluator_model: str, ids: Sequence[str]) -> dict[tuple[str, str], bool]:
    """Return the evaluated answers among some ids, as (id, version), with whether the evaluator has a result."""
    rows = client.rows(
        "SELECT id, version, max(class != '') FROM evaluations WHERE evaluator_model = {model:String} "
        "AND id IN {ids:Array(String)} GROUP BY id, version",
        {"model": evaluator_model, "ids": list(ids)},
    )
    return {(event_id, version): bool(has_result) for event_id, version, has_result in rows}


def _hash(purpose: str, evaluator_model: str, event_id: str) -> int:
    return sample_hash("review", purpose, evaluator_model, event_id)
