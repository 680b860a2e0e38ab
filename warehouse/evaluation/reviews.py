"""Rows of the table `reviews`: labels that people give to evaluated answers."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
from barograph.contract.evaluators import FAULTY, SOUND
from numpy.typing import NDArray

from barograph_server.sketches.judges.agreement import LEAST_ITEMS, MISSING, Agreement, agreement
from barograph_server.sketches.judges.label_errors import LabelErrors, label_errors
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.queries import rows_of
from barograph_server.warehouse.tables import insert_records

UNSURE = "unsure"
REVIEW_LABELS = (FAULTY, SOUND, UNSURE)
RANDOM, UNCERTAIN, DISAGREEMENT, REPORTED = "random", "uncertain", "disagreement", "reported"
REVIEW_REASONS = (RANDOM, UNCERTAIN, DISAGREEMENT, REPORTED)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_NOTE_CHARS = 2_000
MAX_REVIEWER_CHARS = 100


@dataclass(frozen=True, slots=True)
class Review:
    """The label of one reviewer for one answer."""

    evaluator_model: str
    id: str
    version: str
    """Version of the model that answered."""
    reviewer: str
    at: datetime
    label: str
    """One of `REVIEW_LABELS`; empty if the reviewer took the label back."""
    reason: str
    """One of `REVIEW_REASONS`."""
    probability: float
    """Probability with which the answer was chosen."""
    note: str = ""

    @property
    def is_gold(self) -> bool:
        """Whether the label counts for the rate of faulty answers: the answer was chosen at random, and is decided."""
        return self.reason == RANDOM and self.label in (FAULTY, SOUND)


def store_reviews(client: Client, reviews: Sequence[Review]) -> None:
    """Write labels. Repeating the same ones changes nothing; raises as `insert_rows`."""
    insert_records(client, "reviews", reviews)


def read_reviews(
    client: Client, evaluator_model: str, *, reviewer: str | None = None, since: datetime = EPOCH
) -> list[Review]:
    """Read the latest label of each reviewer and answer, without those that were taken back, in order of their time."""
    return rows_of(
        client,
        Review,
        "FROM reviews FINAL WHERE evaluator_model = {model:String} AND label != '' AND ({any_reviewer:Bool} "
        "OR reviewer = {name:String}) AND at >= {since:DateTime64(3, 'UTC')} ORDER BY at, id, version, reviewer",
        {"model": evaluator_model, "any_reviewer": reviewer is None, "name": reviewer or "", "since": since},
    )


def read_label_errors(
    client: Client, evaluator_models: Sequence[str], since: datetime = EPOCH
) -> dict[str, LabelErrors]:
    """Read how often people are wrong, by evaluator model, from the first two labels of gold answers.

    A third label, which people may give only where two differ, does not count.
    """
    rows = client.rows(
        "WITH twice AS (SELECT evaluator_model, id, version, arraySlice(arraySort(groupArray((at, label))), 1, 2) AS "
        "labels FROM reviews FINAL WHERE evaluator_model IN {models:Array(String)} AND reason = 'random' "
        "AND label IN ('faulty', 'sound') AND at >= {since:DateTime64(3, 'UTC')} "
        "GROUP BY evaluator_model, id, version HAVING count() > 1) "
        "SELECT evaluator_model, verdict, arrayCount(each -> each.2 = 'faulty', labels) AS faulty, count() FROM twice "
        "LEFT JOIN (SELECT model AS evaluator_model, id, context['version'] AS version, min(class) AS verdict "
        "FROM predictions WHERE model IN {models:Array(String)} AND class != '' AND id IN (SELECT id FROM twice) "
        "GROUP BY evaluator_model, id, version) AS judged USING (evaluator_model, id, version) "
        "GROUP BY evaluator_model, verdict, faulty",
        {"models": list(evaluator_models), "since": since},
    )
    groups: dict[str, dict[str, list[int]]] = {model: {} for model in evaluator_models}
    for model, verdict, faulty, answers in rows:
        groups[model].setdefault(verdict, [0, 0, 0])[faulty] = answers
    return {model: label_errors(list(counts.values())) for model, counts in groups.items()}


def unsent_gold(client: Client, evaluator_model: str, reviewer: str | None = None) -> list[Review]:
    """Read gold labels that the table `labels` does not have, nor a newer label for the same answer.

    Some of them may be on the topic already: the recorder lags behind.
    """
    reviews = [each for each in read_reviews(client, evaluator_model, reviewer=reviewer) if each.is_gold]
    if not reviews:
        return []
    rows = client.rows(
        "SELECT id, max(at) FROM labels WHERE model = {model:String} AND id IN {ids:Array(String)} GROUP BY id",
        {"model": evaluator_model, "ids": sorted({each.id for each in reviews})},
    )
    recorded: dict[str, datetime] = dict(rows)
    return [each for each in reviews if each.id not in recorded or recorded[each.id] < each.at]


@dataclass(frozen=True, slots=True)
class ReviewedAnswer:
    id: str
    version: str
    labels: dict[str, str]
    """Reviewer → label."""


@dataclass(frozen=True, slots=True)
class ReviewerWeek:
    """What a reviewer labelled in one week."""

    reviewer: str
    week: date
    """Its Monday, in UTC."""
    labels: int
    faulty: int
    unsure: int


@dataclass(frozen=True, slots=True)
class ReviewAgreement:
    """How far reviewers agree."""

    labels: int
    reviewers: tuple[str, ...]
    agreement: Agreement
    """Of the labels faulty and sound; `unsure` counts as none."""
    disagreements: tuple[ReviewedAnswer, ...]
    """Answers with labels that differ, the least agreement first."""
    weeks: tuple[ReviewerWeek, ...]
    """By reviewer and week."""


def review_agreement(
    reviews: Sequence[Review], least_items: tuple[int, int] = (LEAST_ITEMS, LEAST_ITEMS)
) -> ReviewAgreement:
    """Compare the labels of reviewers. Answers that people did not decide do not count in the agreement."""
    reviewers = tuple(sorted({each.reviewer for each in reviews}))
    answers = sorted({(each.id, each.version) for each in reviews})
    codes = _codes(reviews, reviewers, answers)
    result = agreement(codes, least_items)
    labels: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for each in sorted(reviews, key=lambda each: each.reviewer):
        labels[each.id, each.version][each.reviewer] = each.label
    differing = [answers[index] for index in result.disagreements]
    disagreements = tuple(ReviewedAnswer(id_, version, labels[id_, version]) for id_, version in differing)
    return ReviewAgreement(len(reviews), reviewers, result, disagreements, _weeks(reviews))


def _codes(
    reviews: Sequence[Review], reviewers: Sequence[str], answers: Sequence[tuple[str, str]]
) -> NDArray[np.int64]:
    rows = {name: i for i, name in enumerate(reviewers)}
    columns = {answer: i for i, answer in enumerate(answers)}
    codes = np.full((len(reviewers), len(answers)), MISSING, np.int64)
    for each in reviews:
        if each.label != UNSURE:
            codes[rows[each.reviewer], columns[each.id, each.version]] = int(each.label == FAULTY)
    return codes


def _weeks(reviews: Sequence[Review]) -> tuple[ReviewerWeek, ...]:
    labels: dict[tuple[str, date], list[str]] = defaultdict(list)
    for each in reviews:
        day = each.at.astimezone(UTC).date()
        labels[each.reviewer, day - timedelta(days=day.weekday())].append(each.label)
    return tuple(
        ReviewerWeek(reviewer, week, len(values), values.count(FAULTY), values.count(UNSURE))
        for (reviewer, week), values in sorted(labels.items())
    )
